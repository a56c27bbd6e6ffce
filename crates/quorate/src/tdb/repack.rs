//! `quorate tdb repack`: the free space in one piece.

use std::path::PathBuf;

use clap::Args;

use super::{Waiting, failure, open_failure, without_locks};
use crate::Outcome;

/// Rewrite a database so that its free space is one piece, in one transaction: others see the old state or the new one.
///
/// The file does not get shorter, and the commit needs room for what it replaces: a file that has no free space of
/// that size gets up to twice as long. A smaller file comes from a backup, or from a dump and a restore.
#[derive(Args)]
pub struct Arguments {
    /// The database.
    file: PathBuf,
    /// Take no locks. Only for files that no other process uses.
    #[arg(short = 'l', long)]
    no_lock: bool,
    #[command(flatten)]
    waiting: Waiting,
}

/// Repacks the file.
pub fn run(arguments: &Arguments) -> Outcome {
    let mut options = super::options();
    if arguments.no_lock {
        without_locks(&mut options);
    }
    arguments.waiting.tell(&mut options, &arguments.file, "");
    let mut database = options.open(&arguments.file).map_err(|error| open_failure(&error))?;
    database.repack().map_err(|error| failure(&arguments.file, &error))
}
