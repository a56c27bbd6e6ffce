//! Patterns of keys, as KEYS and SCAN take them: `*`, `?`, `[a-z]`, `[^x]`, and a backslash before what means itself.

/// Whether all of `text` fits `pattern`, in time proportional to the product of their lengths at most.
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut here) = (0, 0);
    // Where to go on when the present attempt fails: behind the last star, with one byte more in it.
    let mut star: Option<(usize, usize)> = None;
    loop {
        if pattern.get(at) == Some(&b'*') {
            at += 1;
            star = Some((at, here));
            continue;
        }
        let step = match (pattern.get(at), text.get(here)) {
            (None, None) => return true,
            (Some(_), Some(&byte)) => one(&pattern[at..], byte),
            _ => None,
        };
        match (step, &mut star) {
            (Some(length), _) => {
                at += length;
                here += 1;
            }
            (None, Some((after, taken))) if *taken < text.len() => {
                *taken += 1;
                (at, here) = (*after, *taken);
            }
            _ => return false,
        }
    }
}

/// The length of the pattern's first element, if `byte` fits it.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern {
        [b'?', ..] => Some(1),
        [b'[', set @ ..] => class(set, byte).map(|length| length + 1),
        [b'\\', literal, ..] => (*literal == byte).then_some(2),
        [literal, ..] => (*literal == byte).then_some(1),
        [] => None,
    }
}

/// The length of a set with its closing bracket (which may be missing at the pattern's end), if `byte` is in it.
fn class(set: &[u8], byte: u8) -> Option<usize> {
    let negated = set.first() == Some(&b'^');
    let mut at = usize::from(negated);
    let mut found = false;
    while at < set.len() && set[at] != b']' {
        let escaped = set[at] == b'\\' && at + 1 < set.len();
        at += usize::from(escaped);
        if !escaped && set.get(at + 1) == Some(&b'-') && at + 2 < set.len() {
            let (low, high) = (set[at].min(set[at + 2]), set[at].max(set[at + 2]));
            found |= (low..=high).contains(&byte);
            at += 3;
        } else {
            found |= set[at] == byte;
            at += 1;
        }
    }
    (found != negated).then(|| (at + 1).min(set.len()))
}

#[cfg(test)]
mod tests {
    use super::matches;

    /// S4: patterns mean what they mean to Redis.
    #[test]
    fn patterns_mean_what_they_mean_to_redis() {
        let yes = [
            ("", ""),
            ("*", ""),
            ("*", "abc"),
            ("a*c", "abbc"),
            ("h?llo", "hello"),
            ("h[ae]llo", "hallo"),
            ("h[^e]llo", "hallo"),
            ("h[a-b]llo", "hbllo"),
            ("h[b-a]llo", "hbllo"),
            ("\\*", "*"),
            ("[\\]]", "]"),
            ("a[bc", "ab"),
            ("*a*b*", "xxaxxbxx"),
            ("user:*:name", "user:1:2:name"),
        ];
        let no = [
            ("", "a"),
            ("?", ""),
            ("h[^e]llo", "hello"),
            ("h[a-b]llo", "hcllo"),
            ("\\*", "a"),
            ("a*c", "abcd"),
            ("[]", "a"),
            ("a\\", "ab"),
        ];
        for (pattern, text) in yes {
            assert!(matches(pattern.as_bytes(), text.as_bytes()), "{pattern} {text}");
        }
        for (pattern, text) in no {
            assert!(!matches(pattern.as_bytes(), text.as_bytes()), "{pattern} {text}");
        }
    }

    /// S25: no pattern takes exponential time.
    #[test]
    fn many_stars_take_no_exponential_time() {
        let pattern = "a*".repeat(2000) + "b";
        assert!(!matches(pattern.as_bytes(), &[b'a'; 4000]));
    }
}
