//! Two lower-case digits a byte: most of a trace is this.
//!
//! Owns the conversion, sixteen bytes at a time with the instructions that every x86-64 has; elsewhere eight digits at a time in a
//! word. A table of pairs takes three times as long.
#![allow(unsafe_code)]

/// Puts the digits of `bytes` into `digits`, which is twice as long.
#[inline]
pub(crate) fn write(bytes: &[u8], digits: &mut [u8]) {
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

#[cfg(test)]
mod tests {
    use super::*;

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
