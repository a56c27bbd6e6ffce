//! The order in which people expect names: p2 before p10.

use std::cmp::Ordering;

/// The traces in the order of their names; the same names as they come.
pub fn order(names: &[String]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..names.len()).collect();
    order.sort_by(|&one, &other| compare(&names[one], &names[other]));
    order
}

/// Digits side by side are one number; everything else is compared letter by letter.
fn compare(mut one: &str, mut other: &str) -> Ordering {
    loop {
        let (left, right) = (digits(one), digits(other));
        if !left.is_empty() && !right.is_empty() {
            let (a, b) = (left.trim_start_matches('0'), right.trim_start_matches('0'));
            let numbers = a.len().cmp(&b.len()).then_with(|| a.cmp(b));
            if numbers.is_ne() {
                return numbers;
            }
            (one, other) = (&one[left.len()..], &other[right.len()..]);
            continue;
        }
        let (mut left, mut right) = (one.chars(), other.chars());
        match (left.next(), right.next()) {
            (Some(a), Some(b)) if a == b => (one, other) = (left.as_str(), right.as_str()),
            (a, b) => return a.cmp(&b),
        }
    }
}

/// The digits that `text` begins with.
fn digits(text: &str) -> &str {
    let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R40: names are in natural order.
    #[test]
    fn numbers_in_names_count_as_numbers() {
        let names = ["p10.trace", "p2.trace", "p1.trace", "p02.trace", "a", "p"].map(str::to_owned);
        assert_eq!(order(&names), [4, 5, 2, 1, 3, 0]);
    }
}
