//! What a server of the service is started with, checked.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;
use std::sync::Arc;

use rx::keys::{KeyError, Keys};
use rx::rxkad::Level;
use rx::security::{NullSecurity, SecurityClass};
use ubik::watch::Log;
use ubik_proto::cell::{Cell, CellError, Dialect, Server, ServerKind};

/// What a server is started with.
#[derive(Clone)]
pub struct Settings {
    /// The directory of its databases; it must exist.
    pub data: PathBuf,
    /// How many databases there are: the same at every server.
    pub databases: usize,
    /// This server's name among `servers`.
    pub server: String,
    /// The UDP addresses at which the servers of the cell call each other, by name. Ubik tells servers apart by their
    /// addresses without ports, so each has one of its own. Empty for a cell of one.
    pub servers: BTreeMap<String, SocketAddrV4>,
    /// The keys that the servers have among themselves (`KeyFileExt`); without one they must all be on this machine.
    pub key_file: Option<PathBuf>,
    /// How many bytes a database may have.
    pub quota: u64,
    /// Where lines about elections, recovery and disks go.
    pub log: Log,
}

/// Why a server could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The list of servers does not name this one.
    #[error("server {0:?} is not among the cell's servers; name one of them")]
    NotListed(String),
    /// Two servers cannot be told apart.
    #[error("{0} and {1} have the same address {2}: each server needs one of its own, whatever its port")]
    SameAddress(String, String, Ipv4Addr),
    /// It would be open to everybody.
    #[error(
        "{0} has address {1}, which other machines reach: give the cell a key file, or loopback addresses (127.0.0.1, 127.0.0.2 ...)"
    )]
    NoKey(String, Ipv4Addr),
    /// The list is not a cell.
    #[error(transparent)]
    Cell(#[from] CellError),
    /// The keys cannot be used.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// The UDP port.
    #[error(transparent)]
    Port(#[from] rx::OpenError),
    /// A database.
    #[error("{}: {source}", path.display())]
    Database {
        /// What its files begin with.
        path: PathBuf,
        /// What is wrong.
        source: ubik::server_state::StartError,
    },
    /// A thread.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
    /// The directory is not there.
    #[error("{} is not a directory; make it, or name another one", .0.display())]
    NoDirectory(PathBuf),
}

/// The cell, and how its servers call each other.
pub(crate) struct Membership {
    pub cell: Cell,
    /// This server's address.
    pub own: SocketAddrV4,
    /// The servers' addresses, in the order of the cell.
    pub listed: Vec<SocketAddr>,
    /// Their names, in the same order.
    pub names: Vec<String>,
    pub client: Arc<dyn SecurityClass>,
    pub service: Arc<dyn SecurityClass>,
    /// What both of these use, if there is a key file.
    pub keys: Option<Arc<Keys>>,
}

/// The name of the server of a cell of one.
pub(crate) const ALONE: &str = "alone";

impl Settings {
    /// Those of a cell of one, on the databases in `data`.
    pub fn alone(data: impl Into<PathBuf>) -> Settings {
        Settings {
            data: data.into(),
            databases: 1,
            server: ALONE.to_owned(),
            servers: BTreeMap::new(),
            key_file: None,
            quota: DEFAULT_QUOTA,
            log: ubik::watch::silent(),
        }
    }

    /// Whether these settings make a cell; the key file is read, and nothing else is touched.
    ///
    /// # Errors
    /// What [`crate::open`] would say.
    pub fn check(&self) -> Result<(), OpenError> {
        self.membership().map(drop)
    }

    pub(crate) fn membership(&self) -> Result<Membership, OpenError> {
        let alone = BTreeMap::from([(self.server.clone(), SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))]);
        let servers = if self.servers.is_empty() { &alone } else { &self.servers };
        let own = *servers.get(&self.server).ok_or_else(|| OpenError::NotListed(self.server.clone()))?;
        let mut sorted: Vec<(&String, &SocketAddrV4)> = servers.iter().collect();
        sorted.sort_by_key(|(_, address)| *address.ip());
        if let Some([one, two]) = sorted.array_windows().find(|[one, two]| one.1.ip() == two.1.ip()) {
            return Err(OpenError::SameAddress(one.0.clone(), two.0.clone(), *one.1.ip()));
        }
        let open = sorted.iter().find(|(_, address)| !address.ip().is_loopback());
        if let (Some((name, address)), None) = (open, &self.key_file) {
            return Err(OpenError::NoKey((*name).clone(), *address.ip()));
        }
        let member = |address: &SocketAddrV4| Server {
            address: u32::from(*address.ip()),
            kind: ServerKind::Voter,
            dialect: Dialect::Quorate,
        };
        let members = sorted.iter().map(|(_, address)| member(address)).collect();
        let (keys, [client, service]) = self.security()?;
        Ok(Membership {
            cell: Cell::new(members, u32::from(*own.ip()))?.named("kv"),
            own,
            listed: sorted.iter().map(|(_, address)| SocketAddr::V4(**address)).collect(),
            names: sorted.iter().map(|(name, _)| (*name).clone()).collect(),
            client,
            service,
            keys,
        })
    }

    /// What this server calls with, and may be called with.
    fn security(&self) -> Result<Security, OpenError> {
        let Some(path) = &self.key_file else {
            return Ok((None, [Arc::new(NullSecurity), Arc::new(NullSecurity)]));
        };
        let log = self.log.clone();
        let keys = Keys::open(path, Box::new(move |line| log(line)))?;
        let security: [Arc<dyn SecurityClass>; 2] =
            [Arc::new(keys.client(Level::Crypt)?), Arc::new(keys.server(Level::Crypt))];
        Ok((Some(keys), security))
    }
}

/// Keys, and what a server calls with and may be called with.
type Security = (Option<Arc<Keys>>, [Arc<dyn SecurityClass>; 2]);

/// Bytes of a database unless the settings say otherwise: a Ubik database ends at two gigabytes.
pub const DEFAULT_QUOTA: u64 = 1 << 30;
