//! `quorate tdb keys`: the keys, one a line.

use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;

use clap::Args;

use super::{failure, open_to_read};
use crate::Outcome;

/// List the keys, one a line, in no particular order.
#[derive(Args)]
pub struct Arguments {
    /// The database.
    file: PathBuf,
    /// In hexadecimal; otherwise printable bytes as they are, others as a backslash and two hexadecimal digits.
    #[arg(short = 'x', long)]
    hex: bool,
}

/// Prints the keys.
pub fn run(arguments: &Arguments) -> Outcome {
    let database = open_to_read(&arguments.file)?;
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

/// Writes one key and a line's end.
pub fn write_key(out: &mut impl Write, key: &[u8], hex: bool) -> io::Result<()> {
    if hex {
        key.iter().try_for_each(|byte| write!(out, "{byte:02x}"))?;
    } else {
        tdb::dump::write_escaped(out, key)?;
    }
    writeln!(out)
}
