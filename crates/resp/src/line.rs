//! Lines and the numbers in them.

use crate::limits::{Limits, ProtocolError};

/// Looks for a line in `bytes`, of which the first `searched` hold no line feed; moves `searched` on.
///
/// Returns the length of the line with its line feed, or `None` while it is incomplete.
pub fn find(bytes: &[u8], searched: &mut usize, limits: &Limits) -> Result<Option<usize>, ProtocolError> {
    match memchr::memchr(b'\n', &bytes[*searched..]) {
        Some(at) if *searched + at < limits.line_bytes => Ok(Some(*searched + at + 1)),
        None if bytes.len() < limits.line_bytes => {
            *searched = bytes.len();
            Ok(None)
        }
        _ => Err(ProtocolError::Line),
    }
}

/// A line without its carriage return and line feed; both must be there.
pub fn strip(line: &[u8]) -> Result<&[u8], ProtocolError> {
    line.strip_suffix(b"\r\n").ok_or(ProtocolError::LineEnd)
}

/// A decimal number written in the only way: no plus sign, no leading zero, no blank.
pub fn number(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || (digits[0] == b'0' && (digits.len() > 1 || negative)) {
        return None;
    }
    digits.iter().try_fold(0i64, |number, &digit| {
        let digit = i64::from(digit.is_ascii_digit().then(|| digit - b'0')?);
        let shifted = number.checked_mul(10)?;
        if negative { shifted.checked_sub(digit) } else { shifted.checked_add(digit) }
    })
}
