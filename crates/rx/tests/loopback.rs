//! Ports on loopback: services, threads, addresses, and calls beside each other.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rx::measure::{self, measurement};
use rx::rpc::{Request, ServedCall};
use rx::rxkad::Level;
use rx::rxkad::keys::{KeyFile, ServerKey};
use rx::security::{NullSecurity, SecurityClass};
use rx::xdr::Opaque;
use rx::{AbortCode, CallFailure, Caller, Connection, Port, PortConfig, ServiceId, Timeouts, procedures};

procedures! {
    /// What the tests ask.
    pub service asked = 50 {
        /// Who calls: port, and name if it is known.
        1 fn who() -> (u32, rx::xdr::Text<64>);
        /// Calls the measuring service of the same port, and returns what it got.
        2 fn ask_yourself(port: u32) -> u32;
        /// Panics.
        3 fn panic_now();
        /// Refuses with this code.
        4 fn refuse(code: i32);
    }
}

struct Asked {
    dialer: rx::Dialer,
}

impl asked::Server for Asked {
    fn who(&self, caller: &Caller) -> Result<(u32, rx::xdr::Text<64>), AbortCode> {
        let name = caller.identity.as_ref().map_or("", |identity| &identity.name);
        Ok((u32::from(caller.address.port()), rx::xdr::Text::new(name).unwrap()))
    }

    fn ask_yourself(&self, _caller: &Caller, port: u32) -> Result<u32, AbortCode> {
        let address = SocketAddr::from(([127, 0, 0, 1], port as u16));
        let connection =
            self.dialer.connect(address, measurement::SERVICE, &NullSecurity, Timeouts::default());
        let bytes = Opaque::new([0; 100]).unwrap();
        Ok(measurement::request::echo(bytes).call(&connection.unwrap())?.as_slice().len() as u32)
    }

    fn panic_now(&self, _caller: &Caller) -> Result<(), AbortCode> {
        panic!("as asked");
    }

    fn refuse(&self, _caller: &Caller, code: i32) -> Result<(), AbortCode> {
        Err(AbortCode(code))
    }
}

fn keys() -> KeyFile {
    KeyFile::from_keys(vec![ServerKey { version: 1, encryption_type: 18, material: vec![3; 32] }])
}

/// A port with both services, without security and with rxkad.
fn server(address: &str) -> (Port, SocketAddr) {
    let port = Port::open(address.parse().unwrap(), PortConfig::default()).unwrap();
    let security = || -> Vec<Arc<dyn SecurityClass>> {
        vec![Arc::new(NullSecurity), Arc::new(rx::keys::server(keys(), Level::Clear))]
    };
    let asked = Asked { dialer: port.dialer() };
    port.serve(
        asked::SERVICE,
        security(),
        Arc::new(move |call: &mut dyn ServedCall| asked::dispatch(&asked, call)),
    );
    port.serve(measurement::SERVICE, security(), measure::service());
    let local = port.local_addr().unwrap();
    (port, local)
}

fn client(address: &str) -> Port {
    Port::open(address.parse().unwrap(), PortConfig::default()).unwrap()
}

fn connect(port: &Port, peer: SocketAddr, service: ServiceId) -> Connection {
    port.connect(peer, service, &NullSecurity, Timeouts::default())
}

/// X2, X5: several services on one port tell who calls; a handler may call from the port that it serves.
#[test]
fn handlers_know_their_caller_and_may_call_themselves() {
    let (_server, address) = server("127.0.0.1:0");
    let port = client("127.0.0.1:0");
    let plain = connect(&port, address, asked::SERVICE);
    let (from, name) = asked::request::who().call(&plain).unwrap();
    assert_eq!((from, name.as_str()), (u32::from(port.local_addr().unwrap().port()), ""));
    let security = rx::keys::client(&keys(), Level::Crypt).unwrap();
    let proven = port.connect(address, asked::SERVICE, &security, Timeouts::default());
    assert_eq!(asked::request::who().call(&proven).unwrap().1.as_str(), "afs");
    assert_eq!(asked::request::ask_yourself(u32::from(address.port())).call(&plain).unwrap(), 100);
}

/// X6: what goes wrong in a handler is a code for its caller, and the server goes on.
#[test]
fn failures_of_handlers_are_codes_for_their_callers() {
    let (_server, address) = server("127.0.0.1:0");
    let port = client("127.0.0.1:0");
    let plain = connect(&port, address, asked::SERVICE);
    assert_eq!(asked::request::refuse(5377).call(&plain), Err(CallFailure::Aborted(AbortCode(5377))));
    assert!(asked::request::panic_now().call(&plain).is_err());
    assert_eq!(Request::<()>::new(99, &()).call(&plain), Err(CallFailure::Aborted(AbortCode::OPCODE)));
    // An opcode that ends in its middle, and arguments that are not there.
    let short = Request::<()>::new(4, &()).call(&plain);
    assert_eq!(short, Err(CallFailure::Aborted(AbortCode::SERVER_UNMARSHAL)));
    assert!(asked::request::who().call(&plain).is_ok());
}

/// X9: the same over IPv6, and between an IPv4 client and a port on all addresses.
#[test]
fn ports_speak_ipv6_and_both() {
    if std::net::UdpSocket::bind("[::1]:0").is_err() {
        return testbed::skip("ports_speak_ipv6_and_both", "this machine has no IPv6");
    }
    let (_server, address) = server("[::1]:0");
    assert!(asked::request::who().call(&connect(&client("[::1]:0"), address, asked::SERVICE)).is_ok());
    let (_server, address) = server("[::]:0");
    let at_v4 = SocketAddr::from(([127, 0, 0, 1], address.port()));
    assert!(asked::request::who().call(&connect(&client("127.0.0.1:0"), at_v4, asked::SERVICE)).is_ok());
}

/// X2: 64 MB flow both ways on one connection while small calls on the same connection succeed.
#[test]
fn a_bulk_transfer_does_not_stall_small_calls_beside_it() {
    let (_server, address) = server("127.0.0.1:0");
    let port = client("127.0.0.1:0");
    let connection = [connect(&port, address, measurement::SERVICE)];
    std::thread::scope(|scope| {
        let bulk = scope.spawn(|| {
            for direction in [measure::Direction::Send, measure::Direction::Receive] {
                let transfer = measure::time_transfer(&connection, 64_000_000, direction).unwrap();
                assert_eq!(transfer.bytes, 64_000_000);
            }
        });
        let mut calls = 0;
        while !bulk.is_finished() {
            measurement::request::echo(Opaque::new([1; 100]).unwrap()).call(&connection[0]).unwrap();
            calls += 1;
        }
        eprintln!("{calls} calls beside the transfer");
        assert!(calls > 1);
    });
}

/// X3: a silent peer costs its dead time, a slow one the hard dead time; a closed port ends what waits.
#[test]
fn waiting_ends_with_the_code_that_says_why() {
    let port = client("127.0.0.1:0");
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let dead = Timeouts { dead: Duration::from_millis(300), ..Timeouts::default() };
    let connection = port.connect(silent.local_addr().unwrap(), asked::SERVICE, &NullSecurity, dead);
    assert_eq!(
        asked::request::who().call(&connection).unwrap_err(),
        CallFailure::Unanswered(AbortCode::CALL_DEAD)
    );
    let slow = Port::open("127.0.0.1:0".parse().unwrap(), PortConfig::default()).unwrap();
    let (hold, held) = std::sync::mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    let service = move |_: &mut dyn ServedCall| {
        // Until the test is over.
        let _ = held.lock().unwrap().recv();
        Ok(())
    };
    slow.serve(asked::SERVICE, vec![Arc::new(NullSecurity)], Arc::new(service));
    let hard = Timeouts { hard_dead: Some(Duration::from_millis(300)), ..Timeouts::default() };
    let connection = port.connect(slow.local_addr().unwrap(), asked::SERVICE, &NullSecurity, hard);
    assert_eq!(
        asked::request::who().call(&connection).unwrap_err(),
        CallFailure::Unanswered(AbortCode::CALL_TIMEOUT)
    );
    drop(hold);
}
