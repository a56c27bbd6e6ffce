//! Fuzz target: `resp::fuzz::requests`, which `crates/resp/tests/requests.rs` replays too.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| resp::fuzz::requests(bytes));
