//! What looks at, or rewrites, the whole database.

use std::ffi::{CString, c_char, c_int, c_void};
use std::fmt::Write;
use std::ops::ControlFlow;
use std::ptr;

use tdb::compat::Tdb;
use tdb::{ErrorCode, LogLevel};

use crate::abi::{DONE, Datum, FAILED, RecordCallback, RescueCallback};
use crate::context::{Context, with_database};
use crate::guard::{Failure, status};
use crate::memory::give_away_text;

/// `tdb_check`
pub unsafe extern "C" fn tdb_check(
    tdb: *mut Context,
    accept: Option<RecordCallback>,
    private: *mut c_void,
) -> c_int {
    // SAFETY: C's promises: an open context, and a callback of this type or null, which reads key and value during its
    // call only.
    unsafe {
        with_database(tdb, FAILED, |_, database| {
            let accepted = |key: &[u8], value: &[u8]| {
                accept.is_none_or(|accept| accept(Datum::lent(key), Datum::lent(value), private) == 0)
            };
            match database.check(accepted) {
                Ok(_) => DONE,
                Err(error) => error.fail(),
            }
        })
    }
}

/// `tdb_rescue`
pub unsafe extern "C" fn tdb_rescue(
    tdb: *mut Context,
    show: Option<RescueCallback>,
    private: *mut c_void,
) -> c_int {
    let Some(show) = show else { return FAILED };
    // SAFETY: as in `tdb_check`.
    unsafe {
        with_database(tdb, FAILED, |_, database| {
            match database.rescue(|key, value| show(Datum::lent(key), Datum::lent(value), private)) {
                Ok(_) => DONE,
                Err(error) => error.fail(),
            }
        })
    }
}

/// `tdb_repack`
pub unsafe extern "C" fn tdb_repack(tdb: *mut Context) -> c_int {
    // SAFETY: C's promise: an open context.
    unsafe {
        with_database(tdb, FAILED, |context, database| {
            let repacked = database.repack();
            if let Err(error) = &repacked {
                context.say(LogLevel::Error, &error.to_string());
            }
            status(repacked)
        })
    }
}

/// `tdb_summary`: the caller frees it; null after a failure.
pub unsafe extern "C" fn tdb_summary(tdb: *mut Context) -> *mut c_char {
    // SAFETY: C's promise: an open context.
    unsafe {
        with_database(tdb, ptr::null_mut(), |_, database| match database.summary() {
            Ok(summary) => give_away_text(&summary.to_string()),
            Err(error) => {
                error.set_errno();
                ptr::null_mut()
            }
        })
    }
}

/// `tdb_freelist_size`: the number of free records, or -1.
pub unsafe extern "C" fn tdb_freelist_size(tdb: *mut Context) -> c_int {
    // SAFETY: C's promise: an open context.
    unsafe {
        with_database(tdb, FAILED, |_, database| match database.freelist_size() {
            Ok(count) => c_int::try_from(count).unwrap_or(c_int::MAX),
            Err(error) => error.fail(),
        })
    }
}

/// `tdb_validate_freelist`: counts the free records, too.
pub unsafe extern "C" fn tdb_validate_freelist(tdb: *mut Context, count: *mut c_int) -> c_int {
    // SAFETY: C's promises: an open context, and room for a number (or null).
    unsafe {
        with_database(tdb, FAILED, |_, database| match database.validate_freelist() {
            Ok(found) => {
                if let Some(count) = count.as_mut() {
                    *count = c_int::try_from(found).unwrap_or(c_int::MAX);
                }
                DONE
            }
            Err(error) => error.fail(),
        })
    }
}

/// `tdb_printfreelist`: to the C library's standard output, as all that is printed here.
pub unsafe extern "C" fn tdb_printfreelist(tdb: *mut Context) -> c_int {
    // SAFETY: C's promise: an open context.
    unsafe {
        with_database(tdb, FAILED, |context, database| match describe_freelist(database) {
            Some(text) => {
                print(&text);
                DONE
            }
            None => {
                context.say(LogLevel::Error, "the freelist cannot be read");
                FAILED
            }
        })
    }
}

/// `tdb_dump_all`: every chain and the freelist, for people.
pub unsafe extern "C" fn tdb_dump_all(tdb: *mut Context) {
    // SAFETY: C's promise: an open context.
    unsafe {
        with_database(tdb, (), |context, database| {
            for chain in 0..database.hash_size() {
                match describe_chain(database, chain) {
                    Some(text) => print(&text),
                    None => context.say(LogLevel::Error, &format!("chain {chain} cannot be read")),
                }
            }
            print(&describe_freelist(database).unwrap_or_default());
        });
    }
}

fn describe_chain(database: &Tdb, chain: u32) -> Option<String> {
    let mut text = format!("chain {chain}\n");
    let shown = database.traverse_chain(chain, |key, value| {
        let key_text = String::from_utf8_lossy(key);
        let _ = writeln!(
            text,
            "  hash={:#010x} key_len={} data_len={} key={key_text:?}",
            database.hash_of(key),
            key.len(),
            value.len()
        );
        ControlFlow::Continue(())
    });
    shown.ok().map(|count| if count == 0 { String::new() } else { text })
}

fn describe_freelist(database: &Tdb) -> Option<String> {
    let mut lines = String::new();
    let mut total: u64 = 0;
    let count = database.freelist_records(|at, len| {
        total += u64::from(len);
        let _ = writeln!(lines, "  offset={at:#010x} length={len:#010x} ({len})");
    });
    match count {
        Ok(count) => {
            Some(format!("freelist: {count} records\n{lines}total length={total:#010x} ({total})\n"))
        }
        Err(_) => {
            database.set_last_error(ErrorCode::Corrupt);
            None
        }
    }
}

/// Prints through the C library, so that it stands in order with what the program prints.
fn print(text: &str) {
    let bytes: Vec<u8> = text.bytes().filter(|byte| *byte != 0).collect();
    if let Ok(text) = CString::new(bytes) {
        // SAFETY: a format with one string.
        unsafe { libc::printf(c"%s".as_ptr(), text.as_ptr()) };
    }
}
