//! The text of a trace's lines, byte for byte as Samba's libtdb writes them (docs/trace-extended.md has them all).

/// What stands on a line between the number and the stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call<'a> {
    /// `tdb_open HASHSIZE 0xTDBFLAGS 0xOPENFLAGS`.
    Open { hash_size: u32, tdb_flags: u32, open_flags: u32 },
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

    // Always inlined: with a length that is known, copying is a few stores instead of a call.
    #[inline(always)]
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.room[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }

    #[inline]
    pub fn decimal(&mut self, number: u64) {
        let mut digits = [0; 20];
        let start = decimal(number, &mut digits);
        self.bytes(&digits[start..]);
    }

    /// A space and a record.
    fn record(&mut self, record: Option<&[u8]>) {
        match record {
            None => self.bytes(b" NULL"),
            Some(bytes) => self.parts(&[bytes]),
        }
    }

    fn parts(&mut self, parts: &[&[u8]]) {
        self.bytes(b" ");
        self.decimal(parts.iter().map(|part| part.len() as u64).sum());
        self.bytes(b":");
        for part in parts {
            let end = self.at + 2 * part.len();
            hexadecimal(part, &mut self.room[self.at..end]);
            self.at = end;
        }
    }

    fn result(&mut self, number: i64) {
        self.bytes(if number < 0 { b" = -" } else { b" = " });
        self.decimal(number.unsigned_abs());
    }

    /// What stands after the number and its space.
    pub fn call(&mut self, call: &Call<'_>) {
        match *call {
            Call::Open { hash_size, tdb_flags, open_flags } => {
                self.bytes(format!("tdb_open {hash_size} 0x{tdb_flags:x} 0x{open_flags:x}").as_bytes())
            }
            Call::Bare(name) => self.bytes(name.as_bytes()),
            Call::Result(name, number) => {
                self.bytes(name.as_bytes());
                self.result(number);
            }
            Call::Key(name, key) => {
                self.bytes(name.as_bytes());
                self.record(Some(key));
            }
            Call::KeyResult(name, key, number) => {
                self.bytes(name.as_bytes());
                self.record(Some(key));
                self.result(number);
            }
            Call::KeyRecord(name, key, found) => {
                self.bytes(name.as_bytes());
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
                self.parts(parts);
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

/// Puts the digits of a number at the end of `digits`; gives where they start.
#[inline]
pub(crate) fn decimal(mut number: u64, digits: &mut [u8; 20]) -> usize {
    let mut at = digits.len();
    while number >= 100 {
        at -= 2;
        digits[at..at + 2].copy_from_slice(&PAIRS[(number % 100) as usize]);
        number /= 100;
    }
    if number >= 10 {
        at -= 2;
        digits[at..at + 2].copy_from_slice(&PAIRS[number as usize]);
    } else {
        at -= 1;
        digits[at] = b'0' + number as u8;
    }
    at
}

/// Two digits at a time: a time has fourteen.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut number = 0;
    while number < 100 {
        pairs[number] = [b'0' + number as u8 / 10, b'0' + number as u8 % 10];
        number += 1;
    }
    pairs
};

/// Both digits of every byte; `out` is twice as long. Four bytes at a time, in the eight bytes of a word.
fn hexadecimal(bytes: &[u8], out: &mut [u8]) {
    let (fours, rest) = bytes.as_chunks::<4>();
    let (eights, ends) = out.as_chunks_mut::<8>();
    for (four, eight) in fours.iter().zip(&mut *eights) {
        *eight = eight_digits(*four);
    }
    if !rest.is_empty() {
        let mut four = [0; 4];
        four[..rest.len()].copy_from_slice(rest);
        ends.copy_from_slice(&eight_digits(four)[..2 * rest.len()]);
    }
}

#[inline]
fn eight_digits(four: [u8; 4]) -> [u8; 8] {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let mut word = u64::from(u32::from_le_bytes(four));
    // A byte in every second place, then its halves in both.
    word = (word | word << 16) & 0x0000_ffff_0000_ffff;
    word = (word | word << 8) & 0x00ff_00ff_00ff_00ff;
    let halves = (word >> 4 & 0x000f_000f_000f_000f) | (word & 0x000f_000f_000f_000f) << 8;
    // 1 where a half is a letter, which is 39 places after where it would be as a digit.
    let letters = (halves + 6 * ONES) >> 4 & ONES;
    (halves + u64::from(b'0') * ONES + letters * 39).to_le_bytes()
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
        let open = Call::Open { hash_size: 131, tdb_flags: 0x801, open_flags: 0x42 };
        assert_eq!(shown(&open), "tdb_open 131 0x801 0x42");
        assert_eq!(shown(&Call::Result("tdb_traverse_end", 12)), "tdb_traverse_end = 12");
        assert_eq!(shown(&Call::FirstKey(Some(b"k"))), "tdb_firstkey = 1:6b");
        for number in [0, 7, 9, 10, 99, 100, 101, 12_345, i64::MAX] {
            let line = Call::Result("tdb_get_seqnum", number);
            assert_eq!(shown(&line), format!("tdb_get_seqnum = {number}"));
        }
    }
}
