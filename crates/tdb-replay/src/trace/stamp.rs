//! What the extended form adds to a line: ` #START+DURATION`, and ` vVERSION` where the operation has one.
//!
//! Owns the text of a stamp, both ways, and the columns in which a trace keeps its stamps. A plain trace pays nothing:
//! the scanner looks for a stamp only where a plain line would end, and the columns stay empty. The form is described
//! in docs/trace-extended.md.

use super::decimal;
use super::line::{BadLine, Scanned, show};

/// When one operation ran, and where it stands among the changes of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Nanoseconds of the monotonic clock when the operation was called.
    pub start_ns: u64,
    /// Nanoseconds until it was answered.
    pub duration_ns: u64,
    /// The sequence number, read after the operation did its work and while it still held its key's chain lock. Of two
    /// operations on one key the one with the smaller version came first; of two with the same, the one that changed
    /// the key.
    pub version: Option<u32>,
}

impl Stamp {
    /// When it was answered.
    pub fn end_ns(&self) -> u64 {
        self.start_ns.saturating_add(self.duration_ns)
    }

    /// Appends the stamp's text to a line.
    pub fn print(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b" #");
        super::write::decimal(self.start_ns, out);
        out.push(b'+');
        super::write::decimal(self.duration_ns, out);
        if let Some(version) = self.version {
            out.extend_from_slice(b" v");
            super::write::decimal(u64::from(version), out);
        }
    }

    /// Reads what stands after a plain line's end; behind it a line ends, with its text or with what is left of it.
    #[inline]
    pub(super) fn parse(text: &[u8]) -> Scanned<(Stamp, &[u8])> {
        let wrong = |expected: &str| {
            let line = text.split(|&byte| byte == b'\n').next().unwrap_or_default();
            Box::new(BadLine { expected: expected.into(), found: show(line) })
        };
        let [b' ', b'#', rest @ ..] = text else {
            return Err(wrong("the end of the line"));
        };
        let (start_ns, rest) = number(rest).ok_or_else(|| wrong("\" #\" and a start time in nanoseconds"))?;
        let [b'+', rest @ ..] = rest else {
            return Err(wrong("\" #START+DURATION\""));
        };
        let (duration_ns, rest) = number(rest).ok_or_else(|| wrong("\"+\" and a duration in nanoseconds"))?;
        if start_ns.checked_add(duration_ns).is_none_or(|end| end > Stamp::LATEST_NS) {
            return Err(wrong("times below 2^62 nanoseconds"));
        }
        if let [] | [b'\n', ..] = rest {
            return Ok((Stamp { start_ns, duration_ns, version: None }, rest));
        }
        if let [b' ', b'v', rest @ ..] = rest
            && let Some((version, rest @ ([] | [b'\n', ..]))) = number(rest)
            && let Ok(version) = u32::try_from(version)
        {
            // The last number there is cannot be kept; a line may lack its version.
            let version = Some(version).filter(|&version| version != NO_VERSION);
            return Ok((Stamp { start_ns, duration_ns, version }, rest));
        }
        Err(wrong("\" vVERSION\" below 2^32, or the end of the line, after the duration"))
    }

    /// The largest time that a stamp may say, so that cells (twice the time) fit.
    pub const LATEST_NS: u64 = 1 << 62;
}

/// A decimal number and what follows it.
#[inline(always)]
fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    match decimal::leading(text) {
        (Some(number), used @ 1..) => Some((number, &text[used..])),
        _ => None,
    }
}

/// In the version column: the line has none.
const NO_VERSION: u32 = u32::MAX;
/// In the start column: the line has no stamp.
const NO_STAMP: u64 = u64::MAX;

/// The stamps of a trace's rows; as long as its rows, or shorter when the last rows have none.
#[derive(Clone, Default)]
pub struct Stamps {
    start: Vec<u64>,
    duration: Vec<u64>,
    version: Vec<u32>,
}

impl Stamps {
    /// Gives row `row` a stamp; rows are given in ascending order.
    pub(super) fn set(&mut self, row: usize, stamp: Stamp) {
        if self.start.len() != row || self.version.len() != row {
            self.start.resize(row, NO_STAMP);
            self.duration.resize(row, 0);
            self.version.resize(row, NO_VERSION);
        }
        self.start.push(stamp.start_ns);
        self.duration.push(stamp.duration_ns);
        self.version.push(stamp.version.unwrap_or(NO_VERSION));
    }

    /// Adds `by` to every version, around the end of all numbers. The one that would mean "none" becomes none.
    pub(super) fn shift_versions(&mut self, by: u32) {
        for version in self.version.iter_mut().filter(|version| **version != NO_VERSION) {
            *version = version.wrapping_add(by);
        }
    }

    /// Gives row `row` a version, and no times if it has none.
    pub(super) fn set_version(&mut self, row: usize, version: u32) {
        if self.version.len() <= row {
            self.version.resize(row + 1, NO_VERSION);
        }
        self.version[row] = version;
    }

    /// The rows move on by one, for a new first one.
    pub(super) fn insert_first(&mut self, stamp: Option<Stamp>) {
        if !self.start.is_empty() || stamp.is_some() {
            self.start.insert(0, stamp.map_or(NO_STAMP, |stamp| stamp.start_ns));
            self.duration.insert(0, stamp.map_or(0, |stamp| stamp.duration_ns));
        }
        if !self.version.is_empty() || stamp.is_some() {
            self.version.insert(0, stamp.and_then(|stamp| stamp.version).unwrap_or(NO_VERSION));
        }
    }

    /// The stamp of a row, if its line has one.
    pub fn of(&self, row: usize) -> Option<Stamp> {
        let start_ns = *self.start.get(row).filter(|&&start| start != NO_STAMP)?;
        Some(Stamp { start_ns, duration_ns: self.duration[row], version: self.version_of(row) })
    }

    /// The version of a row, if it has one, with times or without.
    pub fn version_of(&self, row: usize) -> Option<u32> {
        self.version.get(row).copied().filter(|&version| version != NO_VERSION)
    }

    /// Whether no row has times.
    pub fn is_empty(&self) -> bool {
        self.start.is_empty()
    }

    /// Whether no row has times or a version.
    pub fn say_nothing(&self) -> bool {
        self.version.is_empty()
    }

    /// Bytes of memory held.
    pub fn memory(&self) -> usize {
        8 * (self.start.capacity() + self.duration.capacity()) + 4 * self.version.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R4: a stamp that is printed is read as it was.
    #[test]
    fn a_printed_stamp_is_read_back() {
        for version in [None, Some(0), Some(17)] {
            for (start_ns, duration_ns) in [(0, 0), (12_345, 678), (1 << 61, 1 << 61)] {
                let stamp = Stamp { start_ns, duration_ns, version };
                let mut text = Vec::new();
                stamp.print(&mut text);
                assert_eq!(Stamp::parse(&text).expect("it was printed"), (stamp, &b""[..]));
                text.extend_from_slice(b"\n17 tdb_close");
                assert_eq!(Stamp::parse(&text).expect("it was printed"), (stamp, &b"\n17 tdb_close"[..]));
            }
        }
    }

    /// R2, R4: what is no stamp is refused, and so is a time that could not be doubled.
    #[test]
    fn what_is_no_stamp_is_refused() {
        let wrong: &[&str] = &[
            " ",
            " #",
            " #1",
            " #1+",
            " #+1",
            " #1+2 ",
            " #1+2 v",
            " #1+2 v1 ",
            " #1+2v3",
            "  #1+2",
            "#1+2",
            " #-1+2",
            " #1+2 v4294967296",
            " #4611686018427387904+1",
            " #18446744073709551616+0",
            " #1 +2",
            " #1+2 V3",
        ];
        for text in wrong {
            Stamp::parse(text.as_bytes()).expect_err(text);
        }
    }
}
