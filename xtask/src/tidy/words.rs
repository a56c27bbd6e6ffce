//! Names use the words of the field, and nothing in the repository is unfinished or tied to one machine.

use anyhow::Result;

use super::tree::{File, Tree};

/// Word in a name, and what to use instead.
const BANNED: &[(&str, &str)] = &[
    ("leader", "sync site"),
    ("primary", "sync site"),
    ("master", "sync site"),
    ("journal", "log (Ubik) or recovery area (TDB)"),
    ("bucket", "chain"),
    ("manager", "the thing it owns"),
    ("helper", "the thing it does"),
    ("util", "the thing it does"),
    ("utils", "the thing it does"),
    ("misc", "the thing it does"),
    ("rock", "the thing it holds"),
    ("dude", "who it is"),
];

/// Names that others gave to their crates.
const FOREIGN: &[&str] = &["http_body_util", "hyper_util"];

/// Endings of type names that say nothing.
const EMPTY_TYPE_NAMES: &[&str] = &["Manager", "Helper", "Util", "Utils", "Misc", "Handle"];

/// Text that must not be committed, in pieces so that this file does not complain of itself.
const FORBIDDEN: &[(&str, &str, &str)] = &[
    ("/wo", "rk/", "a path of one machine"),
    ("/ro", "ot/", "a path of one machine"),
    ("FIX", "ME", "unfinished"),
    ("TO", "DO", "unfinished"),
    ("XX", "X ", "unfinished"),
    ("#[ign", "ore", "a test that does not run"),
];

/// Every word that should be another.
pub fn complaints(tree: &Tree) -> Result<Vec<String>> {
    let mut complaints = Vec::new();
    for file in &tree.files {
        if file.path == "Cargo.lock" || file.path.ends_with(".txt") {
            continue;
        }
        forbidden(file, &mut complaints);
        if file.path.ends_with(".rs") {
            names(file, &mut complaints);
            unwraps(file, &mut complaints);
            if !file.text.starts_with("//!") {
                complaints.push(format!("{}: begin with what the file owns (`//!`)", file.path));
            }
        }
    }
    Ok(complaints)
}

fn forbidden(file: &File, complaints: &mut Vec<String>) {
    for (number, line) in (1..).zip(file.text.lines()) {
        for (head, tail, why) in FORBIDDEN {
            let unfinished = *why == "unfinished";
            // A test binary starts itself anew as another process through an entry that is no test by itself.
            let entry = line.contains(" = \"a process of");
            if line.contains(&format!("{head}{tail}"))
                && !entry
                && !(unfinished && file.path.ends_with(".md"))
            {
                complaints.push(format!("{}:{number}: `{head}{tail}`: {why}", file.path));
            }
        }
        if line.ends_with(' ') && file.path.ends_with(".rs") {
            complaints.push(format!("{}:{number}: ends with a space", file.path));
        }
    }
}

/// Product code says why something cannot fail (`expect`), or passes the error on; tests may unwrap.
fn unwraps(file: &File, complaints: &mut Vec<String>) {
    if !file.path.contains("/src/") || file.path.starts_with("xtask/") {
        return;
    }
    let product = file.text.split("#[cfg(test)]").next().unwrap_or_default();
    for (number, line) in (1..).zip(product.lines()) {
        if without_strings_and_comments(line).contains(".unwrap()") {
            complaints
                .push(format!("{}:{number}: `unwrap`: say with `expect` why it cannot fail", file.path));
        }
    }
}

fn names(file: &File, complaints: &mut Vec<String>) {
    if file.path.starts_with("xtask/src/tidy") {
        return;
    }
    for (number, line) in (1..).zip(file.text.lines()) {
        let code = without_strings_and_comments(line);
        for name in
            code.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|name| !name.is_empty())
        {
            if let Some(instead) = banned_in(name).filter(|_| !FOREIGN.contains(&name)) {
                complaints.push(format!("{}:{number}: the name `{name}`: use {instead}", file.path));
            }
        }
        if let Some(name) = defined_type(&code)
            && (EMPTY_TYPE_NAMES.iter().any(|ending| name.ends_with(ending))
                || ["Data", "Info"].contains(&name))
        {
            complaints.push(format!("{}:{number}: the type `{name}`: name it for what it owns", file.path));
        }
        if code.trim_start().starts_with("pub ") && code.contains("txn") {
            complaints.push(format!("{}:{number}: `txn` in a public name: write `transaction`", file.path));
        }
    }
}

/// The word to use instead, if a part of this name (snake or camel case) is banned.
fn banned_in(name: &str) -> Option<&'static str> {
    if name.starts_with("do_") {
        return Some("a verb that says what is done");
    }
    let parts = split_name(name);
    BANNED.iter().find(|(word, _)| parts.iter().any(|part| part == word)).map(|(_, instead)| *instead)
}

fn split_name(name: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    for letter in name.chars() {
        if letter == '_' || letter.is_ascii_uppercase() {
            parts.push(String::new());
        }
        if letter != '_' {
            parts.last_mut().expect("there is always a part").push(letter.to_ascii_lowercase());
        }
    }
    parts
}

fn defined_type(code: &str) -> Option<&str> {
    let code = code.trim_start().trim_start_matches("pub ").trim_start_matches("pub(crate) ");
    let rest =
        ["struct ", "enum ", "trait ", "type "].iter().find_map(|keyword| code.strip_prefix(keyword))?;
    rest.split(|c: char| !c.is_ascii_alphanumeric()).next()
}

/// A line's code; good enough for names, since rustfmt keeps strings and comments on lines of their own or at the end.
fn without_strings_and_comments(line: &str) -> String {
    let mut code = String::new();
    let mut in_string = false;
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' if in_string => {
                letters.next();
            }
            '"' => in_string = !in_string,
            '/' if !in_string && letters.peek() == Some(&'/') => break,
            _ if !in_string => code.push(letter),
            _ => {}
        }
    }
    code
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn banned_words_are_found_as_whole_parts_of_names_only() {
        assert!(banned_in("elect_leader").is_some());
        assert!(banned_in("LockManager").is_some());
        assert!(banned_in("do_store").is_some());
        assert!(banned_in("mastered").is_none());
        assert!(banned_in("utility").is_none());
    }

    #[test]
    fn strings_and_comments_are_no_names() {
        assert_eq!(without_strings_and_comments(r#"let a = "the leader"; // master"#), "let a = ; ");
    }
}
