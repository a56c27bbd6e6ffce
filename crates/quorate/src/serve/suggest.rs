//! What a misspelled key may have meant.

/// Adds the nearest of the names that `message` expects to what it says of an unknown one.
pub fn with_suggestion(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let (true, Some(unknown)) = (message.starts_with("unknown"), quoted.next()) else {
        return message.to_owned();
    };
    let near = quoted.map(|name| (strsim::normalized_damerau_levenshtein(unknown, name), name));
    let nearest =
        near.filter(|(likeness, _)| *likeness >= 0.5).max_by(|one, other| one.0.total_cmp(&other.0));
    match nearest {
        Some((_, name)) => {
            let kind = if message.starts_with("unknown variant") { "value" } else { "key" };
            format!("unknown {kind} `{unknown}`; did you mean `{name}`?")
        }
        None => message.replacen("unknown field", "unknown key", 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S2: an unknown key is refused with the nearest one that exists, or with all of them.
    #[test]
    fn misspelled_keys_get_a_suggestion() {
        let message = "unknown field `lisen`, expected one of `listen`, `listen-tls`";
        assert_eq!(with_suggestion(message), "unknown key `lisen`; did you mean `listen`?");
        let message = "unknown field `nonsense`, expected one of `listen`, `listen-tls`";
        assert_eq!(
            with_suggestion(message),
            "unknown key `nonsense`, expected one of `listen`, `listen-tls`"
        );
        assert_eq!(with_suggestion("invalid type: `x`"), "invalid type: `x`");
    }
}
