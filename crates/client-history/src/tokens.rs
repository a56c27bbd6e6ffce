//! EDN in the part of it that the reader in use knows.
//!
//! That reader keeps integers of 64 bits, rounds decimals and refuses the rest (`1N`, `1M`, integers of more bits): such
//! numbers are given to it as symbols with a mark. It also refuses most escapes (`\u0041`, `\f`), which become what they stand for.

use std::borrow::Cow;

use crate::numbers::is_decimal;

/// A character of private use, before each symbol that is a number.
const MARK: char = '\u{E000}';

/// `text` with a mark before each number that the reader would round or refuse, and without escapes that it does not know.
/// Lines stay what they are.
pub fn readable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => quoted(rest),
            ';' => rest.find('\n').unwrap_or(rest.len()),
            '\\' => character(rest),
            _ if is_boundary(first) => first.len_utf8(),
            _ => rest.find(is_boundary).unwrap_or(rest.len()),
        };
        let (part, after) = rest.split_at(length);
        match first {
            '"' => push_quoted(&mut out, part),
            '\\' => out.push_str(&named_character(part)),
            _ => {
                if part.starts_with(MARK) || (is_decimal(part) && part.parse::<i64>().is_err()) {
                    out.push(MARK);
                }
                out.push_str(part);
            }
        }
        rest = after;
    }
    out
}

/// What a symbol stands for.
pub enum Symbol<'a> {
    /// A number, as it was written.
    Number(&'a str),
    /// A symbol.
    Name(&'a str),
}

/// What a symbol that the reader found stands for.
pub fn unmarked(symbol: &str) -> Symbol<'_> {
    match symbol.strip_prefix(MARK) {
        Some(number) if is_decimal(number) => Symbol::Number(number),
        Some(name) => Symbol::Name(name),
        None => Symbol::Name(symbol),
    }
}

/// A character as EDN spells it.
pub fn spelled_character(letter: char) -> String {
    match letter {
        '\n' => "\\newline".into(),
        '\r' => "\\return".into(),
        '\t' => "\\tab".into(),
        ' ' => "\\space".into(),
        _ if letter.is_control() || letter.is_whitespace() => format!("\\u{:04x}", letter as u32),
        _ => format!("\\{letter}"),
    }
}

fn is_boundary(letter: char) -> bool {
    letter.is_whitespace() || ",;\"()[]{}".contains(letter)
}

/// The length of a text in quotes, which may lack its end.
fn quoted(text: &str) -> usize {
    let mut escaped = true;
    for (at, letter) in text.char_indices() {
        match letter {
            '"' if !escaped => return at + 1,
            '\\' if !escaped => escaped = true,
            _ => escaped = false,
        }
    }
    text.len()
}

/// The length of a character such as `\a`, `\newline` or `\[`.
fn character(text: &str) -> usize {
    let mut letters = text.char_indices().skip(2);
    letters.find(|(_, letter)| is_boundary(*letter)).map_or(text.len(), |(at, _)| at)
}

/// A character with a name that the reader knows, or itself; as it is if it stands for none.
fn named_character(part: &str) -> Cow<'_, str> {
    let name = &part[1..];
    let found = match name {
        "backspace" => Some('\u{8}'),
        "formfeed" => Some('\u{c}'),
        _ if name.len() == 5 && name.starts_with('u') => {
            unit(&name[1..]).and_then(|unit| char::from_u32(unit.into()))
        }
        _ => name
            .strip_prefix('o')
            .filter(|digits| octal(digits) == digits.len() && !digits.is_empty())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok().map(char::from)),
    };
    match found {
        Some(letter @ ('\n' | '\r' | '\t' | ' ')) => spelled_character(letter).into(),
        Some(letter) => format!("\\{letter}").into(),
        None => part.into(),
    }
}

/// Appends a text with its quotes.
fn push_quoted(out: &mut String, mut text: &str) {
    while let Some(at) = text.find('\\') {
        out.push_str(&text[..at]);
        let escape = &text[at..];
        let Some((letter, length)) = unescaped(escape) else {
            let length = 1 + escape[1..].chars().next().map_or(0, char::len_utf8);
            out.push_str(&escape[..length]);
            text = &escape[length..];
            continue;
        };
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            letter => out.push(letter),
        }
        text = &escape[length..];
    }
    out.push_str(text);
}

/// What the escape at the beginning of `text` stands for, and its length; `None` if the reader is to judge it.
fn unescaped(text: &str) -> Option<(char, usize)> {
    let name = text[1..].chars().next()?;
    match name {
        'b' => Some(('\u{8}', 2)),
        'f' => Some(('\u{c}', 2)),
        'u' => {
            let first = unit(text.get(2..6)?)?;
            if let Some(letter) = char::from_u32(first.into()) {
                return Some((letter, 6));
            }
            // Java's halves of a character.
            let second = unit(text.get(6..12)?.strip_prefix("\\u")?)?;
            let letter = char::decode_utf16([first, second]).next()?.ok()?;
            Some((letter, 12))
        }
        '0'..='7' => {
            let digits = octal(&text[1..]).min(3);
            u8::from_str_radix(&text[1..=digits], 8).ok().map(|byte| (char::from(byte), 1 + digits))
        }
        _ => None,
    }
}

/// The number of four hexadecimal digits.
fn unit(digits: &str) -> Option<u16> {
    let is_hexadecimal = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    if is_hexadecimal { u16::from_str_radix(digits, 16).ok() } else { None }
}

/// How many octal digits `text` begins with.
fn octal(text: &str) -> usize {
    text.bytes().take_while(|digit| (b'0'..=b'7').contains(digit)).count()
}
