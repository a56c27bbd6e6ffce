//! `quorate tdb backup`: copies while others use the database; verifying and restoring.

use std::ffi::OsString;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use clap::Args;
use tdb::compat;
use tdb::{Database, Flags, StoreMode};

use super::fresh::{Existing, Fresh};
use super::{failure, open_failure};
use crate::Outcome;
use crate::failure::Failure;

/// Copy databases while others use them, or (-v) verify them and restore those that are damaged.
///
/// The copy is one moment of the database: a transaction keeps writers away while it is made, and readers go on.
/// It is made beside its final name, checked, synced, and only then put in the place of an earlier backup.
#[derive(Args)]
#[command(after_help = "Examples:
  quorate tdb backup *.tdb             each NAME.tdb to NAME.tdb.bak
  quorate tdb backup -s .monday a.tdb  to a.tdb.monday
  quorate tdb backup -v a.tdb          check a.tdb; if it is damaged, put a.tdb.bak in its place")]
pub struct Arguments {
    /// The databases.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// What a backup's name has more than the database's.
    #[arg(short, long, default_value = ".bak")]
    suffix: String,
    /// Check each database; where it is damaged, restore its backup and keep the damaged file with `.damaged` added.
    #[arg(short, long)]
    verify: bool,
    /// Number of hash chains of the backup; that of the database by default.
    #[arg(short = 'n', long, value_name = "CHAINS")]
    hash_size: Option<u32>,
    /// Take no locks. Only for files that no other process uses.
    #[arg(short = 'l', long)]
    no_lock: bool,
    /// Open the database for reading only, and so without locks.
    #[arg(short, long)]
    read_only: bool,
}

/// Backs up or verifies every file; goes on after a failure and reports the worst.
pub fn run(arguments: &Arguments) -> Outcome {
    let mut last_failure = None;
    for file in &arguments.files {
        let backup = with_suffix(file, &arguments.suffix);
        let outcome =
            if arguments.verify { verify(arguments, file, &backup) } else { copy(arguments, file, &backup) };
        if let Err(failure) = outcome
            && let Some(earlier) = last_failure.replace(failure)
        {
            earlier.report();
        }
    }
    last_failure.map_or(Ok(()), Err)
}

fn with_suffix(file: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(file);
    name.push(suffix);
    PathBuf::from(name)
}

fn open(arguments: &Arguments, file: &Path) -> Result<Database, Failure> {
    let mut options = super::options();
    if arguments.no_lock {
        compat::set_flags(&mut options, Flags::NOLOCK);
    }
    options.read_only(arguments.read_only);
    options.open(file).map_err(|error| open_failure(&error))
}

/// Copies `from` to `to`, which is replaced once the copy is whole and sound.
fn copy(arguments: &Arguments, from: &Path, to: &Path) -> Outcome {
    let mut source = open(arguments, from)?;
    let hash_size = arguments.hash_size.unwrap_or(source.hash_size());
    let (fresh, target) = Fresh::create(to, Existing::Replace, hash_size)?;
    let mut stored = Ok(());
    let store = |key: &[u8], value: &[u8]| {
        stored = target.store(key, value, StoreMode::Insert);
        if stored.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    let visited = if arguments.read_only {
        source.traverse_read(store).map_err(|error| failure(from, &error))?
    } else {
        // Open until the copy is made: nobody changes the database meanwhile.
        let quiet = source.transaction().map_err(|error| failure(from, &error))?;
        let visited = quiet.traverse_read(store).map_err(|error| failure(from, &error))?;
        quiet.cancel().map_err(|error| failure(from, &error))?;
        visited
    };
    stored.map_err(|error| failure(to, &error))?;
    let copied = target.check(|_, _| true).map_err(|error| failure(to, &error))?.used;
    if copied != visited {
        return Err(Failure::no(format!("{}: {visited} records read, {copied} in the copy", from.display())));
    }
    fresh.finish(target)?;
    println!("{}: {copied} records copied to {}", from.display(), to.display());
    Ok(())
}

fn verify(arguments: &Arguments, file: &Path, backup: &Path) -> Outcome {
    let damage = match open(arguments, file) {
        Ok(database) => match database.check(|_, _| true) {
            Ok(report) => {
                println!("{}: sound, {} records", file.display(), report.used);
                return Ok(());
            }
            Err(error) => error.to_string(),
        },
        Err(_) if !file.exists() => format!("{} does not exist", file.display()),
        Err(failure) => failure.to_string(),
    };
    eprintln!("quorate: {}: {damage}", file.display());
    if !backup.exists() {
        return Err(Failure::no(format!(
            "{}: damaged, and there is no {}",
            file.display(),
            backup.display()
        )));
    }
    if file.exists() {
        let kept = with_suffix(file, ".damaged");
        std::fs::hard_link(file, &kept).map_err(|error| {
            Failure::system(format!("cannot keep the damaged file as {}: {error}", kept.display()))
        })?;
    }
    copy(arguments, backup, file)
}
