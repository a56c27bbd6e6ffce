//! When two states are one: if they differ only in the names of calls, which are numbers that count up.

use std::collections::HashMap;
use std::fmt::Write;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::cell::Cell;

/// What comes before a number that only names something, and whether the same number may stand elsewhere.
const NAMES: [(&str, bool); 4] =
    [("CallToken(", true), ("next_token: ", false), ("flights: ", false), ("number: ", false)];

/// Takes what is printed, a piece at a time, and hashes it with its names replaced.
#[derive(Default)]
struct Renamer {
    hasher: DefaultHasher,
    names: HashMap<u64, u64>,
    rest: String,
}

impl Renamer {
    fn take(&mut self, text: &str) {
        let mut text = text;
        while let Some((at, (prefix, names))) = next_name(text) {
            let (before, after) = text.split_at(at + prefix.len());
            before.hash(&mut self.hasher);
            let digits = after.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(after.len());
            let number: u64 = after[..digits].parse().unwrap_or(0);
            let next = self.names.len() as u64;
            let name = if *names { *self.names.entry(number).or_insert(next) } else { 0 };
            name.hash(&mut self.hasher);
            text = &after[digits..];
        }
        text.hash(&mut self.hasher);
    }
}

fn next_name(text: &str) -> Option<(usize, &'static (&'static str, bool))> {
    NAMES.iter().filter_map(|name| Some((text.find(name.0)?, name))).min_by_key(|&(at, _)| at)
}

impl Write for Renamer {
    fn write_str(&mut self, piece: &str) -> std::fmt::Result {
        self.rest.push_str(piece);
        Ok(())
    }
}

/// The same number for states that differ in names only.
pub(super) fn fingerprint(cell: &Cell) -> u64 {
    let mut renamer = Renamer::default();
    write!(renamer, "{cell:?}").expect("a string takes everything");
    let text = std::mem::take(&mut renamer.rest);
    renamer.take(&text);
    renamer.hasher.finish()
}
