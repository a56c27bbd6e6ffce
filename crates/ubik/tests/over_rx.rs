//! Three shipped servers that talk over Rx on the loopback.

mod shared;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rx::rpc::CallStream;
use rx::security::{NullSecurity, SecurityClass};
use rx::{AbortCode, CallFailure, Port, PortConfig, ServiceId, Timeouts};
use ubik::application::BeginError;
use ubik::client::{Client, ClientError, Patience};
use ubik::driver::Server;
use ubik::effect::{ReadKind, Reply, WriteError};
use ubik::hosts::Hosts;
use ubik::locks::Held;
use ubik::over_rx::{Membership, RxTransport, Services, VOTE, serve};
use ubik::phys::memory::MemoryStore;
use ubik::registers::{Table, table};
use ubik::server_state::Config;
use ubik::transport::Transport;
use ubik_proto::cell::{Cell, Dialect, Server as Member, ServerId, ServerKind, ServerSet};
use ubik_proto::code;
use ubik_proto::election::beacon::VoteReply;
use ubik_proto::messages::{Beacon, DiskCall, VoteCall};
use ubik_proto::profile::Profile;
use ubik_proto::version::{TransactionId, Version};

use shared::{PATIENCE, read_newest};

struct Running {
    server: Option<Arc<Server>>,
    /// Dropped after the server.
    _port: Arc<Port>,
}

fn address(index: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 77, 1 + index as u8)
}

/// Opens a port that a stopped server may still have for a moment: a thread that answered a call lets go of it last.
fn open_port(address: SocketAddr) -> Port {
    let begun = Instant::now();
    loop {
        match Port::open(address, PortConfig::default()) {
            Ok(port) => return port,
            Err(error) => assert!(begun.elapsed() < PATIENCE, "{error}"),
        }
        std::thread::yield_now();
    }
}

/// The port of one of three servers of our own, and what is known there of the others.
fn endpoint(index: usize, udp_port: u16) -> (Arc<Port>, Arc<Hosts>) {
    let port = Arc::new(open_port(SocketAddr::new(address(index).into(), udp_port)));
    let udp_port = port.local_addr().unwrap().port();
    let listed = (0..3).map(|nth| (ServerId::new(nth), SocketAddr::new(address(nth).into(), udp_port)));
    (port, Arc::new(Hosts::new(listed.collect(), vec![address(index).into()])))
}

/// One of three servers of our own, at a port that may hold other databases too.
fn start_on(
    (port, hosts): &(Arc<Port>, Arc<Hosts>),
    services: Services,
    index: usize,
    store: &MemoryStore,
) -> Arc<Server> {
    let member =
        |nth| Member { address: address(nth).into(), kind: ServerKind::Voter, dialect: Dialect::Quorate };
    let cell = Cell::new((0..3).map(member).collect(), address(index).into()).unwrap();
    let sealed = ServerSet::EMPTY;
    let members = Membership { hosts: hosts.clone(), needs_key: false, sealed };
    let security: Arc<dyn SecurityClass> = Arc::new(NullSecurity);
    let profile = Profile::brisk();
    let transport =
        RxTransport::new(port.clone(), services, cell.clone(), hosts.clone(), security.clone(), &profile);
    let config = Config { cell, profile, cache_pages: 20, bootstrap: false };
    let server = Server::start(config, Arc::new(store.clone()), Arc::new(transport)).unwrap();
    let classes = std::slice::from_ref(&security);
    serve(port, services, server.peer_service(), members, classes, classes);
    let server = Arc::new(server);
    Table::new(&server, 4096, PATIENCE).serve(port, services.application, &[security], false);
    server
}

fn start(index: usize, udp_port: u16, store: &MemoryStore) -> Running {
    let endpoint = endpoint(index, udp_port);
    let server = start_on(&endpoint, Services::STOCK, index, store);
    Running { server: Some(server), _port: endpoint.0 }
}

fn write(cell: &[Running], position: u64, bytes: &[u8]) -> (usize, Version) {
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < PATIENCE, "no server took the write");
        for (index, running) in cell.iter().enumerate() {
            let Some(server) = &running.server else { continue };
            match server.begin_write(PATIENCE) {
                Ok(mut transaction) => {
                    transaction.seek(position);
                    transaction.write(bytes).unwrap();
                    if let Ok(version) = transaction.commit(PATIENCE) {
                        return (index, version);
                    }
                }
                Err(BeginError::Write(WriteError::NotSyncSite { .. } | WriteError::LostMandate)) => {}
                Err(error) => panic!("{error}"),
            }
        }
        std::thread::yield_now();
    }
}

fn read(cell: &[Running], index: usize, position: u64, length: usize) -> (Version, Vec<u8>) {
    let server = cell[index].server.as_ref().expect("the test did not stop it");
    read_newest(server, position, length)
}

/// U19, U25, U29, U39: an election, writes of every size, the loss of the sync site and its return, over the real transport.
#[test]
fn a_cell_over_rx_elects_writes_and_recovers() {
    let stores = [0; 3].map(|_| MemoryStore::new());
    let first = start(0, 0, &stores[0]);
    let udp_port = first._port.local_addr().unwrap().port();
    let mut cell = vec![first, start(1, udp_port, &stores[1]), start(2, udp_port, &stores[2])];
    let large: Vec<u8> = (0..200_000u32).map(|nth| nth as u8).collect();

    write(&cell, 0, b"small");
    let (sync_site, version) = write(&cell, 5000, &large);
    for index in 0..3 {
        let (found, bytes) = read(&cell, index, 5000, large.len());
        assert!(found == version && bytes == large, "server {index}");
    }

    let serving = cell[sync_site].server.as_ref().unwrap();
    let read_locks = || serving.state().site_debug(&mut Held::thread_entry()).any_read_locks;
    let reading = serving.begin_read(ReadKind::Newest, PATIENCE).unwrap();
    assert!(read_locks(), "a reader is shown");
    drop(reading);
    assert!(!read_locks());
    let debug = serving.state().site_debug(&mut Held::thread_entry());
    assert!(debug.is_sync_site && debug.sync_site_until > debug.now && debug.recovery_state == 0x1f);
    assert_eq!((debug.local_version, debug.servers), (version, 3));
    let follower = cell[(sync_site + 1) % 3].server.as_ref().unwrap().state();
    let debug = follower.site_debug(&mut Held::thread_entry());
    assert_eq!(debug.sync_host, u32::from(address(sync_site)));
    assert!(!debug.is_sync_site && debug.last_yes_state && debug.last_yes_host == debug.sync_host);
    assert!(follower.server_debug(&mut Held::thread_entry(), 1).is_some());
    assert_eq!(follower.server_debug(&mut Held::thread_entry(), 2), None);

    cell[sync_site].server = None;
    let (other, later) = write(&cell, 0, b"after");
    assert!(other != sync_site && later.epoch > version.epoch);

    drop(cell.remove(sync_site));
    cell.insert(sync_site, start(sync_site, udp_port, &stores[sync_site]));
    let (found, bytes) = read(&cell, sync_site, 5000, large.len());
    assert!(found >= later && bytes == large, "the lost server has caught up");
}

/// What a server answers to `VOTE_GetSyncSite`.
fn asked_for_sync_site(port: &Port, server: SocketAddr) -> Ipv4Addr {
    let connection = port.connect(server, VOTE, &NullSecurity, Timeouts::default());
    let mut call = connection.start().unwrap();
    call.write(&VoteCall::SyncSite.encode()).unwrap();
    let mut answer = [0; 4];
    assert_eq!(call.read(&mut answer).unwrap(), 4);
    Ipv4Addr::from(answer)
}

/// U18, U36: a client that knows the servers' addresses finds the sync site, writes there, reads anywhere, and does so
/// again when the sync site is gone; it gives up in time when nobody can serve it.
#[test]
fn a_client_finds_who_serves_it() {
    let stores = [0; 3].map(|_| MemoryStore::new());
    let first = start(0, 0, &stores[0]);
    let udp_port = first._port.local_addr().unwrap().port();
    let mut cell = vec![first, start(1, udp_port, &stores[1]), start(2, udp_port, &stores[2])];
    let servers: Vec<SocketAddr> = (0..3).map(|nth| SocketAddr::new(address(nth).into(), udp_port)).collect();
    let port = Arc::new(Port::open("127.0.0.1:0".parse().unwrap(), PortConfig::default()).unwrap());
    let client = |in_all| {
        let patience = Patience { in_all, silence: Duration::from_millis(500), ..Patience::default() };
        Client::new(port.clone(), servers.clone(), table::SERVICE, Arc::new(NullSecurity), patience)
    };
    let patient = client(PATIENCE);
    let written = patient.write_register(5, 55).unwrap();
    assert_eq!(patient.read_register(5).unwrap().value, 55);

    let sync_site = patient.find_sync_site().unwrap();
    let index = servers.iter().position(|&server| server == sync_site).unwrap();
    for &server in &servers {
        assert_eq!(IpAddr::V4(asked_for_sync_site(&port, server)), sync_site.ip());
    }
    drop(cell.remove(index));
    let again = loop {
        match patient.write_register(5, 56) {
            Ok(reading) => break reading,
            // The call may have reached the server that is gone; whether it did anything is not known.
            Err(ClientError::Unknown(_)) => {}
            Err(error) => panic!("{error}"),
        }
    };
    assert!(again.epoch > written.epoch);
    assert_eq!(patient.read_register(5).unwrap().value, 56);

    cell.clear();
    let hasty = client(Duration::from_millis(300));
    assert!(matches!(hasty.read_register(5), Err(ClientError::TimedOut { .. })));
    assert!(matches!(hasty.write_register(5, 57), Err(ClientError::TimedOut { .. })));
}

/// U55: a client with servers in its list that never answer finds the sync site and is served all the same, without waiting for
/// them; it would wait for an hour. It can ask one server after the other, and for a version that it has seen.
#[test]
fn a_client_waits_for_no_dead_server() {
    let stores = [0; 3].map(|_| MemoryStore::new());
    let first = start(0, 0, &stores[0]);
    let udp_port = first._port.local_addr().unwrap().port();
    let _cell = [first, start(1, udp_port, &stores[1]), start(2, udp_port, &stores[2])];
    let at = |last| SocketAddr::new(Ipv4Addr::new(127, 0, 77, last).into(), udp_port);
    let dead: Vec<SocketAddr> = (201..206).map(at).collect();
    let _silent: Vec<UdpSocket> = dead.iter().map(|&dead| UdpSocket::bind(dead).unwrap()).collect();
    let servers: Vec<SocketAddr> = dead.iter().copied().chain((1..4).map(at)).collect();
    let port = Arc::new(Port::open("127.0.0.1:0".parse().unwrap(), PortConfig::default()).unwrap());
    let patience = Patience { in_all: PATIENCE, silence: Duration::from_secs(3600), ..Patience::default() };
    let client = Client::new(port, servers, table::SERVICE, Arc::new(NullSecurity), patience);
    let written = client.write_register(5, 55).unwrap();
    assert_eq!(client.read_register(5).unwrap().value, 55);
    assert!(client.find_sync_site().is_some_and(|found| !dead.contains(&found)));

    let read = |connection: &rx::Connection| table::request::read(5).call(connection);
    let answers: Vec<_> = client.iterate(read).take(3).collect();
    assert!(
        answers.iter().all(|(server, _)| !dead.contains(server)),
        "those that are up come first: {answers:?}"
    );
    let version = |reading: &ubik::registers::Reading| Version::new(reading.epoch, reading.counter);
    let seen = client.read_at_least(version(&written), read, version).unwrap();
    assert!(version(&seen) >= version(&written) && seen.value == 55);
}

/// U40, U41, U53: two databases on one port in one process, which know the others' hosts together, are independent: each elects,
/// counts and holds what was written to it, and neither stops with the other. A stock caller, who can name none, reaches the first.
#[test]
fn two_databases_share_a_port() {
    let stores: [[MemoryStore; 3]; 2] = Default::default();
    let udp_port = open_port(SocketAddr::new(address(0).into(), 0)).local_addr().unwrap().port();
    let endpoints = [0, 1, 2].map(|nth| endpoint(nth, udp_port));
    let run = |nth: usize| -> Vec<Running> {
        let services = Services::nth(nth as u16);
        let start = |(index, endpoint): (usize, &(Arc<Port>, Arc<Hosts>))| Running {
            server: Some(start_on(endpoint, services, index, &stores[nth][index])),
            _port: endpoint.0.clone(),
        };
        endpoints.iter().enumerate().map(start).collect()
    };
    let (one, mut other) = (run(0), run(1));
    write(&one, 0, b"one");
    let (_, version) = write(&other, 0, b"other");
    let (_, later) = write(&other, 8, b"again");
    assert_eq!(Some(later), version.next(), "each counts for itself");

    let client_port = Arc::new(Port::open("127.0.0.1:0".parse().unwrap(), PortConfig::default()).unwrap());
    let servers: Vec<SocketAddr> = (0..3).map(|nth| SocketAddr::new(address(nth).into(), udp_port)).collect();
    for (nth, value) in [(0, 5), (1, 6)] {
        let Services { vote, application, .. } = Services::nth(nth);
        let patience = Patience { in_all: PATIENCE, ..Patience::default() };
        let security = Arc::new(NullSecurity);
        let client = Client::new(client_port.clone(), servers.clone(), application, security, patience)
            .with_votes(vote);
        client.write_register(1, value).unwrap();
    }
    for index in 0..3 {
        assert_eq!(read(&one, index, 0, 5).1, b"one\0\0");
        assert_eq!(read(&other, index, 0, 5).1, b"other");
        assert_eq!((read(&one, index, 4096 + 8, 8).1[7], read(&other, index, 4096 + 8, 8).1[7]), (5, 6));
    }
    other.clear();
    write(&one, 0, b"still");
}

/// U24, U53: a server that does not answer at its listed address is found at another that it has told, and then called there by
/// every database; its own calls are known by either.
#[test]
fn a_down_server_is_probed_at_all_its_addresses() {
    let (listed, other) = (Ipv4Addr::new(127, 0, 78, 1), Ipv4Addr::new(127, 0, 78, 2));
    let member =
        |ip: Ipv4Addr| Member { address: ip.into(), kind: ServerKind::Voter, dialect: Dialect::Quorate };
    let cell = Cell::new(vec![member(address(0)), member(listed)], address(0).into()).unwrap();
    let peer = cell.by_address(listed.into()).unwrap();
    let port = Arc::new(open_port(SocketAddr::new(address(0).into(), 0)));
    let peer_port = open_port(SocketAddr::new(other.into(), 0));
    let udp_port = peer_port.local_addr().unwrap().port();
    let at = |ip: Ipv4Addr| SocketAddr::new(ip.into(), udp_port);
    let addresses = || {
        let listed = [(cell.me(), at(address(0))), (peer, at(listed))].into_iter().collect();
        Arc::new(Hosts::new(listed, vec![address(0).into()]))
    };
    // The peer's services, at its other address alone but for a second database, which is at the listed one for a while.
    let security: Arc<dyn SecurityClass> = Arc::new(NullSecurity);
    let profile = Profile { disk_timeout: Duration::from_millis(300), ..Profile::brisk() };
    let answers = |call: &mut dyn rx::rpc::ServedCall| {
        let mut opcode = [0; 4];
        call.read(&mut opcode)?;
        if u32::from_be_bytes(opcode) == 20004 {
            call.write(&Version::new(7, 3).encode())?;
        }
        Ok(())
    };
    let second = Services::nth(1);
    for services in [Services::STOCK, second] {
        peer_port.serve(services.disk, vec![security.clone()], Arc::new(answers));
    }
    let listed_port = open_port(at(listed));
    listed_port.serve(second.disk, vec![security.clone()], Arc::new(answers));

    let known = addresses();
    let transport = |services| {
        RxTransport::new(port.clone(), services, cell.clone(), known.clone(), security.clone(), &profile)
    };
    let (transport, second) = (transport(Services::STOCK), transport(second));
    second.call(peer, &DiskCall::GetVersion).unwrap();
    drop(listed_port);
    assert!(!transport.probe(peer), "nobody is at the listed address");
    known.learn(peer, &[listed.into(), other.into()]).unwrap();
    assert!(transport.probe(peer), "it is at the other");
    assert_eq!(known.current(peer), Some(at(other)));
    second.call(peer, &DiskCall::GetVersion).expect("no call goes to the address that is gone");
    let version = transport.call(peer, &DiskCall::GetVersion).unwrap();
    assert!(matches!(version, Reply::Version(version) if version == Version::new(7, 3)));
    assert_eq!(known.server_at(other.into()), Some(peer));
}

/// Answers each first packet of a call on `socket`: with an abort that names `call_number(header's)`, and `code`. Returns
/// which connections it saw.
fn abort_calls(socket: &UdpSocket, calls: usize, names_call: bool, code: i32) -> Vec<[u8; 8]> {
    let mut seen = Vec::new();
    while seen.len() < calls {
        let mut packet = [0; 2048];
        let (length, from) = socket.recv_from(&mut packet).unwrap();
        let mut header: [u8; 28] = packet[..length].first_chunk().copied().unwrap();
        // A data packet of a call that was not answered yet.
        let connection: [u8; 8] = header[..8].try_into().unwrap();
        if header[20] != 1 || seen.contains(&connection) {
            continue;
        }
        if !names_call {
            header[8..12].fill(0);
        }
        header[12..16].fill(0);
        (header[20], header[21]) = (4, 0);
        socket.send_to(&[&header[..], &code.to_be_bytes()].concat(), from).unwrap();
        seen.push(connection);
    }
    seen
}

/// X10: a yes is an abort that answers the beacon itself. A server that ended the whole connection with such a code has
/// voted for nothing, now and ever after; the next beacon goes out on a new connection. This was a false mandate once: the
/// dead connection was kept, and each later beacon on it returned the old code, without a packet, as a fresh yes.
#[test]
fn an_error_of_a_connection_is_never_a_vote() {
    let peer_socket = UdpSocket::bind(SocketAddr::new(address(1).into(), 0)).unwrap();
    let udp_port = peer_socket.local_addr().unwrap().port();
    let member = |nth| Member {
        address: address(nth).into(),
        kind: ServerKind::Voter,
        dialect: [Dialect::Quorate, Dialect::OpenAfs][nth],
    };
    let cell = Cell::new((0..2).map(member).collect(), address(0).into()).unwrap();
    let at = |nth: usize| (ServerId::new(nth), SocketAddr::new(address(nth).into(), udp_port));
    let hosts = Arc::new(Hosts::new([at(0), at(1)].into_iter().collect(), vec![address(0).into()]));
    let port = Arc::new(open_port(SocketAddr::new(address(0).into(), 0)));
    let security: Arc<dyn SecurityClass> = Arc::new(NullSecurity);
    let profile = Profile { call_timeout: Duration::from_secs(60), ..Profile::openafs() };
    let said = Arc::new(Mutex::new(Vec::new()));
    let heard = said.clone();
    let log = Arc::new(move |line: &str| heard.lock().unwrap().push(line.to_owned()));
    let transport = RxTransport::new(port, Services::STOCK, cell, hosts, security, &profile).telling(log);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i32;
    let transaction = TransactionId::default();
    let beacon = Beacon { claims_sync_site: false, start: now, version: Version::NONE, transaction };
    let ask = |names_call: bool| {
        std::thread::scope(|scope| {
            let answering = scope.spawn(|| abort_calls(&peer_socket, 1, names_call, now));
            let reply = transport.beacon(ServerId::new(1), 1, &beacon);
            (reply, answering.join().unwrap()[0])
        })
    };
    let (first, first_connection) = ask(false);
    assert_eq!(first, VoteReply::Failed);
    let (second, second_connection) = ask(false);
    assert_eq!(second, VoteReply::Failed);
    assert_ne!(first_connection, second_connection, "a connection that failed is not used again");
    assert_eq!(ask(true).0, VoteReply::Yes(now));
    assert!(said.lock().unwrap().is_empty());
    // X12: a peer that does not accept the ticket is told of once, with the code in words.
    let unknown_key = AbortCode::RXKAD_UNKNOWN_KEY.0;
    for _ in 0..3 {
        std::thread::scope(|scope| {
            scope.spawn(|| abort_calls(&peer_socket, 1, false, unknown_key));
            assert_eq!(transport.beacon(ServerId::new(1), 1, &beacon), VoteReply::Failed);
        });
    }
    let said = said.lock().unwrap();
    assert!(
        said.len() == 1 && said[0].contains("127.0.77.2 does not accept this server's ticket"),
        "{said:?}"
    );
    assert!(said[0].contains("19270408 (rxkad: the ticket is sealed with a key"), "{said:?}");
}

/// A first packet of a call that a stranger makes, on a connection of its own.
fn stranger_packet(number: u32, service: ServiceId, body: &[u8], is_whole: bool) -> Vec<u8> {
    let words = [0x8000_0000 | number, number << 2, 1, 1, 1];
    let mut packet: Vec<u8> = words.iter().flat_map(|word: &u32| word.to_be_bytes()).collect();
    // Data, from the client, and the last if it is whole.
    packet.extend([1, if is_whole { 5 } else { 1 }, 0, 0, 0, 0]);
    packet.extend(service.0.to_be_bytes());
    packet.extend(body);
    packet
}

/// Sends junk, calls that do not end, beacons and addresses to `server`, from an address that is not a member's; goes on only when
/// what was sent so far has been looked at.
fn abuse(server: SocketAddr, nth: u32, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let socket = UdpSocket::bind("127.0.66.1:0").unwrap();
    let port = Port::open("127.0.66.1:0".parse().unwrap(), PortConfig::default()).unwrap();
    let start = i32::MAX - 1;
    let transaction = TransactionId { epoch: start as u32, counter: 1 };
    let beacon =
        Beacon { claims_sync_site: true, start, version: Version::new(start as u32, 1), transaction };
    let claimed = vec![u32::from(address(0)), u32::from(Ipv4Addr::new(127, 0, 66, 1))];
    let addresses = DiskCall::UpdateInterfaceAddr(claimed).encode();
    let mut packets: Vec<Vec<u8>> = Vec::new();
    for number in 0..1000 {
        let unfinished = VoteCall::Beacon(beacon).encode();
        let service = [Services::STOCK.vote, Services::STOCK.disk][number as usize % 2];
        packets.push(stranger_packet(nth * 100_000 + number, service, &unfinished[..4], false));
    }
    for number in 1000..1500 {
        let beacon = VoteCall::Beacon(beacon).encode();
        packets.push(stranger_packet(nth * 100_000 + number, Services::STOCK.vote, &beacon, true));
        packets.push(stranger_packet(nth * 100_000 + number, Services::STOCK.disk, &addresses, true));
    }
    for _ in 0..34_000 {
        let mut junk = vec![0; random.usize(0..300)];
        random.fill(&mut junk);
        packets.push(junk);
    }
    random.shuffle(&mut packets);
    for some in packets.chunks(500) {
        for packet in some {
            socket.send_to(packet, server).unwrap();
        }
        // An answer shows that the port has taken these, and that strangers are answered all the while.
        asked_for_sync_site(&port, server);
    }
}

/// Memory that the process has from the system, in bytes.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// X10, X11: three servers, each under 34,000 packets of junk, a thousand calls that do not end, and a thousand forged beacons and
/// addresses, keep their sync site and its epoch, and take writes all the while; memory stays within its bound.
#[test]
fn a_cell_keeps_its_sync_site_under_abuse() {
    let stores = [0; 3].map(|_| MemoryStore::new());
    let first = start(0, 0, &stores[0]);
    let udp_port = first._port.local_addr().unwrap().port();
    let cell = vec![first, start(1, udp_port, &stores[1]), start(2, udp_port, &stores[2])];
    let (sync_site, version) = write(&cell, 0, b"before");
    let before = resident();
    let seed = testbed::seed("a_cell_keeps_its_sync_site_under_abuse");
    let writes = std::thread::scope(|scope| {
        let attacks: Vec<_> = (0..3u64)
            .map(|nth| {
                let server = SocketAddr::new(address(nth as usize).into(), udp_port);
                scope.spawn(move || abuse(server, nth as u32, seed + nth))
            })
            .collect();
        let mut writes = 0u32;
        while attacks.iter().any(|attack| !attack.is_finished()) {
            let (by, during) = write(&cell, 8, &writes.to_be_bytes());
            assert_eq!((by, during.epoch), (sync_site, version.epoch), "another election was needed");
            writes += 1;
        }
        writes
    });
    let grown = resident().saturating_sub(before);
    eprintln!("3 servers under abuse: {writes} writes, {:.1} MB more", grown as f64 / 1e6);
    assert!(writes > 0 && grown < 3 * (32 << 20), "{writes} writes, {grown} bytes");
}

/// U49, X11: a transfer that will be refused is refused before its body: its first packet is enough.
#[test]
fn a_transfer_is_refused_before_its_body() {
    let server = start(0, 0, &MemoryStore::new());
    let at = server._port.local_addr().unwrap();
    let port = open_port(SocketAddr::new(address(1).into(), 0));
    // The server has just started, and promised nothing to anybody.
    let connection = port.connect(at, Services::STOCK.disk, &NullSecurity, Timeouts::default());
    let mut call = connection.start().unwrap();
    let version = Version::new(1_900_000_000, 1);
    call.write(&DiskCall::SendFile { file: 0, length: 100 << 20, version }.encode()).unwrap();
    // As much of the body as is sent before anything must be acked; nothing more will come, nor the end.
    let mut written = Ok(());
    while written.is_ok() {
        written = call.write(&[7; 1 << 16]);
    }
    assert_eq!(written, Err(CallFailure::Aborted(AbortCode(code::AbortCode::OUT_OF_SYNC.0))));
}
