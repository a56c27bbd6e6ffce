//! The one order as text, line by line.
//!
//! Owns the walk along the ranks: every trace's next row, and of these the one that comes first. It keeps one row a trace,
//! so an order of any length is written as it goes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, Write};

use super::explain::Explained;
use crate::trace::History;
use crate::trace::calls::line;
use crate::words::printable;

/// Writes one line for each row in the one order: its file and line, control characters escaped, then what that line says, without
/// its end where it is long. The rows of a transaction stand together, since they take effect together. Rows that a trace has after its
/// database died have no place in the order and are left out.
pub fn write(out: &mut impl Write, history: &History, explained: &Explained) -> io::Result<()> {
    let ranks = &explained.merged.ranks;
    let next = |trace: usize, row: usize| {
        let counts = row < explained.dead[trace] as usize;
        counts.then(|| Reverse((ranks[trace][row], trace, row)))
    };
    let mut first: BinaryHeap<_> = (0..ranks.len()).filter_map(|trace| next(trace, 0)).collect();
    while let Some(Reverse((_, trace, row))) = first.pop() {
        writeln!(out, "{}: {}", shown(&history.place(trace, row)), line(history, trace, row))?;
        first.extend(next(trace, row + 1));
    }
    Ok(())
}

/// A file's name as a line of text can hold it: a terminal obeys nothing in it.
fn shown(place: &str) -> String {
    printable(&place.replace('\n', "\\n")).into_owned()
}

#[cfg(test)]
mod tests {
    /// R9: no character of a file's name ends a line or reaches the terminal as a command.
    #[test]
    fn control_characters_of_names_are_escaped() {
        assert_eq!(super::shown("a\n\u{1b}[2J\u{e9}.trace:7"), "a\\n\\u{1b}[2J\u{e9}.trace:7");
    }
}
