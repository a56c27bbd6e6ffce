//! A verdict in words and as JSON.
//!
//! Owns the wording. Every operation of a contradiction is named by file and line and quoted as its trace says it.

use std::fmt::{self, Display, Formatter};

use serde::Serialize;
use tdb_trace::print::print;

use super::timed::TimedEffort;
use super::{Answer, Verdict};
use crate::order::explain::{KeyConflict, Unexplained};
use crate::order::solve::Effort;
use crate::stat::keys::{key_of, name};
use crate::trace::History;
use crate::trace::calls::call_of;

/// A verdict that can be shown.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// In one word.
    pub verdict: Answer,
    /// How many traces.
    pub traces: usize,
    /// Lines of all traces.
    pub lines: u64,
    /// What finding the order took, if there is one.
    pub order: Option<Effort>,
    /// Keys that must have existed before the traces began.
    pub planted: Option<usize>,
    /// What checking the times took, if there are any.
    pub times: Option<TimedEffort>,
    /// What had to be assumed, and what the reader warned of.
    pub notes: Vec<String>,
    /// Why there is no order.
    pub contradictions: Vec<Contradiction>,
    /// Contradictions beyond those.
    pub more_contradictions: usize,
}

/// Operations that exclude each other.
#[derive(Clone, Debug, Serialize)]
pub struct Contradiction {
    /// What kind.
    pub kind: Kind,
    /// The key, quoted and escaped, when it is about one.
    pub key: Option<String>,
    /// The bound in states, when the search was given up.
    pub gave_up_at: Option<u64>,
    /// The operations.
    pub operations: Vec<Said>,
    /// Operations beyond those.
    pub more_operations: usize,
}

/// What excludes what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Operations on one key have no order.
    Key,
    /// Operations on one key have an order, but none that keeps their times.
    Times,
    /// A transaction did not read what it wrote.
    Transaction,
    /// Each key has an order, but all of them together have none.
    Cycle,
}

/// One operation of a contradiction.
#[derive(Clone, Debug, Serialize)]
pub struct Said {
    /// File and line.
    pub place: String,
    /// What the line says, cut where it gets long.
    pub line: String,
    /// Its part in the contradiction, if it is known.
    pub why: String,
}

const MOST_CONTRADICTIONS: usize = 10;
const MOST_OPERATIONS: usize = 30;
const LONGEST_LINE: usize = 160;

impl Report {
    /// The verdict on `history`.
    pub fn of(history: &History, verdict: &Verdict) -> Report {
        let mut report = Report {
            verdict: verdict.answer(),
            traces: history.traces.len(),
            lines: history.lines(),
            order: None,
            planted: None,
            times: verdict.timed.as_ref().map(|timed| timed.effort),
            notes: history.warnings.clone(),
            contradictions: Vec::new(),
            more_contradictions: 0,
        };
        let plain = |rows: &[(u16, u32)]| {
            rows.iter().map(|&(trace, row)| (trace, row, String::new())).collect::<Vec<_>>()
        };
        match &verdict.sequential {
            Ok(explained) => {
                report.order = Some(explained.effort);
                report.planted = Some(explained.planted.len());
                report.notes.extend(explained.notes.iter().cloned());
                report.keys(history, verdict.conflicts(), Kind::Times);
            }
            Err(Unexplained::Keys(conflicts)) => report.keys(history, conflicts, Kind::Key),
            Err(Unexplained::Transaction(trace, row)) => {
                report.contradictions.push(of_rows(history, Kind::Transaction, &plain(&[(*trace, *row)])));
            }
            Err(Unexplained::Cycle(rows)) => {
                report.contradictions.push(of_rows(history, Kind::Cycle, &plain(rows)));
            }
        }
        report
    }

    fn keys(&mut self, history: &History, conflicts: &[KeyConflict], kind: Kind) {
        for conflict in conflicts.iter().take(MOST_CONTRADICTIONS) {
            self.contradictions.push(Contradiction {
                key: Some(name(history, conflict.key)),
                gave_up_at: conflict.gave_up,
                ..of_key_rows(history, kind, conflict)
            });
        }
        self.more_contradictions = conflicts.len() - self.contradictions.len();
    }
}

/// A transaction is named by its start; what it did to the key stands after that.
fn of_key_rows(history: &History, kind: Kind, conflict: &KeyConflict) -> Contradiction {
    let mut rows = Vec::new();
    for (number, row, why) in &conflict.rows {
        let trace = &history.traces[usize::from(*number)];
        rows.push((*number, *row, why.clone()));
        let started = trace.groups.iter().find(|group| group.is_transaction() && group.start == *row);
        let inside = started.map_or(0..0, |group| group.start + 1..group.end + 1);
        let on_key = inside.filter(|&row| key_of(trace.rows.row(row as usize)) == Some(conflict.key));
        rows.extend(on_key.map(|row| (*number, row, String::new())));
    }
    of_rows(history, kind, &rows)
}

fn of_rows(history: &History, kind: Kind, rows: &[(u16, u32, String)]) -> Contradiction {
    let said = rows.iter().take(MOST_OPERATIONS).map(|(trace, row, why)| Said {
        place: history.place(usize::from(*trace), *row as usize),
        line: line(history, usize::from(*trace), *row as usize),
        why: why.clone(),
    });
    let operations: Vec<Said> = said.collect();
    Contradiction {
        kind,
        key: None,
        gave_up_at: None,
        more_operations: rows.len() - operations.len(),
        operations,
    }
}

/// What a row's line says, without its end where that is long.
pub fn line(history: &History, trace: usize, row: usize) -> String {
    let row = history.traces[trace].rows.row(row);
    let mut text = Vec::new();
    let mut room = [None];
    print(&call_of(row, &history.records, &mut room), &mut text);
    let mut text = format!("{} {}", row.seq, String::from_utf8_lossy(&text));
    if text.len() > LONGEST_LINE {
        text.truncate(LONGEST_LINE);
        text.push_str("...");
    }
    text
}

impl Display for Report {
    fn fmt(&self, out: &mut Formatter) -> fmt::Result {
        let Report { traces, lines, .. } = self;
        let word = match self.verdict {
            Answer::Explained => "explained",
            Answer::Impossible => "impossible",
            Answer::GaveUp => "not known",
        };
        writeln!(out, "{word}: {traces} traces, {lines} lines")?;
        if let Some(effort) = &self.order {
            writeln!(
                out,
                "  order: {} keys; {} without a choice, {} with choices, {} with steps back; {} states",
                effort.keys, effort.no_choice, effort.greedy, effort.searched, effort.states
            )?;
            if effort.without_windows > 0 {
                writeln!(
                    out,
                    "  {} keys have an order only if sequence numbers are not believed",
                    effort.without_windows
                )?;
            }
        }
        if let Some(planted) = self.planted.filter(|&planted| planted > 0) {
            writeln!(out, "  {planted} keys must have existed before the traces began")?;
        }
        if let Some(times) = &self.times {
            writeln!(
                out,
                "  times: {} keys; {} without a choice, {} with steps back; {} states; {} operations without times",
                times.keys, times.no_choice, times.searched, times.states, times.without_times
            )?;
        }
        self.notes.iter().try_for_each(|note| writeln!(out, "  note: {note}"))?;
        self.contradictions.iter().try_for_each(|contradiction| contradiction.fmt(out))?;
        if self.more_contradictions > 0 {
            writeln!(out, "and {} more", self.more_contradictions)?;
        }
        Ok(())
    }
}

impl Display for Contradiction {
    fn fmt(&self, out: &mut Formatter) -> fmt::Result {
        let key = self.key.as_deref().unwrap_or_default();
        match (self.gave_up_at, self.kind) {
            (Some(bound), _) => {
                writeln!(out, "key {key}: given up after {bound} states; an order may exist")?
            }
            (None, Kind::Key) => {
                writeln!(out, "key {key}: these operations have no order in which each result is true:")?
            }
            (None, Kind::Times) => {
                writeln!(out, "key {key}: these operations have no order that keeps their times:")?
            }
            (None, Kind::Transaction) => {
                writeln!(out, "this contradicts what its own transaction did before:")?
            }
            (None, Kind::Cycle) => writeln!(out, "each of these must come before another one of them:")?,
        }
        let mut number = 0;
        for Said { place, line, why } in &self.operations {
            if why.is_empty() {
                writeln!(out, "  {place}: {line}")?;
            } else {
                // Reasons name other operations by these numbers.
                number += 1;
                writeln!(out, "  #{number} {place}: {line}")?;
                writeln!(out, "      {why}")?;
            }
        }
        if self.more_operations > 0 {
            writeln!(
                out,
                "  and {} more operations; `quorate reduce` finds the few that matter",
                self.more_operations
            )?;
        }
        Ok(())
    }
}
