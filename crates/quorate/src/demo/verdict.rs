//! What the demo found: the recorded history checked, figures, and whether anything was lost.

use std::time::Duration;

use client_history::{Form, History, Outcome, Verdict, WriteError, check};
use history::solver::Limits;

use super::record::{Asked, Done, history, longest_standstill};

/// What was found.
pub struct Finding {
    /// The verdict on the history.
    pub verdict: Verdict,
    /// The operations that contradict each other, in words, if any do.
    pub contradiction: Vec<String>,
    /// Commands that were answered: reads, and writes.
    pub answered: (usize, usize),
    /// Commands that were refused, compare-and-sets that found another value among them.
    pub refused: usize,
    /// Commands of which nobody knows whether they happened.
    pub unknown: usize,
    /// The longest time without an acknowledged write: its beginning, its length.
    pub standstill: Option<(Duration, Duration)>,
    /// The longest that a read took.
    pub longest_read: Duration,
    /// Half of the reads, and of the writes, took no longer than this.
    pub median: (Duration, Duration),
    /// The history for other checkers: files by name, or why one cannot be written.
    pub exports: Vec<(&'static str, Result<String, WriteError>)>,
}

fn exports(history: &History) -> Vec<(&'static str, Result<String, WriteError>)> {
    let files = [("history.jsonl", Form::Lines), ("history.edn", Form::Edn)];
    files.into_iter().map(|(name, form)| (name, client_history::write(history, form))).collect()
}

/// Checks the commands.
pub fn find(commands: &[Done]) -> Finding {
    let history = history(commands);
    let checked = check(&history, Limits::default());
    let contradiction = checked.findings.iter().flat_map(|finding| &finding.operations).map(|&at| {
        let operation = &history.operations[at as usize];
        let key = history.key_text(operation.key);
        let client = history.client_text(operation.client);
        let span = format!("{} to {}", operation.call, operation.end.unwrap_or(u64::MAX));
        format!("client {client}: {} {key} [{span} ns]", history.describe(operation))
    });
    let is_read = |done: &&Done| matches!(done.asked, Asked::Read(_));
    let ok = || commands.iter().filter(|done| done.outcome == Outcome::Ok);
    let count = |outcome| commands.iter().filter(|done| done.outcome == outcome).count();
    let times = |reads: bool| {
        let wanted = ok().filter(|done| is_read(done) == reads);
        let mut times: Vec<Duration> = wanted.map(|done| done.end - done.call).collect();
        times.sort_unstable();
        times
    };
    let (reads, writes) = (times(true), times(false));
    let median = |times: &[Duration]| times.get(times.len() / 2).copied().unwrap_or_default();
    Finding {
        verdict: checked.verdict(),
        contradiction: contradiction.collect(),
        answered: (reads.len(), writes.len()),
        refused: count(Outcome::Failed),
        unknown: count(Outcome::Unknown),
        standstill: longest_standstill(commands),
        longest_read: reads.last().copied().unwrap_or_default(),
        median: (median(&reads), median(&writes)),
        exports: exports(&history),
    }
}
