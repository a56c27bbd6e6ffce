//! P9, P10: how reading and ordering traces grow with operations, with traces and with unevenly used keys.
//!
//! Each shape is generated into a temporary folder and measured in a process of its own, so that its peak of memory is
//! its own. Time is the processor's in user mode, not the wall's: it says the same on a busy machine. Both come from
//! /proc, so this runs on Linux only.
//!
//! `cargo bench -p bench --bench trace_scale -- 10000000` goes up to that many operations (default: a million).

use std::env;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use history::generate::{Mix, Shape, Values};
use tdb_replay::engine::memory::Memory;
use tdb_replay::generate::{Order, generate};
use tdb_replay::order::chain::Hashing;
use tdb_replay::order::explain::explain;
use tdb_replay::replay::{self, Options};
use tdb_replay::report::explain_failure;
use tdb_replay::schedule::Schedule;
use tdb_replay::trace::{History, Tolerance, source};

/// Operations, traces, keys, skew.
const SHAPES: &[(u32, u32, u32, f64)] = &[
    (10_000, 1, 1000, 0.0),
    (10_000, 16, 1000, 0.0),
    (100_000, 1, 10_000, 0.0),
    (100_000, 16, 10_000, 0.0),
    (1_000_000, 1, 100_000, 0.0),
    (1_000_000, 4, 100_000, 0.0),
    (1_000_000, 16, 100_000, 0.0),
    (1_000_000, 64, 100_000, 0.0),
    (1_000_000, 16, 100_000, 1.0),
    (1_000_000, 16, 1, 0.0),
    (2_000_000, 16, 200_000, 0.0),
    (4_000_000, 16, 200_000, 0.0),
    (10_000_000, 64, 200_000, 0.0),
];

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [flag, folder] = &arguments[..]
        && flag == MEASURE
    {
        return measure(Path::new(folder));
    }
    let most = arguments
        .first()
        .map_or(Ok(1_000_000), |argument| argument.parse())
        .context("the argument is the largest number of operations")?;
    println!("P9 reading, P10 ordering: user CPU seconds, MB (1e6)");
    println!(
        "operations traces   keys skew | text | read   MB/s rows/text | order  us/op | replay ns/op | peak peak/text"
    );
    for &shape in SHAPES.iter().filter(|shape| shape.0 <= most) {
        one(shape)?;
    }
    Ok(())
}

/// Says that this process is the one that measures.
const MEASURE: &str = "--measure";

/// Generates one shape and prints its line.
fn one((operations, processes, keys, skew): (u32, u32, u32, f64)) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let shape = Shape {
        processes,
        operations,
        keys,
        skew,
        values: Values::Distinct,
        late_per_mille: 150,
        very_late_per_mille: 1,
        mix: Mix::MIXED,
        seed: 1,
    };
    let order = Order { shape, violation: None, extended: false, zstd: false };
    let traces = folder.path().join("traces");
    generate(&order, &traces)?;
    let output = Command::new(env::current_exe()?).args([MEASURE.as_ref(), traces.as_os_str()]).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let line = String::from_utf8_lossy(&output.stdout);
    println!("{operations:>10} {processes:>6} {keys:>6} {skew:>4.1} | {}", line.trim());
    Ok(())
}

/// Reads, orders and replays one folder, and prints what each took.
fn measure(folder: &Path) -> Result<()> {
    let paths = source::expand(folder)?;
    let start = user_seconds()?;
    let history = History::read(&paths, Tolerance::default(), |_| ())?;
    let read = user_seconds()?;
    let target = Hashing::recorded(&history);
    let mut explained = explain(&history, target, Default::default())
        .map_err(|error| anyhow::anyhow!("{}", explain_failure(&history, &error)))?;
    let schedule = Schedule::new(&history, &mut explained);
    let ordered = user_seconds()?;
    let options = Options { latency: false, ..Options::default() };
    let run = replay::run(&history, &schedule, &Memory::new(&history), &options)?;
    let replayed = user_seconds()?;
    ensure!(run.tally.mismatches == 0, "{} results differ", run.tally.mismatches);
    let (text, lines) = (history.text_bytes as f64, history.lines() as f64);
    let peak = peak_bytes()?;
    println!(
        "{:>4.0} | {:>5.2} {:>5.0} {:>6.2} | {:>6.2} {:>6.2} | {:>6.2} {:>5.0} | {:>4.0} {:>5.2}",
        text / 1e6,
        read - start,
        text / 1e6 / (read - start),
        history.memory() as f64 / text,
        ordered - read,
        (ordered - read) / lines * 1e6,
        replayed - ordered,
        (replayed - ordered) / lines * 1e9,
        peak / 1e6,
        peak / text,
    );
    Ok(())
}

/// Time that this process has spent in user mode, of all its threads. Linux counts it for programs in hundredths.
fn user_seconds() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // The second field is the program's name in parentheses, and may hold spaces; the fourteenth is user time.
    let (_, fields) = stat.rsplit_once(')').context("no name in /proc/self/stat")?;
    let ticks = fields.split_whitespace().nth(11).context("no user time in /proc/self/stat")?;
    Ok(ticks.parse::<f64>()? / 100.0)
}

/// The most memory that this process has held.
fn peak_bytes() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes =
        line.and_then(|rest| rest.split_whitespace().next()).context("no VmHWM in /proc/self/status")?;
    Ok(kilobytes.parse::<f64>()? * 1024.0)
}
