//! What hostile calls make the decoder reserve. A file of its own: other tests' memory would be counted too.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use ubik_proto::messages::{DiskCall, VoteCall};
use ubik_proto::stock::debug::{ServerDebug, SiteDebug};

/// The most address space that the process has ever had, in bytes: what was reserved counts, touched or not.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmPeak:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// U29, X11: random calls, and calls whose counts and lengths say more than is there, neither panic nor reserve memory for what
/// they promise.
#[test]
fn calls_reserve_no_memory_for_what_they_only_promise() {
    let mut random = fastrand::Rng::with_seed(testbed::seed("calls_reserve_no_memory"));
    let before = peak();
    for _ in 0..50_000 {
        let mut bytes: Vec<u8> = (0..random.usize(..200)).map(|_| random.u8(..)).collect();
        let opcode = if random.bool() { 20_000 + random.u32(..14) } else { 10_000 + random.u32(..8) };
        if let Some(head) = bytes.get_mut(..4) {
            head.copy_from_slice(&opcode.to_be_bytes());
        }
        // A word somewhere is a large number: a count or a length, often enough.
        let at = 4 * random.usize(1..12);
        if let Some(word) = bytes.get_mut(at..at + 4) {
            let large = [u32::MAX, i32::MAX as u32, 1 << 24, 1 << 30, 20_001, 65_537];
            word.copy_from_slice(&large[random.usize(..large.len())].to_be_bytes());
        }
        let _ = DiskCall::decode(&bytes);
        let _ = VoteCall::decode(&bytes);
        let _ = SiteDebug::decode(&bytes);
        let _ = ServerDebug::decode(&bytes);
    }
    let grown = peak() - before;
    assert!(grown < 4 << 20, "{grown} bytes were reserved");
}
