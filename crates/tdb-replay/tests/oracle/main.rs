//! The oracle: small histories, judged by brute force and by the tool, which must agree.
//!
//! Nothing here knows the solver. A history is generated ([`simulate`]: by a tiny database and its users; [`mutate`]: the same with
//! small lies, or lines that nobody executed), printed ([`write`](mod@write)), read and judged by the tool ([`tool`]), and judged by trying
//! every order of its steps ([`steps`], [`model`], [`brute`]). What is explained is also replayed, and must end as some order
//! does. A disagreement is made small ([`shrink`]) and printed as trace files, with both verdicts and its seed.
//!
//! What a history means is in docs/ordering.md, "All keys together"; nothing else is shared with the tool.
//!
//! `QUORATE_SEED` reruns a history, `QUORATE_ORACLE_HISTORIES` says how many there are, `QUORATE_LONG` makes them a million, and
//! `QUORATE_ORACLE_SURVEY=n` goes on after a disagreement and shows the first n of each kind. `QUORATE_ORACLE_REPLAYS=n` replays one
//! explained history in n, in memory and on a file. `QUORATE_ORACLE_AS_LARGE` asks the tool again as it judges large histories, without trying every order.

mod brute;
mod history;
mod model;
mod mutate;
mod shrink;
mod simulate;
mod steps;
mod tool;
mod write;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use fastrand::Rng;
use history::{Flag, History, Op};
use tdb_replay::verdict::Verdict;

/// One history in so many is replayed in memory, on a file, and read from files.
const IN_MEMORY: u64 = 20;
const ON_FILE: u64 = 200;
const FROM_FILES: u64 = 100;
/// One history in so many may be given up: all of them are small.
const MOST_GIVEN_UP: u64 = 10_000;

/// The history of a seed, and whether it really happened.
fn draw(seed: u64) -> (History, bool) {
    let mut random = Rng::with_seed(seed);
    let (history, true_one) = match random.u32(..10) {
        0..5 => (simulate::simulate(&mut random), true),
        5..8 => {
            let mut history = simulate::simulate(&mut random);
            mutate::mutate(&mut random, &mut history);
            (history, false)
        }
        _ => (mutate::arbitrary(&mut random), false),
    };
    (history, true_one)
}

/// What the two disagree about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Dispute {
    /// The oracle's verdict and the tool's.
    Verdict(Verdict, Verdict),
    /// A replay went wrong.
    Replay { on_file: bool },
    /// A replay would end as no order does.
    End,
    /// In the order found somebody has no lock.
    Locks,
    /// The oracle's verdict and the tool's if it may not try every order.
    AsLarge(Verdict, Verdict),
    /// The same lines in files have another verdict.
    Files,
}

/// What else is done with a history.
#[derive(Clone, Copy)]
struct Extra {
    as_large: bool,
    in_memory: bool,
    on_file: bool,
    from_files: bool,
}

/// Judges a history twice.
fn dispute(history: &History, extra: Extra) -> (Verdict, Verdict, Option<Dispute>) {
    let expected = brute::verdict(history);
    let said = tool::verdict(history);
    let explained = expected == Verdict::Explained && said == expected && is_replayable(history);
    let found = if said != expected && said != Verdict::GaveUp {
        Some(Dispute::Verdict(expected, said))
    } else if extra.from_files && tool::verdict_on_files(history) != said {
        Some(Dispute::Files)
    } else if explained && tool::locks(history).is_err() {
        Some(Dispute::Locks)
    } else if extra.as_large && is_wrong_as_large(expected, tool::verdict_as_large(history)) {
        Some(Dispute::AsLarge(expected, tool::verdict_as_large(history)))
    } else if explained && extra.in_memory && tool::end(history).is_err() {
        Some(Dispute::End)
    } else if explained && extra.in_memory && tool::replay(history, false).is_err() {
        Some(Dispute::Replay { on_file: false })
    } else if explained && extra.on_file && tool::replay(history, true).is_err() {
        Some(Dispute::Replay { on_file: true })
    } else {
        None
    };
    (expected, said, found)
}

fn is_wrong_as_large(expected: Verdict, said: Verdict) -> bool {
    said != expected && said != Verdict::GaveUp
}

/// Whether every result can come true again: a store that replaces fails for reasons that are not in the trace.
fn is_replayable(history: &History) -> bool {
    let fails = |op| matches!(op, Op::Store { flag: Flag::Replace, done: false, .. });
    !history.traces.iter().flat_map(|trace| &trace.lines).any(|line| fails(line.op))
}

/// Counts, and what was found.
#[derive(Default)]
struct Seen {
    verdicts: BTreeMap<(Verdict, Verdict), u64>,
    disputes: BTreeMap<Dispute, u64>,
    left_out: u64,
    texts: Vec<String>,
}

/// Judges the histories of `count` seeds from `first` on, on every core.
fn judge(first: u64, count: u64, survey: Option<u64>) -> Seen {
    let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let seen = Mutex::new(Seen::default());
    let worker = || {
        while !stop.load(Ordering::Relaxed) {
            let nth = next.fetch_add(1, Ordering::Relaxed);
            if nth >= count {
                break;
            }
            one(first.wrapping_add(nth), nth, survey, &seen, &stop);
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..cores).for_each(|_| drop(scope.spawn(worker))));
    seen.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// What else is done with the `nth` history.
fn extra(nth: u64, replays: Option<u64>) -> Extra {
    let every = |one_in: u64| nth.is_multiple_of(one_in);
    Extra {
        as_large: std::env::var_os("QUORATE_ORACLE_AS_LARGE").is_some(),
        in_memory: every(replays.unwrap_or(IN_MEMORY)),
        on_file: every(replays.unwrap_or(ON_FILE)),
        from_files: every(FROM_FILES),
    }
}

fn one(seed: u64, nth: u64, survey: Option<u64>, seen: &Mutex<Seen>, stop: &AtomicBool) {
    let (history, true_one) = draw(seed);
    let lock = || seen.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if !mutate::is_documented(&history) {
        lock().left_out += 1;
        return;
    }
    let extra = extra(nth, number("QUORATE_ORACLE_REPLAYS"));
    let (expected, said, found) = dispute(&history, extra);
    let mistaken = true_one && expected != Verdict::Explained;
    *lock().verdicts.entry((expected, said)).or_default() += 1;
    let Some(found) = found.or(mistaken.then_some(Dispute::Verdict(expected, expected))) else { return };
    let shown = {
        let mut seen = lock();
        let count = seen.disputes.entry(found.clone()).or_default();
        *count += 1;
        *count
    };
    stop.fetch_or(survey.is_none(), Ordering::Relaxed);
    if shown <= survey.unwrap_or(1) {
        lock().texts.push(shown_small(history, seed, extra, found));
    }
}

/// The smallest history with the same dispute, as text.
fn shown_small(history: History, seed: u64, extra: Extra, found: Dispute) -> String {
    let same = |smaller: &History| {
        mutate::is_documented(smaller) && dispute(smaller, extra).2.as_ref() == Some(&found)
    };
    let small = shrink::shrink(history, &same);
    let mut text = format!("{found:?}, seed {seed}:\n");
    for (nth, trace) in write::texts(&small).iter().enumerate() {
        text += &format!("--- p{nth}.trace\n{trace}");
    }
    match found {
        Dispute::Replay { on_file } => text += &format!("{:?}\n", tool::replay(&small, on_file)),
        Dispute::End => text += &format!("{:?}\n", tool::end(&small)),
        Dispute::Locks => text += &format!("{:?}\n", tool::locks(&small)),
        _ => {}
    }
    text
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text}")))
}

/// R7, R8, R9, R10, R12, R27, R30, R31, R32, R33, R34, R35, R36, R37: the tool's verdict on every small history is that of trying every order; what is
/// explained replays with the recorded results, and ends as an order does.
#[test]
fn verdicts_are_those_of_trying_every_order() {
    let first = testbed::seed("verdicts_are_those_of_trying_every_order");
    let long = std::env::var_os("QUORATE_LONG").map_or(5000, |_| 1_000_000);
    let count = number("QUORATE_ORACLE_HISTORIES").unwrap_or(long);
    let survey = number("QUORATE_ORACLE_SURVEY");

    let seen = judge(first, count, survey);

    eprintln!("{count} histories, {} of them left out", seen.left_out);
    for ((expected, said), count) in &seen.verdicts {
        eprintln!("{count:9} {expected}, said: {said}");
    }
    for (found, count) in &seen.disputes {
        eprintln!("{count:9} {found:?}");
    }
    assert!(seen.texts.is_empty(), "{}", seen.texts.join("\n"));
    let gave_up: u64 =
        seen.verdicts.iter().filter(|((_, said), _)| *said == Verdict::GaveUp).map(|(_, n)| n).sum();
    assert!(gave_up <= count / MOST_GIVEN_UP, "{gave_up} of {count} were given up");
}

/// The oracle is right about what really happened.
#[test]
fn true_histories_are_explained_by_brute_force() {
    let first = testbed::seed("true_histories_are_explained_by_brute_force");
    for seed in first..first + 2000 {
        let history = simulate::simulate(&mut Rng::with_seed(seed));
        if mutate::is_documented(&history) {
            let texts = write::texts(&history).join("---\n");
            assert_eq!(brute::verdict(&history), Verdict::Explained, "seed {seed}\n{texts}");
        }
    }
}
