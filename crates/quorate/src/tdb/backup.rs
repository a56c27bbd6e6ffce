//! `quorate tdb backup`: copies while others use the database; verifying and restoring.

use std::ffi::OsString;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use tdb_replay::words::counted;

use clap::Args;
use tdb::{Coded, Database, ErrorCode, OpenError, StoreMode};

use super::fresh::{Existing, Fresh, linked_to};
use super::progress::Progress;
use super::{READ_WITHOUT, Waiting, failure, for_each_file, header_is_damaged, may_only_read, open_failure};
use crate::Outcome;
use crate::failure::{Failure, note};
use crate::input::show;
use crate::outputs::refuse_overwriting;

/// Copy databases while others use them, or (-v) verify them and restore those that are damaged.
///
/// The copy is one moment of the database: a transaction keeps writers away while it is made, and readers go on.
/// It is made beside its final name, checked, synced, and only then put in the place of an earlier backup. It has the
/// database's mode, and its owner if that is allowed.
#[derive(Args)]
#[command(after_help = "Examples:
  quorate tdb backup *.tdb             each NAME.tdb to NAME.tdb.bak
  quorate tdb backup -s .monday a.tdb  to a.tdb.monday
  quorate tdb backup -v a.tdb          check a.tdb; if it is damaged, put a.tdb.bak in its place")]
pub struct Arguments {
    /// The databases.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Suffix appended to the backup's name.
    #[arg(short, long, default_value = ".bak")]
    suffix: String,
    /// Check each database; where it is damaged or gone, restore its backup and keep the damaged file with `.damaged`
    /// added. A database that merely cannot be opened or locked is left alone.
    #[arg(short, long)]
    verify: bool,
    /// Number of hash chains of the backup; that of the database by default.
    #[arg(short = 'n', long, value_name = "CHAINS")]
    hash_size: Option<u32>,
    /// Take no locks and open the database for reading only. A change that another process makes meanwhile may be seen
    /// half-made.
    #[arg(short = 'l', long)]
    no_lock: bool,
    /// The same as --no-lock, which reading needs; as tdbbackup has it.
    #[arg(short, long)]
    read_only: bool,
    #[command(flatten)]
    waiting: Waiting,
}

/// Backs up or verifies every file; goes on after a failure and reports the worst.
pub fn run(arguments: &Arguments) -> Outcome {
    refuse_overwriting_databases(arguments)?;
    for_each_file(&arguments.files, |file| {
        let backup = with_suffix(file, &arguments.suffix);
        if arguments.verify { verify(arguments, file, &backup) } else { copy(arguments, file, &backup, file) }
    })
}

/// No backup may take the place of a database that is backed up; nor of its own, whatever the suffix and links.
fn refuse_overwriting_databases(arguments: &Arguments) -> Outcome {
    let backups: Vec<PathBuf> =
        arguments.files.iter().map(|file| with_suffix(file, &arguments.suffix)).collect();
    for (file, backup) in arguments.files.iter().zip(&backups) {
        let read = if arguments.verify { std::slice::from_ref(file) } else { &arguments.files };
        refuse_overwriting(read, &[("the backup", Some(backup))])?;
    }
    Ok(())
}

fn with_suffix(file: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(file);
    name.push(suffix);
    PathBuf::from(name)
}

fn open(arguments: &Arguments, file: &Path) -> Result<Database, OpenError> {
    let mut options = super::options();
    options.read_only(arguments.read_only || arguments.no_lock);
    arguments.waiting.tell(&mut options, file, READ_WITHOUT);
    match options.open(file) {
        Err(OpenError::Mutexes { .. }) => options.read_only(true).open(file),
        other => other,
    }
}

/// Locks need the right to write, and a backup does not go without them unless it is told to.
fn cannot_open(error: &OpenError) -> Failure {
    match error {
        OpenError::Io { cause, .. } if may_only_read(cause) => {
            Failure::system(format!("{error}; -r copies it without locks"))
        }
        _ => open_failure(error),
    }
}

/// Copies `from` to `to`, which is replaced once the copy is whole and sound; it gets the mode and owner of `like`.
fn copy(arguments: &Arguments, from: &Path, to: &Path, like: &Path) -> Outcome {
    let mut source = open(arguments, from).map_err(|error| cannot_open(&error))?;
    let hash_size = arguments.hash_size.unwrap_or(source.hash_size());
    let (fresh, target) = Fresh::create(to, Existing::Replace, hash_size)?;
    fresh.look_like(like)?;
    let mut progress = Progress::start("copied");
    let mut stored = Ok(());
    let store = |key: &[u8], value: &[u8]| {
        progress.tick();
        stored = target.store(key, value, StoreMode::Insert);
        if stored.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    let visited = if source.is_read_only() {
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
        return Err(Failure::no(format!(
            "{}: {} read, {copied} in the copy",
            from.display(),
            counted(visited, "record")
        )));
    }
    fresh.finish(target)?;
    drop(progress);
    show(&format!("{}: {} copied to {}\n", from.display(), counted(copied, "record"), to.display()))?;
    Ok(())
}

fn verify(arguments: &Arguments, file: &Path, backup: &Path) -> Outcome {
    let Some(damage) = damage(arguments, file)? else {
        return Ok(());
    };
    note(format_args!("{}: {damage}", file.display()));
    if !backup.exists() {
        return Err(Failure::no(format!(
            "{}: damaged, and there is no {}",
            file.display(),
            backup.display()
        )));
    }
    let there = file.symlink_metadata().is_ok();
    if there {
        let kept = keep(&linked_to(file))?;
        note(format_args!("{}: the damaged file is kept as {}", file.display(), kept.display()));
    }
    copy(arguments, backup, file, if there { file } else { backup })
}

/// Gives a damaged file a second name, which no earlier one has.
fn keep(file: &Path) -> Result<PathBuf, Failure> {
    let mut kept = with_suffix(file, ".damaged");
    for nth in 2u32.. {
        match std::fs::hard_link(file, &kept) {
            Ok(()) => return Ok(kept),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                kept = with_suffix(file, &format!(".damaged.{nth}"));
            }
            Err(error) => {
                let kept = kept.display();
                return Err(Failure::system(format!("cannot keep the damaged file as {kept}: {error}")));
            }
        }
    }
    Err(Failure::system(format!("there are too many damaged files of {}", file.display())))
}

/// What is damaged, if the database is damaged or gone; a failure if that cannot be told.
fn damage(arguments: &Arguments, file: &Path) -> Result<Option<String>, Failure> {
    let database = match open(arguments, file) {
        Ok(database) => database,
        Err(OpenError::Io { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => {
            return Ok(Some("it does not exist".to_owned()));
        }
        // What this program does not know may be sound.
        Err(error @ OpenError::Unsupported { .. }) => return Err(open_failure(&error)),
        Err(error) if header_is_damaged(&error) => return Ok(Some(error.to_string())),
        Err(error) => return Err(cannot_open(&error)),
    };
    match database.check(|_, _| true) {
        Ok(report) => {
            show(&format!("{}: sound, {}\n", file.display(), counted(report.used, "record")))?;
            Ok(None)
        }
        Err(error) if error.code() == ErrorCode::Corrupt => Ok(Some(error.to_string())),
        Err(error) => Err(failure(file, &error)),
    }
}
