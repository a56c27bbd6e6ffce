//! Single records.

use std::ffi::{c_int, c_void};

use tdb::compat::Tdb;
use tdb::{ErrorCode, StoreMode};

use crate::abi::{DONE, Datum, FAILED, INSERT, MODIFY, RecordCallback};
use crate::context::{Context, with_database};
use crate::guard::{Failure, status};
use crate::memory::give_away;

/// `tdb_fetch`: a null pointer if there is none; else the caller frees it.
pub unsafe extern "C" fn tdb_fetch(tdb: *mut Context, key: Datum) -> Datum {
    // SAFETY: C's promises: an open context, and a key that stays during the call.
    unsafe {
        with_database(tdb, Datum::NULL, |context, database| {
            let mut value = context.take_buffer();
            let fetched =
                database.fetch_into(key.bytes(), &mut value).map(|found| found.then(|| give_away(&value)));
            context.give_buffer_back(value);
            match fetched {
                Ok(Some(value)) => {
                    if value.start.is_null() {
                        context.set_error(ErrorCode::OutOfMemory);
                    }
                    value
                }
                Ok(None) => Datum::NULL,
                Err(error) => {
                    error.set_errno();
                    Datum::NULL
                }
            }
        })
    }
}

/// `tdb_parse_record`: what the parser answers, or -1.
///
/// The parser gets a copy: Samba's parsers lock the chain for writing, store and delete.
pub unsafe extern "C" fn tdb_parse_record(
    tdb: *mut Context,
    key: Datum,
    parser: Option<RecordCallback>,
    private: *mut c_void,
) -> c_int {
    let Some(parser) = parser else { return FAILED };
    // SAFETY: C's promises as in `tdb_fetch`, and the parser's: it reads the value during its call only.
    unsafe {
        with_database(tdb, FAILED, |context, database| {
            let mut copy = context.take_buffer();
            let parsed = database
                .parse_record_copy(key.bytes(), &mut copy, |value| parser(key, Datum::lent(value), private));
            context.give_buffer_back(copy);
            match parsed {
                Ok(Some(answer)) => answer,
                Ok(None) => FAILED,
                Err(error) => {
                    error.set_errno();
                    FAILED
                }
            }
        })
    }
}

/// `tdb_exists`: 1 or 0; 0 after a failure, too.
pub unsafe extern "C" fn tdb_exists(tdb: *mut Context, key: Datum) -> c_int {
    // SAFETY: as in `tdb_fetch`.
    unsafe {
        with_database(tdb, 0, |_, database| match database.exists(key.bytes()) {
            Ok(there) => there.into(),
            Err(error) => {
                error.set_errno();
                0
            }
        })
    }
}

/// `tdb_delete`
pub unsafe extern "C" fn tdb_delete(tdb: *mut Context, key: Datum) -> c_int {
    // SAFETY: as in `tdb_fetch`.
    unsafe { with_database(tdb, FAILED, |_, database| status(database.delete(key.bytes()))) }
}

/// `tdb_store`
pub unsafe extern "C" fn tdb_store(tdb: *mut Context, key: Datum, value: Datum, flag: c_int) -> c_int {
    // SAFETY: as in `tdb_fetch`, for the value as for the key.
    unsafe {
        with_database(tdb, FAILED, |_, database| {
            status(database.store(key.bytes(), value.bytes(), mode_of(flag)))
        })
    }
}

/// `tdb_storev`
pub unsafe extern "C" fn tdb_storev(
    tdb: *mut Context,
    key: Datum,
    parts: *const Datum,
    count: c_int,
    flag: c_int,
) -> c_int {
    // SAFETY: C's promises: `parts` are `count` values that stay during the call.
    unsafe {
        with_database(tdb, FAILED, |context, database| {
            let Ok(count) = usize::try_from(count) else {
                context.refuse(
                    ErrorCode::InvalidArgument,
                    libc::EINVAL,
                    "a negative number of values to store",
                );
                return FAILED;
            };
            let parts = if count == 0 { &[] } else { std::slice::from_raw_parts(parts, count) };
            let parts: Vec<&[u8]> = parts.iter().map(|part| part.bytes()).collect();
            status(database.store_parts(key.bytes(), &parts, mode_of(flag)))
        })
    }
}

/// `tdb_append`
pub unsafe extern "C" fn tdb_append(tdb: *mut Context, key: Datum, more: Datum) -> c_int {
    // SAFETY: as in `tdb_store`.
    unsafe { with_database(tdb, FAILED, |_, database| status(database.append(key.bytes(), more.bytes()))) }
}

fn mode_of(flag: c_int) -> StoreMode {
    match flag {
        INSERT => StoreMode::Insert,
        MODIFY => StoreMode::Modify,
        _ => StoreMode::Replace,
    }
}

/// `tdb_wipe_all`
pub unsafe extern "C" fn tdb_wipe_all(tdb: *mut Context) -> c_int {
    // SAFETY: C's promise: an open context.
    unsafe {
        with_database(tdb, FAILED, |_, database: &Tdb| {
            if database.is_read_only() {
                database.set_last_error(ErrorCode::Lock);
                return FAILED;
            }
            match database.wipe_all() {
                Ok(()) => DONE,
                Err(error) => error.fail(),
            }
        })
    }
}
