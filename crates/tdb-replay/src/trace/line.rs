//! One line of a trace: `SEQ SP OP... `, to a row.
//!
//! Owns the grammar of a line. A scanner goes over the bytes once; records go to the interners as bytes. Nothing is
//! known here about other lines: what must follow what is [`super::structure`].

use super::columns::{EMPTY, NONE, Row};
use super::intern::{Keys, Tag, Values};
use super::op::Op;
use super::stamp::Stamp;

/// The keys and values of a history, and those of the last lines, which wait for their ids.
///
/// Looking up a record waits for memory. So lines are read a batch at a time: [`read`] leaves their records here, and
/// [`Records::settle`] looks all of them up together.
#[derive(Default)]
pub struct Records {
    /// Distinct keys. A null pointer and a length of zero are the same key.
    pub keys: Keys,
    /// Distinct values; 0 is "absent", 1 is "no bytes".
    pub values: Values,
    /// The bytes of what waits, end to end.
    scratch: Vec<u8>,
    waiting: Vec<Waiting>,
}

/// Where in a row an id belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// [`Row::key`].
    Key,
    /// [`Row::a`].
    A,
    /// [`Row::b`].
    B,
}

/// A record that has no id yet.
struct Waiting {
    row: usize,
    /// Where it ends in the scratch; it starts where the one before it ends.
    end: usize,
    column: Column,
    is_key: bool,
    tag: Tag,
}

impl Records {
    /// Whether it is time to settle.
    pub fn is_full(&self) -> bool {
        self.waiting.len() >= BATCH || self.scratch.len() >= BATCH_BYTES
    }

    /// Gives every record that waits its id; `place` hears row, column and id.
    ///
    /// # Errors
    /// There is no room for so many distinct keys or values.
    pub fn settle(&mut self, mut place: impl FnMut(usize, Column, u32)) -> Result<(), Full> {
        // By now the slots are near. Next all strings are asked for, so that the processor waits for many at once.
        for waiting in &self.waiting {
            match waiting.is_key {
                true => self.keys.strings().approach_string(waiting.tag),
                false => self.values.strings().approach_string(waiting.tag),
            }
        }
        let more = self.scratch.len() + self.waiting.len() * MOST_LEAD;
        if self.keys.strings().is_full_for(more) || self.values.strings().is_full_for(more) {
            return Err(Full);
        }
        let mut start = 0;
        for waiting in self.waiting.drain(..) {
            let bytes = &self.scratch[start..waiting.end];
            let id = match waiting.is_key {
                true => self.keys.intern_tagged(waiting.tag, bytes),
                false => self.values.intern_tagged(waiting.tag, bytes),
            };
            place(waiting.row, waiting.column, id);
            start = waiting.end;
        }
        self.scratch.clear();
        Ok(())
    }

    /// Leaves the first `most` bytes of some values, one behind the other, as one record, to be settled.
    pub(super) fn leave_value(&mut self, row: usize, column: Column, parts: &[u32], most: usize) {
        for &part in parts {
            self.scratch.extend_from_slice(self.values.bytes(part));
        }
        let start = self.start();
        self.scratch.truncate(start.saturating_add(most).min(self.scratch.len()));
        self.leave(row, column, false);
    }

    /// Leaves what was added to the scratch since the last record, as one record, to be settled.
    fn leave(&mut self, row: usize, column: Column, is_key: bool) {
        let start = self.start();
        let bytes = &self.scratch[start..];
        let tag = match is_key {
            true => self.keys.tag(bytes),
            false => self.values.tag(bytes),
        };
        match is_key {
            true => self.keys.strings().approach_slot(tag),
            false => self.values.strings().approach_slot(tag),
        }
        let end = self.scratch.len();
        self.waiting.push(Waiting { row, end, column, is_key, tag });
    }

    /// Where the next record starts in the scratch.
    fn start(&self) -> usize {
        self.waiting.last().map_or(0, |waiting| waiting.end)
    }
}

/// Records to a batch: more than a processor can wait for at once.
const BATCH: usize = 48;
/// What may stand before a string in its table and fill it up behind.
const MOST_LEAD: usize = 12;
/// A batch of long records ends early: it should stay in the first cache.
const BATCH_BYTES: usize = 1 << 14;

/// There is no room for more distinct keys or values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// Why a line cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub struct BadLine {
    /// What should have stood there.
    pub expected: String,
    /// What stood there.
    pub found: String,
}

fn bad<T>(expected: impl Into<String>, found: &[u8]) -> Result<T, BadLine> {
    Err(BadLine { expected: expected.into(), found: show(found) })
}

/// Text for people, cut where it gets long; what is no text is escaped.
pub fn show(found: &[u8]) -> String {
    if found.is_empty() {
        return "the end of the line".into();
    }
    let cut = &found[..found.len().min(60)];
    let dots = if cut.len() < found.len() { "..." } else { "" };
    format!("\"{}{dots}\"", cut.escape_ascii())
}

/// What a `tdb_open` line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The sequence number when it was opened.
    pub seq: u32,
    /// The hash size that the caller asked for.
    pub hash_size: u32,
    /// `TDB_*` flags.
    pub tdb_flags: u32,
    /// `O_*` flags.
    pub open_flags: u32,
}

/// What stands behind a `tdb_open` line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenedWith {
    /// Nothing, in the plain form.
    Nothing,
    /// Its times, in the extended form.
    Stamp(Stamp),
    /// That the numbers of the lines are versions: the exact form.
    Exact,
}

/// What says so.
const EXACT: &[u8] = b" #v";

/// Reads a `tdb_open` line.
pub fn open_line(line: &[u8]) -> Result<(Opened, OpenedWith), BadLine> {
    let mut scan = Scan { rest: line, row: 0 };
    let seq = scan.seq()?;
    let name = scan.word();
    if name != b"tdb_open" {
        return bad("\"tdb_open\" on the first line", name);
    }
    scan.space("a hash size")?;
    let hash_size = scan.unsigned("a hash size")?;
    scan.space("TDB flags")?;
    let tdb_flags = scan.hexadecimal("TDB flags")?;
    scan.space("open flags")?;
    let open_flags = scan.hexadecimal("open flags")?;
    let with = match scan.rest {
        EXACT => OpenedWith::Exact,
        _ => scan.stamp()?.map_or(OpenedWith::Nothing, OpenedWith::Stamp),
    };
    Ok((Opened { seq, hash_size, tdb_flags, open_flags }, with))
}

/// Reads any line but the first, and its stamp if it is in the extended form.
pub fn line(line: &[u8], records: &mut Records) -> Result<(Row, Option<Stamp>), BadLine> {
    let (mut row, stamp) = read(line, 0, records)?;
    let place = |_, column, id| match column {
        Column::Key => row.key = id,
        Column::A => row.a = id,
        Column::B => row.b = id,
    };
    if records.settle(place) == Err(Full) {
        return bad("less than 16 GiB of distinct keys and values", b"more");
    }
    Ok((row, stamp))
}

/// [`line`](fn@line), but the ids of records come when `records` are settled, for row `number`. After an error what waits in
/// `records` is of no use.
pub(super) fn read(
    line: &[u8],
    number: usize,
    records: &mut Records,
) -> Result<(Row, Option<Stamp>), BadLine> {
    let mut scan = Scan { rest: line, row: number };
    let seq = scan.seq()?;
    let name = scan.word();
    let Some(op) = Op::from_name(name) else {
        return bad("an operation", name);
    };
    let mut row = Row { op, seq, key: NONE, a: 0, b: 0 };
    scan.arguments(&mut row, records)?;
    let stamp = scan.stamp()?;
    Ok((row, stamp))
}

/// The rest of a line.
struct Scan<'a> {
    rest: &'a [u8],
    /// The row that its records belong to.
    row: usize,
}

/// What a record on a line was.
enum Record {
    Null,
    Bytes,
}

impl<'a> Scan<'a> {
    fn arguments(&mut self, row: &mut Row, records: &mut Records) -> Result<(), BadLine> {
        match row.op {
            Op::Traversefn => row.a = 1,
            Op::Fetch | Op::Traverse => {
                row.key = self.key(records)?;
                self.equals("a value")?;
                row.a = self.value(records, Column::A, (row.op == Op::Traverse) as u32)?;
            }
            Op::Store | Op::Storev => self.store(row, records)?,
            Op::Append => {
                row.key = self.key(records)?;
                self.space("a value")?;
                row.a = self.value(records, Column::A, 0)?;
                self.equals("a value")?;
                row.b = self.value(records, Column::B, 0)?;
            }
            Op::Delete | Op::ParseRecord | Op::ChainlockNonblock | Op::ChainlockReadNonblock => {
                row.key = self.key(records)?;
                row.a = self.result(&[0, -1])?;
            }
            Op::Exists => {
                row.key = self.key(records)?;
                row.a = self.result(&[0, 1])?;
            }
            Op::LockallNonblock | Op::LockallReadNonblock => row.a = self.result(&[0, -1])?,
            Op::Chainlock
            | Op::Chainunlock
            | Op::ChainlockRead
            | Op::ChainunlockRead
            | Op::ChainlockMark
            | Op::ChainlockUnmark => row.key = self.key(records)?,
            Op::Firstkey => row.a = self.found_key(records)?,
            Op::Nextkey => {
                row.key = self.key(records)?;
                row.a = self.found_key(records)?;
            }
            Op::TraverseEnd if self.rest.is_empty() || self.rest.starts_with(b" #") => {}
            Op::TraverseEnd | Op::GetSeqnum => {
                self.equals("a number")?;
                row.a = self.signed("a number")? as u32;
                row.b = 1;
            }
            Op::Open => return bad("\"tdb_open\" on the first line only", b"tdb_open"),
            _ => {}
        }
        Ok(())
    }

    /// `KEY DATA... FLAG = RET`: a storev has any number of data records, one value end to end.
    fn store(&mut self, row: &mut Row, records: &mut Records) -> Result<(), BadLine> {
        row.key = self.key(records)?;
        self.space("a value")?;
        self.record(&mut records.scratch)?;
        self.space("a flag")?;
        // A flag is "0" or begins with "0x"; "0:" begins a record.
        while row.op == Op::Storev && !self.at_flag() {
            self.record(&mut records.scratch)?;
            self.space("a value or a flag")?;
        }
        records.leave(self.row, Column::A, false);
        let flag = self.hexadecimal("a flag")?;
        if flag >= 1 << 31 {
            return bad("a flag below 0x80000000", self.rest);
        }
        row.b = flag << 1;
        // A storev's result is always printed as -1, and says nothing.
        let result = self.result(&[0, -1])?;
        row.b |= (row.op == Op::Store && result != 0) as u32;
        Ok(())
    }

    fn at_flag(&self) -> bool {
        self.rest.starts_with(b"0x") || self.rest.starts_with(b"0 ")
    }

    fn key(&mut self, records: &mut Records) -> Result<u32, BadLine> {
        if self.rest.first() == Some(&b' ') {
            self.rest = &self.rest[1..];
        } else {
            return bad("a space and a key", self.rest);
        }
        self.record(&mut records.scratch)?;
        records.leave(self.row, Column::Key, true);
        Ok(NONE)
    }

    fn found_key(&mut self, records: &mut Records) -> Result<u32, BadLine> {
        self.equals("a key")?;
        if let Record::Bytes = self.record(&mut records.scratch)? {
            records.leave(self.row, Column::A, true);
        }
        Ok(NONE)
    }

    /// `null` if it is a null pointer, else what stands in the value's place until it has its id.
    fn value(&mut self, records: &mut Records, column: Column, null: u32) -> Result<u32, BadLine> {
        debug_assert!(null <= EMPTY);
        if let Record::Bytes = self.record(&mut records.scratch)? {
            records.leave(self.row, column, false);
        }
        Ok(null)
    }

    /// `NULL` or `LEN:HEX`, appended to `out`.
    fn record(&mut self, out: &mut Vec<u8>) -> Result<Record, BadLine> {
        if let Some(rest) = self.rest.strip_prefix(b"NULL") {
            self.rest = rest;
            return Ok(Record::Null);
        }
        let start = self.rest;
        let length = self.unsigned("a record (NULL or LEN:HEX)")? as usize;
        let Some(digits) = self.rest.strip_prefix(b":") else {
            return bad("a record (NULL or LEN:HEX)", start);
        };
        let Some((digits, rest)) = digits.split_at_checked(length * 2) else {
            return bad(format!("{} hexadecimal digits", length * 2), &self.rest[1..]);
        };
        if !super::hex::decode(digits, out) {
            return bad(format!("{} lower-case hexadecimal digits", length * 2), digits);
        }
        self.rest = rest;
        Ok(Record::Bytes)
    }

    fn result(&mut self, allowed: &[i64]) -> Result<u32, BadLine> {
        self.equals("a result")?;
        let start = self.rest;
        let result = self.signed("a result")?;
        if !allowed.contains(&result) {
            return bad(format!("a result of {} or {}", allowed[0], allowed[1]), start);
        }
        Ok(result as u32)
    }

    fn seq(&mut self) -> Result<u32, BadLine> {
        let seq = self.unsigned("a sequence number")?;
        self.space("an operation")?;
        Ok(seq)
    }

    /// Up to the next space.
    fn word(&mut self) -> &'a [u8] {
        let end = self.rest.iter().position(|&byte| byte == b' ').unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    fn space(&mut self, before: &str) -> Result<(), BadLine> {
        match self.rest.strip_prefix(b" ") {
            Some(rest) => self.rest = rest,
            None => return bad(format!("a space and {before}"), self.rest),
        }
        Ok(())
    }

    fn equals(&mut self, before: &str) -> Result<(), BadLine> {
        match self.rest.strip_prefix(b" = ") {
            Some(rest) => self.rest = rest,
            None => return bad(format!("\" = \" and {before}"), self.rest),
        }
        Ok(())
    }

    /// The end of the line, or what the extended form adds there.
    fn stamp(&self) -> Result<Option<Stamp>, BadLine> {
        if self.rest.is_empty() { Ok(None) } else { Stamp::parse(self.rest).map(Some) }
    }

    fn unsigned(&mut self, what: &str) -> Result<u32, BadLine> {
        let mut number = 0u64;
        let mut used = 0;
        while let Some(digit) =
            self.rest.get(used).map(|byte| byte.wrapping_sub(b'0')).filter(|&digit| digit < 10)
        {
            number = number * 10 + u64::from(digit);
            used += 1;
            if number > u64::from(u32::MAX) {
                return bad(format!("{what} below 2^32"), self.rest);
            }
        }
        if used == 0 {
            return bad(what, self.rest);
        }
        self.rest = &self.rest[used..];
        Ok(number as u32)
    }

    fn signed(&mut self, what: &str) -> Result<i64, BadLine> {
        let start = self.rest;
        let negative = self.rest.first() == Some(&b'-');
        self.rest = &self.rest[usize::from(negative)..];
        let number = i64::from(self.unsigned(what)?);
        let number = if negative { -number } else { number };
        if number < i64::from(i32::MIN) {
            return bad(format!("{what} of 32 bits"), start);
        }
        Ok(number)
    }

    /// `0` or `0x` and hexadecimal digits.
    fn hexadecimal(&mut self, what: &str) -> Result<u32, BadLine> {
        let word = self.word();
        let value = match word.strip_prefix(b"0x") {
            Some(digits) if digits.len() <= 8 && digits.iter().all(u8::is_ascii_hexdigit) => {
                std::str::from_utf8(digits).ok().and_then(|text| u32::from_str_radix(text, 16).ok())
            }
            None if word == b"0" => Some(0),
            _ => None,
        };
        value.map_or_else(|| bad(format!("{what}, 0 or 0xHEX"), word), Ok)
    }
}
