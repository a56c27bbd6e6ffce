//! P10, R28: violations are found at full size, by few operations, and true histories raise no alarm.
//!
//! For each shape a true history is written as traces, read and ordered; then, for each kind of violation, the same
//! history with one result made false: it must be found impossible, on the key where the lie is, by a contradiction
//! that nothing can be taken away from. Then random true histories: every one must have an order.
//!
//! `cargo bench --profile dist -p bench --bench trace_violations` takes a minute; `-- full` does the sizes of P10 and ten thousand
//! random histories. Ends with an error if anything was missed.

use std::path::Path;
use std::time::Instant;

use anyhow::{Result, ensure};
use history::generate::{Mix, Random, Shape, Values, Violation};
use tdb_replay::check::check;
use tdb_replay::generate::{Order, Written, generate};
use tdb_replay::order::attempt::Question;
use tdb_replay::trace::{History, Tolerance};
use tdb_replay::verdict::Verdict;

/// Operations, traces, keys.
const SHORT: &[(u32, u32, u32)] = &[(100_000, 16, 10_000), (100_000, 64, 1)];
const FULL: &[(u32, u32, u32)] = &[(4_000_000, 16, 200_000), (10_000_000, 64, 200_000), (1_000_000, 16, 1)];

fn main() -> Result<()> {
    let full = std::env::args().any(|argument| argument == "full");
    println!(
        "operations traces   keys | violation | ordered or found in s | operations that exclude each other"
    );
    for &shape in if full { FULL } else { SHORT } {
        one(shape, None)?;
        for violation in Violation::ALL {
            one(shape, Some(violation))?;
        }
    }
    random_true_histories(if full { 10_000 } else { 500 })
}

/// Generates a history and checks that the answer is the right one.
fn one((operations, processes, keys): (u32, u32, u32), violation: Option<Violation>) -> Result<()> {
    let shape = Shape { processes, operations, keys, seed: 1, ..Shape::default() };
    let folder = tempfile::tempdir()?;
    let written = write(shape, violation, folder.path())?;
    let history = History::read(&written.files, Tolerance::default(), |_| ())?;
    let start = Instant::now();
    let verdict = check(&history, Question { times: false, ..Question::default() });
    let seconds = start.elapsed().as_secs_f64();
    let name = violation.map_or("none".to_owned(), |violation| format!("{violation:?}"));
    let conflicts = verdict.contradictions();
    let named: usize = conflicts.iter().map(|conflict| conflict.lines.len()).sum();
    println!("{operations:>10} {processes:>6} {keys:>6} | {name:<16} | {seconds:>7.2} | {named}");
    let Some((_, _, key)) = written.planted else {
        ensure!(verdict.verdict() == Verdict::Explained, "a true history was not explained");
        return Ok(());
    };
    ensure!(verdict.verdict() == Verdict::Impossible, "{name}: not found");
    let [conflict] = conflicts else { anyhow::bail!("{name}: {} keys", conflicts.len()) };
    let named_key = conflict.key.map(|named| history.records.keys.bytes(named));
    ensure!(named_key == Some(key.as_bytes()), "{name}: on another key");
    ensure!((1..=HANDFUL).contains(&named), "{name}: {named} operations");
    Ok(())
}

/// As many operations as people can look at together.
const HANDFUL: usize = 8;

fn write(shape: Shape, violation: Option<Violation>, folder: &Path) -> Result<Written> {
    let order = Order { shape, violation, extended: false, zstd: false };
    Ok(generate(&order, &folder.join("traces"))?)
}

/// Random true histories of random shapes.
fn random_true_histories(count: u32) -> Result<()> {
    let mut random = Random::new(1);
    let (mut explained, mut gave_up, mut lines) = (0, 0, 0);
    for nth in 0..count {
        let shape = Shape {
            processes: 1 + random.below(16),
            operations: 1 + random.below(1000),
            keys: 1 + random.below(20),
            skew: f64::from(random.below(4)) / 2.0,
            values: if random.below(2) == 0 { Values::Distinct } else { Values::Few(1 + random.below(4)) },
            late_per_mille: random.below(500),
            very_late_per_mille: random.below(20),
            mix: if random.below(4) == 0 { Mix::READS_AND_STORES } else { Mix::MIXED },
            seed: random.number(),
        };
        let folder = tempfile::tempdir()?;
        let written = write(shape.clone(), None, folder.path())?;
        let history = History::read(&written.files, Tolerance::default(), |_| ())?;
        lines += history.lines();
        match check(&history, Question { times: false, ..Question::default() }).verdict() {
            Verdict::Explained => explained += 1,
            Verdict::GaveUp => gave_up += 1,
            _ => anyhow::bail!("history {nth} is true and was called impossible: {shape:?}"),
        }
    }
    println!(
        "{count} random true histories, {lines} lines: {explained} explained, {gave_up} given up, 0 called impossible"
    );
    Ok(())
}
