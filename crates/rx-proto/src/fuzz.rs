//! Bodies of the fuzz targets: they take any bytes, and panic if a promise is broken. `tests/fuzz.rs` replays them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::admission::{Admission, Begins, Gate, Share};
use crate::packet::{self, Body, Header, flags};
use crate::rxkad::keys::{KeyFile, ServerKey};
use crate::rxkad::server::RxkadServer;
use crate::rxkad::ticket::{KVNO_ENCRYPTED_PART, KVNO_KERBEROS_5, Ticket};
use crate::rxkad::{Level, kerberos};
use crate::security::{NullSecurity, Random, SecurityClass};
use crate::xdr::{Array, Opaque, Text, Xdr};
use crate::{
    AbortCode, CallRef, Caller, Endpoint, EndpointConfig, Event, Read, ServiceId, Time, Timeouts, debug,
};

/// Any bytes as a datagram: what is read is written again as it was, but for padding.
pub fn packets(bytes: &[u8]) {
    for packet in packet::parse(bytes) {
        let Ok(packet) = packet else { break };
        let again = packet.encode();
        let is_part = matches!(packet.body, Body::Data(_)) && packet.header.has(flags::JUMBO);
        if let Some(Ok(second)) = packet::parse(&again).next().filter(|_| !is_part) {
            assert_eq!(second.header, packet.header);
            assert_eq!(second.encode(), again);
        }
        if let Body::Debug(body) = packet.body {
            let _ = debug::Question::decode(body);
        }
    }
    let _ = debug::answer(bytes);
    let _ = debug::Basic::decode(bytes);
    let _ = debug::ConnectionReport::decode(bytes).map(|report| report.encode());
    let _ = debug::PeerReport::decode(bytes).map(|report| report.encode());
    let _ = debug::Counters::decode(bytes).map(|counters| counters.encode());
}

/// Any bytes as values of XDR, as a key file, and as tickets.
pub fn values(bytes: &[u8]) {
    type Nested = (u32, Array<Opaque<64>, 16>, Text<32>);
    let _ = Nested::decode(&mut &*bytes).map(|value| {
        let mut again = Vec::new();
        value.encode(&mut again);
        assert_eq!(Nested::decode(&mut &*again).as_ref(), Ok(&value));
    });
    let _ = <[bool; 3]>::decode(&mut &*bytes);
    let _ = Opaque::<{ u32::MAX }>::decode(&mut &*bytes);
    let _ = KeyFile::parse(bytes);
    for kvno in [KVNO_ENCRYPTED_PART, KVNO_KERBEROS_5, 3] {
        let _ = Ticket::open(bytes, kvno, &keys());
    }
    // What a holder of the key might seal.
    if let Some(sealed) = kerberos::encrypt_ticket(&[7; 16], [0; 16], bytes) {
        let ticket = Ticket::from_sealed(&sealed);
        let _ = Ticket::open(&ticket, KVNO_ENCRYPTED_PART, &keys());
    }
}

fn keys() -> KeyFile {
    let encryption_type = kerberos::AES128_CTS_HMAC_SHA1_96;
    KeyFile::from_keys(vec![ServerKey { version: 1, encryption_type, material: vec![7; 16] }])
}

/// Not random at all, so that runs repeat.
struct Counting(u8);

impl Random for Counting {
    fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            self.0 = self.0.wrapping_mul(5).wrapping_add(7);
            *byte = self.0;
        }
    }
}

/// Admits calls in every way there is.
struct ByFirstByte;

impl Gate for ByFirstByte {
    fn admit(&self, _: &Caller, first: &[u8]) -> Result<Admission, AbortCode> {
        let byte = first.first().copied().unwrap_or(0);
        let share = *Share::ALL.get(usize::from(byte % 4)).ok_or(AbortCode::OPCODE)?;
        let begins = if byte & 4 == 0 { Begins::AtOnce } else { Begins::Whole { most: 2000 } };
        Ok(Admission { share, begins })
    }
}

const NULL_SERVICE: ServiceId = ServiceId(1);
const RXKAD_SERVICE: ServiceId = ServiceId(2);

/// Any bytes as a history of an endpoint: datagrams that nearly fit its connections, time, and an application that
/// reads and writes. Nothing panics, memory stays within its bounds, and an address that has proven nothing gets
/// little more than three times what it sent.
pub fn endpoint(bytes: &[u8]) {
    let mut script = Script::new();
    let mut rest = bytes;
    while let Some((step, after)) = rest.split_first_chunk::<4>() {
        let length = usize::from(step[3]).min(after.len());
        let (body, after) = after.split_at(length);
        script.step(*step, body);
        rest = after;
    }
    script.finish();
}

struct Script {
    endpoint: Endpoint,
    now: Time,
    ours: CallRef,
    incoming: Vec<CallRef>,
    /// The headers of what the endpoint has sent, to answer them.
    seen: Vec<Header>,
    received_from_stranger: usize,
    sent_to_stranger: usize,
    sent_as_answers: usize,
    /// It guessed a serial of ours, which is drawn from a million.
    stranger_proved_itself: bool,
}

const FRIEND: ([u8; 4], u16) = ([10, 0, 0, 1], 7000);
const STRANGER: ([u8; 4], u16) = ([10, 0, 0, 2], 7001);

impl Script {
    fn new() -> Script {
        let config =
            EndpointConfig { max_server_connections: 8, max_strangers: 4, ..EndpointConfig::default() };
        let mut endpoint = Endpoint::new(config, Box::new(Counting(1)));
        endpoint.add_service(NULL_SERVICE, vec![Arc::new(NullSecurity)], Arc::new(ByFirstByte));
        let rxkad: Arc<dyn SecurityClass> =
            Arc::new(RxkadServer { keys: Arc::new(keys()), least_level: Level::Clear });
        endpoint.add_service(RXKAD_SERVICE, vec![rxkad], Arc::new(ByFirstByte));
        let now = Time::ZERO;
        let at = endpoint.connect(now, FRIEND.into(), NULL_SERVICE, &NullSecurity, Timeouts::default());
        let ours = endpoint.start_call(now, at).ok().flatten().expect("a fresh connection has free channels");
        let _ = endpoint.write(now, ours, &[1; 3000]);
        let incoming = Vec::new();
        Script {
            endpoint,
            now,
            ours,
            incoming,
            seen: Vec::new(),
            received_from_stranger: 0,
            sent_to_stranger: 0,
            sent_as_answers: 0,
            stranger_proved_itself: false,
        }
    }

    fn step(&mut self, [kind, a, b, _]: [u8; 4], body: &[u8]) {
        match kind % 8 {
            0..=3 => self.datagram(kind / 8, a, b, body),
            4 => {
                self.now = self.now + Duration::from_millis(u64::from(a) * 20);
                self.endpoint.handle_timeout(self.now);
            }
            5 => {
                let call = self.a_call(a);
                let _ = self.endpoint.write(self.now, call, &vec![b; usize::from(b) * 16]);
            }
            6 => {
                let call = self.a_call(a);
                if let Ok(Read::Bytes(_)) = self.endpoint.read(self.now, call, &mut [0; 100]) {}
            }
            _ if b % 2 == 0 => {
                let call = self.a_call(a);
                let _ = self.endpoint.finish(self.now, call);
            }
            _ => {
                let call = self.a_call(a);
                self.endpoint.end_call(self.now, call, None);
            }
        }
        self.drain();
    }

    fn a_call(&self, which: u8) -> CallRef {
        let calls: Vec<CallRef> = std::iter::once(self.ours).chain(self.incoming.iter().copied()).collect();
        calls[usize::from(which) % calls.len()]
    }

    /// A datagram of the body: as it is, or behind a header that fits what was sent, or that opens a connection.
    fn datagram(&mut self, way: u8, a: u8, b: u8, body: &[u8]) {
        let (from, bytes) = match way % 4 {
            0 => (STRANGER, body.to_vec()),
            1 => {
                let Some(sent) = self.seen.get(usize::from(a) % self.seen.len().max(1)).copied() else {
                    return;
                };
                let flags = (sent.flags ^ flags::CLIENT_INITIATED) & flags::CLIENT_INITIATED | (b & 0x3e);
                let reply = Header { packet_type: b % 14, flags, seq: u32::from(b % 5), ..sent };
                (FRIEND, [&reply.encode()[..], body].concat())
            }
            _ => {
                let header = Header {
                    epoch: 0x8000_0000 | u32::from(a / 16),
                    cid: u32::from(a),
                    call_number: u32::from(b / 32),
                    seq: u32::from(b % 8),
                    serial: u32::from(b),
                    packet_type: if b & 16 == 0 { 1 } else { body.first().map_or(1, |byte| byte % 14) },
                    flags: flags::CLIENT_INITIATED | (body.get(1).copied().unwrap_or(4) & 0x26),
                    user_status: 0,
                    security_index: if a & 1 == 0 { 0 } else { 2 },
                    checksum: 0,
                    service_id: u16::from(a & 1) + 1,
                };
                (STRANGER, [&header.encode()[..], body].concat())
            }
        };
        if from == STRANGER {
            self.received_from_stranger += bytes.len();
            let acks = packet::parse(&bytes).filter_map(|packet| match packet.ok()?.body {
                Body::Ack(ack) => Some(ack.serial),
                _ => None,
            });
            self.stranger_proved_itself |= acks.into_iter().any(|serial| serial != 0);
        }
        self.endpoint.handle_datagram(self.now, SocketAddr::from(from), None, &bytes);
    }

    fn drain(&mut self) {
        while let Some(transmit) = self.endpoint.poll_transmit(self.now) {
            assert!(transmit.segment > 0 && transmit.bytes.len() <= 65_000);
            if transmit.to == SocketAddr::from(STRANGER) {
                self.sent_to_stranger += transmit.bytes.len();
            }
            for datagram in transmit.bytes.chunks(transmit.segment) {
                let header = Header::decode(datagram).expect("we send whole headers");
                if transmit.to == SocketAddr::from(STRANGER) && matches!(header.packet_type, 8 | 13) {
                    self.sent_as_answers += datagram.len();
                }
                self.seen.truncate(31);
                self.seen.push(header);
            }
        }
        while let Some(event) = self.endpoint.poll_event() {
            if let Event::IncomingCall { call, .. } = event {
                self.incoming.push(call);
            }
        }
        assert!(self.endpoint.unverified_bytes() <= EndpointConfig::default().max_unverified_bytes);
    }

    fn finish(mut self) {
        let counters = self.endpoint.counters();
        assert!(counters.server_connections <= 8);
        // Answers to questions are limited in number instead; an abort of a packet that fits nothing has 32 bytes.
        let allowance = 3 * self.received_from_stranger + self.sent_as_answers;
        assert!(
            self.stranger_proved_itself || self.sent_to_stranger <= allowance,
            "{} bytes for {}",
            self.sent_to_stranger,
            self.received_from_stranger
        );
        for call in std::mem::take(&mut self.incoming) {
            self.endpoint.end_call(self.now, call, None);
        }
        self.endpoint.end_call(self.now, self.ours, None);
        self.now = self.now + Duration::from_secs(2000);
        self.endpoint.handle_timeout(self.now);
        self.drain();
        assert_eq!(self.endpoint.unverified_bytes(), 0, "what strangers made us keep is given back");
    }
}
