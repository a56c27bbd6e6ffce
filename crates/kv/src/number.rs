//! Numbers in arguments and values, read and printed as Redis does.

use crate::decimal::Decimal;
use crate::error::{CommandError, refused};

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

/// The sum of two numbers in plain digits. It is exact up to [`Decimal`]'s bounds, and beyond them as exact as floating point.
///
/// # Errors
/// One of them is not a number, or the sum is not finite.
pub fn add_floats(one: &[u8], other: &[u8]) -> Result<String, CommandError> {
    let sum = float(one)? + float(other)?;
    if !sum.is_finite() {
        return Err(refused("ERR increment would produce NaN or Infinity"));
    }
    let exact = Decimal::parse(one).zip(Decimal::parse(other)).and_then(|(one, other)| one.plus(other));
    Ok(match exact {
        Some(exact) => exact.print(),
        // Negative zero reads as zero.
        None if sum == 0.0 => "0".to_owned(),
        None => sum.to_string(),
    })
}

/// A finite number as C's `%.{digits}g` prints it.
pub fn print_general(number: f64, digits: usize) -> String {
    let scientific = format!("{:.*e}", digits - 1, number);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let shortened = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    if exponent < -4 || exponent >= digits as i32 {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", shortened(mantissa), exponent.abs());
    }
    let decimals = (digits as i32 - 1 - exponent).max(0) as usize;
    shortened(&format!("{number:.decimals$}"))
}
