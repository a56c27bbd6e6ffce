//! docs/requirements.md: every requirement with the tests and benchmarks that name it.
//!
//! The column "Proof" is generated: a doc comment of a test (`/// T5, T6: ...`) or of a benchmark file (`//! P1 ...`)
//! that names an id is listed in that id's row. The column "Open" is written by people: what no proof shows yet.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};

use super::tree::{File, Tree};
use crate::command::root;

const PAGE: &str = "docs/requirements.md";

type Proofs = BTreeMap<String, BTreeSet<String>>;

/// The table is as the sources say, and the sources name only ids that exist.
pub fn complaints(tree: &Tree) -> Result<Vec<String>> {
    let page = tree.find(PAGE).with_context(|| format!("{PAGE} is missing"))?;
    let proofs = proofs(tree);
    let known: BTreeSet<String> = page.text.lines().filter_map(|line| Some(Row::parse(line)?.id)).collect();
    let mut complaints: Vec<String> = proofs
        .iter()
        .filter(|(id, _)| !known.contains(*id))
        .map(|(id, places)| format!("{} names {id}, which {PAGE} does not have", join(places)))
        .collect();
    if renewed(&page.text, &proofs) != page.text {
        complaints
            .push(format!("{PAGE}: the column \"Proof\" is not what the tests say; run `cargo xtask fix`"));
    }
    for row in page.text.lines().filter_map(Row::parse) {
        if row.open.is_empty() && !proofs.contains_key(&row.id) {
            complaints
                .push(format!("{PAGE}: {} has no proof; name it in a test or write what is open", row.id));
        }
    }
    Ok(complaints)
}

/// Writes the column "Proof" anew.
pub fn renew(tree: &Tree) -> Result<()> {
    let page = tree.find(PAGE).with_context(|| format!("{PAGE} is missing"))?;
    std::fs::write(root().join(PAGE), renewed(&page.text, &proofs(tree))).context("cannot write the table")
}

/// One row: `| id | what must hold | proof | open |`.
struct Row<'a> {
    id: String,
    text: &'a str,
    open: &'a str,
}

impl<'a> Row<'a> {
    fn parse(line: &'a str) -> Option<Row<'a>> {
        let cells: Vec<&str> = line.strip_prefix('|')?.strip_suffix('|')?.split('|').map(str::trim).collect();
        let [id, text, _, open] = cells[..] else {
            return None;
        };
        is_id(id).then(|| Row { id: id.to_owned(), text, open })
    }
}

fn renewed(page: &str, proofs: &Proofs) -> String {
    let mut out = String::with_capacity(page.len());
    for line in page.lines() {
        match Row::parse(line) {
            Some(row) => {
                let proof = proofs.get(&row.id).map(join).unwrap_or_default();
                out.push_str(&format!("| {} | {} | {proof} | {} |\n", row.id, row.text, row.open));
            }
            None => out.push_str(&format!("{line}\n")),
        }
    }
    out
}

/// At most this many proofs are listed in a row; more are counted.
const LISTED: usize = 4;

fn join(places: &BTreeSet<String>) -> String {
    let mut text = places.iter().take(LISTED).map(|place| format!("`{place}`")).collect::<Vec<_>>().join(" ");
    if places.len() > LISTED {
        text.push_str(&format!(" and {} more", places.len() - LISTED));
    }
    text
}

fn proofs(tree: &Tree) -> Proofs {
    let mut proofs = Proofs::new();
    for file in tree.rust().filter(|file| !file.path.starts_with("xtask/")) {
        let folder_of_proofs =
            ["/tests/", "/benches/", "/examples/"].iter().any(|part| file.path.contains(part));
        if folder_of_proofs || file.path.starts_with("sim/") {
            add_file_header(file, &mut proofs);
        }
        add_tests(file, &mut proofs);
    }
    proofs
}

fn add_file_header(file: &File, proofs: &mut Proofs) {
    for line in file.text.lines().take_while(|line| line.starts_with("//!") || line.is_empty()) {
        for id in ids(line) {
            proofs.entry(id).or_default().insert(file.path.clone());
        }
    }
}

/// Adds the ids that doc comments of `#[test]` functions name.
fn add_tests(file: &File, proofs: &mut Proofs) {
    let mut named: Vec<String> = Vec::new();
    let mut is_test = false;
    for line in file.text.lines().map(str::trim) {
        if let Some(comment) = line.strip_prefix("///") {
            named.extend(ids(comment));
        } else if line.starts_with("#[") {
            is_test |= line.contains("test]");
        } else {
            if is_test && let Some(name) = function_name(line) {
                for id in &named {
                    proofs.entry(id.clone()).or_default().insert(format!("{}::{name}", file.path));
                }
            }
            named.clear();
            is_test = false;
        }
    }
}

fn function_name(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once("fn ")?;
    rest.split(['(', '<']).next()
}

/// The ids in a line; `T4 to T9` counts as each of them.
fn ids(line: &str) -> Vec<String> {
    let words: Vec<&str> =
        line.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let mut found: Vec<String> =
        words.iter().filter(|word| is_id(word)).map(|word| (*word).to_owned()).collect();
    for triple in words.windows(3) {
        if triple[1] == "to" && is_id(triple[0]) && is_id(triple[2]) && triple[0][..1] == triple[2][..1] {
            let bounds = (triple[0][1..].parse::<u32>(), triple[2][1..].parse::<u32>());
            if let (Ok(first), Ok(last)) = bounds {
                found.extend((first + 1..last).map(|number| format!("{}{number}", &triple[0][..1])));
            }
        }
    }
    found
}

/// One of the letters T R X U S P and a number of one or two digits.
fn is_id(word: &str) -> bool {
    let mut letters = word.chars();
    letters.next().is_some_and(|letter| "TRXUSP".contains(letter))
        && (2..=3).contains(&word.len())
        && letters.all(|letter| letter.is_ascii_digit())
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn a_range_of_ids_names_each_of_them() {
        let mut found = ids("T4 to T7, R15: what it proves; not u32, X123 or Tx");
        found.sort();
        assert_eq!(found, ["R15", "T4", "T5", "T6", "T7"]);
    }

    #[test]
    fn only_functions_with_the_test_attribute_are_proofs() {
        let text = "/// T5: yes.\n#[test]\nfn stores() {}\n/// T6: no test.\nfn other() {}\n";
        let mut proofs = Proofs::new();
        add_tests(&File { path: "a.rs".into(), text: text.into() }, &mut proofs);
        assert_eq!(proofs.keys().collect::<Vec<_>>(), ["T5"]);
        assert!(proofs["T5"].contains("a.rs::stores"));
    }
}
