//! `quorate tdb rescue`: what can still be read, into a new database.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use tdb_replay::words::counted;

use clap::{Args, ValueEnum};
use tdb::{Coded, Database, ErrorCode, HashFunction, StoreMode, scan_records};

use super::fresh::{Existing, Fresh};
use super::progress::Progress;
use super::{Locking, failure, header_is_damaged, open_failure, open_to_read};
use crate::Outcome;
use crate::failure::{Failure, note};
use crate::input::show;

/// Save what can still be read of a damaged database into a new one.
///
/// A commit that did not end is undone first. Records that chains still lead to come first, then whatever looks like a
/// record elsewhere in the file; those may be outdated, so look at them before you trust them. If the header is damaged,
/// the whole file is scanned for records.
#[derive(Args)]
pub struct Arguments {
    /// The damaged database. It is only read, unless a commit must be undone.
    file: PathBuf,
    /// The database to make; it must not exist.
    output: PathBuf,
    /// Believe nothing that the header says, and scan the file for records.
    #[arg(long)]
    force: bool,
    /// Hash function that records of a scan must agree with; by default one of the two that libtdb has.
    #[arg(long, value_enum)]
    hash: Option<Hash>,
    #[command(flatten)]
    locking: Locking,
}

/// Which hash function made a file.
#[derive(Clone, Copy, ValueEnum)]
enum Hash {
    /// libtdb's first.
    Old,
    /// That of TDB_INCOMPATIBLE_HASH and of files with mutexes.
    Jenkins,
    /// Any: records with wrong hashes are saved, too.
    Any,
}

/// Rescues the records.
pub fn run(arguments: &Arguments) -> Outcome {
    if arguments.force {
        return scan(arguments);
    }
    match open_to_read(&arguments.file, arguments.locking) {
        Ok(damaged) => {
            // Even the locks cannot be had if what the header says about a commit is wrong.
            let locked = damaged.chain_lock(b"", tdb::LockKind::Read, tdb::Wait::Yes).map(drop);
            match locked {
                Err(error) if error.code() == ErrorCode::Corrupt => note(error),
                _ => return rescue(arguments, &damaged),
            }
        }
        Err(error) if header_is_damaged(&error) => note(error),
        Err(error) => return Err(open_failure(&error)),
    }
    note("the header is damaged; scanning the file for records");
    scan(arguments)
}

fn rescue(arguments: &Arguments, damaged: &Database) -> Outcome {
    let mut output = Output::create(arguments, damaged.hash_size())?;
    damaged.rescue(|key, value| output.add(key, value)).map_err(|error| failure(&arguments.file, &error))?;
    output.finish(arguments)
}

fn scan(arguments: &Arguments) -> Outcome {
    let bytes = read(&arguments.file)
        .map_err(|error| Failure::system(format!("cannot read {}: {error}", arguments.file.display())))?;
    let hashes: &[HashFunction] = match arguments.hash {
        None => &[HashFunction::Old, HashFunction::Jenkins],
        Some(Hash::Old) => &[HashFunction::Old],
        Some(Hash::Jenkins) => &[HashFunction::Jenkins],
        Some(Hash::Any) => &[],
    };
    // About as many chains as there can be records of a hundred bytes.
    let chains = u32::try_from((bytes.len() / 128) | 1).unwrap_or(u32::MAX);
    let mut output = Output::create(arguments, chains)?;
    let scanned = scan_records(&bytes, hashes, |key, value| output.add(key, value));
    if scanned.unfinished_commit {
        note("a commit had not ended, and is not undone: some records may be new, others old");
    }
    if scanned.records == 0 {
        return Err(Failure::no(format!("{}: no records found", arguments.file.display())));
    }
    output.finish(arguments)
}

/// All that a database can have in a file: what is beyond 32 bits cannot be pointed at.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    // Opening a pipe would wait for a writer, and a device may never end.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(u32::MAX.into()).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The new database.
struct Output {
    fresh: Fresh,
    database: Database,
    stored: Result<u64, tdb::StoreError>,
    progress: Progress,
}

impl Output {
    fn create(arguments: &Arguments, chains: u32) -> Result<Output, Failure> {
        let (fresh, database) = Fresh::create(&arguments.output, Existing::Keep, chains)?;
        fresh.look_like(&arguments.file)?;
        Ok(Output { fresh, database, stored: Ok(0), progress: Progress::start("rescued") })
    }

    fn add(&mut self, key: &[u8], value: &[u8]) {
        if let Ok(count) = self.stored {
            self.stored = self.database.store(key, value, StoreMode::Replace).map(|()| count + 1);
            self.progress.tick();
        }
    }

    fn finish(self, arguments: &Arguments) -> Outcome {
        let found = self.stored.map_err(|error| failure(&arguments.output, &error))?;
        drop(self.progress);
        self.fresh.finish(self.database)?;
        show(&format!("{} rescued to {}\n", counted(found, "record"), arguments.output.display()))?;
        Ok(())
    }
}
