//! Numbers as decimal text, both ways, eight digits at a time.
//!
//! How many digits there are is found without a branch for each: lengths of numbers cannot be foretold, and a processor
//! that guesses one wrong has lost more than it takes to read the number.

const LOW: u64 = 0x0101_0101_0101_0101;

/// The number that `text` begins with, `None` if it is 2^64 or more, and how many digits it has.
#[inline(always)]
pub fn leading(text: &[u8]) -> (Option<u64>, usize) {
    let Some(word) = text.first_chunk() else {
        return one_by_one(text, Some(0), 0);
    };
    match eight(u64::from_le_bytes(*word)) {
        (number, 8) => more(text, number),
        (number, used) => (Some(number), used),
    }
}

/// What follows eight digits.
#[inline(never)]
fn more(text: &[u8], first: u64) -> (Option<u64>, usize) {
    let (mut number, mut used) = (Some(first), 8);
    while let Some(word) = text[used..].first_chunk() {
        let (next, digits) = eight(u64::from_le_bytes(*word));
        number = number.and_then(|number| number.checked_mul(10_u64.pow(digits as u32))?.checked_add(next));
        used += digits;
        if digits < 8 {
            return (number, used);
        }
    }
    one_by_one(text, number, used)
}

/// The end of the text is too near for words.
#[inline(never)]
fn one_by_one(text: &[u8], mut number: Option<u64>, mut used: usize) -> (Option<u64>, usize) {
    while let Some(digit) = text.get(used).map(|byte| byte.wrapping_sub(b'0')).filter(|&digit| digit < 10) {
        number = number.and_then(|number| number.checked_mul(10)?.checked_add(u64::from(digit)));
        used += 1;
    }
    (number, used)
}

/// The number that eight bytes begin with, and how many of them are its digits.
#[inline(always)]
fn eight(word: u64) -> (u64, usize) {
    let digits = word ^ (LOW * 0x30);
    // The upper bit of each byte that is above nine. A carry goes to later bytes only, behind the first that is none.
    let others = (digits.wrapping_add(LOW * 0x76) | digits) & (LOW * 0x80);
    let used = others.trailing_zeros() / 8;
    if used == 0 {
        return (0, 0);
    }
    // Zeros in front, up to eight digits; then neighbours are joined: digits, pairs, fours.
    let digits = digits << (64 - 8 * used);
    let pairs = digits * 10 + (digits >> 8);
    let one = (pairs & 0xff_0000_00ff).wrapping_mul(100 + (1_000_000 << 32));
    let other = (pairs >> 16 & 0xff_0000_00ff).wrapping_mul(1 + (10_000 << 32));
    (one.wrapping_add(other) >> 32, used as usize)
}

/// The first number that has more than eight digits.
pub const EIGHT_DIGITS: u64 = 100_000_000;
/// Eight zeros as text.
pub const ZEROS: u64 = u64::from_le_bytes([b'0'; 8]);

/// The digits of a number below [`EIGHT_DIGITS`], the first in the lowest byte, and how many they are.
#[inline]
pub fn digits(number: u32) -> (u64, usize) {
    let digits = eight_digits(number);
    // The last digit stays if it is a zero, too.
    let leading = (digits | 1 << 56).trailing_zeros() / 8;
    ((digits | ZEROS) >> (8 * leading), 8 - leading as usize)
}

/// Eight digits as numbers, the first in the lowest byte: in a register, since what is written byte by byte cannot soon be read
/// again as a word.
#[inline]
pub fn eight_digits(number: u32) -> u64 {
    // Halves of four digits in 32 bits each, then pairs in 16, then digits in 8. The factors divide by 100 and by 10.
    let fours = u64::from(number / 10_000) | u64::from(number % 10_000) << 32;
    let hundreds = ((fours * 10_486) >> 20) & 0x0000_007f_0000_007f;
    let pairs = hundreds | (fours - 100 * hundreds) << 16;
    let tens = ((pairs * 103) >> 10) & 0x000f_000f_000f_000f;
    tens | (pairs - 10 * tens) << 8
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R1: a number of any length is read, whatever follows it and wherever the text ends.
    #[test]
    fn numbers_of_every_length_are_read() {
        let texts = ["", "0", "7", "42", "0042", "99999999", "123456789", "00000000000000000000000017"];
        let large = ["4294967295", "18446744073709551615", "1234567890123456"];
        for text in texts.into_iter().chain(large) {
            for behind in ["", " ", ":", "/00000000", ":11111111", "\n99999999", "\u{ff}99999999"] {
                let expected = if text.is_empty() { Some(0) } else { text.parse().ok() };
                assert_eq!(
                    leading(format!("{text}{behind}").as_bytes()),
                    (expected, text.len()),
                    "{text}{behind}"
                );
            }
        }
    }

    /// R2: a number that does not fit is not taken for another one.
    #[test]
    fn a_number_of_more_than_64_bits_is_none() {
        for text in ["18446744073709551616", "99999999999999999999999", "10000000000000000000000000000000000"]
        {
            for behind in ["", " tdb_close"] {
                assert_eq!(leading(format!("{text}{behind}").as_bytes()), (None, text.len()));
            }
        }
    }
}
