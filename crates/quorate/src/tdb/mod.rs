//! `quorate tdb`: tools for TDB files, with the options that people know from libtdb's.
//!
//! Owns how these tools open databases and how they name what went wrong. A file that exists is never overwritten by
//! something half-made: new files are made beside their final name and moved there whole ([`fresh`]).

mod backup;
mod check;
mod dump;
mod fresh;
mod info;
mod keys;
mod progress;
mod repack;
mod rescue;
mod restore;
mod shell;
mod spelling;

use std::fmt::Display;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use clap::{Args, Subcommand};
use tdb::{Coded, Database, ErrorCode, Flags, Log, LogLevel, OpenError, OpenOptions, compat};
use tdb_trace::{Recording, TraceForm};

use crate::Outcome;
use crate::failure::{Failure, note};

/// What can be done with a TDB file.
#[derive(Subcommand)]
pub enum Command {
    /// Print all records in the text form of tdbdump.
    Dump(dump::Arguments),
    /// Make a new database from a dump on standard input.
    Restore(restore::Arguments),
    /// Copy databases while others use them, or verify them and restore damaged ones.
    Backup(backup::Arguments),
    /// Check that a database is sound.
    Check(check::Arguments),
    /// Rewrite a database so that its free space is one piece.
    Repack(repack::Arguments),
    /// Save what can still be read of a damaged database.
    Rescue(rescue::Arguments),
    /// List the keys.
    Keys(keys::Arguments),
    /// Print figures: records, sizes, chains, free space.
    Info(info::Arguments),
    /// Look at a database and change it, interactively or by one command.
    Shell(shell::Arguments),
}

/// Does what `command` says.
pub fn run(command: Command) -> Outcome {
    // A mapped file that somebody truncates becomes an error instead of a silent death.
    tdb::sigbus::install().map_err(Failure::system)?;
    match command {
        Command::Dump(arguments) => dump::run(&arguments),
        Command::Restore(arguments) => restore::run(&arguments),
        Command::Backup(arguments) => backup::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Repack(arguments) => repack::run(&arguments),
        Command::Rescue(arguments) => rescue::run(&arguments),
        Command::Keys(arguments) => keys::run(&arguments),
        Command::Info(arguments) => info::run(&arguments),
        Command::Shell(arguments) => shell::run(&arguments),
    }
}

/// How long to wait for locks that others hold.
#[derive(Args, Clone, Copy)]
pub struct Waiting {
    /// Give up when another process has held a lock for this many seconds [default: wait as long as it takes].
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    timeout_secs: Option<u64>,
}

impl Waiting {
    /// Tells people which lock of the database at `path` is waited for, and `remedy`.
    fn tell(self, options: &mut OpenOptions, path: &Path, remedy: &'static str) {
        let path = path.display().to_string();
        let told = Mutex::new(None);
        options.on_wait(Arc::new(move |wait| {
            let holder = wait.holder();
            let before = told.lock().unwrap_or_else(PoisonError::into_inner).replace(holder);
            if before != Some(holder) {
                note(format_args!("{path}: waiting for a lock that {} holds{remedy}", named(holder)));
            }
            let is_over = self.timeout_secs.is_some_and(|seconds| wait.waited().as_secs() >= seconds);
            if is_over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }));
    }
}

/// What a process is called, in a sentence.
fn named(process: Option<u32>) -> String {
    let Some(process) = process else { return "another process".to_owned() };
    match std::fs::read_to_string(format!("/proc/{process}/comm")) {
        Ok(name) => format!("process {process} ({})", name.trim_end()),
        Err(_) => format!("process {process}"),
    }
}

/// What to do about a lock that another process holds, for tools that only look.
const READ_WITHOUT: &str = "; -l reads without locks";

/// How a database is opened: what the engine has to say beside its answers goes to standard error.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    // Without effect where a tool may write: there the file itself is mended.
    options.log(log()).undo_in_memory(true);
    if let Some(recording) = Recording::from_environment() {
        options.observe(recording);
    }
    options
}

/// What is recorded where: as the options say, or else as the environment does.
pub fn recording(folder: Option<&Path>, form: Option<TraceForm>) -> Option<Recording> {
    let Some(folder) = folder else {
        return Recording::from_environment();
    };
    let recording = Recording::to(folder);
    Some(form.map_or_else(|| recording.clone().form_by_environment(), |form| recording.clone().form(form)))
}

/// Tells people what is wrong and does not end the work: a trace that cannot be written, say. An error of the engine's comes
/// back to the tool, which tells it with the file's name.
pub fn log() -> Log {
    Arc::new(|level, message| {
        if level == LogLevel::Warning {
            note(message);
        }
    })
}

/// Takes no locks: for files that no other process uses.
fn without_locks(options: &mut OpenOptions) {
    compat::set_flags(options, Flags::NOLOCK);
}

/// Whether to lock, for the tools that look at a database.
#[derive(Args, Clone, Copy)]
pub struct Locking {
    /// Take no locks and open for reading only, as libtdb's tools do. A change that another process makes meanwhile may
    /// be seen half-made.
    #[arg(short = 'l', long)]
    no_lock: bool,
    #[command(flatten)]
    waiting: Waiting,
}

/// Opens an existing database to look at it.
///
/// With its locks where we may write to the file (locks need that), without them where we may not and where the locks are
/// mutexes: then a change that another process makes at the same moment can be seen half-made, as with libtdb's tools.
fn open_to_read(path: &Path, locking: Locking) -> Result<Database, OpenError> {
    if locking.no_lock {
        return options().read_only(true).open(path);
    }
    let mut locked = options();
    locking.waiting.tell(&mut locked, path, READ_WITHOUT);
    match locked.open(path) {
        Err(OpenError::Io { cause, .. }) if may_only_read(&cause) => options().read_only(true).open(path),
        Err(OpenError::Mutexes { .. }) => options().read_only(true).open(path),
        other => other,
    }
}

/// Does `act` for every file, also after a failure; fails with the worst exit code of all.
fn for_each_file(files: &[PathBuf], mut act: impl FnMut(&Path) -> Outcome) -> Outcome {
    let mut worst: Option<Failure> = None;
    for file in files {
        if let Err(failure) = act(file) {
            let failure = failure.told();
            worst = Some(match worst {
                Some(earlier) if earlier.code() >= failure.code() => earlier,
                _ => failure,
            });
        }
    }
    worst.map_or(Ok(()), Err)
}

fn may_only_read(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem)
}

fn open_failure(error: &OpenError) -> Failure {
    match error {
        OpenError::WrongHash { .. } | OpenError::Unsupported { .. } | OpenError::Spinlocks { .. } => {
            Failure::system(format!(
                "{error}; if that cannot be, its header is damaged: see `quorate tdb rescue`"
            ))
        }
        OpenError::NotTdb { .. } => Failure::system(error),
        OpenError::Options { .. } => Failure::input(error),
        OpenError::Mutexes { path } => Failure::input(format!(
            "cannot open {path:?}: its chains are locked by mutexes; -l takes no locks, if no other process uses it"
        )),
        _ => by_code(error.code(), error),
    }
}

/// Whether a file is none, or one that damage to a few words of its header can have made of a sound one.
fn header_is_damaged(error: &OpenError) -> bool {
    matches!(
        error,
        OpenError::NotTdb { .. }
            | OpenError::Corrupt { .. }
            | OpenError::WrongHash { .. }
            | OpenError::Spinlocks { .. }
            | OpenError::Unsupported { .. }
    )
}

/// What a failed operation on the database at `path` means for the exit code.
fn failure<E: Display + Coded>(path: &Path, error: &E) -> Failure {
    let message = format!("{}: {error}", path.display());
    by_code(error.code(), message)
}

/// The exit code that goes with an error's code.
fn by_code(code: ErrorCode, message: impl Display) -> Failure {
    match code {
        ErrorCode::Corrupt | ErrorCode::NoSuchRecord | ErrorCode::Exists => Failure::no(message),
        ErrorCode::Io | ErrorCode::OutOfMemory | ErrorCode::Lock | ErrorCode::NoLock => {
            Failure::system(message)
        }
        ErrorCode::LockTimeout => Failure::gave_up(message),
        _ => Failure::input(message),
    }
}
