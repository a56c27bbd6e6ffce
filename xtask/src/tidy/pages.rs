//! Documents: links lead to files that exist; every page is in the book; the README is of a length that is read.

use anyhow::Result;

use super::tree::{File, Tree};
use crate::command::root;

const README_LINES: std::ops::RangeInclusive<usize> = 60..=130;

/// Dead links, pages that the book's table of contents does not name, and a README that is too short to help or too long to be read.
pub fn complaints(tree: &Tree) -> Result<Vec<String>> {
    let mut complaints = Vec::new();
    for file in tree.files.iter().filter(|file| file.path.ends_with(".md")) {
        dead_links(file, &mut complaints);
    }
    complaints.extend(not_in_the_book(tree));
    let lines = tree.find("README.md").map_or(0, |file| file.text.lines().count());
    if !README_LINES.contains(&lines) {
        complaints.push(format!("README.md: {lines} lines; keep it between 60 and 130"));
    }
    Ok(complaints)
}

fn not_in_the_book(tree: &Tree) -> impl Iterator<Item = String> {
    let contents = tree.find("docs/SUMMARY.md").map_or("", |file| &file.text);
    let named: Vec<&str> = links(contents).collect();
    let pages = tree.files.iter().filter_map(|file| file.path.strip_prefix("docs/"));
    pages
        .filter(move |page| page.ends_with(".md") && *page != "SUMMARY.md" && !named.contains(page))
        .map(|page| format!("docs/SUMMARY.md: does not name {page}"))
}

fn dead_links(file: &File, complaints: &mut Vec<String>) {
    let folder = root().join(&file.path).parent().map(ToOwned::to_owned).unwrap_or_default();
    for target in links(&file.text) {
        let path = target.split('#').next().unwrap_or_default();
        let elsewhere = target.contains("://") || path.is_empty();
        if !elsewhere && !folder.join(path).exists() {
            complaints.push(format!("{}: the link to `{target}` leads nowhere", file.path));
        }
    }
}

fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .filter(|target| !target.contains(['\n', ' ']))
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn links_are_what_stands_in_the_round_brackets() {
        let text = "see [one](docs/a.md#b) and [two](c.md), but not a call `f](x y)`";
        assert_eq!(links(text).collect::<Vec<_>>(), ["docs/a.md#b", "c.md"]);
    }
}
