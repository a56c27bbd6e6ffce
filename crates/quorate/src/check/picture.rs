//! Traces as a picture: each contradiction with what was done to its key around it.
//!
//! The axis counts nanoseconds where every operation drawn has times. Otherwise an operation reaches from the sequence number of
//! its trace's previous line to its own, which is all that a plain trace says of when it happened.

use std::collections::BTreeSet;
use tdb_replay::words::counted;

use tdb_replay::check::Checked;
use tdb_replay::stat::keys::{key_of, name};
use tdb_replay::trace::History;
use tdb_replay::trace::calls::line;
use tdb_replay::verdict::{Contradiction, Verdict};

use crate::picture::{Bar, Panel, Picture};

/// The most operations and contradictions that a page shows.
const MOST: usize = 60;
const MOST_PANELS: usize = 10;

/// A row: its trace and its number there.
type Place = (usize, usize);

/// The page for what `checked` says of `history`.
pub fn of(history: &History, checked: &Checked) -> Picture {
    let verdict = checked.verdict();
    let shown = checked.contradictions().iter().filter(|found| !found.lines.is_empty()).take(MOST_PANELS);
    Picture {
        title: "Is this history possible?".into(),
        verdict: format!(
            "{verdict}: {} with {}",
            counted(history.traces.len(), "trace"),
            counted(history.lines(), "line")
        ),
        is_good: verdict == Verdict::Explained,
        panels: shown.map(|found| panel(history, found)).collect(),
    }
}

fn panel(history: &History, found: &Contradiction) -> Panel {
    let named: BTreeSet<Place> =
        found.lines.iter().map(|line| (usize::from(line.trace), line.row as usize)).collect();
    let (rows, left_out) = around(history, found, &named);
    let spans = spans(history, &rows);
    let traces: Vec<usize> = rows.iter().map(|row| row.0).collect::<BTreeSet<_>>().into_iter().collect();
    let bars = rows.iter().zip(&spans.ends).map(|(&(trace, row), &(from, to))| Bar {
        lane: traces.partition_point(|&other| other < trace),
        from,
        to: Some(to),
        when: spans.words(from, to),
        text: line(history, trace, row),
        place: history.place(trace, row),
        contradicts: named.contains(&(trace, row)),
        position: None,
    });
    let lane = |trace: &usize| {
        let path = &history.traces[*trace].path;
        path.file_name()
            .map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
    };
    Panel {
        title: found.key.map_or("All keys".into(), |key| format!("Key {}", name(history, key))),
        bars: bars.collect(),
        lanes: traces.iter().map(lane).collect(),
        axis: spans.axis,
        until: None,
        left_out,
    }
}

/// The rows to draw: those named, and the nearest others on the same key. Also how many are left out.
fn around(history: &History, found: &Contradiction, named: &BTreeSet<Place>) -> (Vec<Place>, usize) {
    let number = |&(trace, row): &Place| history.traces[trace].rows.seq(row);
    let (first, last) =
        (named.iter().map(number).min().unwrap_or(0), named.iter().map(number).max().unwrap_or(0));
    let mut rows: Vec<Place> = named.iter().copied().collect();
    if let Some(key) = found.key {
        for (trace, of) in history.traces.iter().enumerate() {
            let on_key = (0..of.rows.len()).filter(|&row| key_of(of.rows.row(row)) == Some(key));
            rows.extend(on_key.map(|row| (trace, row)).filter(|place| !named.contains(place)));
        }
    }
    let distance =
        |place: &Place| first.saturating_sub(number(place)).max(number(place).saturating_sub(last));
    rows.sort_by_key(|place| (!named.contains(place), distance(place), place.1));
    let left_out = rows.len().saturating_sub(MOST);
    rows.truncate(MOST.max(named.len()));
    rows.sort_unstable();
    (rows, left_out)
}

/// Where the rows lie on the axis.
struct Spans {
    ends: Vec<(u64, u64)>,
    timed: bool,
    axis: &'static str,
}

impl Spans {
    fn words(&self, from: u64, to: u64) -> String {
        match self.timed {
            true => format!("{from} to {to} ns"),
            false => format!("numbers {} to {}", from >> 32, to >> 32),
        }
    }
}

fn spans(history: &History, rows: &[Place]) -> Spans {
    let stamp = |&(trace, row): &Place| history.traces[trace].rows.stamp(row);
    if let Some(stamps) = rows.iter().map(stamp).collect::<Option<Vec<_>>>() {
        let ends = stamps.iter().map(|stamp| (stamp.start_ns, stamp.end_ns())).collect();
        return Spans { ends, timed: true, axis: "nanoseconds, one step for each call and return" };
    }
    // Rows of one trace with one number stand side by side.
    let ends = rows.iter().map(|&(trace, row)| {
        let of = &history.traces[trace].rows;
        let before = row.checked_sub(1).map_or(history.traces[trace].opened.seq, |before| of.seq(before));
        let place = |number: u32| u64::from(number) << 32 | row as u64;
        (place(before.min(of.seq(row))), place(of.seq(row)))
    });
    Spans {
        ends: ends.collect(),
        timed: false,
        axis: "sequence numbers, from that of the line before to its own",
    }
}
