//! Hexadecimal text to bytes, eight digits at a time.
//!
//! Only lower-case digits are hexadecimal here: the tracer writes no others, and taking both would make one value
//! appear under two texts.

const LOW: u64 = 0x0101_0101_0101_0101;

/// Appends the bytes that `text` spells to `out`; false, with `out` as it was, when it spells none.
pub fn decode(text: &[u8], out: &mut Vec<u8>) -> bool {
    if !text.len().is_multiple_of(2) {
        return false;
    }
    let before = out.len();
    out.resize(before + text.len() / 2, 0);
    let good = decode_into(text, &mut out[before..]);
    if !good {
        out.truncate(before);
    }
    good
}

/// `out` is half as long as `text`.
fn decode_into(text: &[u8], out: &mut [u8]) -> bool {
    let (words, digits) = text.as_chunks::<8>();
    let (fours, ones) = out.as_chunks_mut::<4>();
    for (word, four) in words.iter().zip(fours) {
        let Some(bytes) = decode_eight(*word) else {
            return false;
        };
        *four = bytes;
    }
    for (pair, one) in digits.as_chunks::<2>().0.iter().zip(ones) {
        let (Some(high), Some(low)) = (digit(pair[0]), digit(pair[1])) else {
            return false;
        };
        *one = high << 4 | low;
    }
    true
}

/// Eight digits at once: each byte's low nibble, plus nine where bit 6 says it is a letter.
fn decode_eight(text: [u8; 8]) -> Option<[u8; 4]> {
    let word = u64::from_le_bytes(text);
    let letters = (word >> 6) & LOW;
    let nibbles = (word & (LOW * 0x0f)) + letters * 9;
    if nibbles & (LOW * 0xf0) != 0 {
        return None;
    }
    // Spelling the nibbles again is an exact test of the input: 39 is the distance from ':' to 'a'.
    let above_nine = ((nibbles + LOW * 6) >> 4) & LOW;
    if nibbles + LOW * 0x30 + above_nine * 39 != word {
        return None;
    }
    // High digit first: bytes 0, 2, 4, 6 are high nibbles.
    let joined = (nibbles << 4) | (nibbles >> 8);
    Some([joined as u8, (joined >> 16) as u8, (joined >> 32) as u8, (joined >> 48) as u8])
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
            let mut out = Vec::new();
            assert!(decode(text.as_bytes(), &mut out));
            assert_eq!(out, bytes);
        }
    }

    /// R2: every byte that is no lower-case digit is refused, in the fast path and in the slow one.
    #[test]
    fn what_is_no_digit_is_refused() {
        for position in 0..12 {
            for wrong in (0..=255u8).filter(|byte| digit(*byte).is_none()) {
                let mut text = *b"0123456789ab";
                text[position] = wrong;
                let mut out = vec![7];
                assert!(!decode(&text, &mut out), "{wrong:#x} at {position}");
                assert_eq!(out, [7]);
            }
        }
        assert!(!decode(b"abc", &mut Vec::new()));
    }
}
