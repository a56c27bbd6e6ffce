//! Who said what about which call: an error of a connection answers no call, and a call is its sender's.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rx_proto::admission::Everybody;
use rx_proto::packet::{Header, PacketType, flags};
use rx_proto::rxkad::client::RxkadClient;
use rx_proto::rxkad::keys::{KeyFile, ServerKey};
use rx_proto::rxkad::server::RxkadServer;
use rx_proto::rxkad::ticket::Printed;
use rx_proto::rxkad::{Level, kerberos};
use rx_proto::security::{
    ConnectionIdentity, ConnectionSecurity, NullSecurity, Random, SecurityClass, SecurityIndex,
};
use rx_proto::{
    AbortCode, CallFailure, Caller, Endpoint, EndpointConfig, Event, ServiceId, StartError, Time, Timeouts,
};

struct Seeded(fastrand::Rng);

impl Random for Seeded {
    fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }
}

fn endpoint() -> Endpoint {
    Endpoint::new(EndpointConfig::default(), Box::new(Seeded(fastrand::Rng::with_seed(3))))
}

const VOTES: ServiceId = ServiceId(50);

fn server_address() -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 2], 7002))
}

/// The header of the next packet that a client sends.
fn next_header(client: &mut Endpoint) -> Header {
    let transmit = client.poll_transmit(Time::ZERO).expect("the client sends something");
    Header::decode(&transmit.bytes).unwrap()
}

/// A packet of the server in answer to `header`.
fn reply(header: &Header, packet_type: PacketType, call_number: u32, body: &[u8]) -> Vec<u8> {
    let reply =
        Header { packet_type: packet_type as u8, flags: 0, call_number, seq: 0, serial: 1, ..*header };
    [&reply.encode()[..], body].concat()
}

/// A class that notes which call numbers its responses name.
#[derive(Debug, Clone, Default)]
struct Noting(Arc<Mutex<Vec<[u32; 4]>>>);

impl SecurityClass for Noting {
    fn index(&self) -> SecurityIndex {
        SecurityIndex::RXKAD
    }

    fn connection(&self, _: ConnectionIdentity) -> Box<dyn ConnectionSecurity> {
        Box::new(self.clone())
    }
}

impl ConnectionSecurity for Noting {
    fn answer(&mut self, _: &[u8], call_numbers: [u32; 4]) -> Result<Vec<u8>, AbortCode> {
        self.0.lock().unwrap().push(call_numbers);
        Ok(vec![0; 56])
    }
}

/// X12: a response names the call that is under way on each channel. OpenAFS aborts with these numbers; told 0 for its
/// first call, it aborted the connection, and a vote became a connection's error.
#[test]
fn a_response_names_the_calls_under_way() {
    let (mut client, class) = (endpoint(), Noting::default());
    let at = client.connect(Time::ZERO, server_address(), VOTES, &class, Timeouts::default());
    let calls = [0; 2].map(|_| client.start_call(Time::ZERO, at).unwrap().unwrap());
    for call in calls {
        client.write(Time::ZERO, call, b"beacon").unwrap();
        client.finish(Time::ZERO, call).unwrap();
    }
    let header = next_header(&mut client);
    let challenge = reply(&header, PacketType::Challenge, 0, &[0; 16]);
    client.handle_datagram(Time::ZERO, server_address(), None, &challenge);
    assert_eq!(*class.0.lock().unwrap(), [[1, 1, 0, 0]]);
}

/// X10: an abort that names no call ends the connection, and answers none of its calls, whatever its code; an abort that
/// names one answers that one alone. Calls after the end of a connection are not sent at all.
#[test]
fn an_abort_of_the_connection_answers_no_call() {
    let mut client = endpoint();
    let at = client.connect(Time::ZERO, server_address(), VOTES, &NullSecurity, Timeouts::default());
    let [first, second] = [0; 2].map(|_| client.start_call(Time::ZERO, at).unwrap().unwrap());
    for call in [first, second] {
        client.write(Time::ZERO, call, b"beacon").unwrap();
        client.finish(Time::ZERO, call).unwrap();
    }
    let header = next_header(&mut client);
    let yes = AbortCode(1_700_000_000);
    let body = yes.0.to_be_bytes();
    client.handle_datagram(Time::ZERO, server_address(), None, &reply(&header, PacketType::Abort, 1, &body));
    assert_eq!(client.read(Time::ZERO, first, &mut [0; 8]), Err(CallFailure::Aborted(yes)));
    client.handle_datagram(Time::ZERO, server_address(), None, &reply(&header, PacketType::Abort, 0, &body));
    assert_eq!(client.read(Time::ZERO, second, &mut [0; 8]), Err(CallFailure::Unanswered(yes)));
    assert_eq!(client.start_call(Time::ZERO, at), Err(StartError::Failed(yes)));
}

/// The whole request of call `number` on a connection of some peer.
fn request(number: u32) -> Vec<u8> {
    let header = Header {
        epoch: 0x8000_1234,
        cid: 8,
        call_number: number,
        seq: 1,
        serial: number,
        packet_type: PacketType::Data as u8,
        flags: flags::CLIENT_INITIATED | flags::LAST_PACKET,
        user_status: 0,
        security_index: 0,
        checksum: 0,
        service_id: VOTES.0,
    };
    [&header.encode()[..], &[1; 4]].concat()
}

/// X10: a call is its sender's, also on a connection that another address opened: nobody is taken for a member by naming
/// a member's connection, and the answer goes to whoever asked.
#[test]
fn a_call_is_attributed_to_the_address_that_its_packet_came_from() {
    let mut server = endpoint();
    server.add_service(VOTES, vec![Arc::new(NullSecurity) as Arc<dyn SecurityClass>], Arc::new(Everybody));
    let member: SocketAddr = "10.0.0.1:7002".parse().unwrap();
    let elsewhere: [SocketAddr; 2] = ["192.0.2.66:7002".parse().unwrap(), "10.0.0.1:7003".parse().unwrap()];
    let mut callers: Vec<Caller> = Vec::new();
    for (number, from) in [(1, member), (2, elsewhere[0]), (2, elsewhere[1]), (3, member)] {
        server.handle_datagram(Time::ZERO, from, None, &request(number));
        let Some(Event::IncomingCall { call, .. }) = server.poll_event() else {
            panic!("the call from {from} is not announced");
        };
        let caller = server.caller(call).unwrap();
        assert_eq!(caller.address, from);
        server.end_call(Time::ZERO, call, Some(AbortCode(5)));
        assert_eq!(server.poll_transmit(Time::ZERO).unwrap().to, from);
        callers.push(caller);
    }
    assert_eq!(callers[0].channel, callers[3].channel, "the member's calls are in order");
    assert!(callers[1].channel != callers[0].channel && callers[2].channel != callers[0].channel);
}

/// Carries what either side has to send, until neither has.
fn exchange(
    client: &mut Endpoint,
    here: SocketAddr,
    server: &mut Endpoint,
    there: SocketAddr,
) -> Vec<Vec<u8>> {
    let mut sent_by_client = Vec::new();
    loop {
        let (out, back) = (client.poll_transmit(Time::ZERO), server.poll_transmit(Time::ZERO));
        if out.is_none() && back.is_none() {
            return sent_by_client;
        }
        for datagram in out.iter().flat_map(|out| out.bytes.chunks(out.segment)) {
            sent_by_client.push(datagram.to_vec());
            server.handle_datagram(Time::ZERO, here, None, datagram);
        }
        for datagram in back.iter().flat_map(|back| back.bytes.chunks(back.segment)) {
            client.handle_datagram(Time::ZERO, there, None, datagram);
        }
    }
}

/// X12: whoever guesses at the 16 bits of a packet's checksum gets a few tries on a connection, and then has none.
#[test]
fn a_connection_on_which_checksums_are_guessed_is_given_up() {
    let key =
        ServerKey { version: 3, encryption_type: kerberos::AES128_CTS_HMAC_SHA1_96, material: vec![5; 16] };
    let printed = Printed::new(&key, &mut Seeded(fastrand::Rng::with_seed(1))).unwrap();
    let rxkad = RxkadServer { keys: Arc::new(KeyFile::from_keys(vec![key])), least_level: Level::Clear };
    let (mut client, mut server) = (endpoint(), endpoint());
    for endpoint in [&mut client, &mut server] {
        endpoint.set_unix_time(Time::ZERO, 1_700_000_000);
    }
    server.add_service(VOTES, vec![Arc::new(rxkad)], Arc::new(Everybody));
    let here = SocketAddr::from(([10, 0, 0, 1], 7002));
    let class = RxkadClient::printed(printed, Level::Clear);
    let at = client.connect(Time::ZERO, server_address(), VOTES, &class, Timeouts::default());
    let call = client.start_call(Time::ZERO, at).unwrap().unwrap();
    client.write(Time::ZERO, call, b"begin").unwrap();
    client.finish(Time::ZERO, call).unwrap();
    let sent = exchange(&mut client, here, &mut server, server_address());
    let Some(Event::IncomingCall { call, .. }) = server.poll_event() else { panic!("the call is announced") };
    server.end_call(Time::ZERO, call, None);
    let data = sent.iter().find(|bytes| bytes[20] == PacketType::Data as u8).unwrap();
    let guess = |checksum: u16| {
        let header = Header { call_number: 2, serial: 9, checksum, ..Header::decode(data).unwrap() };
        [&header.encode()[..], b"write"].concat()
    };
    let mut guesses = 0;
    for checksum in 1..=u16::MAX {
        server.handle_datagram(Time::ZERO, here, None, &guess(checksum));
        assert_eq!(server.poll_event(), None, "checksum {checksum} was guessed");
        guesses += 1;
        if server.counters().server_connections == 0 {
            break;
        }
        let transmits: Vec<_> = std::iter::from_fn(|| server.poll_transmit(Time::ZERO)).collect();
        if transmits.iter().any(|transmit| transmit.bytes[20] == PacketType::Abort as u8) {
            break;
        }
    }
    assert_eq!(guesses, 64);
}
