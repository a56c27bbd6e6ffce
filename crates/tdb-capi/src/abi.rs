//! The structures, numbers and callbacks of libtdb's C interface.

use std::ffi::{c_char, c_int, c_uint, c_void};
use std::ptr;

use crate::context::Context;

/// `TDB_DATA`: bytes somewhere, whose owner depends on the function.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Datum {
    pub start: *mut u8,
    pub length: usize,
}

impl Datum {
    /// `tdb_null`: nothing.
    pub const NULL: Datum = Datum { start: ptr::null_mut(), length: 0 };

    /// The bytes that a callback gets to see.
    pub fn lent(bytes: &[u8]) -> Datum {
        Datum { start: bytes.as_ptr().cast_mut(), length: bytes.len() }
    }

    /// The caller's bytes.
    ///
    /// # Safety
    /// `start` points at `length` readable bytes that stay for `'a`, or `length` is 0.
    pub unsafe fn bytes<'a>(self) -> &'a [u8] {
        if self.length == 0 || self.start.is_null() {
            return &[];
        }
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts(self.start, self.length) }
    }
}

/// `tdb_log_func`: like printf, behind a context and a level.
pub type LogFunction = unsafe extern "C" fn(*mut Context, c_int, *const c_char, ...);
/// `tdb_hash_func`
pub type HashCallback = unsafe extern "C" fn(*mut Datum) -> c_uint;
/// `tdb_traverse_func`: not 0 stops.
pub type TraverseCallback = unsafe extern "C" fn(*mut Context, Datum, Datum, *mut c_void) -> c_int;
/// The callback of `tdb_parse_record` and `tdb_check`.
pub type RecordCallback = unsafe extern "C" fn(Datum, Datum, *mut c_void) -> c_int;
/// The callback of `tdb_rescue`.
pub type RescueCallback = unsafe extern "C" fn(Datum, Datum, *mut c_void);

/// `struct tdb_logging_context`
#[repr(C)]
#[derive(Clone, Copy)]
pub struct LoggingContext {
    pub function: Option<LogFunction>,
    pub private: *mut c_void,
}

/// What a function that returns `int` answers when it failed.
pub const FAILED: c_int = -1;
/// And when it did not.
pub const DONE: c_int = 0;

/// `TDB_INSERT`
pub const INSERT: c_int = 2;
/// `TDB_MODIFY`
pub const MODIFY: c_int = 3;
