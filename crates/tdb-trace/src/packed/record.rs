//! One record of a packed trace: what one line says, as bytes.
//!
//! | offset | bytes | |
//! |---|---|---|
//! | 0 | 1 | the operation's number |
//! | 1 | 1 | which of the following there are, and whether the result is -1 |
//! | 2 | 2 | length of the key; 65,535 if it is given below |
//! | 4 | 4 | the sequence number |
//! | 8 | 4 | length of the first record after the key |
//! | 12 | 16 | if there are times: start and duration |
//! | | 4 each | as needed: the key's length, the result, the flag, the length of the second record |
//! | | | the key, the first record, the second record |
//!
//! Numbers are little-endian. An operation's number is its place in the list of [`crate::op`].

use tdb::Operation;

use crate::call::{Bytes, Call, Opened};
use crate::op::Op;
use crate::operations::{call_of, flag};
use crate::stamp::Stamp;

const KEY: u8 = 1;
const FIRST: u8 = 1 << 1;
const SECOND: u8 = 1 << 2;
/// The result is -1.
const FAILED: u8 = 1 << 3;
const TIMED: u8 = 1 << 4;
/// The sequence number is a version: in a `tdb_open`, all of them are.
const VERSIONED: u8 = 1 << 5;
const RESULT: u8 = 1 << 6;
const FLAG: u8 = 1 << 7;

/// What every record has.
const HEADER: usize = 12;
/// Where the start is, and the duration.
const START_AT: usize = 12;
const DURATION_AT: usize = 20;
/// The most that a record has but for its key and its other records.
const AROUND: usize = HEADER + 16 + 16;
const LONG_KEY: u16 = u16::MAX;

/// The numbers of a record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers {
    pub number: u32,
    /// Start and duration, if the trace has times.
    pub times: Option<(u64, u64)>,
    /// The number is a version.
    pub versioned: bool,
}

/// What a record says, but for its numbers.
#[derive(Clone, Copy)]
pub(super) struct Parts<'a> {
    op: Op,
    key: Bytes<'a>,
    /// In pieces, which are written end to end.
    first: Option<&'a [&'a [u8]]>,
    second: Bytes<'a>,
    /// 0 where the operation has none.
    result: i32,
    /// The result is written even where the bits could say it.
    spelled: bool,
    flag: u32,
    /// In a `tdb_open`: the numbers of all records are versions.
    exact: bool,
}

impl Parts<'_> {
    const fn of(op: Op) -> Parts<'static> {
        Parts { op, key: None, first: None, second: None, result: 0, spelled: false, flag: 0, exact: false }
    }

    #[inline(always)]
    fn first_len(&self) -> usize {
        self.first.map_or(0, |first| first.iter().map(|part| part.len()).sum())
    }

    /// More bytes than the record has.
    #[inline(always)]
    pub fn bound(&self) -> usize {
        AROUND + self.key.map_or(0, <[u8]>::len) + self.first_len() + self.second.map_or(0, <[u8]>::len)
    }
}

/// Calls `with` with what the record of an operation says. It is compiled for each of the frequent shapes by itself.
#[inline(always)]
pub(super) fn with_parts<T>(operation: &Operation<'_>, with: impl Fn(&Parts<'_>) -> T) -> T {
    match *operation {
        Operation::Fetch { key, value: Some(value) } => {
            with(&Parts { key: Some(key), first: Some(&[value]), ..Parts::of(Op::Fetch) })
        }
        Operation::Exists { key, found } => {
            with(&Parts { key: Some(key), result: found.into(), ..Parts::of(Op::Exists) })
        }
        Operation::Store { key, parts: &[value], mode, done: true } => {
            let (key, first, flag) = (Some(key), Some(&[value][..]), flag(mode));
            with(&Parts { key, first, flag, ..Parts::of(Op::Store) })
        }
        Operation::Shown { key, value } => {
            with(&Parts { key: Some(key), first: Some(&[value]), ..Parts::of(Op::Traverse) })
        }
        ref other => with_parts_of_call(&call_of(other), &|parts| with(parts)),
    }
}

/// [`with_parts`] for what a line says.
#[inline(never)]
pub(super) fn with_parts_of_call<T>(call: &Call<'_>, with: &dyn Fn(&Parts<'_>) -> T) -> T {
    match *call {
        Call::Open(opened) => with_open(opened, false, with),
        Call::OpenExact(opened) => with_open(opened, true, with),
        Call::Bare(op) => with(&Parts::of(op)),
        Call::Result(op, result) => with(&Parts { result, spelled: true, ..Parts::of(op) }),
        Call::Key(op, key) => with(&Parts { key, ..Parts::of(op) }),
        Call::KeyResult(op, key, result) => with(&Parts { key, result, ..Parts::of(op) }),
        Call::KeyRecord(op, key, found) => {
            with(&Parts { key, first: found.as_ref().map(std::slice::from_ref), ..Parts::of(op) })
        }
        Call::Firstkey(found) => {
            with(&Parts { first: found.as_ref().map(std::slice::from_ref), ..Parts::of(Op::Firstkey) })
        }
        Call::Store { key, value, flag, result } => {
            let first = value.as_ref().map(std::slice::from_ref);
            with(&Parts { key, first, flag, result, ..Parts::of(Op::Store) })
        }
        Call::StoreParts { key, parts, flag, result } => {
            with(&Parts { key: Some(key), first: Some(parts), flag, result, ..Parts::of(Op::Store) })
        }
        Call::Storev { .. } => unreachable!("a store of several pieces is recorded as a store"),
        Call::Append { key, before, appended } => {
            let first = before.as_ref().map(std::slice::from_ref);
            with(&Parts { key, first, second: appended, ..Parts::of(Op::Append) })
        }
    }
}

fn with_open<T>(opened: Opened, exact: bool, with: &dyn Fn(&Parts<'_>) -> T) -> T {
    let Opened { seq: _, hash_size, tdb_flags, open_flags } = opened;
    let words = [hash_size, tdb_flags, open_flags].map(u32::to_le_bytes);
    let words = words.each_ref().map(|word| &word[..]);
    with(&Parts { first: Some(&words), exact, ..Parts::of(Op::Open) })
}

/// Puts a record into `room`, which is as long as [`Parts::bound`] says, and returns its length.
#[inline(always)]
pub(super) fn encode(parts: &Parts<'_>, numbers: &Numbers, room: &mut [u8]) -> usize {
    let key = parts.key.unwrap_or_default();
    let mut out = Out { room, at: HEADER };
    let mut bits = if numbers.versioned | parts.exact { VERSIONED } else { 0 };
    if let Some((start, duration)) = numbers.times {
        bits |= TIMED;
        out.word(start.to_le_bytes());
        out.word(duration.to_le_bytes());
    }
    let short = key.len() < LONG_KEY.into();
    if !short {
        out.word((key.len() as u32).to_le_bytes());
    }
    match parts.result {
        0 if !parts.spelled => {}
        -1 if !parts.spelled => bits |= FAILED,
        result => {
            bits |= RESULT;
            out.word(result.to_le_bytes());
        }
    }
    if parts.flag != 0 {
        bits |= FLAG;
        out.word(parts.flag.to_le_bytes());
    }
    if let Some(second) = parts.second {
        bits |= SECOND;
        out.word((second.len() as u32).to_le_bytes());
    }
    if parts.key.is_some() {
        bits |= KEY;
        out.bytes(key);
    }
    if let Some(first) = parts.first {
        bits |= FIRST;
        first.iter().for_each(|part| out.bytes(part));
    }
    if let Some(second) = parts.second {
        out.bytes(second);
    }
    let Out { room, at } = out;
    let key_len = if short { key.len() as u16 } else { LONG_KEY };
    let lead = u64::from(parts.op as u8) | u64::from(bits) << 8 | u64::from(key_len) << 16;
    room[..8].copy_from_slice(&(lead | u64::from(numbers.number) << 32).to_le_bytes());
    room[8..HEADER].copy_from_slice(&(parts.first_len() as u32).to_le_bytes());
    at
}

/// Gives a record that is there the numbers of an operation that is done.
pub(super) fn renumber(record: &mut [u8], numbers: &Numbers) {
    record[4..8].copy_from_slice(&numbers.number.to_le_bytes());
    if numbers.versioned {
        record[1] |= VERSIONED;
    }
    if let Some((start, duration)) = numbers.times {
        record[START_AT..DURATION_AT].copy_from_slice(&start.to_le_bytes());
        record[DURATION_AT..DURATION_AT + 8].copy_from_slice(&duration.to_le_bytes());
    }
}

struct Out<'a> {
    room: &'a mut [u8],
    at: usize,
}

impl Out<'_> {
    #[inline(always)]
    fn word<const N: usize>(&mut self, word: [u8; N]) {
        self.room[self.at..self.at + N].copy_from_slice(&word);
        self.at += N;
    }

    #[inline(always)]
    fn bytes(&mut self, bytes: &[u8]) {
        self.room[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }
}

/// A record that was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Decoded<'a> {
    pub number: u32,
    pub call: Call<'a>,
    pub stamp: Option<Stamp>,
    /// Its length.
    pub len: usize,
}

/// Reads the record that `bytes` begin with; none if they end within it.
///
/// # Errors
/// What is wrong with it.
pub(super) fn decode(bytes: &[u8]) -> Result<Option<Decoded<'_>>, &'static str> {
    let mut input = In { rest: bytes };
    match input.record() {
        Some(read) => {
            let (number, call, stamp) = read?;
            Ok(Some(Decoded { number, call, stamp, len: bytes.len() - input.rest.len() }))
        }
        None => Ok(None),
    }
}

struct In<'a> {
    rest: &'a [u8],
}

type Read<'a> = Result<(u32, Call<'a>, Option<Stamp>), &'static str>;

impl<'a> In<'a> {
    fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(bytes)
    }

    fn word(&mut self) -> Option<u32> {
        let (word, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(u32::from_le_bytes(*word))
    }

    fn long(&mut self) -> Option<u64> {
        let (long, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(u64::from_le_bytes(*long))
    }

    /// None if the bytes end within it.
    fn record(&mut self) -> Option<Read<'a>> {
        let [number_of_op, bits, key_low, key_high] = *self.bytes(4)?.first_chunk()?;
        let Some(op) = Op::ALL.get(usize::from(number_of_op)).copied() else {
            return Some(Err("an operation that does not exist"));
        };
        let has = |bit: u8| bits & bit != 0;
        let number = self.word()?;
        let first_len = self.word()?;
        let times = if has(TIMED) { Some((self.long()?, self.long()?)) } else { None };
        let key_len = match u16::from_le_bytes([key_low, key_high]) {
            LONG_KEY => self.word()?,
            short => short.into(),
        };
        let result = match has(RESULT) {
            true => Some(self.word()?.cast_signed()),
            false => None,
        };
        let flag = if has(FLAG) { self.word()? } else { 0 };
        let second_len = if has(SECOND) { self.word()? } else { 0 };
        let key = self.bytes(key_len as usize)?;
        let first = self.bytes(first_len as usize)?;
        let second = self.bytes(second_len as usize)?;
        let present = |bit, bytes: &'a [u8]| has(bit).then_some(bytes);
        let (key, first, second) = (present(KEY, key), present(FIRST, first), present(SECOND, second));
        let result_or_bits = result.unwrap_or(if has(FAILED) { -1 } else { 0 });
        let call = match op {
            Op::Fetch | Op::Traverse | Op::Nextkey => Call::KeyRecord(op, key, first),
            Op::Firstkey => Call::Firstkey(first),
            Op::Store => Call::Store { key, value: first, flag, result: result_or_bits },
            Op::Storev => return Some(Err("a tdb_storev, which is recorded as a tdb_store")),
            Op::Append => Call::Append { key, before: first, appended: second },
            Op::Delete | Op::ParseRecord | Op::Exists | Op::ChainlockNonblock | Op::ChainlockReadNonblock => {
                Call::KeyResult(op, key, result_or_bits)
            }
            Op::Chainlock
            | Op::Chainunlock
            | Op::ChainlockRead
            | Op::ChainunlockRead
            | Op::ChainlockMark
            | Op::ChainlockUnmark => Call::Key(op, key),
            Op::Open => match open_of(first, has(VERSIONED)) {
                Some(call) => call,
                None => return Some(Err("a tdb_open that does not say how")),
            },
            op => result.map_or(Call::Bare(op), |result| Call::Result(op, result)),
        };
        let version = (has(VERSIONED) && op != Op::Open).then_some(number);
        let stamp = times.map(|(start_ns, duration_ns)| Stamp { start_ns, duration_ns, version });
        Some(Ok((number, call, stamp)))
    }
}

fn open_of(words: Bytes<'_>, exact: bool) -> Option<Call<'static>> {
    let ([hash_size, tdb_flags, open_flags], []) = words?.as_chunks::<4>() else {
        return None;
    };
    let [hash_size, tdb_flags, open_flags] =
        [hash_size, tdb_flags, open_flags].map(|word| u32::from_le_bytes(*word));
    let opened = Opened { seq: 0, hash_size, tdb_flags, open_flags };
    Some(if exact { Call::OpenExact(opened) } else { Call::Open(opened) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::print::line;

    fn encoded(call: &Call<'_>, times: Option<(u64, u64)>) -> (Vec<u8>, usize) {
        let versioned = !matches!(call, Call::Open(_) | Call::OpenExact(_));
        let numbers = Numbers { number: 7, times, versioned };
        with_parts_of_call(call, &|parts| {
            let mut room = vec![0; parts.bound()];
            let len = encode(parts, &numbers, &mut room);
            (room, len)
        })
    }

    /// R4: every shape of line comes out of its record as it went in, with times and without.
    #[test]
    fn records_say_what_their_lines_say() {
        let long = vec![b'k'; 70_000];
        let key: Bytes<'_> = Some(b"key");
        let opened = Opened { seq: 0, hash_size: 131, tdb_flags: 0x801, open_flags: 0x42 };
        let calls = [
            Call::Open(opened),
            Call::OpenExact(opened),
            Call::Bare(Op::TraverseEnd),
            Call::Result(Op::TraverseEnd, 0),
            Call::Result(Op::LockallNonblock, -1),
            Call::Result(Op::GetSeqnum, i32::MIN),
            Call::Key(Op::Chainlock, Some(&long)),
            Call::Key(Op::Chainlock, Some(b"")),
            Call::KeyResult(Op::Exists, key, 1),
            Call::KeyResult(Op::Exists, None, 0),
            Call::KeyResult(Op::Delete, key, -1),
            Call::KeyRecord(Op::Fetch, key, None),
            Call::KeyRecord(Op::Fetch, Some(&long), Some(&long)),
            Call::KeyRecord(Op::Traverse, key, Some(b"")),
            Call::Firstkey(None),
            Call::Firstkey(key),
            Call::Store { key, value: Some(b"value"), flag: 0, result: -1 },
            Call::StoreParts { key: b"k", parts: &[b"a", b"", b"bc"], flag: 3, result: 0 },
            Call::Append { key, before: None, appended: Some(b"") },
            Call::Append { key, before: Some(b"before"), appended: Some(&long) },
        ];
        for (call, times) in calls.iter().flat_map(|call| [(call, None), (call, Some((5, u64::MAX)))]) {
            let (room, len) = encoded(call, times);
            let decoded = decode(&room[..len]).expect("it was encoded").expect("it is whole");
            assert_eq!((decoded.number, decoded.len), (7, len));
            let [mut read, mut written] = [Vec::new(), Vec::new()];
            let version = (!matches!(call, Call::Open(_) | Call::OpenExact(_))).then_some(7);
            let stamp = times.map(|(start_ns, duration_ns)| Stamp { start_ns, duration_ns, version });
            line(7, &decoded.call, decoded.stamp, &mut read);
            line(7, call, stamp, &mut written);
            assert_eq!(String::from_utf8_lossy(&read), String::from_utf8_lossy(&written));
            for cut in 0..len.min(100) {
                assert_eq!(decode(&room[..cut]), Ok(None), "{cut} bytes of {call:?}");
            }
        }
    }

    /// R2: what is not a record is refused.
    #[test]
    fn what_is_no_record_is_refused() {
        decode(&[0xff; 40]).expect_err("no operation has this number");
        let (room, len) = encoded(&Call::Bare(Op::Open), None);
        decode(&room[..len]).expect_err("a tdb_open without its words");
    }
}
