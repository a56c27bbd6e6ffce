//! `quorate check`: whether a history can be explained.

mod picture;

use std::path::PathBuf;

use clap::Args;
use tdb_replay::check::check;
use tdb_replay::check::hints::hints;
use tdb_replay::check::report::Report;

use crate::Outcome;
use crate::clients::{self, Reading};
use crate::failure::with_verdicts;
use crate::input::{Search, Traces, end_with, print_json, show};
use crate::picture::write_page;

/// Check whether a history is consistent
///
/// A history is explained by an order of all its operations that keeps the order of each trace and makes every result
/// true. If the traces have times (the extended form), each key must also have an order in which whatever was answered
/// before something else was called comes before it (linearizability).
///
/// If there is no order, the operations that exclude each other are named by file and line; `quorate reduce` cuts the
/// history down to them. Hints name what else would explain them: a trace that is missing or was given twice, a clock that differs.
///
/// A file named *.edn, *.json or *.jsonl is the history of any store's clients: registers that are read, written and
/// compared-and-set. It is checked for linearizability, register by register (docs/client-histories.md).
#[derive(Args)]
#[command(after_help = with_verdicts!(
    "\
Examples:
  quorate check db.trace.*
  quorate check --json traces/ | jq .verdict
  quorate generate --violation stale-read bad && quorate check bad
  quorate check --keyed store/latest/history.edn           a history that Jepsen recorded"
))]
pub struct Arguments {
    #[command(flatten)]
    traces: Traces,
    #[command(flatten)]
    search: Search,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Draw the contradiction, if there is one, into this HTML page
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    #[command(flatten)]
    clients: Reading,
}

/// Runs the subcommand.
pub fn run(arguments: &Arguments) -> Outcome {
    arguments.traces.refuse_overwriting(None, &[("--html", arguments.html.as_deref())])?;
    if let Some(file) = arguments.clients.recognize(arguments.traces.paths())? {
        let limits = arguments.search.question().limits;
        return clients::check(file, &arguments.clients, limits, arguments.json, arguments.html.as_deref());
    }
    let history = arguments.traces.read_for_verdict(arguments.json)?;
    let question = arguments.search.question();
    let checked = check(&history, question);
    let mut report = Report::of(&history, &checked);
    report.hints = hints(&history, checked.contradictions(), checked.verdict(), question);
    if let Some(file) = &arguments.html {
        write_page(file, &picture::of(&history, &checked))?;
    }
    if arguments.json {
        print_json(&report)?;
    } else {
        show(&report.to_string())?;
    }
    // The report has said why.
    end_with(report.verdict)
}
