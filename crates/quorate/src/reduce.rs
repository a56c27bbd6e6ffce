//! `quorate reduce`: from a history without an order to a small one that still has none.

use std::path::PathBuf;
use tdb_replay::words::counted;

use clap::Args;
use tdb_replay::check::check;
use tdb_replay::check::report::Report;
use tdb_replay::slice::{files, reduce};
use tdb_replay::trace::History;
use tdb_replay::verdict::Verdict;

use crate::Outcome;
use crate::failure::Failure;
use crate::input::{Search, Traces, show};
use crate::unfinished::TraceFolder;

/// Reduce an impossible history to a small one that is still impossible
///
/// For a history that `quorate check` calls impossible. Keys, traces and operations are left out as long as what
/// remains is still impossible; what is left is written as traces, usually of two to ten lines each, and its verdict is
/// printed. Transactions stay whole; locks and traversals stay as long as something is in them.
#[derive(Args)]
#[command(after_help = "\
Examples:
  quorate reduce --output small traces/ && cat small/*
  quorate reduce --tries 200 --output small huge/      stop early; what was reached so far is written

Exit codes:
  0  the reduced traces are written
  1  the history has an order: there is nothing to reduce
  2  wrong use
  3  a trace cannot be read, or the system failed to read or write
  4  whether the history has an order is not known within the bound of --states")]
pub struct Arguments {
    #[command(flatten)]
    traces: Traces,
    #[command(flatten)]
    search: Search,
    /// Directory for the reduced traces; created if missing, refused if it holds traces
    #[arg(long = "output", short, value_name = "DIR")]
    out: PathBuf,
    /// Largest number of smaller histories to try
    #[arg(long, default_value_t = 5000, value_name = "N")]
    tries: u32,
}

/// Runs the subcommand.
pub fn run(arguments: &Arguments) -> Outcome {
    let history = arguments.traces.read()?;
    let question = arguments.search.question();
    let bar = arguments.traces.progress("trying");
    let mut verdict = None;
    let mut judge = |part: &History| {
        let checked = check(part, question);
        verdict.get_or_insert(checked.verdict());
        bar.inc(1);
        checked.judged(part)
    };
    let reduced = reduce::reduce(&history, arguments.tries, &mut judge);
    bar.finish_and_clear();
    let Some(reduced) = reduced else {
        return Err(if verdict == Some(Verdict::GaveUp) {
            Failure::gave_up(format!(
                "given up after {} states; whether there is an order is not known",
                question.limits.states
            ))
        } else {
            Failure::no("the history has an order; there is nothing to reduce")
        });
    };
    let folder = TraceFolder::create(&arguments.out)?;
    let written = files::write(&history, &reduced.selection, folder.inside())?;
    folder.finish(&written)?;
    // What is told is told of the files that were written.
    let written: Vec<PathBuf> =
        written.iter().filter_map(|path| Some(arguments.out.join(path.file_name()?))).collect();
    let left = arguments.traces.read_other(&written)?;
    let end = if reduced.minimal { "none of them can go" } else { "stopped at the bound of --tries" };
    let mut text = format!(
        "{} of {} left in {}, with {} ({end}; {})\n",
        left.lines(),
        counted(history.lines(), "line"),
        arguments.out.display(),
        counted(reduced.operations, "operation"),
        counted(reduced.tries, "try")
    );
    text.push_str(&Report::of(&left, &check(&left, question)).to_string());
    show(&text)?;
    Ok(())
}
