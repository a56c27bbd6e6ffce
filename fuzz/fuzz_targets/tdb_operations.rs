//! Operations with failures of the system against an ordered map. The body is a plain test's, too:
//! `crates/tdb/tests/hostile`.
#![no_main]

#[path = "../../crates/tdb/tests/support/fuzz_operations.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| body::operations(bytes));
