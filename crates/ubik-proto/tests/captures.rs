//! Calls between OpenAFS 1.8.9 servers, recorded on the wire: each is understood, and written back to the same bytes.

use std::collections::BTreeMap;

use ubik_proto::messages::{DiskCall, VoteCall};

/// The first packets of calls to a service: (service, bytes of the call).
fn calls(pcap: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let mut calls = Vec::new();
    let mut rest = &pcap[24..];
    while rest.len() >= 16 {
        let length = u32::from_le_bytes([rest[8], rest[9], rest[10], rest[11]]) as usize;
        let packet = &rest[16..16 + length];
        rest = &rest[16 + length..];
        // Linux cooked capture v2 (20 bytes), IPv4 without options (20), UDP (8), Rx (28).
        let Some(rx) = packet.get(48..) else { continue };
        if rx.len() < 28 || packet[29] != 17 {
            continue;
        }
        let (kind, flags) = (rx[20], rx[21]);
        let first_and_last = rx[12..16] == [0, 0, 0, 1] && flags & 4 != 0;
        if kind == 1 && flags & 1 != 0 && first_and_last {
            calls.push((u16::from_be_bytes([rx[26], rx[27]]), rx[28..].to_vec()));
        }
    }
    calls
}

/// U29: what C sends reads as a call, and the call writes back to C's bytes.
#[test]
fn recorded_calls_are_read_and_written_alike() {
    let captures: [&[u8]; 4] = [
        include_bytes!("../../../testdata/captures/beacons.pcap"),
        include_bytes!("../../../testdata/captures/write_txn.pcap"),
        include_bytes!("../../../testdata/captures/utst_truncate_abort.pcap"),
        include_bytes!("../../../testdata/captures/failover_epoch_change.pcap"),
    ];
    let mut seen = BTreeMap::new();
    for (service, bytes) in captures.iter().flat_map(|capture| calls(capture)) {
        let written = match service {
            50 => VoteCall::decode(&bytes).expect("a call of C's").encode(),
            51 => DiskCall::decode(&bytes).expect("a call of C's").encode(),
            _ => continue,
        };
        assert_eq!(written, bytes);
        *seen.entry(u32::from_be_bytes(bytes[..4].try_into().unwrap())).or_insert(0) += 1;
    }
    println!("{seen:?}");
    for opcode in [10000, 20000, 20001, 20002, 20007, 20008, 20009, 20011, 20013] {
        assert!(seen.contains_key(&opcode), "the captures hold a call {opcode}");
    }
}
