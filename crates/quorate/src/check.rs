//! `quorate check`: whether a history can be explained.

use clap::Args;
use history::solver::Limits;
use tdb_replay::check::report::Report;
use tdb_replay::check::{Answer, check};

use crate::Outcome;
use crate::failure::Failure;
use crate::input::{Traces, print_json, show};

/// Says whether a history can be explained
///
/// A history is explained by an order of all its operations that keeps the order of each trace and makes every result
/// true. If the traces have times (the extended form), each key must also have an order in which whatever was answered
/// before something else was called comes before it (linearizability).
///
/// If there is no order, the operations that exclude each other are named by file and line; `quorate reduce` cuts the
/// history down to them.
#[derive(Args)]
#[command(after_help = "\
Examples:
  quorate check db.trace.*
  quorate check --json traces/ | jq .verdict
  quorate generate --violation stale-read bad && quorate check bad

Exit codes:
  0  the history is explained
  1  it is impossible: lost update, stale read, dirty read, value from nowhere, ...
  2  wrong use, or a trace cannot be read
  3  the system failed to read or write
  4  given up at the bound of --states; the answer is not known")]
pub struct Arguments {
    #[command(flatten)]
    traces: Traces,
    #[command(flatten)]
    search: Search,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// How far to search.
#[derive(Args)]
pub struct Search {
    /// Do not look at times, where traces have them
    #[arg(long)]
    no_times: bool,
    /// States that the search of one key may visit in one attempt before it gives up
    #[arg(long, default_value_t = Limits::default().states, value_name = "N")]
    states: u64,
}

impl Search {
    /// The bound.
    pub fn limits(&self) -> Limits {
        Limits { states: self.states }
    }

    /// Whether times count.
    pub fn times(&self) -> bool {
        !self.no_times
    }
}

/// Runs the subcommand.
pub fn run(arguments: &Arguments) -> Outcome {
    let history = arguments.traces.read()?;
    let search = &arguments.search;
    let verdict = check(&history, search.limits(), search.times());
    let report = Report::of(&history, &verdict);
    if arguments.json {
        print_json(&report)?;
    } else {
        show(&report.to_string())?;
    }
    // The report has said why.
    match verdict.answer() {
        Answer::Explained => Ok(()),
        Answer::Impossible => Err(Failure::no("")),
        Answer::GaveUp => Err(Failure::gave_up("")),
    }
}
