//! Any bytes as traces: read, counted, cut, printed, read again.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tdb_replay::fuzz::trace(bytes));
