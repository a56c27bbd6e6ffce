//! Records as hexadecimal text, both ways, sixteen bytes or digits at a time: most of a trace is this.
//!
//! Owns the conversion, with the instructions that every x86-64 has; elsewhere eight digits at a time in a word. A table of
//! pairs takes three times as long. Only lower-case digits are hexadecimal here: the tracer writes no others, and taking
//! both would make one value appear under two texts.
#![allow(unsafe_code)]

const LOW: u64 = 0x0101_0101_0101_0101;

/// Puts the digits of `bytes` into `digits`, which is twice as long.
///
/// # Panics
/// There is not twice as much room as there are bytes.
#[inline]
pub fn write(bytes: &[u8], digits: &mut [u8]) {
    let (sixteens, rest) = bytes.as_chunks::<16>();
    let (lines, _) = digits.as_chunks_mut::<32>();
    for (sixteen, line) in sixteens.iter().zip(lines) {
        *line = of_sixteen(sixteen);
    }
    if rest.is_empty() {
        return;
    }
    // The last sixteen overlap those before.
    match (bytes.last_chunk(), digits.last_chunk_mut()) {
        (Some(sixteen), Some(line)) => *line = of_sixteen(sixteen),
        _ => write_short(bytes, digits),
    }
}

/// The same for less than sixteen bytes.
fn write_short(bytes: &[u8], digits: &mut [u8]) {
    let (fours, rest) = bytes.as_chunks::<4>();
    let (eights, ends) = digits.as_chunks_mut::<8>();
    for (four, eight) in fours.iter().zip(eights) {
        *eight = of_four(*four);
    }
    let mut four = [0; 4];
    four[..rest.len()].copy_from_slice(rest);
    ends.copy_from_slice(&of_four(four)[..2 * rest.len()]);
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn of_sixteen(bytes: &[u8; 16]) -> [u8; 32] {
    use std::arch::x86_64::*;
    let mut digits = [0; 32];
    // SAFETY: every x86-64 has these instructions; 16 bytes are read and 32 written, and none needs an alignment.
    unsafe {
        let bytes = _mm_loadu_si128(bytes.as_ptr().cast());
        let half = _mm_set1_epi8(15);
        let high = digits_of_halves(_mm_and_si128(_mm_srli_epi16(bytes, 4), half));
        let low = digits_of_halves(_mm_and_si128(bytes, half));
        let to = digits.as_mut_ptr().cast::<__m128i>();
        _mm_storeu_si128(to, _mm_unpacklo_epi8(high, low));
        _mm_storeu_si128(to.add(1), _mm_unpackhi_epi8(high, low));
    }
    digits
}

/// The digit of each number below 16.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn digits_of_halves(halves: std::arch::x86_64::__m128i) -> std::arch::x86_64::__m128i {
    use std::arch::x86_64::*;
    // SAFETY: every x86-64 has these instructions; they touch no memory.
    unsafe {
        let are_letters = _mm_cmpgt_epi8(halves, _mm_set1_epi8(9));
        let digits = _mm_add_epi8(halves, _mm_set1_epi8(b'0' as i8));
        _mm_add_epi8(digits, _mm_and_si128(are_letters, _mm_set1_epi8(LETTERS as i8)))
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn of_sixteen(bytes: &[u8; 16]) -> [u8; 32] {
    let mut digits = [0; 32];
    for (four, eight) in bytes.as_chunks::<4>().0.iter().zip(digits.as_chunks_mut::<8>().0) {
        *eight = of_four(*four);
    }
    digits
}

/// Letters stand so far behind where they would stand as digits.
const LETTERS: u8 = b'a' - b'9' - 1;

#[inline]
fn of_four(four: [u8; 4]) -> [u8; 8] {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let mut word = u64::from(u32::from_le_bytes(four));
    // A byte in every second place, then its halves in both.
    word = (word | word << 16) & 0x0000_ffff_0000_ffff;
    word = (word | word << 8) & 0x00ff_00ff_00ff_00ff;
    let halves = (word >> 4 & 0x000f_000f_000f_000f) | (word & 0x000f_000f_000f_000f) << 8;
    // 1 where a half is a letter.
    let letters = (halves + 6 * ONES) >> 4 & ONES;
    (halves + u64::from(b'0') * ONES + letters * u64::from(LETTERS)).to_le_bytes()
}

/// Puts the bytes that `text` spells into `out`, which is half as long; false when it spells none.
#[inline(always)]
pub fn decode(text: &[u8], out: &mut [u8]) -> bool {
    debug_assert_eq!(text.len(), out.len() * 2);
    let (Some(last), Some(end)) = (text.last_chunk(), out.last_chunk_mut()) else {
        return decode_short(text, out);
    };
    // The last word may overlap the one before.
    let (bytes, mut wrong) = sixteen(last);
    *end = bytes;
    for (word, eight) in text[..text.len() - 1].as_chunks().0.iter().zip(out.as_chunks_mut().0) {
        let (bytes, bad) = sixteen(word);
        *eight = bytes;
        wrong |= bad;
    }
    wrong == 0
}

/// Less than sixteen digits.
#[inline(never)]
fn decode_short(text: &[u8], out: &mut [u8]) -> bool {
    let (words, digits) = text.as_chunks();
    let (fours, ones) = out.as_chunks_mut();
    let mut wrong = 0;
    for (word, four) in words.iter().zip(fours) {
        let (bytes, bad) = eight(u64::from_le_bytes(*word));
        *four = bytes.to_le_bytes();
        wrong |= bad;
    }
    for (pair, one) in digits.as_chunks::<2>().0.iter().zip(ones) {
        let (Some(high), Some(low)) = (digit(pair[0]), digit(pair[1])) else {
            return false;
        };
        *one = high << 4 | low;
    }
    wrong == 0
}

/// The bytes of sixteen digits, and zero if they were digits.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn sixteen(text: &[u8; 16]) -> ([u8; 8], u64) {
    let both = u128::from_le_bytes(*text);
    let (low, bad_low) = eight(both as u64);
    let (high, bad_high) = eight((both >> 64) as u64);
    ((u64::from(high) << 32 | u64::from(low)).to_le_bytes(), bad_low | bad_high)
}

/// The bytes of sixteen digits, and zero if they were digits.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn sixteen(text: &[u8; 16]) -> ([u8; 8], u64) {
    // SAFETY: every processor of this architecture has these instructions.
    unsafe { at_once(text) }
}

/// [`eight`] for sixteen digits, each step for all of them.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "sse2")]
#[inline]
fn at_once(text: &[u8; 16]) -> ([u8; 8], u64) {
    use std::arch::x86_64::*;
    let all = |byte: u8| _mm_set1_epi8(byte as i8);
    let both = u128::from_le_bytes(*text);
    let text = _mm_set_epi64x((both >> 64) as i64, both as i64);
    let letters = _mm_and_si128(_mm_cmpgt_epi8(text, all(b'9')), all(9));
    let nibbles = _mm_add_epi8(_mm_and_si128(text, all(15)), letters);
    let above_nine = _mm_and_si128(_mm_cmpgt_epi8(nibbles, all(9)), all(39));
    let spelled = _mm_add_epi8(_mm_add_epi8(nibbles, all(b'0')), above_nine);
    let wrong = _mm_or_si128(_mm_xor_si128(spelled, text), _mm_and_si128(nibbles, all(0xf0)));
    let right = _mm_movemask_epi8(_mm_cmpeq_epi8(wrong, all(0)));
    let pairs = _mm_or_si128(_mm_slli_epi16::<4>(nibbles), _mm_srli_epi16::<8>(nibbles));
    let bytes = _mm_packus_epi16(_mm_and_si128(pairs, _mm_set1_epi16(255)), all(0));
    (_mm_cvtsi128_si64(bytes).to_le_bytes(), right as u64 ^ 0xffff)
}

/// Eight digits at once: each byte's low nibble, plus nine where bit 6 says it is a letter.
#[inline(always)]
fn eight(word: u64) -> (u32, u64) {
    let letters = (word >> 6) & LOW;
    let nibbles = (word & (LOW * 0x0f)) + letters * 9;
    // Spelling the nibbles again is an exact test of the input: 39 is the distance from ':' to 'a'.
    let above_nine = ((nibbles + LOW * 6) >> 4) & LOW;
    let wrong = (nibbles & (LOW * 0xf0)) | ((nibbles + LOW * 0x30 + above_nine * 39) ^ word);
    // High digit first: bytes 0, 2, 4, 6 are high nibbles.
    let joined = ((nibbles << 4) | (nibbles >> 8)) & 0x00ff_00ff_00ff_00ff;
    let joined = (joined | joined >> 8) & 0x0000_ffff_0000_ffff;
    ((joined | joined >> 16) as u32, wrong)
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R1: every byte, at every distance from the word's edge, comes back as it was written.
    #[test]
    fn every_byte_is_decoded_at_every_alignment() {
        for lead in 0..9 {
            let bytes: Vec<u8> = std::iter::repeat_n(0, lead).chain(0..=255).collect();
            let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let mut out = vec![0; bytes.len()];
            assert!(decode(text.as_bytes(), &mut out));
            assert_eq!(out, bytes);
        }
    }

    /// R2: every byte that is not a lower-case digit is refused, in the fast path and in the slow one.
    #[test]
    fn what_is_no_digit_is_refused() {
        for length in 1..20 {
            for position in 0..2 * length {
                for wrong in (0..=255u8).filter(|byte| digit(*byte).is_none()) {
                    let mut text = b"0123456789abcdef".repeat(3)[..2 * length].to_vec();
                    assert!(decode(&text, &mut vec![0; length]));
                    text[position] = wrong;
                    assert!(!decode(&text, &mut vec![0; length]), "{wrong:#x} at {position} of {length}");
                }
            }
        }
    }

    /// R1: a text of any length is decoded to its last byte.
    #[test]
    fn every_length_is_decoded() {
        for length in 0..60 {
            let bytes: Vec<u8> = (0..length).map(|at: u8| at.wrapping_mul(7)).collect();
            let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let mut out = vec![0; bytes.len()];
            assert!(decode(text.as_bytes(), &mut out));
            assert_eq!(out, bytes);
        }
    }

    /// R4: every byte at every place of every length has its two digits.
    #[test]
    fn digits_are_those_of_the_bytes() {
        for len in 0..70usize {
            for shift in (0..=255).step_by(5) {
                let bytes: Vec<u8> = (0..len).map(|at| (at * 7 + shift) as u8).collect();
                let mut digits = vec![0; 2 * len];
                write(&bytes, &mut digits);
                let expected: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                assert_eq!(String::from_utf8_lossy(&digits), expected);
            }
        }
    }
}
