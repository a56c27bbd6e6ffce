//! `quorate tdb shell`: look at a database and change it.

mod command;
mod session;

use std::io::{self, BufRead, IsTerminal};
use std::path::PathBuf;

use clap::Args;
use rustyline::error::ReadlineError;

use super::Waiting;
use crate::Outcome;
use crate::failure::Failure;
use session::{Next, Session};
use tdb_trace::TraceForm;

/// Look at a database and change it, interactively, from a script on standard input, or by one command.
#[derive(Args)]
#[command(after_help = command::HELP)]
pub struct Arguments {
    /// The database to begin with.
    file: Option<PathBuf>,
    /// One command and its arguments; then the shell ends.
    #[arg(trailing_var_arg = true)]
    command: Vec<String>,
    /// Take no locks. Only for files that no other process uses.
    #[arg(short = 'l', long)]
    no_lock: bool,
    #[command(flatten)]
    waiting: Waiting,
    /// Record what is done, as a trace in this directory, for `quorate check` and `quorate replay`.
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,
    /// Of the trace: `plain` as libtdb writes it, `exact` with a mark that its numbers are exact, `extended` with times; `packed` or
    /// `packed-extended` for the same as bytes, which cost the least [default: $QUORATE_TDB_RECORD_FORM, or extended].
    #[arg(long, value_name = "FORM", requires = "record")]
    record_form: Option<TraceForm>,
}

/// Runs one command, or reads commands until the input ends.
pub fn run(arguments: &Arguments) -> Outcome {
    let recording = crate::tdb::recording(arguments.record.as_deref(), arguments.record_form);
    let mut session = Session::new(arguments.no_lock, arguments.waiting, recording);
    if let Some(file) = &arguments.file {
        session.open(file, false)?;
    }
    if !arguments.command.is_empty() {
        return session.run(&arguments.command).map(|_| ());
    }
    if io::stdin().is_terminal() { interact(&mut session) } else { read_script(&mut session) }
}

/// Reads lines from a terminal; a command that fails is reported and the shell goes on.
fn interact(session: &mut Session) -> Outcome {
    let mut editor = rustyline::DefaultEditor::new().map_err(Failure::system)?;
    loop {
        match editor.readline("tdb> ") {
            Ok(line) => {
                // History lives only as long as this shell, so there is nothing to report when it cannot be kept.
                let _ = editor.add_history_entry(&line);
                match session.run_line(&line) {
                    Ok(Next::Quit) => return Ok(()),
                    Ok(Next::Go) => {}
                    Err(failure) => drop(failure.report()),
                }
            }
            Err(ReadlineError::Eof | ReadlineError::Interrupted) => return Ok(()),
            Err(error) => return Err(Failure::system(error)),
        }
    }
}

/// Reads lines from a file or a pipe; goes on after a failure, and ends with the last one.
fn read_script(session: &mut Session) -> Outcome {
    let mut last_failure: Option<Failure> = None;
    for line in io::stdin().lock().lines() {
        match session.run_line(&line?) {
            Ok(Next::Quit) => break,
            Ok(Next::Go) => {}
            Err(failure) => {
                if let Some(earlier) = last_failure.replace(failure) {
                    earlier.report();
                }
            }
        }
    }
    last_failure.map_or(Ok(()), Err)
}
