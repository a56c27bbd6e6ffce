//! Lines out of calls, byte for byte as Samba's libtdb 1.4 writes them.
//!
//! Owns the formatting rules, and nothing of what must follow what. [`Text`] puts a line into memory that is there already, as
//! the recorder needs it; [`line`](fn@line) and [`print`](fn@print) append to a vector.

use crate::call::{Call, Opened};
use crate::decimal::{self, EIGHT_DIGITS, ZEROS};
use crate::hex;
use crate::op::Op;
use crate::stamp::Stamp;

/// Puts text into room that is large enough.
#[derive(Debug)]
pub struct Text<'a> {
    room: &'a mut [u8],
    /// How far it got.
    pub at: usize,
}

impl<'a> Text<'a> {
    /// Writes from `at` on into room that is as long as [`Call::bound`] says.
    pub fn new(room: &'a mut [u8], at: usize) -> Text<'a> {
        Text { room, at }
    }

    // Always inlined: with a length that is known, copying is a few stores.
    #[inline(always)]
    fn bytes<const N: usize>(&mut self, bytes: &[u8; N]) {
        self.room[self.at..self.at + N].copy_from_slice(bytes);
        self.at += N;
    }

    /// Up to 32 bytes.
    #[inline]
    fn short(&mut self, bytes: &[u8]) {
        copy_short(bytes, &mut self.room[self.at..self.at + bytes.len()]);
        self.at += bytes.len();
    }

    #[inline]
    fn decimal(&mut self, number: u64) {
        if number < 10 {
            self.bytes(&[b'0' + number as u8]);
        } else if number < 100 {
            self.bytes(&[b'0' + number as u8 / 10, b'0' + number as u8 % 10]);
        } else if number < EIGHT_DIGITS {
            let (digits, count) = decimal::digits(number as u32);
            self.eight(digits, count);
        } else {
            self.long_decimal(number);
        }
    }

    /// Eight digits at a time, from the first that is not zero.
    fn long_decimal(&mut self, number: u64) {
        if number >= EIGHT_DIGITS {
            self.long_decimal(number / EIGHT_DIGITS);
            self.eight(decimal::eight_digits((number % EIGHT_DIGITS) as u32) | ZEROS, 8);
        } else {
            let (digits, count) = decimal::digits(number as u32);
            self.eight(digits, count);
        }
    }

    /// The first `count` bytes of a word.
    #[inline]
    fn eight(&mut self, digits: u64, count: usize) {
        self.room[self.at..self.at + 8].copy_from_slice(&digits.to_le_bytes());
        self.at += count;
    }

    /// The line's number and a space, but its first byte, which is returned, with how many digits there are.
    #[inline]
    pub fn number(&mut self, number: u32) -> (u8, usize) {
        let first = if u64::from(number) < EIGHT_DIGITS {
            let (digits, count) = decimal::digits(number);
            self.at += 1;
            self.eight(digits >> 8, count - 1);
            digits as u8
        } else {
            // Nine or ten digits: one or two before the last eight.
            let (digits, count) = decimal::digits(number / EIGHT_DIGITS as u32);
            self.at += 1;
            self.eight(digits >> 8, count - 1);
            self.eight(decimal::eight_digits(number % EIGHT_DIGITS as u32) | ZEROS, 8);
            digits as u8
        };
        let count = self.at;
        self.bytes(b" ");
        (first, count)
    }

    /// When it was called, up to where its duration stands.
    #[inline]
    pub fn start(&mut self, start: u64) {
        self.bytes(b" #");
        self.decimal(start);
        self.bytes(b"+");
    }

    /// How long it took, and the end of the line.
    #[inline]
    pub fn end(&mut self, duration: u64, version: Option<u32>) {
        self.decimal(duration);
        if let Some(version) = version {
            self.bytes(b" v");
            self.decimal(version.into());
        }
        self.bytes(b"\n");
    }

    /// What stands in the duration's place while the operation is under way.
    #[inline]
    pub fn under_way(&mut self) {
        self.bytes(b"?\n");
    }

    /// The end of a line without times.
    #[inline]
    pub fn end_plain(&mut self) {
        self.bytes(b"\n");
    }

    /// A space and a record.
    #[inline]
    fn record(&mut self, record: Option<&[u8]>) {
        match record {
            None => self.bytes(b" NULL"),
            Some(bytes) => {
                self.length(bytes.len());
                self.digits(bytes);
            }
        }
    }

    fn parts(&mut self, parts: &[&[u8]]) {
        self.length(parts.iter().map(|part| part.len()).sum());
        parts.iter().for_each(|part| self.digits(part));
    }

    #[inline]
    fn length(&mut self, len: usize) {
        self.bytes(b" ");
        self.decimal(len as u64);
        self.bytes(b":");
    }

    #[inline]
    fn digits(&mut self, bytes: &[u8]) {
        let end = self.at + 2 * bytes.len();
        hex::write(bytes, &mut self.room[self.at..end]);
        self.at = end;
    }

    fn flag(&mut self, flag: u32) {
        match flag {
            // C's `%#x`: no prefix before a zero.
            0 => self.bytes(b" 0"),
            1..10 => self.bytes(&[b' ', b'0', b'x', b'0' + flag as u8]),
            _ => self.short(format!(" {flag:#x}").as_bytes()),
        }
    }

    fn result(&mut self, number: i32) {
        self.bytes(b" = ");
        if number < 0 {
            self.bytes(b"-");
        }
        self.decimal(number.unsigned_abs().into());
    }

    /// The name of an operation.
    #[inline(always)]
    fn name(&mut self, op: Op) {
        self.short(op.name().as_bytes());
    }

    fn opened(&mut self, opened: Opened) {
        self.name(Op::Open);
        self.bytes(b" ");
        self.decimal(opened.hash_size.into());
        for flags in [opened.tdb_flags, opened.open_flags] {
            self.short(format!(" 0x{flags:x}").as_bytes());
        }
    }

    /// What stands after the number and its space.
    #[inline(always)]
    pub fn call(&mut self, call: &Call<'_>) {
        match *call {
            Call::Open(opened) => self.opened(opened),
            Call::OpenExact(opened) => {
                self.opened(opened);
                self.bytes(b" #v");
            }
            Call::Bare(op) => self.name(op),
            Call::Result(op, number) => {
                self.name(op);
                self.result(number);
            }
            Call::Key(op, key) => {
                self.name(op);
                self.record(key);
            }
            Call::KeyResult(op, key, number) => {
                self.name(op);
                self.record(key);
                self.result(number);
            }
            Call::KeyRecord(op, key, found) => {
                self.name(op);
                self.record(key);
                self.bytes(b" =");
                self.record(found);
            }
            Call::Firstkey(found) => {
                self.name(Op::Firstkey);
                self.bytes(b" =");
                self.record(found);
            }
            Call::Store { key, value, flag, result } => {
                self.name(Op::Store);
                self.record(key);
                self.record(value);
                self.flag(flag);
                self.result(result);
            }
            Call::StoreParts { key, parts, flag, result } => {
                self.name(Op::Store);
                self.record(Some(key));
                match parts {
                    [part] => self.record(Some(part)),
                    parts => self.parts(parts),
                }
                self.flag(flag);
                self.result(result);
            }
            Call::Storev { key, pieces, flag } => {
                self.name(Op::Storev);
                self.record(key);
                pieces.iter().for_each(|piece| self.record(*piece));
                self.flag(flag);
                self.result(-1);
            }
            Call::Append { key, before, appended } => {
                self.name(Op::Append);
                self.record(key);
                self.record(before);
                self.bytes(b" =");
                self.record(appended);
            }
        }
    }
}

/// Appends one line to `out`, its end included; with a stamp in the extended form.
pub fn line(seq: u32, call: &Call<'_>, stamp: Option<Stamp>, out: &mut Vec<u8>) {
    append(call.bound(), out, |text| {
        let (first, _) = text.number(seq);
        text.room[0] = first;
        text.call(call);
        match stamp {
            Some(Stamp { start_ns, duration_ns, version }) => {
                text.start(start_ns);
                text.end(duration_ns, version);
            }
            None => text.end_plain(),
        }
    });
}

/// Appends what stands on a line between the sequence number and the line end.
pub fn print(call: &Call<'_>, out: &mut Vec<u8>) {
    append(call.bound(), out, |text| text.call(call));
}

/// Appends a stamp's text to a line.
pub fn print_stamp(stamp: &Stamp, out: &mut Vec<u8>) {
    append(Call::Bare(Op::Close).bound(), out, |text| {
        text.start(stamp.start_ns);
        text.end(stamp.duration_ns, stamp.version);
        text.at -= 1;
    });
}

/// Appends what `write` puts into room of `bound` bytes.
#[inline(always)]
fn append(bound: usize, out: &mut Vec<u8>, write: impl FnOnce(&mut Text<'_>)) {
    let start = out.len();
    out.resize(start + bound, 0);
    let mut text = Text::new(&mut out[start..], 0);
    write(&mut text);
    let end = start + text.at;
    out.truncate(end);
}

/// Copies up to 32 bytes to room of the same length without a call: both ends of them, which may overlap.
#[inline(always)]
fn copy_short(from: &[u8], to: &mut [u8]) {
    debug_assert!(from.len() <= 32, "the middle would be left out");
    if copy_ends::<16>(from, to) || copy_ends::<8>(from, to) || copy_ends::<4>(from, to) {
        return;
    }
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}

/// False if they are shorter than `N`, which is at least half their length.
#[inline(always)]
fn copy_ends<const N: usize>(from: &[u8], to: &mut [u8]) -> bool {
    let (Some(first), Some(last)) = (from.first_chunk::<N>(), from.last_chunk::<N>()) else {
        return false;
    };
    if let Some(to) = to.first_chunk_mut() {
        *to = *first;
    }
    if let Some(to) = to.last_chunk_mut() {
        *to = *last;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::Bytes;

    fn shown(call: &Call<'_>) -> String {
        let mut out = Vec::new();
        print(call, &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    /// R4: every shape of line is written as libtdb writes it.
    #[test]
    fn lines_are_libtdbs() {
        let all: Vec<u8> = (0..=255).collect();
        let digits: String = all.iter().map(|byte| format!("{byte:02x}")).collect();
        let key: Bytes<'_> = Some(b"k");
        assert_eq!(shown(&Call::Key(Op::Chainlock, Some(&all))), format!("tdb_chainlock 256:{digits}"));
        assert_eq!(shown(&Call::KeyRecord(Op::Fetch, key, None)), "tdb_fetch 1:6b = NULL");
        assert_eq!(
            shown(&Call::KeyRecord(Op::Traverse, Some(b""), Some(b"abcdefg"))),
            "traverse 0: = 7:61626364656667"
        );
        assert_eq!(shown(&Call::KeyResult(Op::Delete, key, -1)), "tdb_delete 1:6b = -1");
        let store = Call::StoreParts { key: b"k", parts: &[b"ab", b"", b"cde"], flag: 2, result: -1 };
        assert_eq!(shown(&store), "tdb_store 1:6b 5:6162636465 0x2 = -1");
        for (flag, text) in [(0, "0"), (9, "0x9"), (10, "0xa"), (u32::MAX, "0xffffffff")] {
            let store = Call::Store { key, value: None, flag, result: 0 };
            assert_eq!(shown(&store), format!("tdb_store 1:6b NULL {text} = 0"));
        }
        let append = Call::Append { key, before: Some(b""), appended: Some(b"ab") };
        assert_eq!(shown(&append), "tdb_append 1:6b 0: = 2:6162");
        let opened = Opened { seq: 0, hash_size: 131, tdb_flags: 0x801, open_flags: 0x42 };
        assert_eq!(shown(&Call::OpenExact(opened)), "tdb_open 131 0x801 0x42 #v");
        assert_eq!(shown(&Call::Open(opened)), "tdb_open 131 0x801 0x42");
        assert_eq!(shown(&Call::Result(Op::TraverseEnd, 12)), "tdb_traverse_end = 12");
        assert_eq!(shown(&Call::Firstkey(key)), "tdb_firstkey = 1:6b");
    }

    /// R4: a line never needs more room than it is given, however many records it has.
    #[test]
    fn the_bound_is_one() {
        let long = vec![0xff; 1000];
        for record in [None, Some(&b""[..]), Some(&long[..])] {
            let pieces = vec![record; 500];
            for call in [
                Call::Storev { key: record, pieces: &pieces, flag: u32::MAX },
                Call::Append { key: record, before: record, appended: record },
                Call::KeyResult(Op::ChainlockReadNonblock, record, i32::MIN),
                Call::Bare(Op::TransactionPrepareCommit),
            ] {
                let stamp = Stamp { start_ns: u64::MAX, duration_ns: u64::MAX, version: Some(u32::MAX) };
                let mut out = Vec::new();
                line(u32::MAX, &call, Some(stamp), &mut out);
                assert!(out.len() <= call.bound() && out.ends_with(b"\n"));
            }
        }
    }

    /// R4: numbers of every length, in a line's stamp and at its beginning.
    #[test]
    fn numbers_have_all_their_digits_and_no_other() {
        let powers = (0..20).map(|power| 10u64.pow(power)).chain([12_345, 100_000_005, u64::MAX]);
        for number in powers.flat_map(|number| [number - 1, number, number.saturating_add(1)]) {
            let stamp = Stamp { start_ns: number, duration_ns: number, version: None };
            let mut out = Vec::new();
            print_stamp(&stamp, &mut out);
            assert_eq!(String::from_utf8_lossy(&out), format!(" #{number}+{number}"));
            let Ok(number) = u32::try_from(number) else { continue };
            let mut room = [0; 24];
            let mut text = Text::new(&mut room, 0);
            let (first, digits) = text.number(number);
            assert_eq!(digits, number.to_string().len());
            let end = text.at;
            assert_eq!(room[0], 0, "the first byte is written last");
            room[0] = first;
            assert_eq!(String::from_utf8_lossy(&room[..end]), format!("{number} "));
        }
    }
}
