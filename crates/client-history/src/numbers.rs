//! Numbers of EDN that are told apart by what was written.
//!
//! The reader of EDN keeps integers of 64 bits, rounds decimals and refuses the rest (`1N`, `1M`, integers of more bits).
//! Registers ask only whether two values are the same, so such numbers are given to it as symbols with a mark.

/// A character of private use, which no symbol begins with.
const MARK: char = '\u{E000}';

/// `text` with a mark before each number that the reader would round or refuse. Lines stay what they are.
pub fn marked(text: &str) -> String {
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
        if is_decimal(part) && part.parse::<i64>().is_err() {
            out.push(MARK);
        }
        out.push_str(part);
        rest = after;
    }
    out
}

/// What a symbol stands for: a number without its mark, where it has one. Clojure takes `1N` for `1`, and so do we.
pub fn as_written(symbol: &str) -> String {
    let Some(number) = symbol.strip_prefix(MARK) else {
        return symbol.to_owned();
    };
    let number = number.strip_prefix('+').unwrap_or(number);
    number.strip_suffix('N').unwrap_or(number).to_owned()
}

/// Whether this is a decimal number, with `N` or `M` behind it perhaps.
pub fn is_decimal(text: &str) -> bool {
    let text = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (whole, rest) = text.split_at(digits(text));
    let (has_fraction, rest) = match rest.strip_prefix('.') {
        Some(rest) => (true, &rest[digits(rest)..]),
        None => (false, rest),
    };
    let (has_exponent, rest) = match rest.strip_prefix(['e', 'E']) {
        Some(rest) => {
            let rest = rest.strip_prefix(['+', '-']).unwrap_or(rest);
            (digits(rest) > 0, &rest[digits(rest)..])
        }
        None => (false, rest),
    };
    let is_whole = !has_fraction && !has_exponent;
    !whole.is_empty() && (rest.is_empty() || rest == "M" || (rest == "N" && is_whole))
}

fn digits(text: &str) -> usize {
    text.len() - text.trim_start_matches(|letter: char| letter.is_ascii_digit()).len()
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
