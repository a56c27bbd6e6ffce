//! `quorate tdb restore`: a new database from a dump.

use std::io;
use std::path::PathBuf;

use clap::Args;
use tdb::StoreMode;
use tdb::dump::{DumpError, Reader};

use super::failure;
use super::fresh::{Existing, Fresh};
use crate::Outcome;
use crate::failure::Failure;

/// Make a new database from a dump on standard input, as `quorate tdb dump` and tdbdump write it.
///
/// A record that occurs twice, or a line that is no dump, stops it, and no file is made.
#[derive(Args)]
pub struct Arguments {
    /// The database to make; it must not exist.
    file: PathBuf,
    /// Number of hash chains; about as many as records is fast.
    #[arg(short = 'n', long, value_name = "CHAINS", default_value_t = 0, hide_default_value = true)]
    hash_size: u32,
}

/// Reads the dump and makes the file.
pub fn run(arguments: &Arguments) -> Outcome {
    let (fresh, database) = Fresh::create(&arguments.file, Existing::Keep, arguments.hash_size)?;
    for record in Reader::new(io::stdin().lock()) {
        let (key, value) = record.map_err(|error| match error {
            DumpError::Io(_) => Failure::system(error),
            DumpError::Syntax { .. } => Failure::input(format!("{error}; nothing is restored")),
        })?;
        database.store(&key, &value, StoreMode::Insert).map_err(|error| failure(&arguments.file, &error))?;
    }
    fresh.finish(database)
}
