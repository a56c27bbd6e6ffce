//! Whom each wait was for: a table by pairs of traces, and the waits themselves for the page's script.
//!
//! Owns the bound on what a page holds: of many waits an even sample, and the page says so.

use std::collections::BTreeMap;
use std::fmt;

use super::lanes::Rows;
use super::{Escaped, duration, grouped};
use crate::replay::timeline::Timeline;

/// Waits that the script is given.
const MOST_WAITS: usize = 20_000;
/// Pairs of traces that the table names.
const MOST_PAIRS: usize = 20;

/// Which trace waited for which, how often and how long; the longest first. Nothing if nobody waited.
pub fn table(out: &mut fmt::Formatter<'_>, timeline: &Timeline, rows: &Rows<'_>) -> fmt::Result {
    let mut pairs: BTreeMap<(usize, u16), (u64, u64)> = BTreeMap::new();
    for (trace, lane) in timeline.lanes.iter().enumerate() {
        for wait in &lane.waits {
            let (count, time) = pairs.entry((trace, wait.on)).or_default();
            *count += 1;
            *time += wait.to - wait.from;
        }
    }
    if pairs.is_empty() {
        return Ok(());
    }
    let mut pairs: Vec<_> = pairs.into_iter().collect();
    pairs.sort_by_key(|&((trace, on), (_, time))| {
        (std::cmp::Reverse(time), rows.place(trace), rows.place(usize::from(on)))
    });
    writeln!(out, "<div><h3>Who waited for whom</h3><table id=\"pairs\">")?;
    writeln!(out, "<tr><th>trace<th>waited for<th>waits<th>in all</tr>")?;
    for ((trace, on), (count, time)) in pairs.iter().take(MOST_PAIRS) {
        writeln!(
            out,
            "<tr><td>{}<td>{}<td class=\"n\">{}<td class=\"n\">{}</tr>",
            Escaped(rows.name(*trace)),
            Escaped(rows.name(usize::from(*on))),
            grouped(*count),
            duration(*time as f64 / 1e9)
        )?;
    }
    writeln!(out, "</table>")?;
    if let Some(more) = pairs.len().checked_sub(MOST_PAIRS).filter(|&more| more > 0) {
        writeln!(out, "<p>And {} more pairs that waited less.</p>", grouped(more as u64))?;
    }
    writeln!(out, "</div>")
}

/// What the script shows: traces in the order of the page's rows, waits as begin, end and row waited for.
#[derive(serde::Serialize)]
struct Known<'a> {
    /// The run's length in nanoseconds.
    end: u64,
    /// By row.
    names: Vec<&'a str>,
    /// By row, when it was done.
    ends: Vec<u64>,
    /// Waits are missing.
    sampled: bool,
    /// By row, three numbers a wait.
    waits: Vec<Vec<u64>>,
}

/// Writes the waits as JSON for the script, and says so if they are a sample.
pub fn data(out: &mut fmt::Formatter<'_>, timeline: &Timeline, rows: &Rows<'_>) -> fmt::Result {
    let all: usize = timeline.lanes.iter().map(|lane| lane.waits.len()).sum();
    if all > MOST_WAITS {
        writeln!(
            out,
            "<p class=\"script\" hidden>The pointer finds {} of {} waits, an even sample.</p>",
            grouped(MOST_WAITS as u64),
            grouped(all as u64)
        )?;
    }
    let mut before = 0;
    let mut waits = vec![Vec::new(); timeline.lanes.len()];
    for (trace, lane) in timeline.lanes.iter().enumerate() {
        for (number, wait) in (before..).zip(&lane.waits) {
            if is_sampled(number, all) {
                let on = rows.place(usize::from(wait.on)) as u64;
                waits[rows.place(trace)].extend([wait.from, wait.to, on]);
            }
        }
        before += lane.waits.len();
    }
    let names = rows.order.iter().map(|&trace| rows.name(trace)).collect();
    let ends = rows.order.iter().map(|&trace| timeline.lanes.get(trace).map_or(0, |lane| lane.end)).collect();
    let known = Known { end: timeline.end(), names, ends, sampled: all > MOST_WAITS, waits };
    let json = serde_json::to_string(&known).map_err(|_| fmt::Error)?;
    // In JSON `<` stands in strings only; written like this it cannot end the element.
    writeln!(out, "<script type=\"application/json\" id=\"waits\">{}</script>", json.replace('<', "\\u003c"))
}

/// Whether wait `number` of `all` is one of at most [`MOST_WAITS`] that are spread evenly.
fn is_sampled(number: usize, all: usize) -> bool {
    let most = MOST_WAITS.min(all);
    (number + 1) * most / all > number * most / all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R40: a page holds so many waits at most, from the whole run.
    #[test]
    fn samples_are_bounded_and_even() {
        for all in [1, MOST_WAITS - 1, MOST_WAITS, MOST_WAITS + 1, 1_000_000] {
            let sampled: Vec<usize> = (0..all).filter(|&number| is_sampled(number, all)).collect();
            assert_eq!(sampled.len(), all.min(MOST_WAITS), "of {all}");
            let widest = all.div_ceil(MOST_WAITS);
            assert!(sampled.windows(2).all(|pair| pair[1] - pair[0] <= widest), "of {all}");
        }
    }
}
