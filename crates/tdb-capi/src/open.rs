//! Tdb and closing.

use std::ffi::{CStr, OsStr, c_char, c_int};
use std::os::unix::ffi::OsStrExt;
use std::ptr;
use std::sync::Arc;

use tdb::compat::{self, Tdb};
use tdb::{ByteOrder, Flags, HashFunction, LogLevel, OpenError, OpenOptions};
use tdb_trace::Recording;

use crate::abi::{DONE, Datum, FAILED, HashCallback, LoggingContext};
use crate::context::{Context, with_database};
use crate::guard::{self, set_errno};
use crate::logging::{self, SILENT};

/// The name of a database in memory that was given none.
const IN_MEMORY: &CStr = c"__TDB_INTERNAL__";

/// `tdb_open`
pub unsafe extern "C" fn tdb_open(
    name: *const c_char,
    hash_size: c_int,
    flags: c_int,
    open_flags: c_int,
    mode: libc::mode_t,
) -> *mut Context {
    // SAFETY: as for `tdb_open_ex`; no log and no hash function are allowed.
    unsafe { tdb_open_ex(name, hash_size, flags, open_flags, mode, ptr::null(), None) }
}

/// `tdb_open_ex`
pub unsafe extern "C" fn tdb_open_ex(
    name: *const c_char,
    hash_size: c_int,
    flags: c_int,
    open_flags: c_int,
    mode: libc::mode_t,
    log: *const LoggingContext,
    hash: Option<HashCallback>,
) -> *mut Context {
    let request = Request { hash_size, flags: Flags(flags as u32), open_flags, mode, hash };
    // SAFETY: C's promises: a string or null, a structure or null.
    let (name, log) = unsafe {
        let name = if name.is_null() { None } else { Some(CStr::from_ptr(name)) };
        (name, log.as_ref().copied().unwrap_or(SILENT))
    };
    guard::alone(ptr::null_mut(), || request.open(name, log))
}

/// The arguments of `tdb_open_ex`.
struct Request {
    hash_size: c_int,
    flags: Flags,
    open_flags: c_int,
    mode: libc::mode_t,
    hash: Option<HashCallback>,
}

impl Request {
    fn open(&self, name: Option<&CStr>, log: LoggingContext) -> *mut Context {
        let in_memory = self.flags.has(Flags::INTERNAL);
        let shown = name.unwrap_or(if in_memory { IN_MEMORY } else { c"" });
        let context = Context::new(shown, log);
        if name.is_none() && !in_memory {
            return refuse(&context, "a database in a file needs a name");
        }
        if self.open_flags & libc::O_ACCMODE == libc::O_WRONLY {
            return refuse(&context, "a database cannot be opened for writing only");
        }
        if self.hash_size < 0 {
            return refuse(&context, "the hash size is negative");
        }
        let opened = Tdb::open(&self.options(&context), OsStr::from_bytes(shown.to_bytes()));
        match opened {
            Ok(database) => context.hand_out(database),
            Err(error) => {
                context.say(level_of(&error), &error.to_string());
                set_errno(error.errno());
                ptr::null_mut()
            }
        }
    }

    fn options(&self, context: &Context) -> OpenOptions {
        let asks = |flag| self.open_flags & flag != 0;
        let in_memory = self.flags.has(Flags::INTERNAL);
        let mut options = OpenOptions::new();
        let mut flags = self.flags;
        if in_memory {
            // libtdb's choice, which shows in the order of records.
            flags = flags | Flags::INCOMPATIBLE_HASH;
        }
        compat::set_flags(&mut options, flags)
            .create(asks(libc::O_CREAT))
            .exclusive(asks(libc::O_EXCL))
            .truncate(asks(libc::O_TRUNC))
            .read_only(!in_memory && self.open_flags & libc::O_ACCMODE == libc::O_RDONLY)
            .overwrite_foreign(asks(libc::O_CREAT))
            .hash_size(self.hash_size as u32)
            .mode(self.mode)
            .log(logging::into(context));
        if self.flags.has(Flags::CONVERT) {
            options.byte_order(ByteOrder::FOREIGN);
        }
        if let Some(hash) = self.hash {
            options.hash(custom(hash));
        }
        if let Some(recording) = Recording::from_environment() {
            options.observe(recording);
        }
        options
    }
}

/// The caller's hash function.
fn custom(hash: HashCallback) -> HashFunction {
    HashFunction::Custom(Arc::new(move |key| {
        let mut key = Datum::lent(key);
        // SAFETY: the callback reads the key behind the pointer and keeps neither.
        unsafe { hash(&mut key) }
    }))
}

fn refuse(context: &Context, message: &str) -> *mut Context {
    context.say(LogLevel::Error, message);
    set_errno(libc::EINVAL);
    ptr::null_mut()
}

/// A file that is not there, or is none of ours, is for the program to judge; the rest is an error.
fn level_of(error: &OpenError) -> LogLevel {
    match error {
        OpenError::Io { .. } | OpenError::NotTdb { .. } => LogLevel::Warning,
        OpenError::WrongHash { .. } => LogLevel::Fatal,
        _ => LogLevel::Error,
    }
}

/// `tdb_close`
pub unsafe extern "C" fn tdb_close(tdb: *mut Context) -> c_int {
    if tdb.is_null() {
        set_errno(libc::EINVAL);
        return FAILED;
    }
    // SAFETY: C's promise: an open context, not used after this.
    guard::alone(FAILED, || unsafe {
        Context::close(tdb);
        DONE
    })
}

/// `tdb_reopen`: after a failure the database is closed.
pub unsafe extern "C" fn tdb_reopen(tdb: *mut Context) -> c_int {
    // SAFETY: C's promise: an open context; after a failure it is not used any more.
    unsafe {
        let reopened = with_database(tdb, FAILED, |context, database| match database.reopen() {
            Ok(()) => DONE,
            Err(error) => {
                context.say(LogLevel::Error, &error.to_string());
                set_errno(error.errno());
                FAILED
            }
        });
        if reopened == FAILED {
            tdb_close(tdb);
        }
        reopened
    }
}

/// `tdb_reopen_all`: every database of this process, in a child. Whether the parent lives longer makes no difference
/// here: taking the lock that says "someone is here" costs one system call.
pub unsafe extern "C" fn tdb_reopen_all(_parent_longlived: c_int) -> c_int {
    let mut answer = DONE;
    for context in guard::alone(Vec::new(), Context::all) {
        // SAFETY: all of these are open.
        if unsafe { tdb_reopen(context) } != DONE {
            answer = FAILED;
        }
    }
    answer
}
