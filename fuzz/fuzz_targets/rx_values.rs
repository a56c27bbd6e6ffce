#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rx_proto::fuzz::values(bytes));
