//! X7, X11: what strangers can make an endpoint hold, do and send, and whether members notice.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rx_proto::admission::{Admission, Begins, Gate, Share};
use rx_proto::packet::{Ack, AckReason, Header, PacketType, flags};
use rx_proto::rxkad::Level;
use rx_proto::rxkad::keys::KeyFile;
use rx_proto::rxkad::server::RxkadServer;
use rx_proto::security::{NullSecurity, Random, SecurityClass};
use rx_proto::{
    AbortCode, CallRef, Caller, Endpoint, EndpointConfig, Event, Read, ServiceId, Time, Timeouts, Transmit,
};

struct Seeded(fastrand::Rng);

impl Random for Seeded {
    fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }
}

const SERVICE: ServiceId = ServiceId(50);
const MEMBER: ([u8; 4], u16) = ([10, 0, 0, 1], 4000);
/// What strangers may make the process hold, in bytes: as docs/rx-wire.md states it.
const STRANGERS_MEMORY: u64 = 32 << 20;

/// One address is a member's; its calls are votes.
struct OneMember;

impl Gate for OneMember {
    fn admit(&self, caller: &Caller, _first: &[u8]) -> Result<Admission, AbortCode> {
        let is_member = caller.address.ip() == IpAddr::from(MEMBER.0);
        let share = if is_member { Share::Votes } else { Share::Strangers };
        Ok(Admission { share, begins: Begins::Whole { most: 8 << 10 } })
    }
}

fn packet(number: u32, call: u32, seq: u32, security_index: u8, length: usize, is_last: bool) -> Vec<u8> {
    let header = Header {
        epoch: 0x8000_0000 | number,
        cid: number << 2,
        call_number: call,
        seq,
        serial: seq,
        packet_type: PacketType::Data as u8,
        flags: flags::CLIENT_INITIATED | if is_last { flags::LAST_PACKET } else { 0 },
        user_status: 0,
        security_index,
        checksum: 0,
        service_id: SERVICE.0,
    };
    [&header.encode()[..], &vec![7; length]].concat()
}

fn server() -> Endpoint {
    let random = Box::new(Seeded(fastrand::Rng::with_seed(3)));
    let mut server = Endpoint::new(EndpointConfig::default(), random);
    let rxkad = RxkadServer { keys: Arc::new(KeyFile::default()), least_level: Level::Clear };
    let classes: Vec<Arc<dyn SecurityClass>> = vec![Arc::new(NullSecurity), Arc::new(rxkad)];
    server.add_service(SERVICE, classes, Arc::new(OneMember));
    server
}

/// Memory that the process has from the system, in bytes.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// Calls that the application was given, and never ends.
fn take_events(server: &mut Endpoint, kept: &mut Vec<CallRef>) {
    while let Some(event) = server.poll_event() {
        if let Event::IncomingCall { call, .. } = event {
            kept.push(call);
        }
    }
}

fn address(number: u32) -> SocketAddr {
    SocketAddr::from(((0x0b00_0000 | number).to_be_bytes(), 7001))
}

/// X7, X11: a hundred thousand addresses that begin calls, half of them whole, which the application never answers, leave a
/// bounded number of connections, calls and bytes, get no more than three times what they sent, and a member is served.
#[test]
fn a_flood_from_many_addresses_is_bounded_and_members_are_served() {
    let limits = EndpointConfig::default();
    let before = resident();
    let mut server = server();
    let mut now = Time::ZERO;
    let (mut received, mut sent, mut kept) = (0, 0, Vec::new());
    for number in 0..100_000u32 {
        let security_index = if number % 4 == 0 { 2 } else { 0 };
        let datagram = packet(number, 1, 1 + number % 3, security_index, 1400, number % 3 == 0);
        received += datagram.len();
        server.handle_datagram(now, address(number), None, &datagram);
        while let Some(transmit) = server.poll_transmit(now) {
            sent += transmit.bytes.len();
        }
        take_events(&mut server, &mut kept);
        assert!(server.unverified_bytes() <= limits.max_unverified_bytes);
        assert!(server.calls_of(Share::Strangers) <= limits.shares[Share::Strangers.index()].calls);
        now = now + Duration::from_micros(20);
    }
    let counters = server.counters();
    assert!(counters.server_connections as usize <= limits.max_strangers + 1, "{counters:?}");
    assert!(sent <= 3 * received, "{sent} bytes for {received}");
    assert_eq!(kept.len(), limits.shares[Share::Strangers.index()].attached, "the others were refused");
    let grown = resident().saturating_sub(before);
    eprintln!("100,000 strangers: {:.1} MB", grown as f64 / 1e6);
    assert!(grown < STRANGERS_MEMORY);
    serve_a_member(&mut server, now);
}

/// A stranger that answers what it is asked: an ack for every packet that comes to it.
fn prove(server: &mut Endpoint, now: Time, transmit: &Transmit) {
    for datagram in transmit.bytes.chunks(transmit.segment) {
        let header = Header::decode(datagram).unwrap();
        let ack = Ack {
            buffer_space: 0,
            max_skew: 0,
            first_packet: 1,
            previous_packet: 0,
            serial: header.serial,
            reason: AckReason::PingResponse as u8,
            acks: Vec::new(),
            trailer: None,
        };
        let reply = Header {
            packet_type: PacketType::Ack as u8,
            flags: header.flags ^ flags::CLIENT_INITIATED,
            seq: 0,
            ..header
        };
        let mut bytes = reply.encode().to_vec();
        ack.encode(&mut bytes);
        server.handle_datagram(now, transmit.to, None, &bytes);
    }
}

/// X11: addresses that are really there, and so are trusted to be, cannot make the endpoint hold more than its bound: neither
/// by requests without end, nor by holes in them, nor by replies that they never take. (By arithmetic it was 5.9 GB once.)
#[test]
fn strangers_that_are_really_there_hold_no_more_than_the_bound() {
    let before = resident();
    let mut server = server();
    let (mut now, mut kept, mut answered) = (Time::ZERO, Vec::new(), 0);
    let mut most = 0;
    for round in 1..=40u32 {
        for number in 0..3000u32 {
            // Calls with a hole after the first packet, calls that go on forever, and calls that are whole.
            let (call, seq, is_last) = match number % 3 {
                0 => (1, if round == 1 { 1 } else { round + 1 }, false),
                1 => (1, round, false),
                _ => (round, 1, true),
            };
            let datagram = packet(number, call, seq, 0, 1400, is_last);
            server.handle_datagram(now, address(number), None, &datagram);
            while let Some(transmit) = server.poll_transmit(now) {
                prove(&mut server, now, &transmit);
            }
            take_events(&mut server, &mut kept);
            for call in kept.drain(..) {
                // As much of a large reply as it takes; the caller never acks it.
                let _ = server.write(now, call, &[9; 100_000]);
                server.end_call(now, call, None);
                answered += 1;
            }
        }
        now = now + Duration::from_millis(100);
        server.handle_timeout(now);
        most = most.max(resident());
    }
    let grown = most.saturating_sub(before);
    eprintln!("3,000 proven strangers, {answered} calls answered: {:.1} MB", grown as f64 / 1e6);
    assert!(answered > 1000 && grown < STRANGERS_MEMORY, "{answered} calls, {grown} bytes");
    serve_a_member(&mut server, now);
}

/// X11: a request that does not end is given to nobody, and gives way to later ones.
#[test]
fn an_unfinished_request_holds_no_thread() {
    let mut server = server();
    let mut kept = Vec::new();
    for number in 0..1000 {
        server.handle_datagram(Time::ZERO, address(number), None, &packet(number, 1, 1, 0, 4, false));
        while server.poll_transmit(Time::ZERO).is_some() {}
        take_events(&mut server, &mut kept);
    }
    assert!(kept.is_empty());
    server.handle_datagram(Time::ZERO, address(999), None, &packet(999, 1, 2, 0, 4, true));
    take_events(&mut server, &mut kept);
    assert_eq!(kept.len(), 1, "the last one is whole now");
    let mut out = [0; 100];
    assert_eq!(server.read(Time::ZERO, kept[0], &mut out), Ok(Read::Bytes(8)));
    assert_eq!(server.read(Time::ZERO, kept[0], &mut out), Ok(Read::End));
}

/// X11: a request that is longer than the service wants is refused when that is seen, and not kept.
#[test]
fn a_request_that_is_too_long_is_refused() {
    let mut server = server();
    let mut kept = Vec::new();
    for seq in 1..20 {
        server.handle_datagram(Time::ZERO, address(1), None, &packet(1, 1, seq, 0, 1400, false));
    }
    take_events(&mut server, &mut kept);
    assert!(kept.is_empty());
    let mut aborts = Vec::new();
    while let Some(transmit) = server.poll_transmit(Time::ZERO) {
        for datagram in transmit.bytes.chunks(transmit.segment) {
            if datagram[20] == PacketType::Abort as u8 {
                aborts.push(i32::from_be_bytes(datagram[28..32].try_into().unwrap()));
            }
        }
    }
    assert_eq!(aborts, [AbortCode::SERVER_UNMARSHAL.0]);
    assert_eq!(server.calls_of(Share::Strangers), 0);
}

fn serve_a_member(server: &mut Endpoint, mut now: Time) {
    let (here, there) = (SocketAddr::from(MEMBER), SocketAddr::from(([10, 0, 0, 2], 7002)));
    let random = Box::new(Seeded(fastrand::Rng::with_seed(4)));
    let mut client = Endpoint::new(EndpointConfig::default(), random);
    let connection = client.connect(now, there, SERVICE, &NullSecurity, Timeouts::default());
    let call = client.start_call(now, connection).unwrap().unwrap();
    client.write(now, call, b"question").unwrap();
    client.finish(now, call).unwrap();
    let mut buffer = [0; 8192];
    for _ in 0..100 {
        now = now + Duration::from_millis(1);
        while let Some(transmit) = client.poll_transmit(now) {
            transmit
                .bytes
                .chunks(transmit.segment)
                .for_each(|bytes| server.handle_datagram(now, here, None, bytes));
        }
        while let Some(event) = server.poll_event() {
            if let Event::IncomingCall { call, share: Share::Votes, .. } = event {
                assert_eq!(server.read(now, call, &mut buffer), Ok(Read::Bytes(8)));
                assert_eq!(server.write(now, call, &[9; 5000]), Ok(5000));
                server.end_call(now, call, None);
            }
        }
        while let Some(transmit) = server.poll_transmit(now) {
            transmit
                .bytes
                .chunks(transmit.segment)
                .for_each(|bytes| client.handle_datagram(now, there, None, bytes));
        }
        if let Ok(Read::Bytes(count)) = client.read(now, call, &mut buffer) {
            assert!(count > 0);
            return;
        }
    }
    panic!("the member was not served");
}
