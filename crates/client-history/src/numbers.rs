//! Numbers that are told apart by what was written.
//!
//! Owns their one spelling ([`canonical`]), which JSON and EDN share but for EDN's `M`.

/// The one spelling of a decimal number of JSON or EDN: without what says nothing (a plus, zeros before the first digit, `N`).
pub fn canonical(text: &str) -> String {
    let (is_negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let text = text.strip_suffix('N').unwrap_or(text);
    let (text, suffix) = text.strip_suffix('M').map_or((text, ""), |text| (text, "M"));
    let (text, exponent) = match text.split_once(['e', 'E']) {
        Some((text, exponent)) if exponent.starts_with('-') => (text, format!("e{exponent}")),
        Some((text, exponent)) => (text, format!("e+{}", exponent.strip_prefix('+').unwrap_or(exponent))),
        None => (text, String::new()),
    };
    let (whole, fraction) = match text.split_once('.') {
        Some((whole, "")) => (whole, ".0".to_owned()),
        Some((whole, fraction)) => (whole, format!(".{fraction}")),
        None => (text, String::new()),
    };
    let whole = whole.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    let is_zero = whole == "0" && fraction.is_empty() && exponent.is_empty() && suffix.is_empty();
    let sign = if is_negative && !is_zero { "-" } else { "" };
    format!("{sign}{whole}{fraction}{exponent}{suffix}")
}

/// A canonical number as EDN, with the letter that keeps other readers from rounding or refusing it, where it needs one.
pub fn for_readers(text: &str) -> String {
    let is_float = text.contains(['.', 'e']);
    let is_exact = match (is_float, text.parse::<f64>()) {
        (false, _) => text.parse::<i64>().is_ok(),
        (true, float) => float.is_ok_and(|float| format!("{float:?}") == text),
    };
    match is_float {
        _ if is_exact || text.ends_with('M') => text.to_owned(),
        true => format!("{text}M"),
        false => format!("{text}N"),
    }
}

/// Whether this is a decimal number of EDN, with `N` or `M` behind it perhaps.
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
