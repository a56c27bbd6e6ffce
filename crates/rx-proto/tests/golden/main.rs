//! Packets that OpenAFS 1.8.9 sent, read and made again byte for byte.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod pcap;

use std::collections::HashMap;
use std::sync::Arc;

use pcap::Datagram;
use rx_proto::packet::{self, Body, Header, Packet, PacketType};
use rx_proto::rxkad::client::RxkadClient;
use rx_proto::rxkad::keys::{KeyFile, ServerKey};
use rx_proto::rxkad::seal::Sealer;
use rx_proto::rxkad::server::RxkadServer;
use rx_proto::rxkad::ticket::{Printed, Ticket};
use rx_proto::rxkad::{Level, kerberos};
use rx_proto::security::{ConnectionIdentity, PacketPosition, Random, SecurityClass, SecurityIndex};

/// When the captures were made, for the times of tickets.
const UNIX_TIME: u32 = 1_790_000_000;

/// X3, X5: every packet of every capture is read, and written again byte for byte.
#[test]
fn every_captured_packet_is_read_and_written_byte_for_byte() {
    let mut seen: HashMap<u8, usize> = HashMap::new();
    for (name, datagrams) in pcap::all() {
        for (number, Datagram { bytes, .. }) in datagrams.iter().enumerate() {
            let packets: Vec<_> = packet::parse(bytes).collect();
            let [Ok(packet)] = &packets[..] else { panic!("{name} {number}: {packets:?}") };
            assert_eq!(&packet.encode(), bytes, "{name} datagram {number}: {packet:?}");
            *seen.entry(packet.header.packet_type).or_default() += 1;
        }
    }
    eprintln!("packets by type: {seen:?}");
    for packet_type in
        [PacketType::Data, PacketType::Ack, PacketType::Abort, PacketType::Challenge, PacketType::Response]
    {
        assert!(seen.contains_key(&(packet_type as u8)), "no {packet_type:?} among the captures");
    }
}

fn key() -> ServerKey {
    let text = include_str!("../../../../testdata/captures/rxkad_key.txt").trim();
    let material =
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect();
    ServerKey { version: 1, encryption_type: kerberos::AES256_CTS_HMAC_SHA1_96, material }
}

fn keys() -> KeyFile {
    KeyFile::from_keys(vec![key()])
}

fn identity(header: &Header) -> ConnectionIdentity {
    ConnectionIdentity {
        epoch: header.epoch,
        connection_id: header.connection_id(),
        security_index: SecurityIndex(header.security_index),
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// Gives the words it was made of, so that a server challenges as the captured one did.
struct Chosen(Vec<u8>);

impl Random for Chosen {
    fn fill(&mut self, bytes: &mut [u8]) {
        bytes.copy_from_slice(&self.0[..bytes.len()]);
    }
}

/// One authenticated connection of a capture.
struct Exchange {
    identity: ConnectionIdentity,
    challenge: Vec<u8>,
    response: Vec<u8>,
}

fn exchanges(datagrams: &[Datagram]) -> Vec<Exchange> {
    let mut challenges = HashMap::new();
    let mut found = Vec::new();
    for datagram in datagrams {
        let Some(Ok(Packet { header, body })) = packet::parse(&datagram.bytes).next() else {
            continue;
        };
        let id = identity(&header);
        match body {
            Body::Challenge(bytes) => {
                challenges.insert(id, bytes.to_vec());
            }
            Body::Response(bytes) => {
                let Some(challenge) = challenges.get(&id).cloned() else {
                    continue;
                };
                found.push(Exchange { identity: id, challenge, response: bytes.to_vec() });
            }
            _ => {}
        }
    }
    found
}

/// Ticket, session key and confounder of a captured response, opened with the key of the cell.
fn ticket_of(exchange: &Exchange) -> (Vec<u8>, Ticket) {
    let ticket = exchange.response[56..56 + word(&exchange.response, 52) as usize].to_vec();
    let opened = Ticket::open(&ticket, word(&exchange.response, 48), &keys()).unwrap();
    (ticket, opened)
}

/// X5: challenges are made, responses checked, and responses made as OpenAFS made them.
#[test]
fn captured_challenges_and_responses_verify_and_are_made_again() {
    let mut count = 0;
    for (name, datagrams) in pcap::named(&["rxkad_txn", "rxkad_coldstart"]) {
        for exchange in exchanges(&datagrams) {
            let (ticket, opened) = ticket_of(&exchange);
            assert!(opened.is_service(), "{name}: {opened:?}");
            // Server.
            let class = RxkadServer { keys: Arc::new(keys()), least_level: Level::Clear };
            let mut server = class.connection(exchange.identity);
            let mut random = Chosen(exchange.challenge[4..8].to_vec());
            assert_eq!(server.challenge(&mut random), exchange.challenge);
            let call_numbers = server.check_response(&exchange.response, UNIX_TIME).unwrap();
            let caller = server.identity().unwrap();
            assert!(caller.is_service && server.is_authenticated());
            // The same response again answers no challenge.
            assert!(server.check_response(&exchange.response, UNIX_TIME).is_err());
            // Client.
            let level = Level::from_wire(u32::from(caller.level)).unwrap();
            let client = RxkadClient { level, session_key: opened.session_key, kvno: 213, ticket };
            let answer =
                client.connection(exchange.identity).answer(&exchange.challenge, call_numbers).unwrap();
            assert_eq!(answer, exchange.response, "{name}");
            count += 1;
        }
    }
    eprintln!("{count} exchanges");
    assert!(count >= 10);
}

/// X5: a ticket printed from the captured session key and confounder is the captured ticket.
#[test]
fn captured_tickets_are_printed_again_byte_for_byte() {
    for (name, datagrams) in pcap::named(&["rxkad_txn", "rxkad_coldstart"]) {
        for exchange in exchanges(&datagrams) {
            let (ticket, opened) = ticket_of(&exchange);
            let confounder = confounder(&ticket);
            let printed = Printed::from_parts(&key(), opened.session_key, confounder).unwrap();
            assert_eq!(printed.ticket, ticket, "{name}");
        }
    }
}

/// The random bytes that begin the sealed part.
fn confounder(ticket: &[u8]) -> [u8; 16] {
    kerberos::decrypt_ticket_with_confounder(&key().material, cipher_of(ticket)).unwrap().0
}

fn cipher_of(ticket: &[u8]) -> &[u8] {
    // SEQUENCE, [0] INTEGER, [1] INTEGER, [2] OCTET STRING; lengths of the outer ones are in one or two bytes.
    let at = ticket.windows(2).position(|pair| pair[0] == 0xa2 && pair[1] & 0x80 != 0).unwrap();
    let length_bytes = |at: usize| {
        if ticket[at] & 0x80 == 0 { 1 } else { 1 + usize::from(ticket[at] & 0x7f) }
    };
    let inner = at + 1 + length_bytes(at + 1);
    assert_eq!(ticket[inner], 0x04);
    &ticket[inner + 1 + length_bytes(inner + 1)..]
}

/// X5: the checksum of every captured data packet of an authenticated connection, at levels clear and crypt, verifies,
/// and sealing what was opened gives the same bytes.
#[test]
fn captured_data_packets_open_and_seal_again() {
    let (mut clear, mut crypt) = (0, 0);
    for (name, datagrams) in pcap::named(&["rxkad_txn", "rxkad_coldstart"]) {
        let sealers = sealers(&datagrams);
        for datagram in &datagrams {
            let Some(Ok(Packet { header, body: Body::Data(sealed) })) = packet::parse(&datagram.bytes).next()
            else {
                continue;
            };
            let Some(sealer) = sealers.get(&identity(&header)) else {
                continue;
            };
            let position = PacketPosition {
                channel: header.channel() as u8,
                call_number: header.call_number,
                seq: header.seq,
            };
            let mut bytes = sealed.to_vec();
            sealer
                .open(position, header.checksum, &mut bytes)
                .unwrap_or_else(|code| panic!("{name} {header:?}: {code}"));
            let user_len = bytes.len();
            let checksum = sealer.seal(position, &mut bytes).unwrap();
            assert_eq!((checksum, bytes.len()), (header.checksum, sealed.len()), "{name} {header:?}");
            // OpenAFS pads the last block with whatever lies in memory: it is the only one that may differ.
            let same = if sealer.level() == Level::Crypt { (8 + user_len) / 8 * 8 } else { user_len };
            assert_eq!(bytes[..same], sealed[..same], "{name} {header:?}");
            let wrong = sealer.open(position, header.checksum ^ 1, &mut sealed.to_vec());
            assert!(wrong.is_err());
            *(if sealer.level() == Level::Crypt { &mut crypt } else { &mut clear }) += 1;
        }
    }
    eprintln!("{clear} packets at level clear, {crypt} at level crypt");
    assert!(clear > 20 && crypt > 4);
}

fn sealers(datagrams: &[Datagram]) -> HashMap<ConnectionIdentity, Sealer> {
    let exchanges = exchanges(datagrams);
    let sealer = |exchange: &Exchange| {
        let (_, opened) = ticket_of(exchange);
        let class = RxkadServer { keys: Arc::new(keys()), least_level: Level::Clear };
        let mut server = class.connection(exchange.identity);
        server.challenge(&mut Chosen(exchange.challenge[4..8].to_vec()));
        server.check_response(&exchange.response, UNIX_TIME).unwrap();
        let level = Level::from_wire(u32::from(server.identity().unwrap().level)).unwrap();
        Sealer::new(&opened.session_key, level, &exchange.identity)
    };
    exchanges.iter().map(|exchange| (exchange.identity, sealer(exchange))).collect()
}

/// X5: a response is refused when any byte of it is changed, when the ticket has expired, when it is for another
/// connection, and when the server lacks the key.
#[test]
fn responses_that_are_not_quite_right_are_refused() {
    let datagrams = pcap::named(&["rxkad_txn"]).remove(0).1;
    let exchange = exchanges(&datagrams).remove(0);
    let fresh = |identity: ConnectionIdentity, keys: KeyFile| {
        let class = RxkadServer { keys: Arc::new(keys), least_level: Level::Clear };
        let mut server = class.connection(identity);
        server.challenge(&mut Chosen(exchange.challenge[4..8].to_vec()));
        server
    };
    let mut accepted = Vec::new();
    for at in 0..exchange.response.len() {
        let mut changed = exchange.response.clone();
        changed[at] ^= 0x40;
        if fresh(exchange.identity, keys()).check_response(&changed, UNIX_TIME).is_ok() {
            accepted.push(at);
        }
    }
    assert_eq!(accepted, Vec::<usize>::new());
    for length in 0..exchange.response.len() {
        assert!(
            fresh(exchange.identity, keys()).check_response(&exchange.response[..length], UNIX_TIME).is_err()
        );
    }
    assert!(fresh(exchange.identity, keys()).check_response(&exchange.response, u32::MAX).is_err());
    let other =
        ConnectionIdentity { connection_id: exchange.identity.connection_id ^ 4, ..exchange.identity };
    assert!(fresh(other, keys()).check_response(&exchange.response, UNIX_TIME).is_err());
    let no_keys = KeyFile::from_keys(Vec::new());
    assert!(fresh(exchange.identity, no_keys).check_response(&exchange.response, UNIX_TIME).is_err());
}
