//! Any bytes as the records of a packed trace: made text of, and read as a trace.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tdb_replay::fuzz::packed(bytes));
