//! `quorate new-key`: the key that the servers of a cell share.

use std::path::PathBuf;

use clap::Args;

use crate::Outcome;
use crate::failure::Failure;

/// Make a key file for the servers of a cell, for `cell.key-file` in the configuration.
///
/// The file holds one random key, and only its owner may read it. Copy it to each server of the cell: anyone who has it can
/// read and write everything. An existing file is never replaced.
#[derive(Args)]
#[command(after_help = "Example: quorate new-key /etc/quorate/cell.key")]
pub struct Arguments {
    /// The file to make
    file: PathBuf,
}

/// Makes the file.
pub fn run(arguments: &Arguments) -> Outcome {
    let shown = arguments.file.display();
    rx::keys::create(&arguments.file).map_err(|error| Failure::system(format!("{shown}: {error}")))
}
