//! `quorate tdb repack`: no gaps.

use std::path::PathBuf;

use clap::Args;

use super::{failure, open_failure};
use crate::Outcome;

/// Rewrite a database without gaps, in one transaction: others see the old state or the new one.
///
/// The file keeps its size; its free space becomes one piece. A smaller file comes from a dump and a restore.
#[derive(Args)]
pub struct Arguments {
    /// The database.
    file: PathBuf,
}

/// Repacks the file.
pub fn run(arguments: &Arguments) -> Outcome {
    let mut database = super::options().open(&arguments.file).map_err(|error| open_failure(&error))?;
    database.repack().map_err(|error| failure(&arguments.file, &error))
}
