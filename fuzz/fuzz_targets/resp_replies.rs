//! Fuzz target: `resp::fuzz::replies`, which `crates/resp/tests/replies.rs` replays too.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| resp::fuzz::replies(bytes));
