//! Locks of single chains and of everything.

use std::ffi::c_int;
use std::sync::atomic::AtomicI32;

use tdb::compat::Tdb;
use tdb::{ErrorCode, LockError, LockKind, Wait};

use crate::abi::{Datum, FAILED};
use crate::context::{Context, with_database};
use crate::guard::status;

/// # Safety
/// An open context, and a key that stays during the call.
unsafe fn on_chain(
    tdb: *mut Context,
    key: Datum,
    act: impl FnOnce(&Tdb, &[u8]) -> Result<(), LockError>,
) -> c_int {
    // SAFETY: the caller's promises.
    unsafe { with_database(tdb, FAILED, |_, database| status(act(database, key.bytes()))) }
}

/// # Safety
/// An open context.
unsafe fn on_everything(tdb: *mut Context, act: impl FnOnce(&Tdb) -> Result<(), LockError>) -> c_int {
    // SAFETY: the caller's promise.
    unsafe {
        with_database(tdb, FAILED, |_, database| {
            if database.is_read_only() {
                // libtdb knows no lock of everything on a database that takes no locks of chains either.
                database.set_last_error(ErrorCode::Lock);
                return FAILED;
            }
            status(act(database))
        })
    }
}

macro_rules! chain_functions {
    ($($(#[$doc:meta])* $name:ident($database:ident, $key:ident) $act:expr;)+) => { $(
        $(#[$doc])*
        pub unsafe extern "C" fn $name(tdb: *mut Context, key: Datum) -> c_int {
            // SAFETY: C's promises: an open context, and a key that stays during the call.
            unsafe { on_chain(tdb, key, |$database, $key| $act) }
        }
    )+ };
}

chain_functions! {
    /// `tdb_chainlock`
    tdb_chainlock(database, key) database.lock_chain(key, LockKind::Write, Wait::Yes);
    /// `tdb_chainlock_nonblock`
    tdb_chainlock_nonblock(database, key) database.lock_chain(key, LockKind::Write, Wait::No);
    /// `tdb_chainunlock`
    tdb_chainunlock(database, key) database.unlock_chain(key, LockKind::Write);
    /// `tdb_chainlock_read`
    tdb_chainlock_read(database, key) database.lock_chain(key, LockKind::Read, Wait::Yes);
    /// `tdb_chainlock_read_nonblock`
    tdb_chainlock_read_nonblock(database, key) database.lock_chain(key, LockKind::Read, Wait::No);
    /// `tdb_chainunlock_read`
    tdb_chainunlock_read(database, key) database.unlock_chain(key, LockKind::Read);
    /// `tdb_chainlock_mark`
    tdb_chainlock_mark(database, key) database.mark_chain(key);
    /// `tdb_chainlock_unmark`
    tdb_chainlock_unmark(database, key) database.unmark_chain(key);
}

macro_rules! everything_functions {
    ($($(#[$doc:meta])* $name:ident($database:ident) $act:expr;)+) => { $(
        $(#[$doc])*
        pub unsafe extern "C" fn $name(tdb: *mut Context) -> c_int {
            // SAFETY: C's promise: an open context.
            unsafe { on_everything(tdb, |$database| $act) }
        }
    )+ };
}

everything_functions! {
    /// `tdb_lockall`
    tdb_lockall(database) database.lock_all(LockKind::Write, Wait::Yes);
    /// `tdb_lockall_nonblock`
    tdb_lockall_nonblock(database) database.lock_all(LockKind::Write, Wait::No);
    /// `tdb_unlockall`
    tdb_unlockall(database) database.unlock_all(LockKind::Write);
    /// `tdb_lockall_read`
    tdb_lockall_read(database) database.lock_all(LockKind::Read, Wait::Yes);
    /// `tdb_lockall_read_nonblock`
    tdb_lockall_read_nonblock(database) database.lock_all(LockKind::Read, Wait::No);
    /// `tdb_unlockall_read`
    tdb_unlockall_read(database) database.unlock_all(LockKind::Read);
    /// `tdb_lockall_mark`
    tdb_lockall_mark(database) database.mark_all();
    /// `tdb_lockall_unmark`
    tdb_lockall_unmark(database) database.unmark_all();
    /// `tdb_transaction_write_lock_mark`
    tdb_transaction_write_lock_mark(database) { database.mark_transaction_lock(); Ok(()) };
    /// `tdb_transaction_write_lock_unmark`
    tdb_transaction_write_lock_unmark(database) database.unmark_transaction_lock();
}

/// `tdb_lock_nonblock`: by the chain's number, -1 for the freelist; `kind` is `F_RDLCK` or `F_WRLCK`.
pub unsafe extern "C" fn tdb_lock_nonblock(tdb: *mut Context, list: c_int, kind: c_int) -> c_int {
    // SAFETY: C's promise: an open context.
    unsafe {
        with_database(tdb, FAILED, |_, database| status(database.lock_number(list, kind_of(kind), Wait::No)))
    }
}

/// `tdb_unlock`
pub unsafe extern "C" fn tdb_unlock(tdb: *mut Context, list: c_int, kind: c_int) -> c_int {
    // SAFETY: C's promise: an open context.
    unsafe { with_database(tdb, FAILED, |_, database| status(database.unlock_number(list, kind_of(kind)))) }
}

fn kind_of(kind: c_int) -> LockKind {
    if kind == libc::F_RDLCK { LockKind::Read } else { LockKind::Write }
}

/// `tdb_setalarm_sigptr`: while the flag is not 0, a signal ends the wait for a lock.
pub unsafe extern "C" fn tdb_setalarm_sigptr(tdb: *mut Context, flag: *mut c_int) {
    // SAFETY: C's promises: an open context; a flag that outlives it, is aligned, and is changed by signal handlers
    // and this thread only (or null).
    unsafe {
        let flag = if flag.is_null() { None } else { Some(AtomicI32::from_ptr(flag)) };
        with_database(tdb, (), |_, database| database.set_interrupt_flag(flag));
    }
}
