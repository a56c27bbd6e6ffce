//! Any bytes as traces: is there an order? The corpus is that of `trace`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tdb_replay::fuzz::order(bytes));
