//! Reads the captures: classic pcap, LINUX_SLL2, IPv4, UDP.

/// A datagram of a capture.
pub struct Datagram {
    pub bytes: Vec<u8>,
}

const CAPTURES: &[&str] = &[
    "beacons",
    "coldstart_election",
    "failover_epoch_change",
    "getfile2",
    "getfile_newsync",
    "rxkad_coldstart",
    "rxkad_txn",
    "sendfile3",
    "sendfile_empty_join",
    "udebug",
    "updateinterfaceaddr",
    "utst_truncate_abort",
    "write_txn",
];

/// All captures.
pub fn all() -> Vec<(String, Vec<Datagram>)> {
    named(CAPTURES)
}

/// These captures.
pub fn named(names: &[&str]) -> Vec<(String, Vec<Datagram>)> {
    let read = |name: &str| read(&testbed::test_data(&format!("captures/{name}.pcap")));
    names.iter().map(|name| ((*name).to_owned(), read(name))).collect()
}

fn read(path: &std::path::Path) -> Vec<Datagram> {
    let bytes = std::fs::read(path).unwrap();
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    assert_eq!((word(0), word(20)), (0xa1b2_c3d4, 276), "{path:?} is not a pcap with LINUX_SLL2");
    let mut at = 24;
    let mut found = Vec::new();
    while at < bytes.len() {
        let length = word(at + 8);
        let frame = &bytes[at + 16..at + 16 + length];
        at += 16 + length;
        let ip = &frame[20..];
        if frame[..2] != [8, 0] || ip[9] != 17 {
            continue;
        }
        let udp = &ip[usize::from(ip[0] & 15) * 4..];
        let length = usize::from(u16::from_be_bytes([udp[4], udp[5]]));
        found.push(Datagram { bytes: udp[8..length].to_vec() });
    }
    found
}
