//! The traces that a command is given and how hard it searches them: arguments to a history and to its verdict.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use history::solver::Limits;
use indicatif::{ProgressBar, ProgressStyle};
use tdb_replay::check;
use tdb_replay::generate::GenerateError;
use tdb_replay::order::attempt::Question;
use tdb_replay::order::explain::{Explained, explain};
use tdb_replay::report::explain_failure;
use tdb_replay::slice::files::WriteError;
use tdb_replay::trace::chain::Hashing;
use tdb_replay::trace::{History, Tolerance, source};
use tdb_replay::verdict::Verdict;
use tdb_replay::words::printable;

use crate::Outcome;
use crate::failure::Failure;
use crate::outputs::refuse_overwriting;

/// Which traces to read.
#[derive(Args)]
pub struct Traces {
    /// Trace files of one database, plain, gzip or zstd; a directory means every file in it with ".trace" in
    /// its name
    #[arg(required = true, value_name = "TRACE")]
    paths: Vec<PathBuf>,
    /// Tolerate a truncated last line, as a killed process leaves it
    #[arg(long)]
    killed: bool,
    /// Show no progress (nor is any shown when standard error is not a terminal)
    #[arg(long, short)]
    quiet: bool,
}

impl Traces {
    /// The arguments.
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// Reads them for a command that gives a verdict: with `json`, traces that cannot be read are one too.
    pub fn read_for_verdict(&self, json: bool) -> Result<History, Failure> {
        let history = self.read();
        match &history {
            Err(failure) if json && failure.code() == Verdict::Unreadable.exit_code() => {
                print_json(&serde_json::json!({
                    "verdict": Verdict::Unreadable,
                    "error": failure.to_string(),
                }))?;
            }
            Err(failure) if json => print_error(failure)?,
            _ => {}
        }
        history
    }

    /// The files that they stand for.
    fn files(&self) -> Result<Vec<PathBuf>, Failure> {
        let mut files = Vec::new();
        for path in &self.paths {
            let found = source::expand(path);
            files.extend(found.map_err(|error| Failure::unreadable(format!("{}: {error}", path.display())))?);
        }
        Ok(files)
    }

    /// Refuses outputs, each named by its option, that would overwrite a trace, `order` (a file with one) or each other.
    pub fn refuse_overwriting(
        &self,
        order: Option<&PathBuf>,
        outputs: &[(&str, Option<&Path>)],
    ) -> Result<(), Failure> {
        // What is no trace is refused when it is read.
        let traces = self.files().unwrap_or_else(|_| self.paths.clone());
        refuse_overwriting(traces.iter().chain(order), outputs)
    }

    /// Reads them.
    pub fn read(&self) -> Result<History, Failure> {
        let paths = self.files()?;
        if paths.len() > usize::from(u16::MAX) {
            return Err(Failure::input(format!(
                "{} traces; at most {} make a history",
                paths.len(),
                u16::MAX
            )));
        }
        let bar = self.progress("reading");
        let history =
            History::read(&paths, Tolerance { cut_last_line: self.killed }, |bytes| bar.set_position(bytes));
        bar.finish_and_clear();
        history.map_err(Failure::unreadable)
    }

    /// Reads other traces in the same way, without progress.
    pub fn read_other(&self, paths: &[PathBuf]) -> Result<History, Failure> {
        let tolerance = Tolerance { cut_last_line: self.killed };
        History::read(paths, tolerance, |_| {}).map_err(Failure::unreadable)
    }

    /// Whether to show no progress.
    pub fn quiet(&self) -> bool {
        self.quiet
    }

    /// A progress display of bytes or tries, hidden where nobody looks.
    pub fn progress(&self, what: &'static str) -> ProgressBar {
        if self.quiet {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::new_spinner().with_message(what);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {human_pos} ({elapsed})") {
            bar.set_style(style);
        }
        bar
    }
}

/// What is asked of the order, and how far to search.
#[derive(Args)]
pub struct Search {
    /// States that the search of one key may visit in one attempt before it gives up. The search of all keys together of a history
    /// of more than 1000 lines gives up after 4 for each line, unless more than the default is asked for here
    #[arg(long, default_value_t = Limits::default().states, value_name = "N")]
    states: u64,
    /// Ignore times, where traces have them
    #[arg(long)]
    no_times: bool,
    /// The database was empty before the traces began. Traces whose tdb_open has O_TRUNC, TDB_INTERNAL or TDB_CLEAR_IF_FIRST
    /// say so themselves
    #[arg(long)]
    empty: bool,
}

impl Search {
    /// What is asked of the order.
    pub fn question(&self) -> Question {
        let limits = Limits { states: self.states };
        Question { limits, times: !self.no_times, empty: self.empty, ..Question::default() }
    }
}

/// The order of `history` on a database like `target`, or the verdict with its reasons, which are printed as JSON if
/// `json` says so.
pub fn find_order(
    history: &History,
    target: Hashing,
    search: &Search,
    json: bool,
) -> Result<Explained, Failure> {
    explain(history, target, search.question()).map_err(|unexplained| {
        if json && let Err(failure) = print_json(&check::report::Report::of_failure(history, &unexplained)) {
            return failure;
        }
        Failure::verdict(unexplained.verdict(), explain_failure(history, &unexplained))
    })
}

/// How a command ends that found an order: well, unless numbers were disbelieved.
pub fn end_with(verdict: Verdict) -> Outcome {
    match verdict {
        Verdict::Explained => Ok(()),
        verdict => Err(Failure::verdict(verdict, "")),
    }
}

/// Prints why there is no answer, for programs.
pub fn print_error(failure: &Failure) -> Outcome {
    match failure.to_string() {
        // It has been told.
        text if text.is_empty() => Ok(()),
        text => print_json(&serde_json::json!({ "error": text })),
    }
}

/// With `json`, prints why there is no answer for programs too.
pub fn for_programs<T>(json: bool, answer: Result<T, Failure>) -> Result<T, Failure> {
    if json && let Err(failure) = &answer {
        print_error(failure)?;
    }
    answer
}

/// Prints JSON for programs.
pub fn print_json(value: &impl serde::Serialize) -> Outcome {
    let json = serde_json::to_string_pretty(value).map_err(Failure::system)?;
    show(&(json + "\n"))
}

/// Prints text for people, or JSON, to standard output; a terminal obeys nothing in it.
pub fn show(text: &str) -> Outcome {
    let mut out = std::io::stdout().lock();
    Ok(out.write_all(printable(text).as_bytes()).and_then(|()| out.flush())?)
}

impl From<GenerateError> for Failure {
    fn from(error: GenerateError) -> Failure {
        match error {
            GenerateError::File { .. } => Failure::system(error),
            _ => Failure::input(error),
        }
    }
}

impl From<WriteError> for Failure {
    fn from(error: WriteError) -> Failure {
        match error {
            WriteError::File { .. } => Failure::system(error),
            _ => Failure::input(error),
        }
    }
}

impl From<anyhow::Error> for Failure {
    /// What arguments cannot mean.
    fn from(error: anyhow::Error) -> Failure {
        Failure::input(format!("{error:#}"))
    }
}
