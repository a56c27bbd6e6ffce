//! Numbers with decimals, added without rounding: ten dimes are a dollar.

/// A number of 10⁻¹⁷, which is as small as Redis prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decimal(i128);

const DECIMALS: i32 = 17;
const ONE: u128 = 10_u128.pow(DECIMALS as u32);

impl Decimal {
    /// Reads digits with a sign, a point and an exponent, rounded to 17 decimals; `None` if they are something else, or out of
    /// range, which ends at about 10²¹.
    pub fn parse(text: &[u8]) -> Option<Decimal> {
        let text = std::str::from_utf8(text).ok()?;
        let (digits, exponent) = match text.split_once(['e', 'E']) {
            Some((digits, exponent)) => (digits, exponent.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let (is_negative, whole) = match whole.strip_prefix('-') {
            Some(whole) => (true, whole),
            None => (false, whole.strip_prefix('+').unwrap_or(whole)),
        };
        let mut number: i128 = 0;
        for digit in whole.bytes().chain(fraction.bytes()) {
            let digit = char::from(digit).to_digit(10)?;
            number = number.checked_mul(10)?.checked_add(digit.into())?;
        }
        let shift = DECIMALS.checked_add(exponent)?.checked_sub(i32::try_from(fraction.len()).ok()?)?;
        let number = shifted(number, shift)?;
        Some(Decimal(if is_negative { -number } else { number }))
    }

    /// The sum, unless it is out of range.
    pub fn plus(self, other: Decimal) -> Option<Decimal> {
        self.0.checked_add(other.0).map(Decimal)
    }

    /// Plain digits, without zeros at the end.
    pub fn print(self) -> String {
        let (whole, fraction) = (self.0.unsigned_abs() / ONE, self.0.unsigned_abs() % ONE);
        let sign = if self.0 < 0 { "-" } else { "" };
        let text = format!("{sign}{whole}.{fraction:017}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    }
}

/// `number` times ten to the power of `places`, rounded.
fn shifted(number: i128, places: i32) -> Option<i128> {
    let factor = 10_i128.checked_pow(places.unsigned_abs());
    match (factor, places) {
        (Some(factor), 0..) => number.checked_mul(factor),
        (Some(factor), _) => Some((number + factor / 2) / factor),
        // So small a number is zero; so large a one only if it is.
        (None, ..0) => Some(0),
        (None, _) => (number == 0).then_some(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S4: decimals are added exactly; what cannot be is left to floating point.
    #[test]
    fn decimals_are_added_exactly() {
        let sum = |one: &str, other: &str| {
            Decimal::parse(one.as_bytes())?.plus(Decimal::parse(other.as_bytes())?).map(Decimal::print)
        };
        for (one, other, expected) in [
            ("0.1", "0.2", "0.3"),
            ("10.50", "-3.80", "6.7"),
            ("9223372036854775807", "0", "9223372036854775807"),
            ("-9007199254740993", "1e0", "-9007199254740992"),
            ("5.0e3", "2.0e2", "5200"),
            ("1e-17", "0", "0.00000000000000001"),
            ("4e-18", "0", "0"),
            ("1e-400", "-0", "0"),
            ("0e400", "+.5", "0.5"),
            ("-0.5", "0.5", "0"),
        ] {
            assert_eq!(sum(one, other).as_deref(), Some(expected), "{one} + {other}");
        }
        for text in ["1e22", "0x10", "inf", "1_0", "--1", "1e", "١"] {
            assert_eq!(Decimal::parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(sum("1e21", "1e21"), None);
    }
}
