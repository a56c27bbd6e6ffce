//! `quorate export`: a client history in another form, so that another checker can judge it.

use std::path::PathBuf;

use clap::Args;
use client_history::{Form, is_keyed};

use super::{FormName, Reading};
use crate::Outcome;
use crate::failure::{Failure, note};
use crate::input::show;

/// Convert a client history, so that another checker can judge it
///
/// EDN and JSON are events as Jepsen writes them, for Knossos and Elle; JSON lines are operations with call and return,
/// for Porcupine. The result goes to standard output. Where the history names keys, each value of an event is a pair of a key
/// and a value, which `check` and `export` read with --keyed.
#[derive(Args)]
#[command(after_help = "\
Examples:
  quorate export --to edn history.jsonl > history.edn
  quorate export --to jsonl --keyed history.edn > history.jsonl

Exit codes:
  0  written
  2  wrong use
  3  the history cannot be read, or the system failed to read or write")]
pub struct Arguments {
    /// The history
    history: PathBuf,
    /// The form to write
    #[arg(long, value_enum)]
    to: FormName,
    #[command(flatten)]
    reading: Reading,
}

/// Runs the subcommand.
pub fn run(arguments: &Arguments) -> Outcome {
    let paths = std::slice::from_ref(&arguments.history);
    let Some((path, form)) = arguments.reading.recognize(paths)? else {
        let name = arguments.history.display();
        return Err(Failure::input(format!("{name}: its name does not say its form; give --form")));
    };
    let history = arguments.reading.read(path, form)?;
    let to = Form::from(arguments.to);
    let written = client_history::write(&history, to)
        .map_err(|error| Failure::input(format!("{}: {error}", path.display())))?;
    show(&written)?;
    if is_keyed(&history, to) {
        note("the history names keys, so each value is a pair of a key and a value; read it with --keyed");
    }
    Ok(())
}
