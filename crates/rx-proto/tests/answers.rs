//! Who said what about which call: an error of a connection answers no call, and a call is its sender's.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rx_proto::admission::Everybody;
use rx_proto::packet::{Header, PacketType, flags};
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
