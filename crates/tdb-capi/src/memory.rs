//! What callers get to keep, and give back with `free`.

use std::ffi::{c_char, c_void};

use crate::abi::Datum;

/// A copy of `bytes` from the C library's allocator; [`Datum::NULL`] without memory. Even a copy of nothing is an
/// allocation, since a null pointer means "no such record".
pub fn give_away(bytes: &[u8]) -> Datum {
    // SAFETY: asks for memory; never for 0 bytes, for which malloc may answer null.
    let start: *mut u8 = unsafe { libc::malloc(bytes.len().max(1)) }.cast();
    if start.is_null() {
        return Datum::NULL;
    }
    // SAFETY: `start` is fresh memory of at least that length.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), start, bytes.len()) };
    Datum { start, length: bytes.len() }
}

/// A C string of `text` (up to its first NUL byte) from the C library's allocator; null without memory.
pub fn give_away_text(text: &str) -> *mut c_char {
    let mut bytes: Vec<u8> = text.bytes().take_while(|byte| *byte != 0).collect();
    bytes.push(0);
    give_away(&bytes).start.cast::<c_void>().cast()
}
