//! One database that this process serves: its port, its copy, its services.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use rx::rpc::ServedCall;
use rx::security::SecurityClass;
use rx::{Port, PortConfig, ServiceId};
use ubik::driver::Server;
use ubik::effect::CallError;
use ubik::hosts::Hosts;
use ubik::over_rx::{self, Membership, RxTransport, Services};
use ubik::phys::files::FileStore;
use ubik::registers::Table;
use ubik::server_state::Config;
use ubik::watch::Log;
use ubik_proto::cell::{Dialect, ServerId, ServerKind};
use ubik_proto::code::AbortCode;

use super::cell::{Classes, Database, Setting};
use super::peers::PeerCheck;
use crate::failure::Failure;

/// How long a call to the table of registers waits.
const TABLE_PATIENCE: Duration = Duration::from_secs(120);

/// The ports that are open, with what is known of the hosts behind the same port of the others: databases may share one.
#[derive(Default)]
pub struct Ports(HashMap<u16, (Arc<Port>, Arc<Hosts>)>);

impl Ports {
    /// The port, opened if it is not yet; with several addresses, on all of the machine's.
    fn open(&mut self, setting: &Setting, udp_port: u16) -> Result<(Arc<Port>, Arc<Hosts>), Failure> {
        if let Some(opened) = self.0.get(&udp_port) {
            return Ok(opened.clone());
        }
        let several = !setting.other_addresses.is_empty();
        let address = if several { Ipv4Addr::UNSPECIFIED } else { setting.address };
        let opened = Port::open(SocketAddr::new(address.into(), udp_port), PortConfig::default());
        let port = Arc::new(opened.map_err(Failure::system)?);
        let cell = &setting.cell;
        let at = |id: ServerId| SocketAddr::new(Ipv4Addr::from(cell.server(id).address).into(), udp_port);
        let own = std::iter::once(setting.address).chain(setting.other_addresses.iter().copied());
        let listed = cell.ids().map(|id| (id, at(id))).collect();
        let hosts = Arc::new(Hosts::new(listed, own.map(u32::from).collect()));
        self.0.insert(udp_port, (port.clone(), hosts.clone()));
        Ok((port, hosts))
    }
}

/// A running replica. It stops when dropped: the server first, then the port.
pub struct Replica {
    _server: Arc<Server>,
    transport: Arc<RxTransport>,
    peers: Vec<(ServerId, Ipv4Addr)>,
    check: Sender<()>,
    log: Log,
}

impl Replica {
    /// Opens the database and offers its services; the servers of the cell may call from now on.
    ///
    /// # Errors
    /// The port is taken, or the database cannot be opened.
    pub fn start(
        setting: &Setting,
        database: &Database,
        ports: &mut Ports,
        log: Log,
    ) -> Result<Replica, Failure> {
        let cell = if database.stands { setting.cell.clone() } else { setting.cell.clone().only_voting() };
        let at = |id: ServerId| Ipv4Addr::from(cell.server(id).address);
        let address = SocketAddr::new(setting.address.into(), database.port);
        let (port, hosts) = ports.open(setting, database.port)?;
        let services = Services::nth(database.nth_on_port);
        let security = setting.classes.own.clone();
        let profile = &setting.profile;
        let transport =
            RxTransport::new(port.clone(), services, cell.clone(), hosts.clone(), security, profile);
        let transport = Arc::new(transport.telling(log.clone()));
        let config = Config {
            cell: cell.clone(),
            profile: setting.profile.clone(),
            cache_pages: setting.cache_pages,
            bootstrap: setting.bootstrap,
        };
        let store = Arc::new(FileStore::new(setting.directory.join(&database.name)));
        let started = Server::start_logging(config, store, transport.clone(), log.clone());
        let prefix = setting.directory.join(&database.name);
        let failed = |error| Failure::system(format!("{}.DB0: {error}", prefix.display()));
        let server = Arc::new(started.map_err(failed)?);
        // What its disk holds is known after a restart, which is for whoever watches this process to do.
        server.on_failure(|| std::process::exit(1));
        let ours = |id: &ServerId| cell.server(*id).dialect == Dialect::Quorate;
        let sealed = cell.ids().filter(ours).collect();
        let members = Membership { hosts, needs_key: setting.needs_key, sealed };
        let Classes { open, closed, .. } = &setting.classes;
        over_rx::serve(&port, services, server.peer_service(), members, open, closed);
        if let Some(base) = setting.registers_at {
            let table = Table::new(&server, base.into(), TABLE_PATIENCE);
            table.serve(&port, services.application, closed, setting.needs_key);
        }
        refuse_clients(&port, open);
        log(&describe(setting, database, &server, address));
        let peers = cell.peers().map(|id| (id, at(id))).collect();
        let check = PeerCheck::start(cell, &port, database.port, services.vote, log.clone());
        Ok(Replica { _server: server, transport, peers, check, log })
    }

    /// Looks at the peers' programs and lists of servers again.
    pub fn check_peers(&self) {
        // It ends only when this is dropped.
        let _ = self.check.send(());
    }

    /// Tells every peer this server's addresses, and so that it has started anew; nobody waits for it (U37).
    pub fn announce(&self) {
        for &(id, address) in &self.peers {
            let (transport, log) = (self.transport.clone(), self.log.clone());
            std::thread::spawn(move || match transport.exchange_addresses(id) {
                Ok(addresses) if addresses.first().is_some_and(|&first| first != u32::from(address)) => {
                    log(&format!(
                        "{address} says that its address is another; make CellServDB the same everywhere"
                    ));
                }
                Err(CallError::Aborted(AbortCode::BAD_HOST)) => {
                    log(&format!(
                        "{address} does not list this server so; make CellServDB the same everywhere"
                    ));
                }
                Err(CallError::Aborted(code)) => {
                    log(&format!("{address} refuses this server's addresses: {code}"));
                }
                Ok(_) | Err(_) => {}
            });
        }
    }
}

/// The services for clients of OpenAFS's databases: ubik's own number (vlserver), ptserver's, budb's.
const CLIENT_SERVICES: [ServiceId; 3] = [ServiceId(52), ServiceId(73), ServiceId(22314)];

/// Answers OpenAFS's clients so that they go on to the next server: this one only keeps the bytes.
fn refuse_clients(port: &Port, security: &[Arc<dyn SecurityClass>]) {
    for service in CLIENT_SERVICES {
        let refuse = |_: &mut dyn ServedCall| Err(rx::AbortCode(AbortCode::NO_QUORUM.0));
        port.serve(service, security.to_vec(), Arc::new(refuse));
    }
}

fn describe(setting: &Setting, database: &Database, server: &Server, address: SocketAddr) -> String {
    let cell = &setting.cell;
    let kind = match cell.server(cell.me()).kind {
        ServerKind::Voter => "",
        ServerKind::Clone => ", a clone",
    };
    let stands = match (database.stands, cell.server(cell.me()).kind) {
        (true, _) | (_, ServerKind::Clone) => "",
        (false, ServerKind::Voter) => {
            "; it never stands for sync site, since it does not serve this database's clients (--stand changes that)"
        }
    };
    format!(
        "serves on {address}, one of {} servers of cell {}{kind}; the database is version {}; votes after {:?}{stands}",
        cell.len(),
        setting.cell_name,
        server.state().database().version(),
        setting.profile.promise,
    )
}
