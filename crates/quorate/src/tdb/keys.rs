//! `quorate tdb keys`: the keys, one a line.

use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;

use clap::Args;

use super::spelling::write_key;
use super::{Locking, failure, open_failure, open_to_read};
use crate::Outcome;

/// List the keys, one a line, in no particular order.
#[derive(Args)]
pub struct Arguments {
    /// The database.
    file: PathBuf,
    /// In hexadecimal; otherwise printable bytes as they are, others as a backslash and two hexadecimal digits, and a key
    /// with spaces in quotes. `quorate tdb dump -k` and the shell take either spelling.
    #[arg(short = 'x', long)]
    hex: bool,
    #[command(flatten)]
    locking: Locking,
}

/// Prints the keys.
pub fn run(arguments: &Arguments) -> Outcome {
    let database = open_to_read(&arguments.file, arguments.locking).map_err(|error| open_failure(&error))?;
    let mut out = BufWriter::new(io::stdout().lock());
    let mut written = Ok(());
    let visited = database.traverse_read(|key, _| {
        written = write_key(&mut out, key, arguments.hex);
        if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    visited.map_err(|error| failure(&arguments.file, &error))?;
    written?;
    Ok(out.flush()?)
}
