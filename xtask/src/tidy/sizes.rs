//! Files of at most 600 lines, functions (outside tests) of at most 70; what is longer is listed in `xtask/sizes.txt` and only shrinks.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use super::tree::{File, Tree};
use crate::command::root;

const FILE_LINES: usize = 600;
const FUNCTION_LINES: usize = 70;
const RATCHET: &str = "xtask/sizes.txt";

type Sizes = BTreeMap<String, usize>;

/// What is too long and was not before, or has grown.
pub fn complaints(tree: &Tree) -> Result<Vec<String>> {
    let allowed = allowed(tree);
    let mut complaints = Vec::new();
    let found = too_long(tree);
    for (place, lines) in &found {
        match allowed.get(place) {
            Some(before) if lines <= before => {}
            Some(before) => {
                complaints.push(format!("{place}: {lines} lines, it had {before}: it may only shrink"))
            }
            None => complaints.push(format!("{place}: {lines} lines: look for the second noun in it")),
        }
    }
    for place in allowed.keys().filter(|place| !found.contains_key(*place)) {
        complaints.push(format!("{RATCHET}: {place} is no longer too long; `cargo xtask fix` takes it out"));
    }
    Ok(complaints)
}

/// Lowers the listed sizes to what they are now; adds nothing.
pub fn renew(tree: &Tree) -> Result<()> {
    let found = too_long(tree);
    let mut text = String::new();
    for (place, before) in allowed(tree) {
        if let Some(lines) = found.get(&place) {
            text.push_str(&format!("{} {place}\n", before.min(*lines)));
        }
    }
    std::fs::write(root().join(RATCHET), text).with_context(|| format!("cannot write {RATCHET}"))
}

fn allowed(tree: &Tree) -> Sizes {
    let Some(file) = tree.find(RATCHET) else {
        return Sizes::new();
    };
    let row = |line: &str| {
        let (lines, place) = line.split_once(' ')?;
        Some((place.to_owned(), lines.parse().ok()?))
    };
    file.text.lines().filter_map(row).collect()
}

fn too_long(tree: &Tree) -> Sizes {
    let mut sizes = Sizes::new();
    for file in tree.rust() {
        let lines = file.text.lines().count();
        if lines > FILE_LINES {
            sizes.insert(file.path.clone(), lines);
        }
        // A table of cases is one long function in a test, and reads well.
        let functions = if file.path.contains("/tests/") { Vec::new() } else { functions(file) };
        for (name, lines) in functions.into_iter().filter(|(_, lines)| *lines > FUNCTION_LINES) {
            sizes.insert(format!("{}::{name}", file.path), lines);
        }
    }
    sizes
}

/// Each function and its lines; rustfmt puts the closing brace below the first letter of the line that opens it.
fn functions(file: &File) -> Vec<(String, usize)> {
    let lines: Vec<&str> = file.text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let Some(name) = opened_function(line.trim_start()) else {
            continue;
        };
        let closing = format!("{}}}", " ".repeat(indent));
        if let Some(length) = lines[start..].iter().position(|line| *line == closing) {
            found.push((name.to_owned(), length + 1));
        }
    }
    found
}

fn opened_function(line: &str) -> Option<&str> {
    const BEFORE: &[&str] =
        &["pub ", "pub(crate) ", "pub(super) ", "const ", "unsafe ", "extern \"C\" ", "async "];
    let mut rest = line;
    while let Some(shorter) = BEFORE.iter().find_map(|word| rest.strip_prefix(word)) {
        rest = shorter;
    }
    let ends_here = line.ends_with('}') || line.ends_with(';');
    rest.strip_prefix("fn ").filter(|_| !ends_here)?.split(['(', '<']).next()
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn functions_are_measured_from_their_first_line_to_their_closing_brace() {
        let text = "impl A {\n    pub fn one(&self) {\n        two();\n    }\n\n    fn short() {}\n}\n";
        let file = File { path: "a.rs".into(), text: text.into() };
        assert_eq!(functions(&file), [("one".to_owned(), 3)]);
    }
}
