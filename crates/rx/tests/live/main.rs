//! Against OpenAFS 1.8 and over a lossy network, in network namespaces; skipped, with the reason, where packages or
//! namespaces are absent.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod openafs;
mod ubik;

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use openafs::Folders;
use rx::rpc::{CallStream, Request, ServedCall};
use rx::rxkad::Level;
use rx::security::{NullSecurity, SecurityClass};
use rx::{
    AbortCode, CallFailure, Caller, Connection, Port, PortConfig, ServiceId, Timeouts, measure, multi, rpc,
};
use testbed::lab::openafs_is_missing;
use testbed::namespace::{self, Namespace};
use ubik::{Debug, ExtendedDebug, ServerDebug, Version, disk, vote};

/// Runs `body` inside a namespace, by starting this test program again there.
fn in_namespace(test: &str, needs_openafs: bool, body: impl FnOnce()) {
    if namespace::inside().is_some() {
        return body();
    }
    if let Some(reason) = needs_openafs.then(openafs_is_missing).flatten() {
        return testbed::skip(test, &reason);
    }
    let Some(namespace) = Namespace::create() else {
        return testbed::skip(test, "network namespaces cannot be made here (root, iproute2)");
    };
    let status = namespace.test(test, "body").status().unwrap();
    assert!(status.success(), "{test} failed inside its namespace");
}

fn client_port() -> Port {
    Port::open("10.77.0.12:0".parse().unwrap(), PortConfig::default()).unwrap()
}

fn connect(port: &Port, service: ServiceId, security: &dyn SecurityClass) -> Connection {
    port.connect(openafs::address(), service, security, Timeouts::default())
}

/// The database that `DISK_GetFile` sends, and its version.
fn fetch(connection: &Connection) -> Result<(Vec<u8>, Version), CallFailure> {
    let mut call = disk::request::file(0).open(connection)?;
    let length: i32 = rpc::read_value(&mut call, AbortCode::CLIENT_UNMARSHAL)?;
    let mut bytes = vec![0; usize::try_from(length).unwrap()];
    let mut at = 0;
    while at < bytes.len() {
        match call.read(&mut bytes[at..])? {
            0 => return Err(CallFailure::Unanswered(AbortCode::END_OF_STREAM)),
            count => at += count,
        }
    }
    let version = rpc::read_value(&mut call, AbortCode::CLIENT_UNMARSHAL)?;
    assert_eq!(call.read(&mut [0])?, 0);
    Ok((bytes, version))
}

/// A server with a database of 4 MiB; returns its bytes.
fn start_with_database(folders: &Folders, localauth: bool) -> (openafs::Server, Vec<u8>) {
    let server = folders.start();
    let how = if localauth { "-localauth" } else { "-noauth" };
    let mut created = false;
    let started = std::time::Instant::now();
    while started.elapsed() < Duration::from_secs(120) {
        let mut pts = folders.command("pts", &["createuser", "somebody", "-cell", "test.ubik", how]);
        created = pts.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success();
        if created {
            break;
        }
        // The server first has to elect itself.
        std::thread::sleep(Duration::from_millis(500));
    }
    assert!(created, "pts createuser does not succeed");
    drop(server);
    let bytes = openafs::grow(&folders.database());
    (folders.start(), bytes)
}

/// Every call that a Ubik server answers to anybody.
fn ask_everything(port: &Port, security: &dyn SecurityClass) {
    let (votes, data) = (connect(port, vote::SERVICE, security), connect(port, disk::SERVICE, security));
    disk::request::probe().call(&data).unwrap();
    let old = vote::request::debug_old().call(&votes).unwrap();
    let debug = vote::request::debug().call(&votes).unwrap();
    let extended = vote::request::extended_debug().call(&votes).unwrap();
    assert_eq!((old[2], debug.first[2], extended.is_clone), (extended.debug.first[2], old[2], 0));
    assert_eq!(vote::request::server_debug(9).call(&votes).unwrap_err(), CallFailure::Aborted(AbortCode(2)));
    // The only server is the sync site, which does not tell its version this way.
    assert_eq!(disk::request::version().call(&data).unwrap_err(), CallFailure::Aborted(AbortCode(5402)));
    assert_eq!(
        Request::<()>::new(99_999, &()).call(&data).unwrap_err(),
        CallFailure::Aborted(AbortCode::OPCODE)
    );
    let nowhere = connect(port, ServiceId(4711), security);
    assert_eq!(
        Request::<()>::new(1, &()).call(&nowhere).unwrap_err(),
        CallFailure::Aborted(AbortCode::INVALID_OPERATION)
    );
}

/// A server that is not a sync site tells the version of its database.
fn ask_version_without_quorum(
    server: openafs::Server,
    folders: &Folders,
    security: &dyn SecurityClass,
    expected: Version,
) {
    drop(server);
    folders.add_absent_server();
    let _server = folders.start();
    let port = client_port();
    let version = disk::request::version().call(&connect(&port, disk::SERVICE, security)).unwrap();
    assert_eq!(version, expected);
}

/// X2, X4, X6: calls of every kind to an OpenAFS server without security, and a database of 4 MiB from it.
#[test]
fn openafs_answers_calls_without_security() {
    in_namespace("openafs_answers_calls_without_security", true, || {
        openafs::take_addresses();
        let folders = Folders::new(false);
        let (server, expected) = start_with_database(&folders, false);
        let port = client_port();
        ask_everything(&port, &NullSecurity);
        let (bytes, version) = fetch(&connect(&port, disk::SERVICE, &NullSecurity)).unwrap();
        assert!(bytes == expected, "the database arrived wrong");
        assert!(version.epoch > 0);
        eprintln!("{} bytes, version {version:?}, {:?}", bytes.len(), port.counters());
        ask_version_without_quorum(server, &folders, &NullSecurity, version);
    });
}

/// X4, X5: the same with tickets printed from the key file, at every level; without them the database is refused.
#[test]
fn openafs_answers_authenticated_calls() {
    in_namespace("openafs_answers_authenticated_calls", true, || {
        openafs::take_addresses();
        let folders = Folders::new(true);
        let (server, expected) = start_with_database(&folders, true);
        let port = client_port();
        let mut version = None;
        let keys = rx::keys::read(&folders.key_file()).unwrap();
        for level in [Level::Clear, Level::Auth, Level::Crypt] {
            let security = rx::keys::client(&keys, level).unwrap();
            ask_everything(&port, &security);
            let (bytes, found) = fetch(&connect(&port, disk::SERVICE, &security)).unwrap();
            assert!(bytes == expected, "the database arrived wrong at {level:?}");
            version = Some(found);
        }
        let refused = fetch(&connect(&port, disk::SERVICE, &NullSecurity)).unwrap_err();
        assert_eq!(refused, CallFailure::Aborted(AbortCode(10_029)));
        // A ticket sealed with another key.
        let other = rx::rxkad::keys::ServerKey { version: 1, encryption_type: 18, material: vec![9; 32] };
        let keys = rx::rxkad::keys::KeyFile::from_keys(vec![other]);
        let security = rx::keys::client(&keys, Level::Crypt).unwrap();
        let code = fetch(&connect(&port, disk::SERVICE, &security)).unwrap_err();
        assert_eq!(code, CallFailure::Unanswered(AbortCode::RXKAD_BAD_TICKET));
        let keys = rx::keys::read(&folders.key_file()).unwrap();
        let security = rx::keys::client(&keys, Level::Crypt).unwrap();
        ask_version_without_quorum(server, &folders, &security, version.unwrap());
    });
}

/// A server that answers `udebug` with made-up figures.
struct Debugged;

impl vote::Server for Debugged {
    fn beacon(&self, _: &Caller, _: i32, vote_start: i32, _: Version, _: Version) -> Result<(), AbortCode> {
        Err(AbortCode(vote_start))
    }

    fn debug_old(&self, _: &Caller) -> Result<[u32; 28], AbortCode> {
        Err(AbortCode::OPCODE)
    }

    fn server_debug_old(&self, _: &Caller, _: u32) -> Result<[u32; 9], AbortCode> {
        Err(AbortCode::OPCODE)
    }

    fn debug(&self, caller: &Caller) -> Result<Debug, AbortCode> {
        self.extended_debug(caller).map(|extended| extended.debug)
    }

    fn server_debug(&self, _: &Caller, _: u32) -> Result<ServerDebug, AbortCode> {
        Err(AbortCode(2))
    }

    fn extended_debug(&self, _: &Caller) -> Result<ExtendedDebug, AbortCode> {
        let mut first = [0; 28];
        // Now, last yes vote, for whom.
        (first[0], first[1], first[2]) = (1_800_000_000, 1_799_999_990, 0x0a4d_000c);
        // Number of servers.
        first[19] = 1;
        Ok(ExtendedDebug { debug: Debug { first, addresses: [0; 256] }, is_clone: 0 })
    }
}

fn output_of(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    eprintln!("{program} {arguments:?}\n{text}");
    text
}

/// X3, X4: OpenAFS's `udebug` and `rxdebug` talk to our server and print what is true.
#[test]
fn programs_of_openafs_talk_to_our_server() {
    in_namespace("programs_of_openafs_talk_to_our_server", true, || {
        openafs::take_addresses();
        let mut config = PortConfig::default();
        config.endpoint.version = "Quorate, under test".to_owned();
        let port = Port::open("10.77.0.12:7002".parse().unwrap(), config).unwrap();
        let service = |call: &mut dyn ServedCall| vote::dispatch(&Debugged, call);
        port.serve(vote::SERVICE, vec![Arc::new(NullSecurity)], Arc::new(service));
        let udebug = output_of("udebug", &["10.77.0.12", "7002"]);
        assert!(udebug.contains("Last yes vote for 10.77.0.12 was 10 secs ago"), "{udebug}");
        let version = output_of("rxdebug", &["10.77.0.12", "7002", "-version"]);
        assert!(version.contains("AFS version: Quorate, under test"), "{version}");
        let all =
            output_of("rxdebug", &["10.77.0.12", "7002", "-allconnections", "-peers", "-rxstats", "-long"]);
        for expected in [
            "0 calls waiting for a thread",
            "1 threads are idle",
            "Connection from host 10.77.0.1",
            "security index 0, server conn",
            "call 0: # 1, state",
            "Peer at host 10.77.0.1",
            "data 1",
        ] {
            assert!(all.contains(expected), "no {expected:?} in {all}");
        }
    });
}

/// X5: a program of OpenAFS calls our server with a ticket that it printed from the cell's key; the call arrives, and who
/// makes it is known.
#[test]
fn programs_of_openafs_call_our_server_with_the_cells_key() {
    in_namespace("programs_of_openafs_call_our_server_with_the_cells_key", true, || {
        openafs::take_addresses();
        let folders = Folders::new(true);
        let port = Port::open(openafs::address(), PortConfig::default()).unwrap();
        let keys = rx::keys::read(&folders.key_file()).unwrap();
        let security: Arc<dyn SecurityClass> = Arc::new(rx::keys::server(keys, Level::Clear));
        let (sender, callers) = std::sync::mpsc::channel();
        let service = move |call: &mut dyn ServedCall| {
            let _ = sender.send(call.caller().identity.clone());
            Err(AbortCode(267_269))
        };
        port.serve(ServiceId(73), vec![security], Arc::new(service));
        let mut pts = folders.command("pts", &["listmax", "-cell", "test.ubik", "-localauth"]);
        let mut pts = pts.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let identity = callers.recv_timeout(Duration::from_secs(30));
        pts.kill().unwrap();
        pts.wait().unwrap();
        assert!(identity.unwrap().unwrap().is_service);
    });
}

// ---- a network that loses ------------------------------------------------------------------------------------

const TEST: &str = "bulk_and_small_calls_survive_twenty_percent_loss";
const SERVER: &str = "10.78.0.1:7009";

/// Makes a namespace lose every fifth datagram that arrives: by netem, or by the packet filter where the kernel has no
/// netem.
fn lose_a_fifth(namespace: &Namespace) -> Option<&'static str> {
    let netem = "tc qdisc add dev e0 root netem loss 20% delay 1ms 1ms duplicate 2%";
    if namespace.run("sh", &["-c", netem]) {
        return Some("netem");
    }
    let filter = "nft add table inet q && nft 'add chain inet q in { type filter hook input priority 0; }' && \
                  nft 'add rule inet q in meta l4proto udp numgen random mod 100 < 20 drop'";
    namespace.run("sh", &["-c", filter]).then_some("packet filter")
}

/// X4: over real sockets between two namespaces that each lose a fifth of all datagrams, bulk arrives whole both ways
/// and small calls beside it succeed.
#[test]
fn bulk_and_small_calls_survive_twenty_percent_loss() {
    match namespace::inside().as_deref() {
        Some("server") => return serve_until_killed(),
        Some(_) => return measure_under_loss(),
        None => {}
    }
    let [server, client] = match namespace::pair(["10.78.0.1/24", "10.78.0.2/24"]) {
        Ok(pair) => pair,
        Err(reason) => return testbed::skip(TEST, &reason),
    };
    let (Some(how), Some(_)) = (lose_a_fifth(&server), lose_a_fifth(&client)) else {
        return testbed::skip(TEST, "neither netem nor the packet filter can lose datagrams here");
    };
    eprintln!("a fifth of all datagrams is lost by {how}");
    let mut serving = server.test(TEST, "server").spawn().unwrap();
    let status = client.test(TEST, "client").status().unwrap();
    serving.kill().unwrap();
    serving.wait().unwrap();
    assert!(status.success());
}

fn serve_until_killed() {
    let port = Port::open(SERVER.parse().unwrap(), PortConfig::default()).unwrap();
    port.serve(measure::measurement::SERVICE, vec![Arc::new(NullSecurity)], measure::service());
    // Not forever, should nobody be left to kill us.
    std::thread::sleep(Duration::from_secs(300));
}

fn measure_under_loss() {
    let mut asker = rx::question::Asker::new(SERVER.parse().unwrap(), Duration::from_secs(60)).unwrap();
    asker.version().unwrap();
    let port = Port::open("10.78.0.2:0".parse().unwrap(), PortConfig::default()).unwrap();
    let connect = |_| {
        port.connect(
            SERVER.parse().unwrap(),
            measure::measurement::SERVICE,
            &NullSecurity,
            Timeouts::default(),
        )
    };
    let bulk: Vec<_> = (0..2).map(connect).collect();
    let small: Vec<_> = (0..2).map(connect).collect();
    std::thread::scope(|scope| {
        let timing = scope.spawn(|| measure::time_calls(&small, 50, 100).unwrap());
        for direction in [measure::Direction::Send, measure::Direction::Receive] {
            let transfer = measure::time_transfer(&bulk, 4_000_000, direction).unwrap();
            eprintln!("{direction:?}: {:.1} Mbit/s", transfer.bits_per_second() / 1e6);
        }
        let timing = timing.join().unwrap();
        eprintln!("calls: p50 {:?}, p99 {:?}", timing.percentile(50.0), timing.percentile(99.0));
    });
    let counters = port.counters();
    assert!(counters.data_packets_resent > 100, "was anything lost? {counters:?}");
    eprintln!("{counters:?}");
}

/// X8: one call to three servers of which one is silent: answers come as they come, and the silence ends by its own
/// time-out.
#[test]
fn a_call_to_all_servers_gives_answers_as_they_come() {
    let serve = || {
        let port = Port::open("127.0.0.1:0".parse().unwrap(), PortConfig::default()).unwrap();
        port.serve(measure::measurement::SERVICE, vec![Arc::new(NullSecurity)], measure::service());
        port
    };
    let servers = [serve(), serve()];
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = Port::open("127.0.0.1:0".parse().unwrap(), PortConfig::default()).unwrap();
    let dead = Timeouts { dead: Duration::from_millis(600), ..Timeouts::default() };
    let addresses = [silent.local_addr(), servers[0].local_addr(), servers[1].local_addr()];
    let connections = addresses
        .map(|address| port.connect(address.unwrap(), measure::measurement::SERVICE, &NullSecurity, dead));
    let request = measure::measurement::request::echo(rx::xdr::Opaque::new([1, 2, 3]).unwrap());
    let mut answers = Vec::new();
    multi::call_all(&connections.each_ref(), &request, |index, answer| {
        answers.push((index, answer.map(rx::xdr::Opaque::into_inner)));
        multi::Next::Continue
    });
    assert_eq!(answers[2], (0, Err(CallFailure::Unanswered(AbortCode::CALL_DEAD))));
    answers.sort_by_key(|(index, _)| *index);
    assert_eq!(answers[1..], [(1, Ok(vec![1, 2, 3])), (2, Ok(vec![1, 2, 3]))]);
}
