//! Fuzz target: `rx_proto::fuzz::endpoint`, which `crates/rx-proto/tests/fuzz.rs` replays too.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rx_proto::fuzz::endpoint(bytes));
