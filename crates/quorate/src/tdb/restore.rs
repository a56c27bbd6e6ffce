//! `quorate tdb restore`: a new database from a dump.

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use clap::Args;
use tdb::dump::{DumpError, Reader};
use tdb::{Database, StoreError, StoreMode};

use super::failure;
use super::fresh::{Existing, Fresh};
use super::progress::Progress;
use crate::Outcome;
use crate::failure::Failure;

/// With more records than this for each chain, a database without a given number of chains gets more of them,
const MOST_RECORDS_PER_CHAIN: u64 = 4;
/// namely this many times its records.
const CHAINS_PER_RECORD: u64 = 4;

/// Make a new database from a dump on standard input, as `quorate tdb dump` and tdbdump write it.
///
/// A record that occurs twice, or a line that is not part of a dump, stops it, and no file is made.
#[derive(Args)]
pub struct Arguments {
    /// The database to make; it must not exist.
    file: PathBuf,
    /// Number of hash chains; about as many as records is fast. By default 131, and more if there are many records.
    #[arg(short = 'n', long, value_name = "CHAINS", default_value_t = 0, hide_default_value = true)]
    hash_size: u32,
}

/// Reads the dump and makes the file.
pub fn run(arguments: &Arguments) -> Outcome {
    let (mut fresh, mut database) = Fresh::create(&arguments.file, Existing::Keep, arguments.hash_size)?;
    let mut progress = Progress::start("restored");
    let mut records: u64 = 0;
    let mut dump = Reader::new(io::stdin().lock());
    while let Some((key, value)) = dump.next_record().map_err(unreadable)? {
        database.store(&key, &value, StoreMode::Insert).map_err(|error| match error {
            StoreError::Exists => {
                let line = dump.line();
                Failure::system(format!(
                    "line {line}: the key of the record that ends here occurs twice; nothing is restored"
                ))
            }
            _ => failure(&arguments.file, &error),
        })?;
        progress.tick();
        records += 1;
        let many = records > MOST_RECORDS_PER_CHAIN * u64::from(database.hash_size());
        if arguments.hash_size == 0 && many {
            let chains = u32::try_from((records * CHAINS_PER_RECORD) | 1).unwrap_or(u32::MAX);
            (fresh, database) = with_more_chains(&arguments.file, &database, chains)?;
        }
    }
    drop(progress);
    fresh.finish(database)
}

fn unreadable(error: DumpError) -> Failure {
    match error {
        DumpError::Io(_) => Failure::system(error),
        _ => Failure::system(format!("{error}; nothing is restored")),
    }
}

/// A copy with `chains` chains. Each copy is 16 times as large as the one before, so that copying is a small part of all.
fn with_more_chains(file: &Path, database: &Database, chains: u32) -> Result<(Fresh, Database), Failure> {
    let (fresh, larger) = Fresh::create(file, Existing::Keep, chains)?;
    let mut stored = Ok(());
    let visited = database.traverse_read(|key, value| {
        stored = larger.store(key, value, StoreMode::Insert);
        if stored.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    visited.map_err(|error| failure(file, &error))?;
    stored.map_err(|error| failure(file, &error))?;
    Ok((fresh, larger))
}
