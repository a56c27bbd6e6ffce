//! Time and memory of solving against the size and shape of the history.
//!
//! `cargo run --release -p quorate-history --example solve_scale [largest]`: one line a shape; a wall-clock figure of one
//! run each and this thread's time on a processor (what counts on a shared machine), memory as the highest resident size of the whole process so far (the history itself is part of it).

use history::generate::{History, Mix, Shape, Values};
use history::register::{Unit, Window};
use history::solver::{Failure, Limits, Method, Rules, Solver, Windows};
use std::time::Instant;

fn main() {
    let largest: u32 = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(1_000_000);
    let only = std::env::args().nth(2);
    println!(
        "| history | operations | wall ms | cpu ms | cpu ns/op | forced | greedy | searched | gave up | states | steps back | peak MB |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|");
    for (name, shape, windows) in shapes() {
        if only.as_ref().is_some_and(|part| !name.contains(part.as_str())) {
            continue;
        }
        let mut operations = 10_000;
        while operations <= largest {
            measure(name, &Shape { operations, ..shape.clone() }, windows);
            operations *= 10;
        }
    }
}

/// What windows the solver sees.
#[derive(Clone, Copy, PartialEq)]
enum Seen {
    Sequence,
    Times,
    Nothing,
}

fn shapes() -> Vec<(&'static str, Shape, Seen)> {
    let one = |processes, values| Shape { processes, keys: 1, values, ..Shape::default() };
    let stores = |processes, values| Shape { mix: Mix::READS_AND_STORES, ..one(processes, values) };
    let spread = |processes, keys, skew| Shape { processes, keys, skew, ..Shape::default() };
    vec![
        ("1 process, 1 key", one(1, Values::Distinct), Seen::Sequence),
        ("4 processes, 1 key", one(4, Values::Distinct), Seen::Sequence),
        ("16 processes, 1 key", one(16, Values::Distinct), Seen::Sequence),
        ("64 processes, 1 key", one(64, Values::Distinct), Seen::Sequence),
        ("64 processes, 1 key, 3 values", one(64, Values::Few(3)), Seen::Sequence),
        ("16 processes, 1 key, 3 values", one(16, Values::Few(3)), Seen::Sequence),
        ("4 processes, 1 key, 3 values", one(4, Values::Few(3)), Seen::Sequence),
        ("64 processes, 1 key, stores, distinct", stores(64, Values::Distinct), Seen::Sequence),
        ("64 processes, 1 key, stores, 3 values", stores(64, Values::Few(3)), Seen::Sequence),
        ("64 processes, 1 key, times", one(64, Values::Distinct), Seen::Times),
        ("64 processes, 1 key, 3 values, times", one(64, Values::Few(3)), Seen::Times),
        ("64 processes, 1 key, no windows", one(64, Values::Distinct), Seen::Nothing),
        ("64 processes, 1 key, 3 values, no windows", one(64, Values::Few(3)), Seen::Nothing),
        ("4 processes, 1 key, no windows", one(4, Values::Distinct), Seen::Nothing),
        ("4 processes, 1 key, 3 values, no windows", one(4, Values::Few(3)), Seen::Nothing),
        ("64 processes, 1 key, stores, distinct, no windows", stores(64, Values::Distinct), Seen::Nothing),
        ("64 processes, 1 key, stores, 3 values, no windows", stores(64, Values::Few(3)), Seen::Nothing),
        ("16 processes, 2000 keys", spread(16, 2000, 0.0), Seen::Sequence),
        ("64 processes, 20000 keys", spread(64, 20_000, 0.0), Seen::Sequence),
        ("64 processes, 20000 keys, skew 1", spread(64, 20_000, 1.0), Seen::Sequence),
    ]
}

fn measure(name: &str, shape: &Shape, seen: Seen) {
    let history = History::new(shape);
    let mut keys = if seen == Seen::Times { history.timed_units_by_key() } else { history.units_by_key() };
    if seen == Seen::Nothing {
        let all = |unit: &mut Unit| unit.window = Window { earliest: 0, latest: u64::MAX };
        keys.iter_mut().flatten().for_each(all);
    }
    let limits = Limits::default();
    let rules = Rules { windows: Windows::Require, limits, ..Rules::default() };
    let mut solver = Solver::new();
    let mut counts = [0u32; 4];
    let (mut states, mut steps_back) = (0, 0);
    let cpu_begin = cpu_nanoseconds();
    let begin = Instant::now();
    for units in &keys {
        match solver.solve(units, &rules) {
            Ok(order) => {
                counts[match order.effort.method {
                    Method::Forced => 0,
                    Method::Greedy => 1,
                    Method::Search => 2,
                }] += 1;
                states += order.effort.states;
                steps_back += order.effort.steps_back;
            }
            Err(Failure::GaveUp { .. }) => counts[3] += 1,
            Err(Failure::Impossible(_)) => println!("FALSE ALARM: {name}"),
        }
    }
    let taken = begin.elapsed().as_secs_f64();
    let cpu = (cpu_nanoseconds() - cpu_begin) as f64;
    let [forced, greedy, searched, gave_up] = counts;
    println!(
        "| {name} | {} | {:.0} | {:.0} | {:.0} | {forced} | {greedy} | {searched} | {gave_up} | {states} | {steps_back} | {} |",
        shape.operations,
        taken * 1e3,
        cpu / 1e6,
        cpu / f64::from(shape.operations),
        peak_megabytes(),
    );
}

/// The highest resident size so far; 0 where the system does not tell.
fn peak_megabytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) / 1024
}

/// What this thread has had of a processor so far; 0 where the system does not tell.
fn cpu_nanoseconds() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
}
