//! Fuzz target: a body that a plain test of `crates/kv/tests` runs, too.
#![no_main]

#[path = "../../crates/kv/tests/support/fuzz_scripts.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| body::script(bytes));
