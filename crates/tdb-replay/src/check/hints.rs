//! What would explain a contradiction that is not the store's fault.
//!
//! Owns the questions that are worth asking before anybody blames a store: is one trace there twice, is one missing, is one clock off? A
//! hint is a possibility, and no part of the verdict.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use hashbrown::HashMap;

use crate::order::attempt::{Question, begins_empty};
use crate::order::explain::explain;
use crate::stat::keys::changes;
use crate::trace::chain::Hashing;
use crate::trace::columns::{ABSENT, ABSENT_OR_EMPTY, EMPTY, NONE};
use crate::trace::op::Op;
use crate::trace::{History, Trace};
use crate::verdict::{Contradiction, Verdict};

/// Lines and traces of each kind that are named.
const NAMED: usize = 3;
/// Clocks are looked at one by one if all that work is less than so many rows: seconds.
const ROWS: usize = 2_000_000;

/// What would explain `found`, which was found in `history`, in sentences. Nothing of a history that is explained.
pub fn hints(
    history: &History,
    found: &[Contradiction],
    verdict: Verdict,
    question: Question,
) -> Vec<String> {
    if verdict != Verdict::Impossible && verdict != Verdict::NumbersDisbelieved {
        return Vec::new();
    }
    let mut hints = given_twice(history);
    if hints.is_empty() {
        hints.extend(unwritten(history, found));
        hints.extend(uncounted(history));
        hints.extend(skewed(history, verdict, question));
    }
    hints
}

fn name(history: &History, trace: usize) -> String {
    history.traces[trace].path.display().to_string()
}

/// Traces that are the same, row by row.
fn given_twice(history: &History) -> Vec<String> {
    let mut seen: HashMap<u64, usize> = HashMap::new();
    let mut hints = Vec::new();
    for (number, trace) in history.traces.iter().enumerate() {
        // Processes that did nothing are alike.
        if !(0..trace.rows.len()).any(|row| changes(trace.rows.row(row))) {
            continue;
        }
        match seen.get(&print_of(trace)) {
            Some(&first) if are_same(&history.traces[first], trace) => hints.push(format!(
                "{} and {} are the same, line by line; was one trace given twice?",
                name(history, first),
                name(history, number)
            )),
            _ => {
                seen.insert(print_of(trace), number);
            }
        }
    }
    hints.truncate(NAMED);
    hints
}

fn print_of(trace: &Trace) -> u64 {
    let mut hasher = DefaultHasher::new();
    for row in 0..trace.rows.len() {
        let of = trace.rows.row(row);
        (of.op as u8, of.seq, of.key, of.a, of.b).hash(&mut hasher);
        trace.rows.stamp(row).map(|stamp| (stamp.start_ns, stamp.duration_ns)).hash(&mut hasher);
    }
    hasher.finish()
}

fn are_same(one: &Trace, other: &Trace) -> bool {
    one.rows.len() == other.rows.len()
        && (0..one.rows.len()).all(|row| {
            one.rows.row(row) == other.rows.row(row) && one.rows.stamp(row) == other.rows.stamp(row)
        })
}

/// The value that a row shows to have been there before it, if it shows one.
fn shown(trace: &Trace, row: usize) -> Option<(u32, u32)> {
    let row = trace.rows.row(row);
    let value = match row.op {
        Op::Fetch | Op::Traverse | Op::Append => row.a,
        _ => return None,
    };
    (!matches!(value, ABSENT | EMPTY | ABSENT_OR_EMPTY | NONE)).then_some((row.key, value))
}

/// The value that a row leaves, if it leaves one.
fn left(trace: &Trace, row: usize) -> Option<(u32, u32)> {
    let row = trace.rows.row(row);
    match row.op {
        Op::Store | Op::Storev => Some((row.key, row.a)),
        Op::Append => Some((row.key, row.b)),
        _ => None,
    }
}

/// Lines of contradictions that show what no trace wrote.
fn unwritten(history: &History, found: &[Contradiction]) -> Vec<String> {
    let lines = found.iter().filter(|found| found.gave_up.is_none()).flat_map(|found| &found.lines);
    let mut asked: Vec<_> = lines
        .filter_map(|line| {
            let (trace, row) = (usize::from(line.trace), line.row as usize);
            Some((shown(&history.traces[trace], row)?, trace, row))
        })
        .collect();
    if asked.is_empty() {
        return Vec::new();
    }
    for trace in &history.traces {
        for row in 0..trace.rows.len() {
            if let Some(written) = left(trace, row) {
                asked.retain(|(wanted, ..)| *wanted != written);
            }
        }
    }
    asked.sort_unstable_by_key(|&(_, trace, row)| (trace, row));
    asked.dedup();
    let or = if begins_empty(history) { "" } else { ", or the database held it before" };
    let hint = |&(_, trace, row): &(_, usize, usize)| {
        format!("{} shows a value that no trace wrote; a trace may be missing{or}", history.place(trace, row))
    };
    asked.iter().take(NAMED).map(hint).collect()
}

/// Numbers that nobody's changes account for.
fn uncounted(history: &History) -> Option<String> {
    let first = history.traces.iter().map(|trace| trace.opened.seq).min()?;
    let (mut last, mut most) = (first, 0u64);
    for trace in &history.traces {
        for row in 0..trace.rows.len() {
            last = last.max(trace.rows.seq(row));
            let of = trace.rows.row(row);
            // A store that grows its record takes two numbers.
            most += 2 * u64::from(
                changes(of) || matches!(of.op, Op::WipeAll | Op::TransactionCommit | Op::Storev),
            );
        }
    }
    let span = u64::from(last - first);
    (span > most).then(|| {
        format!(
            "the sequence number went from {first} to {last}, further than all changes in these traces take it; a trace may be missing"
        )
    })
}

/// Traces without whose times the history would be explained.
fn skewed(history: &History, verdict: Verdict, question: Question) -> Vec<String> {
    let timed: Vec<usize> =
        (0..history.traces.len()).filter(|&trace| history.traces[trace].rows.is_timed()).collect();
    let rows: usize = history.traces.iter().map(|trace| trace.rows.len()).sum();
    if !question.times || timed.len() < 2 || rows * (timed.len() + 1) > ROWS {
        return Vec::new();
    }
    let is_better = |history: &History, question: Question| {
        let answer = explain(history, Hashing::recorded(history), question);
        answer.map_or(Verdict::Impossible, |explained| explained.verdict()) < verdict
    };
    if !is_better(history, Question { times: false, ..question }) {
        return Vec::new();
    }
    let suspects: Vec<usize> = timed
        .iter()
        .copied()
        .filter(|&trace| history.without_times_of(trace).is_some_and(|history| is_better(&history, question)))
        .collect();
    if suspects.is_empty() {
        return vec![
            "without times there is an order; several clocks may differ (`--no-times` ignores them)"
                .to_owned(),
        ];
    }
    let hint = |&trace: &usize| {
        format!("without the times of {} there is an order; its clock may differ", name(history, trace))
    };
    suspects.iter().take(NAMED).map(hint).collect()
}
