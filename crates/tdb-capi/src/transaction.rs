//! Transactions.

use std::ffi::c_int;

use tdb::{ErrorCode, LockError, TransactionError, Wait};

use crate::abi::FAILED;
use crate::context::{Context, with_database};
use crate::guard::status;

/// `tdb_transaction_start`
pub unsafe extern "C" fn tdb_transaction_start(tdb: *mut Context) -> c_int {
    // SAFETY: C's promise: an open context.
    unsafe { with_database(tdb, FAILED, |_, database| status(database.transaction_start(Wait::Yes))) }
}

/// `tdb_transaction_start_nonblock`
pub unsafe extern "C" fn tdb_transaction_start_nonblock(tdb: *mut Context) -> c_int {
    // SAFETY: C's promise: an open context.
    unsafe {
        with_database(tdb, FAILED, |_, database| {
            let started = database.transaction_start(Wait::No);
            if matches!(started, Err(TransactionError::Lock(LockError::WouldBlock))) {
                // This call alone has a code of its own for "somebody else's".
                database.set_last_error(ErrorCode::NoLock);
            }
            status(started)
        })
    }
}

/// `tdb_transaction_prepare_commit`
pub unsafe extern "C" fn tdb_transaction_prepare_commit(tdb: *mut Context) -> c_int {
    // SAFETY: C's promise: an open context.
    unsafe { with_database(tdb, FAILED, |_, database| status(database.transaction_prepare_commit())) }
}

/// `tdb_transaction_commit`
pub unsafe extern "C" fn tdb_transaction_commit(tdb: *mut Context) -> c_int {
    // SAFETY: C's promise: an open context.
    unsafe { with_database(tdb, FAILED, |_, database| status(database.transaction_commit())) }
}

/// `tdb_transaction_cancel`
pub unsafe extern "C" fn tdb_transaction_cancel(tdb: *mut Context) -> c_int {
    // SAFETY: C's promise: an open context.
    unsafe { with_database(tdb, FAILED, |_, database| status(database.transaction_cancel())) }
}

/// `tdb_transaction_active`
pub unsafe extern "C" fn tdb_transaction_active(tdb: *mut Context) -> bool {
    // SAFETY: C's promise: an open context.
    unsafe { with_database(tdb, false, |_, database| database.transaction_active()) }
}
