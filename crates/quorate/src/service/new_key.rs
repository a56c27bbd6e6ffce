//! `quorate new-key`: the key that the servers of a cell share.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;

use crate::Outcome;
use crate::failure::Failure;

/// Make a key file for the servers of a cell, for `cell.key-file` in the configuration.
///
/// The file holds one random key, and only its owner may read it. Copy it to each server of the cell: anyone who has it can
/// read and write everything. An existing file is never replaced.
///
/// With --add, a file that is there gets a newer key besides those that it has. Copy it to each server, then send all of them
/// SIGHUP: a server that has not read it yet refuses the newer key until it has.
#[derive(Args)]
#[command(after_help = "Example: quorate new-key /etc/quorate/cell.key")]
pub struct Arguments {
    /// The file to make
    file: PathBuf,
    /// Add a newer key to a file that is there
    #[arg(long)]
    add: bool,
}

/// Makes the file, or adds to it.
pub fn run(arguments: &Arguments) -> Outcome {
    if arguments.add {
        let version = rx::keys::add(&arguments.file).map_err(|error| Failure::system(error.to_string()))?;
        writeln!(io::stdout(), "added key version {version}")?;
        return Ok(());
    }
    let shown = arguments.file.display();
    rx::keys::create(&arguments.file).map_err(|error| Failure::system(format!("{shown}: {error}")))
}
