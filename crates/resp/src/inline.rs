//! Commands as people type them: words on one line, quoted where they hold blanks.
//!
//! Double quotes know the escapes `\n \r \t \b \a \\ \" \xHH`; single quotes only `\'`. A closing quote ends its word,
//! so something else than a blank behind it is an error. The rules are Redis's.

use std::ops::Range;

use crate::limits::ProtocolError;

/// Splits `line` into words: their bytes go to `text`, where they lie to `words`.
pub fn split(
    line: &[u8],
    text: &mut Vec<u8>,
    words: &mut Vec<Range<usize>>,
    most: usize,
) -> Result<(), ProtocolError> {
    let mut rest = line.trim_ascii();
    while !rest.is_empty() {
        if words.len() == most {
            return Err(ProtocolError::Count);
        }
        let start = text.len();
        rest = word(rest, text)?.trim_ascii_start();
        words.push(start..text.len());
    }
    Ok(())
}

/// Takes one word; returns what comes after it.
fn word<'a>(mut rest: &'a [u8], text: &mut Vec<u8>) -> Result<&'a [u8], ProtocolError> {
    while let [byte, after @ ..] = rest {
        rest = match byte {
            b'"' | b'\'' => return quoted(*byte, after, text),
            byte if byte.is_ascii_whitespace() => return Ok(rest),
            byte => {
                text.push(*byte);
                after
            }
        };
    }
    Ok(rest)
}

fn quoted<'a>(quote: u8, mut rest: &'a [u8], text: &mut Vec<u8>) -> Result<&'a [u8], ProtocolError> {
    loop {
        rest = match rest {
            [end, after @ ..] if *end == quote => {
                let closed = after.first().is_none_or(u8::is_ascii_whitespace);
                return if closed { Ok(after) } else { Err(ProtocolError::Quotes) };
            }
            [b'\\', b'x', high, low, after @ ..]
                if quote == b'"' && high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                text.push(digit(*high) << 4 | digit(*low));
                after
            }
            [b'\\', escaped, after @ ..] if quote == b'"' => {
                text.push(unescaped(*escaped));
                after
            }
            [b'\\', b'\'', after @ ..] => {
                text.push(b'\'');
                after
            }
            [byte, after @ ..] => {
                text.push(*byte);
                after
            }
            [] => return Err(ProtocolError::Quotes),
        };
    }
}

fn unescaped(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'a' => 0x07,
        other => other,
    }
}

/// The value of a hexadecimal digit.
fn digit(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => byte - b'0',
        letter => (letter | 0x20) - b'a' + 10,
    }
}
