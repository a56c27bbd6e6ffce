//! The system's libtdb, loaded at run time: the same traces on the program that wrote them.
//!
//! Owns the scratch file's creation and the meaning of libtdb's answers. libtdb's locks belong to the process and its
//! functions are not to be called from several threads, so each worker is a process ([`Engine::wants_processes`]).
//! Flags of the traces are passed on as in [`super::tdb`].
//!
//! * [`library`]: the functions, and all that is unsafe about calling them.

pub mod library;

use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::tdb::{PASSED_ON, Settings};
use super::{Answer, Engine, EngineError, Key, Session, StoreMode, Visit};
use crate::trace::Trace;
use library::{Code, Library, Opened};

/// `TDB_SEQNUM` and `TDB_NOSYNC` of tdb.h.
const SEQNUM: u32 = 128;
const NOSYNC: u32 = 64;

/// A database file, used through libtdb.
pub struct Libtdb {
    library: Library,
    path: PathBuf,
    settings: Settings,
}

impl Libtdb {
    /// Makes a new, empty database at `path`; what was there is gone.
    ///
    /// # Errors
    /// libtdb is not installed, or the file cannot be made.
    pub fn create(path: &Path, settings: Settings) -> Result<Libtdb, EngineError> {
        let library = Library::load()?;
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(EngineError { message: format!("{}: {error}", path.display()), io: true });
            }
            _ => {}
        }
        let engine = Libtdb { library, path: path.to_owned(), settings };
        engine.open(0, true).map(|_| engine)
    }

    fn open(&self, flags: u32, create: bool) -> Result<Opened, EngineError> {
        let sync = if self.settings.sync { 0 } else { NOSYNC };
        let flags = flags & PASSED_ON | SEQNUM | sync;
        self.library.open(&self.path, self.settings.hashing, flags, create)
    }
}

impl Engine for Libtdb {
    fn name(&self) -> &'static str {
        "libtdb"
    }

    fn session(&self, trace: &Trace) -> Result<Box<dyn Session + '_>, EngineError> {
        let handle = Rc::new(self.open(trace.opened.tdb_flags, false)?);
        Ok(Box::new(LibtdbSession { handle }))
    }

    fn wants_processes(&self) -> bool {
        true
    }
}

/// A session; inside a traversal a second one stands for the same database.
struct LibtdbSession {
    handle: Rc<Opened>,
}

impl LibtdbSession {
    /// 0 is success.
    fn done(&self, call: &'static str, result: i32) -> Answer<()> {
        if result == 0 { Ok(()) } else { Err(self.handle.failed(call)) }
    }

    /// 0 is success; "exists" and "does not exist" are answers.
    fn refusable(&self, call: &'static str, result: i32) -> Answer<bool> {
        match (result, self.handle.code()) {
            (0, _) => Ok(true),
            (_, Code::EXISTS | Code::NO_SUCH_RECORD) => Ok(false),
            _ => Err(self.handle.failed(call)),
        }
    }
}

impl Session for LibtdbSession {
    fn fetch(&mut self, key: Key<'_>, value: &mut Vec<u8>) -> Answer<bool> {
        value.clear();
        let result = self.handle.parse_record(key.bytes(), value);
        self.refusable("parse_record", result)
    }

    fn exists(&mut self, key: Key<'_>) -> Answer<bool> {
        match (self.handle.exists(key.bytes()), self.handle.code()) {
            (0, code) if code != Code::NO_SUCH_RECORD && code != Code::SUCCESS => {
                Err(self.handle.failed("exists"))
            }
            (result, _) => Ok(result != 0),
        }
    }

    fn store(&mut self, key: Key<'_>, value: &[u8], mode: StoreMode) -> Answer<bool> {
        let flag = match mode {
            StoreMode::Replace => 1,
            StoreMode::Insert => 2,
            StoreMode::Modify => 3,
        };
        self.refusable("store", self.handle.store(key.bytes(), value, flag))
    }

    fn append(&mut self, key: Key<'_>, more: &[u8]) -> Answer<()> {
        self.done("append", self.handle.append(key.bytes(), more))
    }

    fn delete(&mut self, key: Key<'_>) -> Answer<bool> {
        self.refusable("delete", self.handle.delete(key.bytes()))
    }

    fn wipe_all(&mut self) -> Answer<()> {
        self.done("wipe_all", self.handle.wipe_all())
    }

    fn lock_chain(&mut self, key: Key<'_>, write: bool) -> Answer<()> {
        self.done("chainlock", self.handle.lock_chain(key.bytes(), write))
    }

    fn unlock_chain(&mut self, key: Key<'_>, write: bool) -> Answer<()> {
        self.done("chainunlock", self.handle.unlock_chain(key.bytes(), write))
    }

    fn lock_all(&mut self, write: bool) -> Answer<()> {
        self.done("lockall", self.handle.lock_all(write))
    }

    fn unlock_all(&mut self, write: bool) -> Answer<()> {
        self.done("unlockall", self.handle.unlock_all(write))
    }

    fn start_transaction(&mut self) -> Answer<()> {
        self.done("transaction_start", self.handle.transaction_start())
    }

    fn prepare_commit(&mut self) -> Answer<()> {
        self.done("transaction_prepare_commit", self.handle.transaction_prepare_commit())
    }

    fn commit(&mut self) -> Answer<()> {
        self.done("transaction_commit", self.handle.transaction_commit())
    }

    fn cancel(&mut self) -> Answer<()> {
        self.done("transaction_cancel", self.handle.transaction_cancel())
    }

    fn traverse(&mut self, write: bool, visit: Visit<'_>) -> Answer<u64> {
        let mut inner = LibtdbSession { handle: Rc::clone(&self.handle) };
        let shown = self.handle.traverse(write, &mut |key, value| visit(&mut inner, key, value));
        u64::try_from(shown).map_err(|_| self.handle.failed("traverse"))
    }

    fn first_key(&mut self, key: &mut Vec<u8>) -> Answer<bool> {
        Ok(self.handle.first_key(key))
    }

    fn next_key(&mut self, after: Key<'_>, key: &mut Vec<u8>) -> Answer<bool> {
        Ok(self.handle.next_key(after.bytes(), key))
    }
}
