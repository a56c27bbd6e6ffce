//! What a database is and how it is set: questions and switches that touch no record.

use std::ffi::{c_char, c_int, c_uint};
use std::ptr;

use tdb::{ErrorCode, Flags, LogLevel};

use crate::abi::Datum;
use crate::context::{Context, with_database};
use crate::guard::{self, Failure};

/// `tdb_error`
pub unsafe extern "C" fn tdb_error(tdb: *mut Context) -> c_int {
    // SAFETY: C's promise: a context, possibly one that is being opened.
    unsafe { with_database(tdb, ErrorCode::Success as c_int, |_, database| database.last_error() as c_int) }
}

/// `tdb_errorstr`: the texts that programs show, and compare with, for each code.
pub unsafe extern "C" fn tdb_errorstr(tdb: *mut Context) -> *const c_char {
    // SAFETY: as in `tdb_error`.
    let code = unsafe { with_database(tdb, ErrorCode::Success, |_, database| database.last_error()) };
    let text = match code {
        ErrorCode::Success => c"Success",
        ErrorCode::Corrupt => c"Corrupt database",
        ErrorCode::Io => c"IO Error",
        ErrorCode::Lock => c"Locking error",
        ErrorCode::OutOfMemory => c"Out of memory",
        ErrorCode::Exists => c"Record exists",
        ErrorCode::NoLock => c"Lock exists on other keys",
        ErrorCode::LockTimeout => c"Lock timeout",
        ErrorCode::NoSuchRecord => c"Record does not exist",
        ErrorCode::InvalidArgument => c"Invalid parameter",
        ErrorCode::ReadOnly => c"write not permitted",
        ErrorCode::Nesting => c"Transactions may not nest",
    };
    text.as_ptr()
}

/// `tdb_name`
pub unsafe extern "C" fn tdb_name(tdb: *mut Context) -> *const c_char {
    // SAFETY: as in `tdb_error`; the name lives as long as the context.
    unsafe { guard::with(tdb, ptr::null(), |context| context.name().as_ptr()) }
}

/// `tdb_fd`: -1 for a database in memory.
pub unsafe extern "C" fn tdb_fd(tdb: *mut Context) -> c_int {
    // SAFETY: C's promise: an open context.
    unsafe { with_database(tdb, -1, |_, database| database.raw_fd().unwrap_or(-1)) }
}

/// `tdb_hash_size`
pub unsafe extern "C" fn tdb_hash_size(tdb: *mut Context) -> c_int {
    // SAFETY: C's promise: an open context.
    unsafe { with_database(tdb, 0, |_, database| database.hash_size() as c_int) }
}

/// `tdb_map_size`
pub unsafe extern "C" fn tdb_map_size(tdb: *mut Context) -> usize {
    // SAFETY: C's promise: an open context.
    unsafe { with_database(tdb, 0, |_, database| database.map_size() as usize) }
}

/// `tdb_get_flags`
pub unsafe extern "C" fn tdb_get_flags(tdb: *mut Context) -> c_int {
    // SAFETY: C's promise: an open context.
    unsafe { with_database(tdb, 0, |_, database| database.flags().0 as c_int) }
}

/// `tdb_add_flags`
pub unsafe extern "C" fn tdb_add_flags(tdb: *mut Context, flags: c_uint) {
    // SAFETY: C's promise: an open context.
    unsafe { change_flags(tdb, flags, |database, flags| database.add_flags(flags)) }
}

/// `tdb_remove_flags`
pub unsafe extern "C" fn tdb_remove_flags(tdb: *mut Context, flags: c_uint) {
    // SAFETY: C's promise: an open context.
    unsafe { change_flags(tdb, flags, |database, flags| database.remove_flags(flags)) }
}

/// # Safety
/// An open context.
unsafe fn change_flags(tdb: *mut Context, flags: c_uint, change: impl FnOnce(&tdb::compat::Tdb, Flags)) {
    let flags = Flags(flags);
    // SAFETY: the caller's promise.
    unsafe {
        with_database(tdb, (), |context, database| {
            if flags.has(Flags::ALLOW_NESTING | Flags::DISALLOW_NESTING) {
                database.set_last_error(ErrorCode::Nesting);
                context.say(
                    LogLevel::Fatal,
                    "nesting cannot be both allowed and disallowed; no flag was changed",
                );
                return;
            }
            change(database, flags);
        });
    }
}

/// `tdb_set_max_dead`
pub unsafe extern "C" fn tdb_set_max_dead(tdb: *mut Context, max_dead: c_int) {
    // SAFETY: C's promise: an open context.
    unsafe {
        with_database(tdb, (), |_, database| database.set_max_dead(u32::try_from(max_dead).unwrap_or(0)))
    }
}

/// `tdb_get_seqnum`: 0 if it cannot be read.
pub unsafe extern "C" fn tdb_get_seqnum(tdb: *mut Context) -> c_int {
    // SAFETY: C's promise: an open context.
    unsafe { with_database(tdb, 0, |_, database| database.seqnum().unwrap_or(0) as c_int) }
}

/// `tdb_enable_seqnum`
pub unsafe extern "C" fn tdb_enable_seqnum(tdb: *mut Context) {
    // SAFETY: C's promise: an open context.
    unsafe { with_database(tdb, (), |_, database| database.enable_seqnum()) }
}

/// `tdb_increment_seqnum_nonblock`
pub unsafe extern "C" fn tdb_increment_seqnum_nonblock(tdb: *mut Context) {
    // SAFETY: C's promise: an open context.
    unsafe {
        with_database(tdb, (), |_, database| {
            if let Err(error) = database.increment_seqnum() {
                error.set_errno();
            }
        });
    }
}

/// `tdb_jenkins_hash`: for `tdb_open_ex`.
pub unsafe extern "C" fn tdb_jenkins_hash(key: *mut Datum) -> c_uint {
    // SAFETY: C's promise: a key.
    guard::alone(0, || unsafe { key.as_ref().map_or(0, |key| tdb::hash::jenkins_hash(key.bytes())) })
}

/// `tdb_runtime_check_for_robust_mutexes`
pub unsafe extern "C" fn tdb_runtime_check_for_robust_mutexes() -> bool {
    guard::alone(false, tdb::robust_mutexes_work)
}
