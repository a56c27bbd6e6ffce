//! What the extended form adds to a line: ` #START+DURATION`, and ` vVERSION` where the operation has one.
//!
//! Owns the meaning of a stamp and the reading of its text (docs/trace-extended.md); [`crate::print`] writes it.

use crate::bad_line::BadLine;
use crate::decimal;

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

    /// Reads what stands after a plain line's end, and returns what follows it: a line end, or nothing.
    ///
    /// # Errors
    /// The text is not a stamp, or its times are too large.
    #[inline]
    pub fn parse(text: &[u8]) -> Result<(Stamp, &[u8]), Box<BadLine>> {
        let wrong = |expected: &str| Box::new(BadLine::new(expected, text));
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
            return Ok((Stamp { start_ns, duration_ns, version: Some(version) }, rest));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::print::print_stamp;

    /// R4: a stamp that is printed is read as it was.
    #[test]
    fn a_printed_stamp_is_read_back() {
        for version in [None, Some(0), Some(17)] {
            for (start_ns, duration_ns) in [(0, 0), (12_345, 678), (1 << 61, 1 << 61)] {
                let stamp = Stamp { start_ns, duration_ns, version };
                let mut text = Vec::new();
                print_stamp(&stamp, &mut text);
                assert_eq!(Stamp::parse(&text).expect("it was printed"), (stamp, &b""[..]));
                text.extend_from_slice(b"\n17 tdb_close");
                assert_eq!(Stamp::parse(&text).expect("it was printed"), (stamp, &b"\n17 tdb_close"[..]));
            }
        }
    }

    /// R2, R4: what is not a stamp is refused, and so is a time that could not be doubled.
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
