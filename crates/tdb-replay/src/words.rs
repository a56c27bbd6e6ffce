//! Numbers of things, in words.

use std::fmt::Display;

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
    use super::counted;

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
}
