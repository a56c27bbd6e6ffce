//! `quorate tdb rescue`: what can still be read, into a new database.

use std::path::PathBuf;

use clap::Args;
use tdb::StoreMode;

use super::fresh::{Existing, Fresh};
use super::{failure, open_to_read};
use crate::Outcome;

/// Save what can still be read of a damaged database into a new one.
///
/// Records that chains still lead to come first, then whatever looks like a record elsewhere in the file; those may be
/// outdated, so look at them before you trust them.
#[derive(Args)]
pub struct Arguments {
    /// The damaged database; it is only read.
    file: PathBuf,
    /// The database to make; it must not exist.
    output: PathBuf,
}

/// Rescues the records.
pub fn run(arguments: &Arguments) -> Outcome {
    let damaged = open_to_read(&arguments.file)?;
    let (fresh, database) = Fresh::create(&arguments.output, Existing::Keep, damaged.hash_size())?;
    let mut stored = Ok(());
    let found = damaged.rescue(|key, value| {
        if stored.is_ok() {
            stored = database.store(key, value, StoreMode::Replace);
        }
    });
    let found = found.map_err(|error| failure(&arguments.file, &error))?;
    stored.map_err(|error| failure(&arguments.output, &error))?;
    fresh.finish(database)?;
    println!("{found} records rescued to {}", arguments.output.display());
    Ok(())
}
