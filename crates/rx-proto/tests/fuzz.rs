//! The bodies of the fuzz targets on random bytes and on the captures; `cargo fuzz run rx_packets` (and `rx_values`,
//! `rx_endpoint`) goes on from here.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use rx_proto::fuzz;

/// X7: random bytes, and captured files with random damage, break none of the promises.
#[test]
fn random_bytes_break_no_promise() {
    let mut random = fastrand::Rng::with_seed(testbed::seed("random_bytes_break_no_promise"));
    let capture = include_bytes!("../../../testdata/captures/write_txn.pcap");
    for round in 0..6_000 {
        let length = random.usize(0..600);
        let mut bytes: Vec<u8> = match round % 3 {
            0 => (0..length).map(|_| random.u8(..)).collect(),
            1 => (0..length).map(|_| *random.choice(&[0, 1, 4, 5, 8, 33, 255]).unwrap()).collect(),
            _ => {
                let at = random.usize(0..capture.len() - length);
                capture[at..at + length].to_vec()
            }
        };
        if let Some(byte) = bytes.get_mut(round % 64) {
            *byte = random.u8(..);
        }
        for body in [fuzz::packets, fuzz::values, fuzz::endpoint] {
            body(&bytes);
        }
    }
}
