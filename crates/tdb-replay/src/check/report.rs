//! A verdict in words and as JSON.
//!
//! Owns the wording. Every operation of a contradiction is named by file and line and quoted as its trace says it.

use crate::words::counted;
use std::fmt::{self, Display, Formatter};

use serde::Serialize;

use super::Checked;
use crate::order::explain::{Explained, Unexplained};
use crate::order::solve::Effort;
use crate::stat::keys::{key_of, name};
use crate::trace::History;
use crate::trace::calls::line;
use crate::verdict::{self, Kind, Verdict};

/// A verdict that can be shown.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// In one word.
    pub verdict: Verdict,
    /// How many traces.
    pub traces: usize,
    /// Lines of all traces.
    pub lines: u64,
    /// What finding the order took, if there is one.
    pub order: Option<Effort>,
    /// Keys that must have existed before the traces began.
    pub planted: Option<usize>,
    /// Whether the order was held against times.
    pub times: bool,
    /// What had to be assumed, and what the reader warned of.
    pub notes: Vec<String>,
    /// Why there is no order.
    pub contradictions: Vec<Contradiction>,
    /// Contradictions beyond those.
    pub more_contradictions: usize,
    /// What would explain them, if it is not the store.
    pub hints: Vec<String>,
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
    /// None of the operations can be left out.
    pub minimal: bool,
    /// The operations.
    pub operations: Vec<Said>,
    /// Operations beyond those.
    pub more_operations: usize,
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

impl Report {
    /// The verdict on `history`.
    pub fn of(history: &History, checked: &Checked) -> Report {
        let mut report = Report::with(history, checked.verdict(), checked.contradictions());
        if let Ok(explained) = &checked.answer {
            report.times = explained.timed;
            report.order = Some(explained.effort);
            report.planted = Some(explained.planted.len());
            report.notes.extend(explained.notes.iter().cloned());
        }
        report
    }

    /// Why `history` has no order.
    pub fn of_failure(history: &History, unexplained: &Unexplained) -> Report {
        Report::with(history, unexplained.verdict(), &unexplained.contradictions)
    }

    fn with(history: &History, verdict: Verdict, found: &[verdict::Contradiction]) -> Report {
        let contradictions: Vec<_> =
            found.iter().take(MOST_CONTRADICTIONS).map(|found| Contradiction::of(history, found)).collect();
        Report {
            verdict,
            traces: history.traces.len(),
            lines: history.lines(),
            order: None,
            planted: None,
            times: false,
            notes: history.warnings.clone(),
            more_contradictions: found.len() - contradictions.len(),
            contradictions,
            hints: Vec::new(),
        }
    }
}

impl Contradiction {
    /// Names the lines. A transaction is named by its start; what it did to the key stands after that.
    pub fn of(history: &History, found: &verdict::Contradiction) -> Contradiction {
        let mut rows = Vec::new();
        for verdict::Line { trace: number, row, why } in &found.lines {
            let trace = &history.traces[usize::from(*number)];
            rows.push((*number, *row, why.clone()));
            let started = trace.groups.iter().find(|group| group.is_transaction() && group.start == *row);
            let inside = started.map_or(0..0, |group| group.start + 1..group.end + 1);
            let on_key = inside
                .filter(|&row| found.key.is_some() && key_of(trace.rows.row(row as usize)) == found.key);
            rows.extend(on_key.map(|row| (*number, row, String::new())));
        }
        let said = rows.iter().take(MOST_OPERATIONS).map(|(trace, row, why)| Said {
            place: history.place(usize::from(*trace), *row as usize),
            line: line(history, usize::from(*trace), *row as usize),
            why: why.clone(),
        });
        let operations: Vec<Said> = said.collect();
        Contradiction {
            kind: found.kind,
            key: found.key.map(|key| name(history, key)),
            gave_up_at: found.gave_up,
            minimal: found.minimal,
            more_operations: rows.len() - operations.len(),
            operations,
        }
    }
}

/// The lines whose numbers were set aside for an order, as far as they are named.
pub fn disbelieved(history: &History, explained: &Explained) -> Vec<Contradiction> {
    let named = explained.disbelieved.iter().take(MOST_CONTRADICTIONS);
    named.map(|found| Contradiction::of(history, found)).collect()
}

impl Display for Report {
    fn fmt(&self, out: &mut Formatter) -> fmt::Result {
        let Report { traces, lines, .. } = self;
        writeln!(out, "{}: {}, {}", self.verdict, counted(*traces, "trace"), counted(*lines, "line"))?;
        if let Some(effort) = &self.order {
            writeln!(
                out,
                "  order: {}; {} without a choice, {} with choices, {} with steps back; {}",
                counted(effort.keys, "key"),
                effort.no_choice,
                effort.greedy,
                effort.searched,
                counted(effort.states, "state")
            )?;
        }
        if let Some(planted) = self.planted.filter(|&planted| planted > 0) {
            writeln!(out, "  {} must have existed before the traces began", counted(planted, "key"))?;
        }
        if self.times {
            writeln!(out, "  times: every operation lies between its call and its answer")?;
        }
        self.notes.iter().try_for_each(|note| writeln!(out, "  note: {note}"))?;
        self.contradictions.iter().try_for_each(|contradiction| contradiction.fmt(out))?;
        if self.more_contradictions > 0 {
            writeln!(out, "and {} more", self.more_contradictions)?;
        }
        self.hints.iter().try_for_each(|hint| writeln!(out, "hint: {hint}"))
    }
}

impl Contradiction {
    /// What the lines are, before they are listed.
    fn heading(&self) -> String {
        let key = self.key.as_ref().map(|key| format!("key {key}: ")).unwrap_or_default();
        let what = match (self.gave_up_at, self.kind) {
            (Some(bound), Kind::Numbers) => {
                return format!(
                    "{key}gave up after {bound} states; there may be an order that agrees with the sequence numbers"
                );
            }
            (Some(bound), Kind::Locks) => {
                return format!(
                    "gave up after {bound} states; whether locks can have been held like this is not known"
                );
            }
            (Some(bound), _) => return format!("{key}gave up after {bound} states; an order may exist"),
            (None, Kind::Key) => "these operations have no order in which each result is true",
            (None, Kind::Times) => "these operations have no order that keeps their times",
            (None, Kind::Transaction) => "these results of one transaction exclude each other",
            (None, Kind::Locks) => "a lock was held while another process had or needed what it excludes",
            (None, Kind::Cycle) => "each of these must come before another one of them",
            (None, Kind::Stuck) => "no order gets past these lines, whatever is done before them",
            (None, Kind::Numbers) => {
                "the sequence numbers of these lines cannot all be right, and are set aside"
            }
            (None, Kind::Lives) => {
                "the database was cleared, and without times it is not known which processes opened it before that and which \
                 after; as it was guessed, these lines have no order with their numbers (record with times: --record-form extended)"
            }
            (None, Kind::ExactNumbers) => "the exact sequence numbers of these lines contradict each other",
        };
        let end = match self.operations.len() {
            0 => "",
            1 | 2 => ":",
            _ if self.minimal || self.kind == Kind::Stuck => ":",
            _ => " (perhaps not all of them are needed for that):",
        };
        format!("{key}{what}{end}")
    }
}

impl Display for Contradiction {
    fn fmt(&self, out: &mut Formatter) -> fmt::Result {
        writeln!(out, "{}", self.heading())?;
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
