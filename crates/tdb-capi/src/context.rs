//! What a `struct tdb_context` is: a database, its name as C wants it, and where its messages go.

use std::cell::{Cell, OnceCell};
use std::ffi::{CStr, CString, c_int};
use std::ptr;
use std::sync::{Mutex, PoisonError};

use tdb::compat::Tdb;
use tdb::{ErrorCode, LogLevel};

use crate::abi::LoggingContext;
use crate::guard;
use crate::logging;

/// One opened database. It stays where it is while it is open: C and its callbacks have its address.
pub struct Context {
    /// Empty while `tdb_open` runs, which may log already.
    database: OnceCell<Tdb>,
    name: CString,
    log: Cell<LoggingContext>,
    /// Memory that a parser's copy can use; a parser inside a parser finds it empty.
    buffer: Cell<Vec<u8>>,
}

/// A longer buffer is freed rather than kept.
const LONGEST_BUFFER: usize = 64 << 10;

/// All open contexts, for `tdb_reopen_all`: their addresses.
static OPEN: Mutex<Vec<usize>> = Mutex::new(Vec::new());

impl Context {
    /// A context that is being opened.
    pub fn new(name: &CStr, log: LoggingContext) -> Box<Context> {
        Box::new(Context {
            database: OnceCell::new(),
            name: name.into(),
            log: Cell::new(log),
            buffer: Cell::default(),
        })
    }

    /// Gives the context its database and to C; C gives it back to [`Context::close`].
    pub fn hand_out(self: Box<Self>, database: Tdb) -> *mut Context {
        // Filled once, here, right after it was made.
        let _ = self.database.set(database);
        let pointer = Box::into_raw(self);
        OPEN.lock().unwrap_or_else(PoisonError::into_inner).push(pointer.expose_provenance());
        pointer
    }

    /// Ends a context.
    ///
    /// # Safety
    /// `pointer` comes from [`Context::hand_out`] and nobody uses it any more.
    pub unsafe fn close(pointer: *mut Context) {
        OPEN.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|open| *open != pointer.expose_provenance());
        // SAFETY: made by `Box::into_raw`, and this is its only way back.
        drop(unsafe { Box::from_raw(pointer) });
    }

    /// All open contexts.
    pub fn all() -> Vec<*mut Context> {
        let open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        open.iter().map(|address| ptr::with_exposed_provenance_mut(*address)).collect()
    }

    /// The database, once it is open.
    #[inline]
    pub fn database(&self) -> Option<&Tdb> {
        self.database.get()
    }

    /// The name it was opened by.
    pub fn name(&self) -> &CStr {
        &self.name
    }

    /// Where messages go.
    pub fn log(&self) -> LoggingContext {
        self.log.get()
    }

    /// Sends messages elsewhere from now on.
    pub fn set_log(&self, log: LoggingContext) {
        self.log.set(log);
    }

    /// An empty buffer, to be given back by [`Context::give_buffer_back`].
    pub fn take_buffer(&self) -> Vec<u8> {
        self.buffer.take()
    }

    /// Keeps a buffer for the next who takes one.
    pub fn give_buffer_back(&self, buffer: Vec<u8>) {
        if buffer.capacity() <= LONGEST_BUFFER {
            self.buffer.set(buffer);
        }
    }

    /// Tells the caller's log function.
    pub fn say(&self, level: LogLevel, message: &str) {
        logging::call(self, level, message);
    }

    /// Sets what `tdb_error` says.
    pub fn set_error(&self, code: ErrorCode) {
        if let Some(database) = self.database() {
            database.set_last_error(code);
        }
    }

    /// Refuses a call: its error code, and a message.
    pub fn refuse(&self, code: ErrorCode, errno: c_int, message: &str) {
        self.set_error(code);
        self.say(LogLevel::Error, message);
        guard::set_errno(errno);
    }
}

/// Runs `act` on an open database; see [`guard::with`].
///
/// # Safety
/// As [`guard::with`].
#[inline]
pub unsafe fn with_database<T>(pointer: *mut Context, failed: T, act: impl FnOnce(&Context, &Tdb) -> T) -> T
where
    T: Copy,
{
    // SAFETY: the caller's promise.
    unsafe {
        guard::with(pointer, failed, |context| match context.database() {
            Some(database) => act(context, database),
            // Only a log function can get here, while the database is being opened.
            None => failed,
        })
    }
}
