//! XDR values are decoded; the body is in rx-proto, where a plain test replays it.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rx_proto::fuzz::values(bytes));
