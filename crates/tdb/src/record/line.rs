//! The text of a trace's lines, byte for byte as Samba's libtdb writes them (docs/trace-extended.md has them all).

use super::hex;

/// What stands on a line between the number and the stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call<'a> {
    /// `tdb_open HASHSIZE 0xTDBFLAGS 0xOPENFLAGS`; ` #v` behind it if the numbers of the lines are versions.
    Open { hash_size: u32, tdb_flags: u32, open_flags: u32, exact: bool },
    /// `NAME`.
    Bare(&'static str),
    /// `NAME = NUMBER`.
    Result(&'static str, i64),
    /// `NAME KEY`.
    Key(&'static str, &'a [u8]),
    /// `NAME KEY = NUMBER`.
    KeyResult(&'static str, &'a [u8], i64),
    /// `NAME KEY = RECORD`.
    KeyRecord(&'static str, &'a [u8], Option<&'a [u8]>),
    /// `tdb_firstkey = RECORD`.
    FirstKey(Option<&'a [u8]>),
    /// `tdb_store KEY VALUE FLAG = NUMBER`; the value's parts end to end.
    Store { key: &'a [u8], parts: &'a [&'a [u8]], flag: char, result: i64 },
    /// `tdb_append KEY BEFORE = APPENDED`.
    Append { key: &'a [u8], before: Option<&'a [u8]>, more: &'a [u8] },
}

/// The longest that is not a record: a number, a name, a flag, a result, a stamp.
const AROUND: usize = 192;
/// The longest that a record has beside its digits.
const RECORD: usize = 24;

impl Call<'_> {
    /// More bytes than its line can have.
    #[inline(always)]
    pub fn bound(&self) -> usize {
        let records = match self {
            Call::Key(_, key) | Call::KeyResult(_, key, _) => key.len(),
            Call::KeyRecord(_, key, found) => key.len() + found.map_or(0, <[u8]>::len),
            Call::FirstKey(found) => found.map_or(0, <[u8]>::len),
            Call::Store { key, parts, .. } => key.len() + parts.iter().map(|part| part.len()).sum::<usize>(),
            Call::Append { key, before, more } => key.len() + before.map_or(0, <[u8]>::len) + more.len(),
            _ => 0,
        };
        AROUND + 3 * RECORD + 2 * records
    }

    /// Whether it says that it was done: a result, if there is one, is 0.
    pub fn succeeded(&self) -> bool {
        matches!(self, Call::KeyResult(_, _, 0) | Call::Store { result: 0, .. } | Call::Append { .. })
            || matches!(self, Call::Bare(_))
    }
}

/// Puts text into room that is large enough.
pub(crate) struct Text<'a> {
    room: &'a mut [u8],
    /// How far it got.
    pub at: usize,
}

impl<'a> Text<'a> {
    /// From `at` on.
    pub fn new(room: &'a mut [u8], at: usize) -> Text<'a> {
        Text { room, at }
    }

    // Always inlined: with a length that is known, copying is a few stores.
    #[inline(always)]
    pub fn bytes<const N: usize>(&mut self, bytes: &[u8; N]) {
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
    pub fn decimal(&mut self, number: u64) {
        if number < 10 {
            self.bytes(&[b'0' + number as u8]);
        } else if number < 100 {
            self.bytes(&[b'0' + number as u8 / 10, b'0' + number as u8 % 10]);
        } else if number < EIGHT_DIGITS {
            let (digits, count) = decimal(number as u32);
            self.eight(digits, count);
        } else {
            self.long_decimal(number);
        }
    }

    /// Eight digits at a time, from the first that is not zero.
    fn long_decimal(&mut self, number: u64) {
        if number >= EIGHT_DIGITS {
            self.long_decimal(number / EIGHT_DIGITS);
            self.eight(eight_digits((number % EIGHT_DIGITS) as u32) | ZEROS, 8);
        } else {
            let (digits, count) = decimal(number as u32);
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
            let (digits, count) = decimal(number);
            self.at += 1;
            self.eight(digits >> 8, count - 1);
            digits as u8
        } else {
            // Nine or ten digits: one or two before the last eight.
            let (digits, count) = decimal(number / EIGHT_DIGITS as u32);
            self.at += 1;
            self.eight(digits >> 8, count - 1);
            self.eight(eight_digits(number % EIGHT_DIGITS as u32) | ZEROS, 8);
            digits as u8
        };
        let count = self.at;
        self.bytes(b" ");
        (first, count)
    }

    /// When it was called.
    #[inline]
    pub fn start(&mut self, start: u64) {
        self.bytes(b" #");
        self.decimal(start);
        self.bytes(b"+");
    }

    /// How long it took.
    #[inline]
    pub fn end(&mut self, duration: u64, version: Option<u32>) {
        self.decimal(duration);
        if let Some(version) = version {
            self.bytes(b" v");
            self.decimal(version.into());
        }
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

    fn result(&mut self, number: i64) {
        self.bytes(b" = ");
        if number < 0 {
            self.bytes(b"-");
        }
        self.decimal(number.unsigned_abs());
    }

    /// What stands after the number and its space.
    #[inline(always)]
    pub fn call(&mut self, call: &Call<'_>) {
        match *call {
            Call::Open { hash_size, tdb_flags, open_flags, exact } => {
                self.bytes(b"tdb_open ");
                self.decimal(hash_size.into());
                for flags in [tdb_flags, open_flags] {
                    self.short(format!(" 0x{flags:x}").as_bytes());
                }
                if exact {
                    self.bytes(b" #v");
                }
            }
            Call::Bare(name) => self.short(name.as_bytes()),
            Call::Result(name, number) => {
                self.short(name.as_bytes());
                self.result(number);
            }
            Call::Key(name, key) => {
                self.short(name.as_bytes());
                self.record(Some(key));
            }
            Call::KeyResult(name, key, number) => {
                self.short(name.as_bytes());
                self.record(Some(key));
                self.result(number);
            }
            Call::KeyRecord(name, key, found) => {
                self.short(name.as_bytes());
                self.record(Some(key));
                self.bytes(b" =");
                self.record(found);
            }
            Call::FirstKey(found) => {
                self.bytes(b"tdb_firstkey =");
                self.record(found);
            }
            Call::Store { key, parts, flag, result } => {
                self.bytes(b"tdb_store");
                self.record(Some(key));
                match parts {
                    [part] => self.record(Some(part)),
                    parts => self.parts(parts),
                }
                self.bytes(&[b' ', b'0', b'x', flag as u8]);
                self.result(result);
            }
            Call::Append { key, before, more } => {
                self.bytes(b"tdb_append");
                self.record(Some(key));
                self.record(before);
                self.bytes(b" =");
                self.record(Some(more));
            }
        }
    }
}

const EIGHT_DIGITS: u64 = 100_000_000;
const ZEROS: u64 = u64::from_le_bytes([b'0'; 8]);

/// The digits of a number below [`EIGHT_DIGITS`], the first in the lowest byte, and how many they are.
#[inline]
fn decimal(number: u32) -> (u64, usize) {
    let digits = eight_digits(number);
    // The last digit stays if it is a zero, too.
    let leading = (digits | 1 << 56).trailing_zeros() / 8;
    ((digits | ZEROS) >> (8 * leading), 8 - leading as usize)
}

/// Eight digits as numbers, the first in the lowest byte: in a register, since what is written byte by byte cannot soon be read
/// again as a word.
#[inline]
fn eight_digits(number: u32) -> u64 {
    // Halves of four digits in 32 bits each, then pairs in 16, then digits in 8. The factors divide by 100 and by 10.
    let fours = u64::from(number / 10_000) | u64::from(number % 10_000) << 32;
    let hundreds = ((fours * 10_486) >> 20) & 0x0000_007f_0000_007f;
    let pairs = hundreds | (fours - 100 * hundreds) << 16;
    let tens = ((pairs * 103) >> 10) & 0x000f_000f_000f_000f;
    tens | (pairs - 10 * tens) << 8
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

    fn shown(call: &Call<'_>) -> String {
        let mut room = vec![0; call.bound()];
        let mut text = Text::new(&mut room, 0);
        text.call(call);
        let end = text.at;
        String::from_utf8_lossy(&room[..end]).into_owned()
    }

    /// R4: every shape of line is written as libtdb writes it.
    #[test]
    fn lines_are_libtdbs() {
        let all: Vec<u8> = (0..=255).collect();
        let digits: String = all.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(shown(&Call::Key("tdb_chainlock", &all)), format!("tdb_chainlock 256:{digits}"));
        assert_eq!(shown(&Call::KeyRecord("tdb_fetch", b"k", None)), "tdb_fetch 1:6b = NULL");
        assert_eq!(
            shown(&Call::KeyRecord("traverse", b"", Some(b"abcdefg"))),
            "traverse 0: = 7:61626364656667"
        );
        assert_eq!(shown(&Call::KeyResult("tdb_delete", b"k", -1)), "tdb_delete 1:6b = -1");
        let store = Call::Store { key: b"k", parts: &[b"ab", b"", b"cde"], flag: '2', result: -1 };
        assert_eq!(shown(&store), "tdb_store 1:6b 5:6162636465 0x2 = -1");
        let append = Call::Append { key: b"k", before: Some(b""), more: b"ab" };
        assert_eq!(shown(&append), "tdb_append 1:6b 0: = 2:6162");
        let open = Call::Open { hash_size: 131, tdb_flags: 0x801, open_flags: 0x42, exact: true };
        assert_eq!(shown(&open), "tdb_open 131 0x801 0x42 #v");
        let plain = Call::Open { hash_size: 131, tdb_flags: 0x801, open_flags: 0x42, exact: false };
        assert_eq!(shown(&plain), "tdb_open 131 0x801 0x42");
        assert_eq!(shown(&Call::Result("tdb_traverse_end", 12)), "tdb_traverse_end = 12");
        assert_eq!(shown(&Call::FirstKey(Some(b"k"))), "tdb_firstkey = 1:6b");
    }

    /// R4: numbers of every length, in the middle of a line and at its beginning.
    #[test]
    fn numbers_have_all_their_digits_and_no_other() {
        let powers = (0..19).map(|power| 10i64.pow(power)).chain([12_345, 100_000_005, i64::MAX]);
        for number in powers.flat_map(|number| [number - 1, number, number.saturating_add(1)]) {
            let line = Call::Result("tdb_get_seqnum", number);
            assert_eq!(shown(&line), format!("tdb_get_seqnum = {number}"));
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
