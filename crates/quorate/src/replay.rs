//! `quorate replay`: reads traces, orders them, runs them on a database and compares every result.
//!
//! Owns the arguments, the exit codes and the care for the user's files: nothing is created before all traces are
//! read and ordered, and no existing database is overwritten without `--force`.

use std::fmt::Display;
use std::fs::File;
use std::io::{BufWriter, IsTerminal, Write};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use tdb_replay::comparison::Comparison;
use tdb_replay::engine::libtdb::Libtdb;
use tdb_replay::engine::memory::Memory;
use tdb_replay::engine::tdb::{Settings, TdbFile};
use tdb_replay::engine::{Engine, EngineError};
use tdb_replay::order::explain::Explained;
use tdb_replay::order::saved::{self, SavedError};
use tdb_replay::page::Page;
use tdb_replay::replay::noting::Noting;
use tdb_replay::replay::timeline::Timeline;
use tdb_replay::replay::{Options, Run};
use tdb_replay::report::{Prepared, Report};
use tdb_replay::schedule::Schedule;
use tdb_replay::stat::Statistics;
use tdb_replay::trace::chain::Hashing;
use tdb_replay::trace::{History, Trace};
use tdb_replay::trace_events::Events;
use tdb_replay::verdict::Verdict;
use tdb_trace::TraceForm;

use crate::Outcome;
use crate::failure::{Failure, with_verdicts};
use crate::input::{Search, Traces, end_with, find_order, print_json, show};

/// Replay traces of a TDB database and compare every result
///
/// Each TRACE is what one process did to one database, as libtdb writes it when tracing is compiled in; give all traces
/// of one database together. They are put into one order that explains every recorded result, then run again, one
/// worker for each, on a new database at SCRATCH. No worker can block another forever: the order has the locks in it.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The database to run on; it is created and must not exist
    scratch: PathBuf,

    #[command(flatten)]
    traces: Traces,

    #[command(flatten)]
    search: Search,

    /// What to run on; several (by commas, or given again) are run one after the other and shown side by side
    #[arg(long, value_enum, value_delimiter = ',', default_value = "tdb")]
    engine: Vec<EngineName>,

    /// Recorded speed: 1 as recorded, 0.5 half as fast [default: as fast as possible]; for traces with times
    #[arg(long, value_name = "FACTOR", value_parser = speed)]
    speed: Option<f64>,

    /// Run this many times; the order is found once
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,

    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,

    /// Write the report as one HTML page too: timeline, critical path, latencies, hot keys
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,

    /// Write the last run as Chrome's trace events too, which Perfetto opens: each operation with its line, key and
    /// result, each wait, and an arrow from what was waited for
    ///
    /// Up to 500,000 operations and 100,000 waits are written, of more an even part; then the file's metadata and
    /// a note on standard error say how many there were.
    #[arg(long, value_name = "FILE")]
    trace_events: Option<PathBuf>,

    /// Write the order that was found to a file, for --order
    #[arg(long, value_name = "FILE")]
    save_order: Option<PathBuf>,

    /// Take the order from a file that --save-order wrote for the same traces, instead of finding it again
    #[arg(long, value_name = "FILE", conflicts_with = "save_order")]
    order: Option<PathBuf>,

    /// Do not compare results
    #[arg(long)]
    no_check: bool,

    /// Do not measure single operations
    #[arg(long)]
    no_latency: bool,

    /// Hash chains of the new database [default: as recorded]
    #[arg(long, value_name = "CHAINS", value_parser = clap::value_parser!(u32).range(1..))]
    hash_size: Option<u32>,

    /// Wait for the disk at every commit
    #[arg(long)]
    sync: bool,

    /// Record what is replayed, a trace for each worker, in this directory (engine tdb)
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,

    /// Of these traces: `plain` as libtdb writes it, `exact` with a mark that its numbers are exact, or `extended` with times
    /// [default: $QUORATE_TDB_RECORD_FORM, or extended]
    #[arg(long, value_name = "FORM", requires = "record")]
    record_form: Option<TraceForm>,

    /// Overwrite SCRATCH if it is a TDB database
    #[arg(long)]
    force: bool,
}

const EXAMPLES: &str = with_verdicts!(
    "\
Examples:
  quorate replay /tmp/scratch.tdb traces/                  all traces in a folder
  quorate replay --html report.html /tmp/s.tdb traces/     with a page that shows who waited for whom
  quorate replay --trace-events e.json /tmp/s.tdb traces/  every operation, for ui.perfetto.dev
  quorate replay --runs 5 --json /tmp/s.tdb p1.trace.zst p2.trace.zst
  quorate replay --save-order o /tmp/s.tdb traces/         then, as often as one likes: --order o
  quorate replay --engine memory /tmp/s.tdb traces/        what the tool itself costs
  quorate replay --engine tdb,libtdb /tmp/s.tdb traces/    both on the same traces, side by side
  quorate replay --speed 0.5 /tmp/s.tdb traces/            half as fast as recorded

A replay ends with the exit code of its verdict, and with 1 if results differ from the recording."
);

/// What a replay can run on.
#[derive(Clone, Copy, ValueEnum)]
enum EngineName {
    /// This project's TDB, in the file SCRATCH
    #[value(alias = "ours")]
    Tdb,
    /// The system's libtdb, in the file SCRATCH; each worker is a process
    Libtdb,
    /// No file and no locks: what the tool itself costs
    Memory,
}

/// Runs the subcommand.
pub fn run(arguments: &Arguments) -> Outcome {
    let mut reports = replay(arguments)?;
    let verdicts = reports.iter().map(|report| report.verdict);
    let verdict = verdicts.fold(Verdict::Explained, Verdict::worst);
    let mismatches = if reports.len() == 1 {
        let report = reports.remove(0);
        print(arguments, &report)?;
        report.mismatches
    } else {
        let beside = Comparison { engines: reports };
        print(arguments, &beside)?;
        beside.mismatches()
    };
    if mismatches > 0 {
        return Err(Failure::no(format!("{mismatches} results differ from the recording")));
    }
    end_with(verdict)
}

/// A second of the recording takes a quarter of an hour at the slowest; much slower, a replay would seem to hang.
const SPEEDS: RangeInclusive<f64> = 1e-3..=1e6;

fn speed(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(speed) if SPEEDS.contains(&speed) => Ok(speed),
        _ => {
            Err("a number from 0.001 to 1000000, such as 1 or 0.5; without --speed it is as fast as possible"
                .into())
        }
    }
}

/// A report for each engine.
fn replay(arguments: &Arguments) -> Result<Vec<Report>, Failure> {
    check_options(arguments)?;
    check_scratch(&arguments.scratch, arguments.force)?;
    let start = Instant::now();
    let history = arguments.traces.read_for_verdict(arguments.json)?;
    let parse = start.elapsed();
    let progress = Progress::new(arguments.traces.quiet());
    check_times(&history, arguments)?;
    let (mut explained, schedule, order) = order(&history, arguments, &progress)?;
    explained.notes.extend(skipped_check(arguments));
    let prepared = Prepared { history: &history, explained: &explained, schedule: &schedule, parse, order };
    let mut reports = Vec::new();
    for &engine in &arguments.engine {
        let noting = arguments.trace_events.is_some().then(|| Noting::of(&schedule));
        let (name, mut runs) = run_all(&history, &schedule, engine, arguments, noting, &progress)?;
        let last = runs.last_mut().map(|run| (std::mem::take(&mut run.timeline), run.tally.kept.clone()));
        let (timeline, mismatches) = last.unwrap_or_default();
        let report = Report::new(&prepared, name, !arguments.no_check, runs);
        if let Some(file) = &arguments.html {
            write_page(file, &history, &report, &timeline)?;
        }
        if let Some((file, noting)) = arguments.trace_events.as_ref().zip(noting) {
            let (history, schedule, names) = (&history, &schedule, &names(&history));
            let (timeline, mismatches) = (&timeline, mismatches.as_slice());
            let events = Events { history, schedule, names, noting, timeline, mismatches };
            write_events(file, &events)
                .map_err(|error| Failure::system(format!("cannot write {}: {error}", file.display())))?;
        }
        reports.push(report);
    }
    progress.clear();
    Ok(reports)
}

/// Refuses what engines cannot do, and files that would be overwritten.
fn check_options(arguments: &Arguments) -> Result<(), Failure> {
    let pictures =
        [("--html", arguments.html.as_deref()), ("--trace-events", arguments.trace_events.as_deref())];
    if let Some((option, _)) = pictures.iter().find(|(_, file)| file.is_some() && arguments.engine.len() > 1)
    {
        return Err(Failure::input(format!("{option} shows one engine; name one")));
    }
    let records = |engine: &EngineName| matches!(engine, EngineName::Tdb);
    if arguments.record.is_some() && !arguments.engine.iter().all(records) {
        return Err(Failure::input(
            "--record: only engine tdb records; leave --record out, or replay on engine tdb alone",
        ));
    }
    let [html, events] = pictures;
    let saved = ("--save-order", arguments.save_order.as_deref());
    let outputs = [("SCRATCH", Some(arguments.scratch.as_path())), html, events, saved];
    arguments.traces.refuse_overwriting(arguments.order.as_ref(), &outputs)
}

/// Recorded speed needs recorded times.
fn check_times(history: &History, arguments: &Arguments) -> Result<(), Failure> {
    let timed = history.traces.iter().any(|trace| trace.rows.is_timed());
    if arguments.speed.is_some() && !timed {
        return Err(Failure::input(
            "--speed needs times, and no line of these traces has any (libtdb's tracer writes none; our recorder does in the extended form)",
        ));
    }
    Ok(())
}

/// Keys that the page names.
const HOT_KEYS: usize = 10;

fn names(history: &History) -> Vec<String> {
    let name = |trace: &Trace| trace.path.file_name().unwrap_or(trace.path.as_os_str()).display().to_string();
    history.traces.iter().map(name).collect()
}

/// Says on standard error, as the file does, if something is left out.
fn write_events(file: &Path, events: &Events<'_>) -> std::io::Result<()> {
    let mut out = BufWriter::new(File::create(file)?);
    events.write(&mut out)?;
    out.flush()?;
    if let Some(part) = events.part() {
        eprintln!("note: {}: {part}", file.display());
    }
    Ok(())
}

fn write_page(file: &Path, history: &History, report: &Report, timeline: &Timeline) -> Result<(), Failure> {
    let names = names(history);
    let page = Page { report, timeline, statistics: &Statistics::of(history, HOT_KEYS), names: &names };
    std::fs::write(file, page.to_string())
        .map_err(|error| Failure::system(format!("cannot write {}: {error}", file.display())))
}

fn skipped_check(arguments: &Arguments) -> Option<String> {
    arguments
        .no_check
        .then(|| "results were not compared, so this replay may have gone its own way (--no-check)".into())
}

/// Refuses to write over anything but, with `--force`, a TDB database.
fn check_scratch(scratch: &Path, force: bool) -> Result<(), Failure> {
    let shown = scratch.display();
    let metadata = match std::fs::metadata(scratch) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Failure::system(format!("{shown}: {error}"))),
    };
    if metadata.is_dir() {
        return Err(Failure::input(format!("{shown}: is a directory; SCRATCH is the new database's file")));
    }
    if !metadata.is_file() {
        return Err(Failure::input(format!(
            "{shown}: is not a regular file; SCRATCH names the database to create"
        )));
    }
    if metadata.len() == 0 {
        return Ok(());
    }
    let mut start = [0; TDB_MAGIC.len()];
    let is_tdb = std::fs::File::open(scratch)
        .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut start))
        .is_ok_and(|()| start == *TDB_MAGIC);
    match (is_tdb, force) {
        (true, true) => Ok(()),
        (true, false) => Err(Failure::input(format!("{shown}: exists; --force overwrites it"))),
        (false, _) => {
            Err(Failure::input(format!("{shown}: exists and is not a TDB database; give another SCRATCH")))
        }
    }
}

/// The first bytes of every TDB file.
const TDB_MAGIC: &[u8; 9] = b"TDB file\n";

fn order(
    history: &History,
    arguments: &Arguments,
    progress: &Progress,
) -> Result<(Explained, Schedule, Duration), Failure> {
    progress.say("ordering");
    let start = Instant::now();
    let target = target(history, arguments);
    let mut explained = match &arguments.order {
        Some(file) => saved::load(file, history, target).map_err(saved_failure)?,
        None => find_order(history, target, &arguments.search, arguments.json)?,
    };
    if let Some(file) = &arguments.save_order {
        saved::save(file, history, target, &explained).map_err(saved_failure)?;
    }
    let schedule = Schedule::new(history, &mut explained);
    Ok((explained, schedule, start.elapsed()))
}

/// What a file with an order was not.
pub fn saved_failure(error: SavedError) -> Failure {
    if error.is_io() { Failure::system(error) } else { Failure::input(error) }
}

fn run_all(
    history: &History,
    schedule: &Schedule,
    engine_name: EngineName,
    arguments: &Arguments,
    noting: Option<Noting>,
    progress: &Progress,
) -> Result<(&'static str, Vec<Run>), Failure> {
    let options = Options {
        check: !arguments.no_check,
        latency: !arguments.no_latency,
        timeline: arguments.html.is_some() || arguments.trace_events.is_some(),
        noting,
        speed: arguments.speed,
        ..Options::default()
    };
    let mut runs = Vec::new();
    let mut name = "";
    for number in 1..=arguments.runs {
        progress.say(&format!("run {number} of {}", arguments.runs));
        let engine = engine(history, engine_name, arguments).map_err(Failure::system)?;
        name = engine.name();
        let run = tdb_replay::replay::run(history, schedule, &*engine, &options).map_err(Failure::system)?;
        runs.push(run);
    }
    Ok((name, runs))
}

/// A new, empty database for one run.
fn engine<'a>(
    history: &'a History,
    name: EngineName,
    arguments: &Arguments,
) -> Result<Box<dyn Engine + 'a>, EngineError> {
    let settings = Settings { hashing: target(history, arguments), sync: arguments.sync };
    Ok(match name {
        EngineName::Libtdb => Box::new(Libtdb::create(&arguments.scratch, settings)?),
        EngineName::Memory => Box::new(Memory::new(history)),
        EngineName::Tdb => {
            let file = TdbFile::create(&arguments.scratch, settings)?.logging_to(crate::tdb::log());
            let recording = crate::tdb::recording(arguments.record.as_deref(), arguments.record_form);
            Box::new(match recording {
                Some(recording) => file.recorded(recording),
                None => file,
            })
        }
    })
}

/// How the database that the traces run on spreads its keys.
fn target(history: &History, arguments: &Arguments) -> Hashing {
    let recorded = Hashing::recorded(history);
    Hashing { hash_size: arguments.hash_size.unwrap_or(recorded.hash_size), ..recorded }
}

fn print(arguments: &Arguments, report: &(impl Serialize + Display)) -> Outcome {
    if arguments.json { print_json(report) } else { show(&report.to_string()) }
}

/// What is going on, on a terminal only.
struct Progress {
    bar: ProgressBar,
}

impl Progress {
    fn new(quiet: bool) -> Progress {
        if quiet || !std::io::stderr().is_terminal() {
            return Progress { bar: ProgressBar::hidden() };
        }
        let bar = ProgressBar::new_spinner();
        bar.set_style(ProgressStyle::default_spinner());
        bar.enable_steady_tick(Duration::from_millis(100));
        Progress { bar }
    }

    fn say(&self, what: &str) {
        self.bar.set_message(what.to_owned());
    }

    fn clear(&self) {
        self.bar.finish_and_clear();
    }
}
