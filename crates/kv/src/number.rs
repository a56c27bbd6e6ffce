//! Numbers in arguments and values, read and printed as Redis does.

use crate::error::CommandError;

/// A decimal integer without blanks, plus sign or leading zeros.
pub fn integer(text: &[u8]) -> Result<i64, CommandError> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let plain = matches!(digits, [b'0'] | [b'1'..=b'9', ..]) && text != b"-0";
    let parsed = std::str::from_utf8(text).ok().filter(|_| plain).and_then(|text| text.parse().ok());
    parsed.ok_or(CommandError::NOT_AN_INTEGER)
}

/// A finite or infinite number; not a NaN.
pub fn float(text: &[u8]) -> Result<f64, CommandError> {
    let parsed = std::str::from_utf8(text).ok().and_then(|text| text.parse::<f64>().ok());
    parsed.filter(|number| !number.is_nan()).ok_or(CommandError::NOT_A_FLOAT)
}

/// A number in plain digits, the fewest that read back as the same.
pub fn print_float(number: f64) -> String {
    // Negative zero reads as zero.
    if number == 0.0 { "0".to_owned() } else { number.to_string() }
}
