//! Going over records.

use std::ffi::{c_int, c_uint, c_void};
use std::ops::ControlFlow;
use std::ptr;

use tdb::compat::Tdb;
use tdb::{ErrorCode, ReadError};

use crate::abi::{Datum, FAILED, TraverseCallback};
use crate::context::{Context, with_database};
use crate::guard::Failure;
use crate::memory::give_away;

/// Which records.
#[derive(Clone, Copy)]
enum Walk<'a> {
    All,
    AllReading,
    Chain(u32),
    ChainOf(&'a [u8]),
}

/// Calls `callback` for each record until it answers other than 0; how many it was called for, or -1.
fn walk(
    context: &Context,
    database: &Tdb,
    walk: Walk<'_>,
    callback: Option<TraverseCallback>,
    private: *mut c_void,
) -> c_int {
    let show = |key: &[u8], value: &[u8]| {
        let Some(callback) = callback else {
            return ControlFlow::Continue(());
        };
        // SAFETY: C's promise: the callback takes a context, a key and a value, which it reads during its call only.
        let answer = unsafe {
            callback(ptr::from_ref(context).cast_mut(), Datum::lent(key), Datum::lent(value), private)
        };
        if answer == 0 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    let shown = match walk {
        Walk::All => database.traverse(show),
        Walk::AllReading => database.traverse_read(show),
        Walk::Chain(chain) => database.traverse_chain(chain, show),
        Walk::ChainOf(key) => database.traverse_key_chain(key, show),
    };
    match shown {
        Ok(count) => c_int::try_from(count).unwrap_or(c_int::MAX),
        Err(error) => error.fail(),
    }
}

/// `tdb_traverse`
pub unsafe extern "C" fn tdb_traverse(
    tdb: *mut Context,
    callback: Option<TraverseCallback>,
    private: *mut c_void,
) -> c_int {
    // SAFETY: C's promises: an open context, a callback of this type or null.
    unsafe {
        with_database(tdb, FAILED, |context, database| walk(context, database, Walk::All, callback, private))
    }
}

/// `tdb_traverse_read`
pub unsafe extern "C" fn tdb_traverse_read(
    tdb: *mut Context,
    callback: Option<TraverseCallback>,
    private: *mut c_void,
) -> c_int {
    // SAFETY: as in `tdb_traverse`.
    unsafe {
        with_database(tdb, FAILED, |context, database| {
            walk(context, database, Walk::AllReading, callback, private)
        })
    }
}

/// `tdb_traverse_chain`
pub unsafe extern "C" fn tdb_traverse_chain(
    tdb: *mut Context,
    chain: c_uint,
    callback: Option<TraverseCallback>,
    private: *mut c_void,
) -> c_int {
    // SAFETY: as in `tdb_traverse`.
    unsafe {
        with_database(tdb, FAILED, |context, database| {
            walk(context, database, Walk::Chain(chain), callback, private)
        })
    }
}

/// `tdb_traverse_key_chain`
pub unsafe extern "C" fn tdb_traverse_key_chain(
    tdb: *mut Context,
    key: Datum,
    callback: Option<TraverseCallback>,
    private: *mut c_void,
) -> c_int {
    // SAFETY: as in `tdb_traverse`, and a key that stays during the call.
    unsafe {
        with_database(tdb, FAILED, |context, database| {
            walk(context, database, Walk::ChainOf(key.bytes()), callback, private)
        })
    }
}

/// `tdb_firstkey`: the caller frees it; a null pointer if there is none.
pub unsafe extern "C" fn tdb_firstkey(tdb: *mut Context) -> Datum {
    // SAFETY: C's promise: an open context.
    unsafe {
        with_database(tdb, Datum::NULL, |_, database| {
            // The end of a walk is not an error, but looks like one: only the code tells.
            database.set_last_error(ErrorCode::Success);
            key_or_null(database.first_key())
        })
    }
}

/// `tdb_nextkey`: as `tdb_firstkey`.
pub unsafe extern "C" fn tdb_nextkey(tdb: *mut Context, key: Datum) -> Datum {
    // SAFETY: C's promises: an open context, and a key that stays during the call.
    unsafe { with_database(tdb, Datum::NULL, |_, database| key_or_null(database.next_key(key.bytes()))) }
}

fn key_or_null(key: Result<Option<Vec<u8>>, ReadError>) -> Datum {
    match key {
        Ok(Some(key)) => give_away(&key),
        Ok(None) => Datum::NULL,
        Err(error) => {
            error.set_errno();
            Datum::NULL
        }
    }
}
