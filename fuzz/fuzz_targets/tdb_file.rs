//! Any bytes as a database file. The body is a plain test's, too: `crates/tdb/tests/hostile`.
#![no_main]

#[path = "../../crates/tdb/tests/support/fuzz_file.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| body::file(bytes));
