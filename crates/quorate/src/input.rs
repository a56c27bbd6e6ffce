//! The traces that a command is given: arguments to a history.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use tdb_replay::trace::{History, Tolerance, source};

/// Every command's exit code when arguments or input are wrong.
pub const WRONG_INPUT: u8 = 2;
/// Every command's exit code when the system refused to read or write.
pub const SYSTEM_FAILED: u8 = 3;

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
    pub fn read(&self) -> anyhow::Result<History> {
        let mut paths = Vec::new();
        for path in &self.paths {
            paths.extend(source::expand(path).with_context(|| path.display().to_string())?);
        }
        let bar = self.progress("reading");
        let history = History::read(
            &paths,
            Tolerance {
                cut_last_line: self.killed,
            },
            |bytes| bar.set_position(bytes),
        );
        bar.finish_and_clear();
        Ok(history?)
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
pub fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    show(&format!("{}\n", serde_json::to_string_pretty(value)?))
}

/// Prints to standard output; a reader who has gone away is no error.
pub fn show(text: &str) -> anyhow::Result<()> {
    use std::io::{ErrorKind, Write};
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).context("standard output"),
        _ => Ok(()),
    }
}

/// One line on standard error, and the exit code that fits.
pub fn fail(command: &str, error: &anyhow::Error) -> ExitCode {
    eprintln!("quorate {command}: {error:#}");
    let system = error.chain().any(|cause| {
        let read = cause
            .downcast_ref::<tdb_replay::trace::ReadError>()
            .is_some_and(tdb_replay::trace::ReadError::is_io);
        let generated = matches!(
            cause.downcast_ref(),
            Some(tdb_replay::generate::GenerateError::File { .. })
        );
        let written = matches!(
            cause.downcast_ref(),
            Some(tdb_replay::slice::files::WriteError::File { .. })
        );
        read || generated || written
    });
    ExitCode::from(if system { SYSTEM_FAILED } else { WRONG_INPUT })
}
