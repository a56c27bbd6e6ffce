//! A client history as a picture: each contradiction with what was done to its register around it.

use std::collections::BTreeSet;
use std::path::Path;

use client_history::{Checked, Finding, History, Operation, Outcome, Verdict, longest_explained};
use history::solver::Limits;

use crate::picture::{Bar, Panel, Picture};

/// The most operations that one panel shows.
const MOST: usize = 120;

/// The page for what `checked` says of the history in `path`.
pub fn of(path: &Path, history: &History, checked: &Checked, limits: Limits) -> Picture {
    let name = path.display();
    let verdict = match checked.verdict() {
        Verdict::Explained => format!("{name} is explained: every register is linearizable"),
        Verdict::Impossible => format!("{name} is impossible: not linearizable"),
        Verdict::GaveUp => format!("{name}: the search gave up; the answer is not known"),
    };
    let contradictions = checked.findings.iter().filter(|finding| finding.gave_up.is_none());
    Picture {
        title: "Is this history possible?".into(),
        verdict,
        is_good: checked.verdict() == Verdict::Explained,
        panels: contradictions.map(|finding| panel(path, history, finding, limits)).collect(),
    }
}

fn panel(path: &Path, history: &History, finding: &Finding, limits: Limits) -> Panel {
    let (shown, left_out) = around(history, finding);
    let prefix = longest_explained(history, finding.key, limits);
    let clients: BTreeSet<u32> =
        shown.iter().map(|&index| history.operations[index as usize].client).collect();
    let clients: Vec<u32> = clients.into_iter().collect();
    let bars = shown.iter().map(|&index| {
        let operation = &history.operations[index as usize];
        Bar {
            lane: clients.partition_point(|&client| client < operation.client),
            from: operation.call,
            to: operation.end.filter(|_| operation.outcome != Outcome::Unknown),
            when: operation.end.map_or_else(
                || format!("{}, no return", operation.call),
                |end| format!("{} to {end}", operation.call),
            ),
            text: history.describe(operation),
            place: format!("{}:{}", path.display(), operation.lines.call),
            contradicts: finding.operations.contains(&index),
            position: prefix.order.iter().position(|&ordered| ordered == index).map(|nth| nth + 1),
        }
    });
    let key = history.key_text(finding.key);
    Panel {
        title: if key.is_empty() { "The contradiction".into() } else { format!("Register {key}") },
        bars: bars.collect(),
        lanes: clients.iter().map(|&client| format!("client {}", history.client_text(client))).collect(),
        axis: "time, one step for each call and return",
        until: prefix.until,
        left_out,
    }
}

/// The operations to draw (indexes): those that contradict each other, and the nearest others on their register. Also how
/// many are left out.
fn around(history: &History, finding: &Finding) -> (Vec<u32>, usize) {
    let of = |index: u32| &history.operations[index as usize];
    let calls = || finding.operations.iter().map(|&index| of(index).call);
    let (first, last) = (calls().min().unwrap_or(0), calls().max().unwrap_or(0));
    let distance = |operation: &Operation| {
        let end = operation.end.unwrap_or(operation.call);
        first.saturating_sub(end).max(operation.call.saturating_sub(last))
    };
    let on_key = |index: &u32| of(*index).key == finding.key && of(*index).outcome != Outcome::Failed;
    let mut shown: Vec<u32> = (0..history.operations.len() as u32).filter(on_key).collect();
    let all = shown.len();
    shown.sort_by_key(|&index| (!finding.operations.contains(&index), distance(of(index)), of(index).call));
    shown.truncate(MOST);
    (shown, all - all.min(MOST))
}
