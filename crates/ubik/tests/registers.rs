//! The table of registers, when the server's process is replaced by another on the same port.

mod shared;

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rx::rpc::ServedCall;
use rx::security::{NullSecurity, SecurityClass};
use rx::{AbortCode, Connection, Port, PortConfig, Timeouts};
use shared::{PATIENCE, read_newest};
use ubik::client::{Client, ClientError, Patience};
use ubik::driver::Server;
use ubik::hosts::Hosts;
use ubik::over_rx::{RxTransport, Services};
use ubik::phys::memory::MemoryStore;
use ubik::registers::{OTHER_LIFE, Table, table};
use ubik::server_state::Config;
use ubik_proto::cell::{Cell, Dialect, Server as Member, ServerKind};
use ubik_proto::profile::Profile;
use ubik_proto::stock::debug::{Generation, SiteDebug};

fn open_port() -> Arc<Port> {
    Arc::new(Port::open("127.0.0.1:0".parse().unwrap(), PortConfig::default()).unwrap())
}

fn null() -> Vec<Arc<dyn SecurityClass>> {
    vec![Arc::new(NullSecurity)]
}

/// The only server of a cell, with its table, on a port.
fn serve_alone(port: &Arc<Port>, store: &MemoryStore) -> Arc<Server> {
    let address = u32::from(Ipv4Addr::LOCALHOST);
    let member = Member { address, kind: ServerKind::Voter, dialect: Dialect::Quorate };
    let cell = Cell::new(vec![member], address).unwrap();
    let hosts = Arc::new(Hosts::new(HashMap::new(), vec![address]));
    let (security, profile) = (Arc::new(NullSecurity), Profile::brisk());
    let transport = RxTransport::new(port.clone(), Services::STOCK, cell.clone(), hosts, security, &profile);
    let config = Config { cell, profile, cache_pages: 20, bootstrap: false };
    let server = Arc::new(Server::start(config, Arc::new(store.clone()), Arc::new(transport)).unwrap());
    Table::new(&server, 0, PATIENCE).serve(port, table::SERVICE, &null(), false);
    server
}

/// U36: a write is for one life of its server: the next one, to which Rx sends it again, does not carry it out.
#[test]
fn another_life_of_a_server_refuses_a_write() {
    let (store, caller) = (MemoryStore::new(), open_port());
    let connect = |server: SocketAddr| {
        let timeouts = Timeouts { dead: PATIENCE, ..Timeouts::default() };
        caller.connect(server, table::SERVICE, &NullSecurity, timeouts)
    };
    let life = |connection: &Connection| table::request::life().call(connection).unwrap();
    let write = |connection: &Connection, life, value| table::request::write(life, 5, value).call(connection);

    let port = open_port();
    let first = serve_alone(&port, &store);
    let to_first = connect(port.local_addr().unwrap());
    let its_life = life(&to_first);
    read_newest(&first, 0, 8);
    assert_eq!(write(&to_first, its_life, 55).unwrap().value, 55);
    drop(first);
    let port = open_port();
    let second = serve_alone(&port, &store);
    read_newest(&second, 0, 8);
    let to_second = connect(port.local_addr().unwrap());
    assert_eq!(write(&to_second, its_life, 56).map_err(|failure| failure.code()), Err(OTHER_LIFE));
    assert_eq!(read_newest(&second, 40, 8).1, 55u64.to_be_bytes());
    assert_eq!(write(&to_second, life(&to_second), 57).unwrap().value, 57);
}

/// U36: what another life of a server refuses, or one that does not serve the call yet, the first may have carried out: the
/// client does not know, and does not try again. (It was taken for "nothing was done", and the write was made again.)
#[test]
fn a_refusal_by_another_life_says_nothing() {
    for refusal in [OTHER_LIFE, AbortCode::INVALID_OPERATION, AbortCode::RESTARTING] {
        let (tried, server) = (Arc::new(AtomicUsize::new(0)), open_port());
        let counted = tried.clone();
        let answers = move |call: &mut dyn ServedCall| {
            let mut opcode = [0; 4];
            call.read(&mut opcode)?;
            if u32::from_be_bytes(opcode) == 3 {
                return Ok(call.write(&7u64.to_be_bytes())?);
            }
            counted.fetch_add(1, Ordering::SeqCst);
            Err(refusal)
        };
        server.serve(table::SERVICE, null(), Arc::new(answers));
        let debug = SiteDebug { is_sync_site: true, ..SiteDebug::default() }.encode(Generation::Old);
        let votes = move |call: &mut dyn ServedCall| Ok(call.write(&debug)?);
        server.serve(Services::STOCK.vote, null(), Arc::new(votes));
        let servers = vec![server.local_addr().unwrap()];
        let patience = Patience { in_all: PATIENCE, ..Patience::default() };
        let client = Client::new(open_port(), servers, table::SERVICE, Arc::new(NullSecurity), patience);
        let written = client.write_register(5, 56);
        assert!(matches!(written, Err(ClientError::Unknown(_))), "{refusal}: {written:?}");
        assert_eq!(tried.load(Ordering::SeqCst), 1, "{refusal}: it is not made again");
    }
}
