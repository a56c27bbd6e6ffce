//! Many addresses that never prove anything.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rx_proto::packet::{Header, PacketType, flags};
use rx_proto::rxkad::Level;
use rx_proto::rxkad::keys::KeyFile;
use rx_proto::rxkad::server::RxkadServer;
use rx_proto::security::{NullSecurity, Random, SecurityClass};
use rx_proto::{Endpoint, EndpointConfig, Event, Read, ServiceId, Time, Timeouts};

struct Seeded(fastrand::Rng);

impl Random for Seeded {
    fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }
}

const SERVICE: ServiceId = ServiceId(50);

fn first_packet(number: u32, security_index: u8, length: usize) -> Vec<u8> {
    let header = Header {
        epoch: 0x8000_0000 | number,
        cid: number << 2,
        call_number: 1,
        seq: 1 + number % 3,
        serial: 1,
        packet_type: PacketType::Data as u8,
        flags: flags::CLIENT_INITIATED,
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
    server.add_service(SERVICE, classes);
    server
}

/// X7: a hundred thousand addresses that begin calls and say no more leave a bounded number of connections and bytes,
/// get no more than three times what they sent, and an honest client is served all the same.
#[test]
fn a_flood_from_many_addresses_is_bounded_and_others_are_served() {
    let limits = EndpointConfig::default();
    let mut server = server();
    let mut now = Time::ZERO;
    let (mut received, mut sent) = (0, 0);
    for number in 0..100_000u32 {
        let from = SocketAddr::from((number.to_be_bytes(), 7001));
        let datagram = first_packet(number, if number % 2 == 0 { 0 } else { 2 }, 1400);
        received += datagram.len();
        server.handle_datagram(now, from, None, &datagram);
        while let Some(transmit) = server.poll_transmit(now) {
            sent += transmit.bytes.len();
        }
        while let Some(event) = server.poll_event() {
            if let Event::IncomingCall { call, .. } = event {
                server.end_call(now, call, None);
            }
        }
        assert!(server.unverified_bytes() <= limits.max_unverified_bytes);
        now = now + Duration::from_micros(20);
    }
    let counters = server.counters();
    assert!(counters.server_connections as usize <= limits.max_unverified + 1, "{counters:?}");
    assert!(sent <= 3 * received, "{sent} bytes for {received}");
    serve_an_honest_client(&mut server, now);
}

fn serve_an_honest_client(server: &mut Endpoint, mut now: Time) {
    let (here, there) = (SocketAddr::from(([10, 0, 0, 1], 4000)), SocketAddr::from(([10, 0, 0, 2], 7002)));
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
            if let Event::IncomingCall { call, .. } = event {
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
    panic!("the honest client was not served");
}
