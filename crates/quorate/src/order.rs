//! `quorate order`: in which order a history can have happened, and what in it limits parallelism.

use std::fmt::{self, Display};
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use tdb_replay::report::stand_for;
use tdb_replay::words::counted;

use clap::Args;
use serde::Serialize;
use tdb_replay::check::report::{Contradiction, disbelieved};
use tdb_replay::order::explain::Explained;
use tdb_replay::order::listing;
use tdb_replay::order::merge::GroupOf;
use tdb_replay::order::saved;
use tdb_replay::report::{OrderReport, PlantedRecord};
use tdb_replay::schedule::Schedule;
use tdb_replay::trace::History;
use tdb_replay::trace::chain::Hashing;
use tdb_replay::verdict::Verdict;

use crate::Outcome;
use crate::failure::with_verdicts;
use crate::input::{Search, Traces, end_with, find_order, print_json, show};
use crate::replay::saved_failure;

/// Find the one order of a history, and what limits running it in parallel
///
/// The order keeps the order of each trace, makes every result true and has the locks in it. It is found once and saved
/// with --output; `quorate replay --order FILE` takes it from there, as often as one likes.
#[derive(Args)]
#[command(after_help = with_verdicts!(
    "\
Examples:
  quorate order traces/
  quorate order --output o traces/ && quorate replay --order o /tmp/s.tdb traces/
  quorate order --text traces/ | grep -n 'tdb_store 4:6b6579'
  quorate order --json traces/ | jq .order.critical_path"
))]
pub struct Arguments {
    #[command(flatten)]
    traces: Traces,
    #[command(flatten)]
    search: Search,
    /// Save the order in this file, for `quorate replay --order`
    #[arg(long = "output", short, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Hash chains of the database that it is for [default: as recorded]
    #[arg(long, value_name = "CHAINS", value_parser = clap::value_parser!(u32).range(1..))]
    hash_size: Option<u32>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Print the order itself: every operation's file, line and call, one per line; the lines of a transaction are kept together
    #[arg(long, conflicts_with = "json")]
    text: bool,
}

/// Runs the subcommand.
pub fn run(arguments: &Arguments) -> Outcome {
    arguments.traces.refuse_overwriting(None, &[("--output", arguments.out.as_deref())])?;
    let history = arguments.traces.read_for_verdict(arguments.json)?;
    let recorded = Hashing::recorded(&history);
    let target = Hashing { hash_size: arguments.hash_size.unwrap_or(recorded.hash_size), ..recorded };
    let mut explained = find_order(&history, target, &arguments.search, arguments.json)?;
    if let Some(file) = &arguments.out {
        saved::save(file, &history, target, &explained).map_err(saved_failure)?;
    }
    let schedule = Schedule::new(&history, &mut explained);
    let found = Found::of(&history, &explained, &schedule);
    if arguments.json {
        print_json(&found)?;
    } else if arguments.text {
        let mut out = BufWriter::new(std::io::stdout().lock());
        listing::write(&mut out, &history, &explained)?;
        out.flush()?;
    } else {
        show(&found.to_string())?;
    }
    end_with(found.verdict)
}

/// What there is to say of an order.
#[derive(Serialize)]
struct Found {
    verdict: Verdict,
    traces: usize,
    lines: u64,
    keys: usize,
    order: OrderReport,
    /// `file:line` of traversals that cannot be held open as recorded.
    splits: Vec<String>,
    /// `file:line` of locks that cannot be held as recorded.
    locks_given_up: Vec<String>,
    planted: Vec<PlantedRecord>,
    /// Lines whose numbers were set aside.
    disbelieved: Vec<Contradiction>,
    notes: Vec<String>,
}

impl Found {
    fn of(history: &History, explained: &Explained, schedule: &Schedule) -> Found {
        let start = |of: &GroupOf| {
            let trace = usize::from(of.trace);
            history.place(trace, history.traces[trace].groups[of.group as usize].start as usize)
        };
        Found {
            verdict: explained.verdict(),
            traces: history.traces.len(),
            lines: history.lines(),
            keys: history.records.keys.len(),
            order: OrderReport::of(explained, schedule),
            splits: explained.merged.splits.iter().map(start).collect(),
            locks_given_up: explained.merged.given_up.iter().map(start).collect(),
            planted: schedule.planted.iter().map(|planted| PlantedRecord::of(history, planted)).collect(),
            disbelieved: disbelieved(history, explained),
            notes: history.warnings.iter().chain(&explained.notes).cloned().collect(),
        }
    }
}

impl Display for Found {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for note in &self.notes {
            writeln!(out, "note: {note}")?;
        }
        writeln!(out, "verdict    {}", self.verdict)?;
        let OrderReport { effort, events, dependencies, waits, critical_path } = &self.order;
        writeln!(
            out,
            "traces     {} with {} on {}",
            self.traces,
            counted(self.lines, "line"),
            counted(self.keys, "key")
        )?;
        let (no_choice, greedy, searched) = (effort.no_choice, effort.greedy, effort.searched);
        writeln!(out, "keys       {no_choice} without a choice, {greedy} greedy, {searched} searched")?;
        writeln!(out, "order      {}; {}", counted(*events, "step"), stand_for(*waits, *dependencies))?;
        let at_once = f64::from(*events) / f64::from((*critical_path).max(1));
        writeln!(
            out,
            "parallel   {} on the critical path: {at_once:.1} at a time on average",
            counted(*critical_path, "step")
        )?;
        for (what, places) in [("split", &self.splits), ("given up", &self.locks_given_up)] {
            places.iter().try_for_each(|place| writeln!(out, "{what:<10} {place}"))?;
        }
        for PlantedRecord { key, value_bytes, found_at } in &self.planted {
            writeln!(
                out,
                "planted    key \"{key}\", {}: {found_at} found it",
                counted(*value_bytes, "byte")
            )?;
        }
        self.disbelieved.iter().try_for_each(|found| write!(out, "{found}"))
    }
}
