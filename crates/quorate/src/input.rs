//! The traces that a command is given: arguments to a history.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use tdb_replay::generate::GenerateError;
use tdb_replay::slice::files::WriteError;
use tdb_replay::trace::{History, Tolerance, source};

use crate::Outcome;
use crate::failure::Failure;

/// Which traces to read.
#[derive(Args)]
pub struct Traces {
    /// Trace files of one database, plain, gzip or zstd; a folder stands for the files in it with ".trace" in their
    /// names
    #[arg(required = true, value_name = "TRACE")]
    paths: Vec<PathBuf>,
    /// Put up with a last line that was cut short, as a killed process leaves it
    #[arg(long)]
    killed: bool,
    /// Show no progress (nor is any shown when standard error is not a terminal)
    #[arg(long, short)]
    quiet: bool,
}

impl Traces {
    /// Reads them.
    pub fn read(&self) -> Result<History, Failure> {
        let mut paths = Vec::new();
        for path in &self.paths {
            let found = source::expand(path);
            paths.extend(found.map_err(|error| Failure::input(format!("{}: {error}", path.display())))?);
        }
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
        history.map_err(|error| if error.is_io() { Failure::system(error) } else { Failure::input(error) })
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

/// Prints JSON for programs.
pub fn print_json(value: &impl serde::Serialize) -> Outcome {
    let json = serde_json::to_string_pretty(value).map_err(Failure::system)?;
    show(&(json + "\n"))
}

/// Prints to standard output.
pub fn show(text: &str) -> Outcome {
    let mut out = std::io::stdout().lock();
    Ok(out.write_all(text.as_bytes()).and_then(|()| out.flush())?)
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
