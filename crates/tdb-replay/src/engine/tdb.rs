//! This project's TDB: a database file with its real locks, opened once by each worker.
//!
//! Owns the scratch file's creation. Flags of the traces that would spoil a replay are left out: clear-if-first (each
//! worker would empty the file), no locking, memory only, mutexes (they need clear-if-first).

use std::borrow::Borrow;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Mutex, PoisonError};

use ::tdb::compat::{self, Tdb};
use ::tdb::{Coded, ErrorCode, Flags, HashFunction, LockKind, Log, OpenError, OpenOptions, StoreError, Wait};
use tdb_trace::Recording;

use super::{Answer, Engine, EngineError, Key, Session, StoreMode, Visit};
use crate::trace::Trace;
use crate::trace::chain::Hashing;

/// Flags that a replay passes on.
pub(super) const PASSED_ON: u32 = Flags::NOMMAP.0 | Flags::VOLATILE.0;

/// How the scratch database is made.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Chains and hash.
    pub hashing: Hashing,
    /// Commits reach the disk before they return.
    pub sync: bool,
}

/// A database file.
pub struct TdbFile {
    path: PathBuf,
    settings: Settings,
    recording: Option<Recording>,
    log: Option<Log>,
    interrupted: Flag,
}

/// What ends waits for locks: a number that the engine looks at while it waits, one for each file that is in use. The engine
/// wants it to live forever, so they are used again.
struct Flag(&'static AtomicI32);

/// The flags that nobody uses.
static FLAGS: Mutex<Vec<&'static AtomicI32>> = Mutex::new(Vec::new());

impl Flag {
    fn new() -> Flag {
        let unused = FLAGS.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let flag = unused.unwrap_or_else(|| Box::leak(Box::default()));
        flag.store(0, Ordering::Relaxed);
        Flag(flag)
    }
}

impl Drop for Flag {
    fn drop(&mut self) {
        FLAGS.lock().unwrap_or_else(PoisonError::into_inner).push(self.0);
    }
}

impl TdbFile {
    /// Makes a new, empty database at `path`; what was there is gone.
    pub fn create(path: &Path, settings: Settings) -> Result<TdbFile, EngineError> {
        let interrupted = Flag::new();
        let engine = TdbFile { path: path.to_owned(), settings, recording: None, log: None, interrupted };
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(EngineError { message: format!("{}: {error}", path.display()), io: true });
            }
            _ => {}
        }
        let opened = Tdb::open(engine.options(0).create(true).exclusive(true), path);
        if opened.is_err() {
            // The file was ours alone, and holds nothing: a full disk, say.
            let _ = std::fs::remove_file(path);
        }
        opened.map_err(opening).map(|_| engine)
    }

    /// Records what is replayed, a trace a worker.
    pub fn recorded(self, recording: Recording) -> TdbFile {
        TdbFile { recording: Some(recording), ..self }
    }

    /// Lets the engine say to `log` what does not end the replay, such as a trace that cannot be written any more.
    pub fn logging_to(self, log: Log) -> TdbFile {
        TdbFile { log: Some(log), ..self }
    }

    fn options(&self, flags: u32) -> OpenOptions {
        let mut wanted = Flags(flags & PASSED_ON) | Flags::SEQNUM;
        if !self.settings.sync {
            wanted = wanted | Flags::NOSYNC;
        }
        let mut options = OpenOptions::new();
        compat::set_flags(&mut options, wanted).hash_size(self.settings.hashing.hash_size);
        if self.settings.hashing.jenkins {
            options.hash(HashFunction::Jenkins);
        }
        if let Some(recording) = &self.recording {
            options.observe(recording.clone());
        }
        if let Some(log) = &self.log {
            options.log(log.clone());
        }
        options
    }
}

impl Engine for TdbFile {
    fn name(&self) -> &'static str {
        "tdb"
    }

    fn session(&self, trace: &Trace) -> Result<Box<dyn Session + '_>, EngineError> {
        let database = Tdb::open(&self.options(trace.opened.tdb_flags), &self.path).map_err(opening)?;
        database.set_interrupt_flag(Some(self.interrupted.0));
        Ok(Box::new(TdbSession { database }))
    }

    fn interrupt(&self) {
        self.interrupted.0.store(1, Ordering::Relaxed);
    }
}

fn opening(error: OpenError) -> EngineError {
    EngineError { message: error.to_string(), io: true }
}

/// A session; inside a traversal the database is lent, not owned.
struct TdbSession<D> {
    database: D,
}

impl<D: Borrow<Tdb>> TdbSession<D> {
    fn database(&self) -> &Tdb {
        self.database.borrow()
    }
}

/// Names the call that failed.
fn failed<E: std::error::Error + Coded>(call: &'static str) -> impl FnOnce(E) -> EngineError {
    move |error| {
        let io = matches!(error.code(), ErrorCode::Io | ErrorCode::OutOfMemory);
        // The error's text has its cause in it.
        EngineError { message: format!("{call}: {error}"), io }
    }
}

fn kind(write: bool) -> LockKind {
    if write { LockKind::Write } else { LockKind::Read }
}

impl<D: Borrow<Tdb>> Session for TdbSession<D> {
    fn fetch(&mut self, key: Key<'_>, value: &mut Vec<u8>) -> Answer<bool> {
        value.clear();
        let found = self.database().parse_record(key.bytes(), |bytes| value.extend_from_slice(bytes));
        found.map(|found| found.is_some()).map_err(failed("fetch"))
    }

    fn exists(&mut self, key: Key<'_>) -> Answer<bool> {
        self.database().exists(key.bytes()).map_err(failed("exists"))
    }

    fn store(&mut self, key: Key<'_>, value: &[u8], mode: StoreMode) -> Answer<bool> {
        let mode = match mode {
            StoreMode::Replace => ::tdb::StoreMode::Replace,
            StoreMode::Insert => ::tdb::StoreMode::Insert,
            StoreMode::Modify => ::tdb::StoreMode::Modify,
        };
        refusable(self.database().store(key.bytes(), value, mode), "store")
    }

    fn append(&mut self, key: Key<'_>, more: &[u8]) -> Answer<()> {
        self.database().append(key.bytes(), more).map_err(failed("append"))
    }

    fn delete(&mut self, key: Key<'_>) -> Answer<bool> {
        refusable(self.database().delete(key.bytes()), "delete")
    }

    fn wipe_all(&mut self) -> Answer<()> {
        self.database().wipe_all().map_err(failed("wipe_all"))
    }

    fn lock_chain(&mut self, key: Key<'_>, write: bool) -> Answer<()> {
        self.database().lock_chain(key.bytes(), kind(write), Wait::Yes).map_err(failed("chainlock"))
    }

    fn unlock_chain(&mut self, key: Key<'_>, write: bool) -> Answer<()> {
        self.database().unlock_chain(key.bytes(), kind(write)).map_err(failed("chainunlock"))
    }

    fn lock_all(&mut self, write: bool) -> Answer<()> {
        self.database().lock_all(kind(write), Wait::Yes).map_err(failed("lockall"))
    }

    fn unlock_all(&mut self, write: bool) -> Answer<()> {
        self.database().unlock_all(kind(write)).map_err(failed("unlockall"))
    }

    fn start_transaction(&mut self) -> Answer<()> {
        self.database().transaction_start(Wait::Yes).map_err(failed("transaction_start"))
    }

    fn prepare_commit(&mut self) -> Answer<()> {
        self.database().transaction_prepare_commit().map_err(failed("transaction_prepare_commit"))
    }

    fn commit(&mut self) -> Answer<()> {
        self.database().transaction_commit().map_err(failed("transaction_commit"))
    }

    fn cancel(&mut self) -> Answer<()> {
        self.database().transaction_cancel().map_err(failed("transaction_cancel"))
    }

    fn traverse(&mut self, write: bool, visit: Visit<'_>) -> Answer<u64> {
        let database = self.database();
        let show =
            |key: &[u8], value: &[u8]| -> ControlFlow<()> { visit(&mut TdbSession { database }, key, value) };
        let shown = if write { database.traverse(show) } else { database.traverse_read(show) };
        shown.map_err(failed("traverse"))
    }

    fn first_key(&mut self, key: &mut Vec<u8>) -> Answer<bool> {
        put(self.database().first_key().map_err(failed("firstkey"))?, key)
    }

    fn next_key(&mut self, after: Key<'_>, key: &mut Vec<u8>) -> Answer<bool> {
        put(self.database().next_key(after.bytes()).map_err(failed("nextkey"))?, key)
    }
}

fn put(found: Option<Vec<u8>>, key: &mut Vec<u8>) -> Answer<bool> {
    Ok(found.map(|found| *key = found).is_some())
}

/// "Exists" and "does not exist" are answers.
fn refusable(result: Result<(), StoreError>, call: &'static str) -> Answer<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(StoreError::Exists | StoreError::NoSuchRecord) => Ok(false),
        Err(error) => Err(failed(call)(error)),
    }
}
