//! One line of a trace: `SEQ SP OP... `, to a row.
//!
//! Owns the reading of a line. A scanner goes over the bytes once; records go to the interners as bytes. Nothing is
//! known here about other lines: what must follow what is [`super::structure`].

use tdb_trace::decimal;
use tdb_trace::op::{Op, Ops};
use tdb_trace::{BadLine, Opened, Stamp};

use super::columns::{EMPTY, NONE, Row};
use super::records::{Column, Full, Records};

/// What became of a part of a line. The error is rare, and should not make room for itself in what is returned.
pub(super) type Scanned<T> = Result<T, Box<BadLine>>;

#[cold]
#[inline(never)]
fn bad<T>(expected: impl Into<String>, found: &[u8]) -> Scanned<T> {
    Err(Box::new(BadLine::new(expected, found)))
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
pub fn open_line(line: &[u8]) -> Result<(Opened, OpenedWith), Box<BadLine>> {
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
        rest => stamp(rest)?.0.map_or(OpenedWith::Nothing, OpenedWith::Stamp),
    };
    Ok((Opened { seq, hash_size, tdb_flags, open_flags }, with))
}

/// Reads any line but the first, and its stamp if it is in the extended form.
pub fn line(line: &[u8], records: &mut Records) -> Result<(Row, Option<Stamp>), Box<BadLine>> {
    let (mut row, rest) = read(line, 0, false, records)?;
    let (stamp, _) = stamp(rest)?;
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

/// [`line`](fn@line) for the first line of `text`, up to where a plain line would end; what follows is returned. The
/// ids of its records come when `records` are settled, for row `number`. Appends are settled at once where they are
/// known to be `today`'s. After an error what waits in `records` is of no use.
#[inline(always)]
pub(super) fn read<'a>(
    text: &'a [u8],
    number: usize,
    today: bool,
    records: &mut Records,
) -> Scanned<(Row, &'a [u8])> {
    let mut scan = Scan { rest: text, row: number };
    let seq = scan.seq()?;
    let op = scan.operation()?;
    let mut row = Row { op, seq, key: NONE, a: 0, b: 0 };
    scan.arguments(&mut row, today, records)?;
    Ok((row, scan.rest))
}

/// The end of the line, or what the extended form adds before it.
pub(super) fn stamp(rest: &[u8]) -> Scanned<(Option<Stamp>, &[u8])> {
    if let [] | [b'\n', ..] = rest {
        return Ok((None, rest));
    }
    let (stamp, rest) = Stamp::parse(rest)?;
    Ok((Some(stamp), rest))
}

/// The rest of a line, and what follows it: nothing in the grammar takes a line end for anything else, so a line needs
/// not be measured before it is read.
struct Scan<'a> {
    rest: &'a [u8],
    /// The row that its records belong to.
    row: usize,
}

/// Operations whose name is followed by a key.
const KEYED: Ops = Ops::of(&[
    Op::Fetch,
    Op::Store,
    Op::Storev,
    Op::Delete,
    Op::Append,
    Op::Exists,
    Op::Traverse,
    Op::ParseRecord,
    Op::Chainlock,
    Op::Chainunlock,
    Op::ChainlockRead,
    Op::ChainunlockRead,
    Op::ChainlockNonblock,
    Op::ChainlockReadNonblock,
    Op::ChainlockMark,
    Op::ChainlockUnmark,
    Op::Nextkey,
]);

/// What a record on a line was.
enum Record {
    Null,
    Bytes,
}

impl<'a> Scan<'a> {
    /// What follows the name. A key, if there is one, is read before it is asked which operation it is: the answer is
    /// often guessed wrong, and the key is the same work for all of them.
    #[inline(always)]
    fn arguments(&mut self, row: &mut Row, today: bool, records: &mut Records) -> Scanned<()> {
        if KEYED.has(row.op) {
            self.key(records)?;
        }
        match row.op {
            Op::Traversefn => row.a = 1,
            Op::Fetch | Op::Traverse => {
                self.equals("a value")?;
                row.a = self.value(records, (row.op == Op::Traverse) as u32)?;
            }
            Op::Store | Op::Storev => self.store(row, records)?,
            Op::Append => self.append(today, records)?,
            Op::Delete
            | Op::Exists
            | Op::ParseRecord
            | Op::ChainlockNonblock
            | Op::ChainlockReadNonblock
            | Op::LockallNonblock
            | Op::LockallReadNonblock => {
                let other = if row.op == Op::Exists { 1 } else { -1 };
                row.a = self.result([0, other])?;
            }
            Op::Firstkey | Op::Nextkey => row.a = self.found_key(records)?,
            Op::TraverseEnd if self.at_end() || self.rest.starts_with(b" #") => {}
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

    /// `DATA... FLAG = RET`: a storev has any number of data records, one value end to end.
    #[inline(always)]
    fn store(&mut self, row: &mut Row, records: &mut Records) -> Scanned<()> {
        self.space("a value")?;
        self.record(records)?;
        self.space("a flag")?;
        // A flag is "0" or begins with "0x"; "0:" begins a record.
        while row.op == Op::Storev && !self.at_flag() {
            self.record(records)?;
            self.space("a value or a flag")?;
        }
        records.leave_value(self.row, Column::A);
        let flag = self.hexadecimal("a flag")?;
        if flag >= 1 << 31 {
            return bad("a flag below 0x80000000", self.rest);
        }
        row.b = flag << 1;
        // A storev's result is always printed as -1, and says nothing.
        let result = self.result([0, -1])?;
        row.b |= (row.op == Op::Store && result != 0) as u32;
        Ok(())
    }

    /// `RECORD = RECORD`; today's are the value before and what was added to it.
    #[inline(always)]
    fn append(&mut self, today: bool, records: &mut Records) -> Scanned<()> {
        self.space("a value")?;
        let first = self.record(records)?;
        if let Record::Bytes = first {
            records.leave_value(self.row, Column::A);
        }
        self.equals("a value")?;
        if let (true, Record::Bytes) = (today, first) {
            records.repeat_value();
        }
        if let (Record::Bytes, _) | (_, true) = (self.record(records)?, today) {
            records.leave_value(self.row, Column::B);
        }
        Ok(())
    }

    fn at_flag(&self) -> bool {
        self.rest.starts_with(b"0x") || self.rest.starts_with(b"0 ")
    }

    #[inline(always)]
    fn at_end(&self) -> bool {
        matches!(self.rest.first(), None | Some(b'\n'))
    }

    #[inline(always)]
    fn key(&mut self, records: &mut Records) -> Scanned<()> {
        self.space("a key")?;
        self.record(records)?;
        records.leave_key(self.row, Column::Key);
        Ok(())
    }

    fn found_key(&mut self, records: &mut Records) -> Scanned<u32> {
        self.equals("a key")?;
        if let Record::Bytes = self.record(records)? {
            records.leave_key(self.row, Column::A);
        }
        Ok(NONE)
    }

    /// `null` if it is a null pointer, else what stands in the value's place until it has its id.
    #[inline(always)]
    fn value(&mut self, records: &mut Records, null: u32) -> Scanned<u32> {
        debug_assert!(null <= EMPTY);
        if let Record::Bytes = self.record(records)? {
            records.leave_value(self.row, Column::A);
        }
        Ok(null)
    }

    /// `NULL` or `LEN:HEX`, appended to the last of the records.
    #[inline(always)]
    fn record(&mut self, records: &mut Records) -> Scanned<Record> {
        let (length, digits) = match *self.rest {
            [b'N', b'U', b'L', b'L', ref rest @ ..] => {
                self.rest = rest;
                return Ok(Record::Null);
            }
            [ones @ b'0'..=b'9', b':', ref digits @ ..] => (usize::from(ones - b'0'), digits),
            [tens @ b'0'..=b'9', ones @ b'0'..=b'9', b':', ref digits @ ..] => {
                (usize::from(tens - b'0') * 10 + usize::from(ones - b'0'), digits)
            }
            _ => self.long_length()?,
        };
        let Some((digits, rest)) = digits.split_at_checked(length * 2) else {
            return bad(format!("{} hexadecimal digits", length * 2), digits);
        };
        if !records.decode(digits) {
            return wrong_digits(digits);
        }
        self.rest = rest;
        Ok(Record::Bytes)
    }

    /// `LEN:` of any length, and what follows.
    #[inline(never)]
    fn long_length(&mut self) -> Scanned<(usize, &'a [u8])> {
        let start = self.rest;
        let length = self.unsigned("a record (NULL or LEN:HEX)")?;
        match self.rest.strip_prefix(b":") {
            Some(digits) => Ok((length as usize, digits)),
            None => bad("a record (NULL or LEN:HEX)", start),
        }
    }

    #[inline(always)]
    fn result(&mut self, allowed: [i64; 2]) -> Scanned<u32> {
        self.equals("a result")?;
        let start = self.rest;
        let result = self.signed("a result")?;
        if !allowed.contains(&result) {
            return bad(format!("a result of {} or {}", allowed[0], allowed[1]), start);
        }
        Ok(result as u32)
    }

    #[inline(always)]
    fn seq(&mut self) -> Scanned<u32> {
        let seq = self.unsigned("a sequence number")?;
        self.space("an operation")?;
        Ok(seq)
    }

    #[inline(always)]
    fn operation(&mut self) -> Scanned<Op> {
        if let Some((op, rest)) = Op::short_at(self.rest) {
            self.rest = rest;
            return Ok(op);
        }
        self.long_operation()
    }

    #[inline(never)]
    fn long_operation(&mut self) -> Scanned<Op> {
        let name = self.word();
        Op::from_name(name).map_or_else(|| bad("an operation", name), Ok)
    }

    /// Up to the next space, or the end of the line.
    fn word(&mut self) -> &'a [u8] {
        let (word, rest) = self.rest.split_at(word_length(self.rest));
        self.rest = rest;
        word
    }

    #[inline(always)]
    fn space(&mut self, before: &str) -> Scanned<()> {
        match self.rest {
            [b' ', rest @ ..] => self.rest = rest,
            _ => return bad(format!("a space and {before}"), self.rest),
        }
        Ok(())
    }

    #[inline(always)]
    fn equals(&mut self, before: &str) -> Scanned<()> {
        match self.rest {
            [b' ', b'=', b' ', rest @ ..] => self.rest = rest,
            _ => return bad(format!("\" = \" and {before}"), self.rest),
        }
        Ok(())
    }

    #[inline(always)]
    fn unsigned(&mut self, what: &str) -> Scanned<u32> {
        let (number, used) = decimal::leading(self.rest);
        if used == 0 {
            return bad(what, self.rest);
        }
        match number.and_then(|number| u32::try_from(number).ok()) {
            Some(number) => {
                self.rest = &self.rest[used..];
                Ok(number)
            }
            None => bad(format!("{what} below 2^32"), self.rest),
        }
    }

    #[inline(always)]
    fn signed(&mut self, what: &str) -> Scanned<i64> {
        // Nearly all are these.
        match self.rest {
            [ones @ b'0'..=b'9', rest @ ..] if !rest.first().is_some_and(u8::is_ascii_digit) => {
                self.rest = rest;
                Ok(i64::from(ones - b'0'))
            }
            [b'-', b'1', rest @ ..] if !rest.first().is_some_and(u8::is_ascii_digit) => {
                self.rest = rest;
                Ok(-1)
            }
            _ => self.long_signed(what),
        }
    }

    #[inline(never)]
    fn long_signed(&mut self, what: &str) -> Scanned<i64> {
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
    #[inline(always)]
    fn hexadecimal(&mut self, what: &str) -> Scanned<u32> {
        let (value, used) = match self.rest {
            [b'0', b' ', ..] => (0, 1),
            [b'0', b'x', digit @ b'0'..=b'9', b' ', ..] => (u32::from(digit - b'0'), 3),
            _ => return self.long_hexadecimal(what),
        };
        self.rest = &self.rest[used..];
        Ok(value)
    }

    #[inline(never)]
    fn long_hexadecimal(&mut self, what: &str) -> Scanned<u32> {
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

/// What is said of digits that cannot be decoded.
#[cold]
fn wrong_digits<T>(digits: &[u8]) -> Scanned<T> {
    let kind = if digits.contains(&b'\n') { "" } else { "lower-case " };
    bad(format!("{} {kind}hexadecimal digits", digits.len()), digits)
}

/// How far the next space or line end is away.
fn word_length(text: &[u8]) -> usize {
    text.iter().position(|byte| matches!(byte, b' ' | b'\n')).unwrap_or(text.len())
}
