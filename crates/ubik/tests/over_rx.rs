//! Three shipped servers that talk over Rx on the loopback.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rx::security::{NullSecurity, SecurityClass};
use rx::{Port, PortConfig};
use ubik::application::BeginError;
use ubik::driver::Server;
use ubik::effect::{ReadKind, WriteError};
use ubik::locks::Held;
use ubik::over_rx::{Membership, RxTransport, serve};
use ubik::phys::memory::MemoryStore;
use ubik::site::Config;
use ubik_proto::cell::{Cell, Dialect, Server as Member, ServerId, ServerKind};
use ubik_proto::profile::Profile;
use ubik_proto::version::Version;

const PATIENCE: Duration = Duration::from_secs(60);

struct Running {
    server: Option<Server>,
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

fn start(index: usize, udp_port: u16, store: &MemoryStore) -> Running {
    let member =
        |nth| Member { address: address(nth).into(), kind: ServerKind::Voter, dialect: Dialect::Quorate };
    let cell = Cell::new((0..3).map(member).collect(), address(index).into()).unwrap();
    let port = Arc::new(open_port(SocketAddr::new(address(index).into(), udp_port)));
    let udp_port = port.local_addr().unwrap().port();
    let addresses =
        (0..3).map(|nth| (ServerId::new(nth), SocketAddr::new(address(nth).into(), udp_port))).collect();
    let servers: HashMap<IpAddr, ServerId> =
        (0..3).map(|nth| (address(nth).into(), ServerId::new(nth))).collect();
    let members = Membership { servers, needs_key: false, own_addresses: vec![address(index).into()] };
    let security: Arc<dyn SecurityClass> = Arc::new(NullSecurity);
    let profile = Profile::brisk();
    let transport = RxTransport::new(port.clone(), cell.clone(), addresses, security.clone(), &profile);
    let config = Config { cell, profile, cache_pages: 20, bootstrap: false };
    let server = Server::start(config, Arc::new(store.clone()), Arc::new(transport)).unwrap();
    serve(&port, server.ear(), members, &[security]);
    Running { server: Some(server), _port: port }
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
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < PATIENCE, "server {index} did not serve the read");
        let server = cell[index].server.as_ref().expect("the test did not stop it");
        if let Ok(mut transaction) = server.begin_read(ReadKind::Newest, PATIENCE) {
            let mut bytes = vec![0; length];
            transaction.seek(position);
            transaction.read(&mut bytes).unwrap();
            return (transaction.version(), bytes);
        }
        std::thread::yield_now();
    }
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

    let debug = cell[sync_site].server.as_ref().unwrap().site().site_debug(&mut Held::thread_entry());
    assert!(debug.is_sync_site && debug.sync_site_until > debug.now && debug.recovery_state == 0x1f);
    assert_eq!((debug.local_version, debug.servers), (version, 3));
    let follower = cell[(sync_site + 1) % 3].server.as_ref().unwrap().site();
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
