//! P9, P10: how reading and ordering traces grow with operations, with traces and with unevenly used keys. P11: what an
//! operation costs replayed in memory, with one trace, where every wait is satisfied.
//!
//! Each shape is generated into a temporary folder and measured in processes of their own, so that each peak of memory
//! is its own. A shape is measured several times and the least of each figure is taken: others on the machine make
//! a run slower, never faster. `s` is the time that passed, `cpu` what all threads of the process used, in the program
//! and in the system; the picture shows the latter, which depends less on what else the machine does. Memory and
//! processor time come from /proc, so this runs on Linux only.
//!
//! `cargo bench --profile dist -p bench --bench trace_scale -- 10000000 ../docs` goes up to that many operations (default: a million) and
//! writes the figures and a picture of them to `docs/trace-growth.csv` and `docs/trace-growth.svg`. `-- --draw ../docs` draws
//! the picture again from the figures.

use std::env;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use bench::chart::{Line, Panel, svg};
use bench::rounds::rounds;
use history::generate::{Mix, Shape, Values};
use tdb_replay::engine::memory::Memory;
use tdb_replay::generate::{Order, generate};
use tdb_replay::order::explain::explain;
use tdb_replay::replay::{self, Options};
use tdb_replay::report::explain_failure;
use tdb_replay::schedule::Schedule;
use tdb_replay::trace::chain::Hashing;
use tdb_replay::trace::{History, Tolerance, source};

/// Operations, traces, keys, skew.
type Shaped = (u32, u32, u32, f64);

const SHAPES: &[Shaped] = &[
    (10_000, 1, 1000, 0.0),
    (10_000, 16, 1000, 0.0),
    (10_000, 64, 1000, 0.0),
    (100_000, 1, 10_000, 0.0),
    (100_000, 16, 10_000, 0.0),
    (100_000, 64, 10_000, 0.0),
    (1_000_000, 1, 100_000, 0.0),
    (1_000_000, 4, 100_000, 0.0),
    (1_000_000, 16, 100_000, 0.0),
    (1_000_000, 64, 100_000, 0.0),
    (1_000_000, 16, 100_000, 0.5),
    (1_000_000, 16, 100_000, 1.0),
    (1_000_000, 16, 100_000, 1.5),
    (1_000_000, 16, 1, 0.0),
    (2_000_000, 16, 200_000, 0.0),
    (4_000_000, 1, 200_000, 0.0),
    (4_000_000, 16, 200_000, 0.0),
    (4_000_000, 64, 200_000, 0.0),
    (10_000_000, 1, 200_000, 0.0),
    (10_000_000, 16, 200_000, 0.0),
    (10_000_000, 64, 200_000, 0.0),
];

/// The figures of a shape, as one run prints them.
const FIGURES: [&str; 10] = [
    "text_mb",
    "rows_per_text",
    "read_s",
    "read_cpu_s",
    "order_s",
    "order_cpu_s",
    "ordered_peak_mb",
    "replay_s",
    "replay_cpu_s",
    "peak_mb",
];
type Figures = [f64; FIGURES.len()];

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [flag, folder] = &arguments[..]
        && flag == MEASURE
    {
        return measure(Path::new(folder));
    }
    if let [flag, folder] = &arguments[..]
        && flag == DRAW
    {
        return draw(Path::new(folder));
    }
    let most = arguments
        .first()
        .map_or(Ok(1_000_000), |argument| argument.parse())
        .context("the first argument is the largest number of operations")?;
    println!("P9 reading, P10 ordering; MB are 1e6 bytes; the least of up to {} runs", rounds());
    println!(
        "operations traces   keys skew | text MB/s rows/text | order s   cpu us/op   MB MB/text | replay ns/op cpu ns/op   MB"
    );
    let mut measured = Vec::new();
    for &shape in SHAPES.iter().filter(|shape| shape.0 <= most) {
        let figures = one(shape)?;
        print(shape, &figures);
        measured.push((shape, figures));
    }
    if let Some(folder) = arguments.get(1) {
        std::fs::write(Path::new(folder).join(TABLE), csv(&measured))?;
        draw(Path::new(folder))?;
    }
    Ok(())
}

/// The figures, and their picture.
const TABLE: &str = "trace-growth.csv";
const PICTURE: &str = "trace-growth.svg";

/// Draws the figures that are in `folder`.
fn draw(folder: &Path) -> Result<()> {
    let table = std::fs::read_to_string(folder.join(TABLE))?;
    let measured = table.lines().skip(1).map(line_of_csv).collect::<Result<Vec<_>>>()?;
    Ok(std::fs::write(folder.join(PICTURE), svg(&panels(&measured)))?)
}

fn line_of_csv(line: &str) -> Result<(Shaped, Figures)> {
    let fields = line.split(',').map(str::parse).collect::<Result<Vec<f64>, _>>()?;
    let [operations, traces, keys, skew, figures @ ..] = &fields[..] else {
        anyhow::bail!("too few figures: {line}");
    };
    let shape = (*operations as u32, *traces as u32, *keys as u32, *skew);
    Ok((shape, figures.try_into().with_context(|| format!("not all figures: {line}"))?))
}

/// Says that this process is the one that measures.
const MEASURE: &str = "--measure";
/// Says that figures which are there are to be drawn.
const DRAW: &str = "--draw";

/// Generates one shape and measures it.
fn one((operations, processes, keys, skew): Shaped) -> Result<Figures> {
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
    let runs = if operations > 1_000_000 { rounds().min(3) } else { rounds() };
    let mut least = [f64::INFINITY; FIGURES.len()];
    for _ in 0..runs {
        let output =
            Command::new(env::current_exe()?).args([MEASURE.as_ref(), traces.as_os_str()]).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8_lossy(&output.stdout);
        let figures = text.split_whitespace().map(str::parse).collect::<Result<Vec<f64>, _>>()?;
        ensure!(figures.len() == least.len(), "a run printed {text:?}");
        least.iter_mut().zip(figures).for_each(|(least, figure)| *least = least.min(figure));
    }
    Ok(least)
}

/// Reads, orders and replays one folder, and prints the figures.
fn measure(folder: &Path) -> Result<()> {
    let paths = source::expand(folder)?;
    let read = || History::read(&paths, Tolerance::default(), |_| ());
    let history = read()?;
    let text = history.text_bytes as f64;
    // Processor time is counted in hundredths: what is short is done often.
    let times = (300_000 / history.lines().max(1)).clamp(1, 30) as u32;
    drop(history);
    let (history, read) = repeat(times, || Ok(read()?))?;
    let ((_, schedule), order) = repeat(times, || {
        let mut explained = explain(&history, Hashing::recorded(&history), Default::default())
            .map_err(|error| anyhow::anyhow!("{}", explain_failure(&history, &error)))?;
        let schedule = Schedule::new(&history, &mut explained);
        Ok((explained, schedule))
    })?;
    let ordered_peak = peak_bytes()?;
    let options = Options { latency: false, ..Options::default() };
    let mut replayed = f64::INFINITY;
    let (_, replay) = repeat(times, || {
        let run = replay::run(&history, &schedule, &Memory::new(&history), &options)?;
        ensure!(run.tally.mismatches == 0, "{} results differ", run.tally.mismatches);
        replayed = replayed.min(run.time.as_secs_f64());
        Ok(())
    })?;
    let figures: Figures = [
        text / 1e6,
        history.memory() as f64 / text,
        read.0,
        read.1,
        order.0,
        order.1,
        ordered_peak / 1e6,
        replayed,
        replay.1,
        peak_bytes()? / 1e6,
    ];
    println!("{}", figures.map(|figure| figure.to_string()).join(" "));
    Ok(())
}

/// Does it so many times: the last result, the time that passed and the processor's time for one.
fn repeat<T>(times: u32, mut work: impl FnMut() -> Result<T>) -> Result<(T, (f64, f64))> {
    let (start, from) = (Instant::now(), cpu_seconds()?);
    let mut result = work()?;
    for _ in 1..times {
        result = work()?;
    }
    let each = f64::from(times);
    Ok((result, (start.elapsed().as_secs_f64() / each, (cpu_seconds()? - from) / each)))
}

fn print((operations, traces, keys, skew): Shaped, figures: &Figures) {
    let [text, rows, read, _, order, order_cpu, ordered_peak, replay, replay_cpu, peak] = *figures;
    let each = f64::from(operations);
    println!(
        "{operations:>10} {traces:>6} {keys:>6} {skew:>4.1} | {text:>4.0} {:>4.0} {rows:>9.2} | {order:>7.3} {order_cpu:>5.2} {:>5.2} {ordered_peak:>4.0} {:>7.2} | {:>12.0} {:>9.0} {peak:>4.0}",
        text / read,
        order / each * 1e6,
        ordered_peak / text,
        replay / each * 1e9,
        replay_cpu / each * 1e9,
    );
}

fn csv(measured: &[(Shaped, Figures)]) -> String {
    let mut out = format!("operations,traces,keys,skew,{}\n", FIGURES.join(","));
    for ((operations, traces, keys, skew), figures) in measured {
        let figures = figures.map(|figure| format!("{figure:.3}")).join(",");
        let _ = writeln!(out, "{operations},{traces},{keys},{skew},{figures}");
    }
    out
}

/// Which figure is which, for the picture.
const READ: usize = 3;
const ORDER: usize = 5;
const PEAK: usize = 6;

fn panels(measured: &[(Shaped, Figures)]) -> Vec<Panel> {
    let line = |name: String, figure: usize, wanted: &dyn Fn(&Shaped) -> Option<f64>| {
        let point = |(shape, figures): &(Shaped, Figures)| Some((wanted(shape)?, figures[figure]));
        Line { name, points: measured.iter().filter_map(point).filter(|point| point.1 > 0.0).collect() }
    };
    let even = |shape: &Shaped| shape.3 == 0.0 && shape.2 > 1;
    let by_operations = |figure: usize| {
        let of = |traces: u32| {
            line(format!("{traces} traces"), figure, &move |shape| {
                (even(shape) && shape.1 == traces).then_some(f64::from(shape.0))
            })
        };
        vec![of(1), of(16), of(64)]
    };
    let million = |shape: &Shaped| shape.0 == 1_000_000;
    let by_traces = |name: &str, figure| {
        line(name.into(), figure, &|shape| (million(shape) && even(shape)).then_some(f64::from(shape.1)))
    };
    // A logarithmic axis has no place for a skew of 0; the share of the busiest of 100,000 keys says the same.
    let by_skew = |name: &str, figure| {
        line(name.into(), figure, &|shape| {
            let one_key = shape.2 == 1;
            let share = if one_key { 1.0 } else { busiest(shape.2, shape.3) };
            (million(shape) && shape.1 == 16).then_some(share)
        })
    };
    let panel = |title: &str, x, lines, proportional| Panel { title: title.into(), x, lines, proportional };
    vec![
        panel("Processor seconds to order", "operations", by_operations(ORDER), true),
        panel("Peak of memory when ordered, MB", "operations", by_operations(PEAK), true),
        panel("Processor seconds to read", "operations", by_operations(READ), true),
        panel(
            "A million operations: processor seconds by traces",
            "traces",
            vec![by_traces("read", READ), by_traces("order", ORDER)],
            false,
        ),
        panel(
            "A million operations, 16 traces: processor seconds by skew",
            "share of the busiest key (skew 0, 0.5, 1, 1.5; one key)",
            vec![by_skew("read", READ), by_skew("order", ORDER)],
            false,
        ),
        panel(
            "A million operations, 16 traces: MB by skew",
            "share of the busiest key (skew 0, 0.5, 1, 1.5; one key)",
            vec![by_skew("peak", PEAK)],
            false,
        ),
    ]
}

/// The share of all operations that go to the busiest of `keys` keys.
fn busiest(keys: u32, skew: f64) -> f64 {
    1.0 / (1..=keys).map(|rank| f64::from(rank).powf(-skew)).sum::<f64>()
}

/// Time that this process has used, with threads that have ended. Linux counts it for programs in hundredths.
fn cpu_seconds() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // The second field is the program's name in parentheses, and may hold spaces; the fourteenth is time in user mode,
    // the next in the system.
    let (_, fields) = stat.rsplit_once(')').context("no name in /proc/self/stat")?;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
    Ok(ticks.sum::<Result<f64, _>>()? / 100.0)
}

/// The most memory that this process has held.
fn peak_bytes() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes =
        line.and_then(|rest| rest.split_whitespace().next()).context("no VmHWM in /proc/self/status")?;
    Ok(kilobytes.parse::<f64>()? * 1024.0)
}
