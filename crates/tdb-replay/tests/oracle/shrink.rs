//! Makes a history that the two judge differently small: whatever can be left out while they still disagree in the same way is.

use crate::history::{Beginning, History, Line, Op, Value};

/// The smallest history found for which `still` holds.
pub fn shrink(mut history: History, still: &dyn Fn(&History) -> bool) -> History {
    loop {
        let smaller = candidates(&history).into_iter().find(|candidate| still(candidate));
        match smaller {
            Some(smaller) => history = smaller,
            None => return history,
        }
    }
}

fn candidates(history: &History) -> Vec<History> {
    let mut all = Vec::new();
    let mut change = |edit: &dyn Fn(&mut History)| {
        let mut new = history.clone();
        edit(&mut new);
        if new != *history && new.traces.iter().any(|trace| !trace.lines.is_empty()) {
            all.push(new);
        }
    };
    for nth in 0..history.traces.len() {
        change(&|new| drop(new.traces.remove(nth)));
        for at in 0..history.traces[nth].lines.len() {
            for other in (at + 1..history.traces[nth].lines.len()).rev() {
                change(&|new| {
                    new.traces[nth].lines.remove(other);
                    new.traces[nth].lines.remove(at);
                });
            }
            change(&|new| {
                new.traces[nth].lines.remove(at);
            });
        }
        change(&|new| new.traces[nth].exact = false);
        change(&|new| new.traces[nth].under_way = None);
    }
    change(&|new| {
        new.traces.iter_mut().for_each(|trace| {
            trace.opened_time = None;
            trace.lines.iter_mut().for_each(|line| (line.time, line.version) = (None, None));
        })
    });
    change(&|new| {
        new.traces.iter_mut().for_each(|trace| trace.lines.iter_mut().for_each(|line| line.version = None))
    });
    change(&|new| new.beginning = Beginning::Unknown);
    change(&|new| new.one_chain = false);
    change(&|new| new.classic = false);
    for nth in 0..history.traces.len() {
        change(&|new| new.traces[nth].opened = 0);
        for at in 0..history.traces[nth].lines.len() {
            change(&|new| plain(&mut new.traces[nth].lines[at]));
            change(&|new| lower(new, nth, at));
        }
    }
    for value in 1..4 {
        change(&|new| {
            new.traces
                .iter_mut()
                .flat_map(|trace| &mut trace.lines)
                .for_each(|line| simple(line, Value(value)))
        });
    }
    all
}

/// Every number from here on down by one.
fn lower(history: &mut History, nth: usize, at: usize) {
    let from = history.traces[nth].lines[at].number;
    let down = |number: &mut u32| *number -= u32::from(*number >= from && *number > 0);
    for trace in &mut history.traces {
        down(&mut trace.opened);
        for line in &mut trace.lines {
            down(&mut line.number);
            line.version.as_mut().map(down);
            if let Op::GetSeqnum(number) = &mut line.op {
                down(number);
            }
        }
    }
}

fn plain(line: &mut Line) {
    (line.time, line.version) = (None, None);
}

/// Longer words become `word`, wherever they stand alone.
fn simple(line: &mut Line, word: Value) {
    let short = |value: &mut Value| {
        if value.0 > 3 {
            *value = word;
        }
    };
    match &mut line.op {
        Op::Fetch { found: Some(value), .. }
        | Op::Store { value, .. }
        | Op::Storev { value, .. }
        | Op::Callback { found: value, .. } => short(value),
        Op::Append { before, more, .. } => {
            before.as_mut().map(short);
            short(more);
        }
        _ => {}
    }
}
