//! How the tools spell keys: printable bytes as they are, others, quotes and backslashes as a backslash and two hexadecimal
//! digits, and quotes around a key that is empty or has spaces; or all of it in hexadecimal. What one tool prints, every
//! other reads.

use std::io::{self, Write};

/// Writes one key and a line's end.
pub fn write_key(out: &mut impl Write, key: &[u8], hex: bool) -> io::Result<()> {
    if hex {
        key.iter().try_for_each(|byte| write!(out, "{byte:02x}"))?;
    } else if needs_quotes(key) {
        write!(out, "\"")?;
        tdb::dump::write_escaped(out, key)?;
        write!(out, "\"")?;
    } else {
        tdb::dump::write_escaped(out, key)?;
    }
    writeln!(out)
}

/// Whether the shell takes the key for one word only with quotes around it.
fn needs_quotes(key: &[u8]) -> bool {
    key.is_empty() || key.contains(&b' ')
}

/// The bytes that a word stands for, which may be quoted as [`write_key`] quotes it: a backslash and two hexadecimal digits are one byte.
pub fn unescape(word: &str) -> Result<Vec<u8>, String> {
    let quoted = word.strip_prefix('"').and_then(|word| word.strip_suffix('"'));
    // Quotes that are part of the key are escaped where it is printed.
    let word = quoted.filter(|inner| needs_quotes(inner.as_bytes())).unwrap_or(word);
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word.as_bytes();
    while let Some((first, more)) = rest.split_first() {
        rest = more;
        if *first != b'\\' {
            bytes.push(*first);
            continue;
        }
        let digits = more.get(..2).ok_or("after \\ come two hexadecimal digits")?;
        bytes.push(hex_byte(digits)?);
        rest = &more[2..];
    }
    Ok(bytes)
}

/// The bytes that hexadecimal digits stand for.
pub fn unhex(word: &str) -> Result<Vec<u8>, String> {
    if !word.len().is_multiple_of(2) {
        return Err("hexadecimal digits come in pairs".to_owned());
    }
    word.as_bytes().chunks_exact(2).map(hex_byte).collect()
}

fn hex_byte(digits: &[u8]) -> Result<u8, String> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    match (digit(digits[0]), digit(digits[1])) {
        (Some(high), Some(low)) => Ok(high << 4 | low),
        _ => Err(format!("`{}` is not a pair of hexadecimal digits", String::from_utf8_lossy(digits))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// T7, T21: every key is read back from either spelling.
    #[test]
    fn a_key_is_read_back_as_it_is_written() {
        let key: Vec<u8> = (0..=255).collect();
        for hex in [false, true] {
            let mut written = Vec::new();
            write_key(&mut written, &key, hex).expect("memory takes it");
            let line = String::from_utf8(written).expect("it is printable");
            let word = line.trim_end_matches('\n');
            assert_eq!(if hex { unhex(word) } else { unescape(word) }, Ok(key.clone()));
        }
        for (key, spelled) in [("", r#""""#), (" two words ", r#"" two words ""#), ("-dash", "-dash")] {
            let mut written = Vec::new();
            write_key(&mut written, key.as_bytes(), false).expect("memory takes it");
            assert_eq!(written, format!("{spelled}\n").into_bytes());
            assert_eq!(unescape(spelled), Ok(key.as_bytes().to_vec()));
        }
        assert_eq!(unescape(r#""x""#), Ok(b"\"x\"".to_vec()), "keys prints no such word, tdbdump takes it");
        assert_eq!(unescape(r"v\00\fF"), Ok(vec![b'v', 0, 0xff]));
        assert!(unescape(r"v\0").is_err());
        assert!(unhex("0").is_err());
        assert!(unhex("zz").is_err());
    }
}
