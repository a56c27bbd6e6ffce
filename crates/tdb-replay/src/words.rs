//! What is printed for people: numbers of things, and texts from elsewhere that a terminal must not obey.

use std::borrow::Cow;
use std::fmt::Display;

/// `text` with every control character but line ends and tabs spelled out, as in `\u{1b}`: names of files, keys and clients
/// may come from strangers, and a terminal obeys such characters.
pub fn printable(text: &str) -> Cow<'_, str> {
    let obeyed = |letter: char| letter.is_control() && letter != '\n' && letter != '\t';
    if !text.contains(obeyed) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        match obeyed(letter) {
            true => out.extend(letter.escape_unicode()),
            false => out.push(letter),
        }
    }
    Cow::Owned(out)
}

/// `count` things of the kind `one`: `1 key`, `2 keys`, `3 tries`, `4 processes`.
pub fn counted(count: impl TryInto<u64> + Display + Copy, one: &str) -> String {
    if count.try_into().is_ok_and(|count| count == 1) {
        return format!("1 {one}");
    }
    match (one.strip_suffix('y'), one.ends_with('s')) {
        (Some(stem), _) if !stem.ends_with(['a', 'e', 'o']) => format!("{count} {stem}ies"),
        (_, true) => format!("{count} {one}es"),
        _ => format!("{count} {one}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::{counted, printable};

    #[test]
    fn one_thing_is_not_plural() {
        let texts = ["key", "dependency", "process", "step"].map(|one| [counted(1, one), counted(2u64, one)]);
        let expected = [
            ["1 key", "2 keys"],
            ["1 dependency", "2 dependencies"],
            ["1 process", "2 processes"],
            ["1 step", "2 steps"],
        ];
        assert_eq!(texts, expected.map(|pair| pair.map(str::to_owned)));
        assert_eq!(counted(0usize, "try"), "0 tries");
    }

    #[test]
    fn a_terminal_obeys_nothing_that_is_printed() {
        assert_eq!(
            printable("a\u{1b}[31mred\u{7}\u{9b}2J\r\n\tb"),
            "a\\u{1b}[31mred\\u{7}\\u{9b}2J\\u{d}\n\tb"
        );
        assert_eq!(printable("plain \u{e4}"), "plain \u{e4}");
    }
}
