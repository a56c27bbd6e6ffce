//! The server as a whole: started, reloaded, drained.
//!
//! Owns the runtime whose threads serve clients. A [`Store`] has threads of its own; nothing of it runs here but what
//! its `submit` does.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use kv::Store;
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::auth::{AT_ONCE, PasswordError, Users};
use crate::channels::Channels;
use crate::clients::Clients;
use crate::log::{Level, Log};
use crate::page::samples::{self, Samples};
use crate::scripts::Scripts;
use crate::settings::{Settings, TlsFiles};
use crate::statistics::Statistics;
use crate::tls::{Tls, TlsError};
use crate::{listener, page};

/// Why a server was not started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {error}; is another server running there?")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        error: std::io::Error,
    },
    /// An address of the network, and anybody could do anything.
    #[error(
        "{0} can be reached from other machines and no users are configured: configure users, listen on 127.0.0.1, \
         or set without-authentication = true, which lets anybody read and write everything"
    )]
    Unprotected(SocketAddr),
    /// TLS without a certificate.
    #[error("listen-tls needs a certificate: configure tls.certificate and tls.key")]
    NoCertificate,
    /// A certificate or key.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A user.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// No threads.
    #[error("cannot start threads: {0}")]
    Threads(std::io::Error),
}

/// What all connections have in common.
pub struct Shared {
    /// What the server was started with; users and certificates may be newer.
    pub settings: Settings,
    /// Who carries out what clients ask for.
    pub store: Arc<dyn Store>,
    /// Who may connect.
    pub users: Users,
    /// Who is connected.
    pub clients: Arc<Clients>,
    /// Who has subscribed.
    pub channels: Arc<Channels>,
    /// Texts of scripts.
    pub scripts: Scripts,
    /// What is counted.
    pub statistics: Arc<Statistics>,
    /// Certificates.
    pub tls: Option<Tls>,
    /// What is said.
    pub log: Log,
    /// True once the server stops.
    pub stopping: watch::Sender<bool>,
    /// Rates and latencies of the last minutes.
    pub samples: Samples,
    /// A name of this run that no other has, as INFO shows it.
    pub run_id: String,
}

/// A running server. Dropping it ends it without waiting for clients; [`Server::stop`] waits.
pub struct Server {
    shared: Arc<Shared>,
    runtime: Runtime,
    listeners: Vec<JoinHandle<()>>,
    addresses: Vec<SocketAddr>,
    tls_addresses: Vec<SocketAddr>,
    page_addresses: Vec<SocketAddr>,
}

impl Server {
    /// Whether a server can be started with `settings`, as far as that can be told without listening: certificates and users are
    /// read.
    ///
    /// # Errors
    /// What [`Server::start`] would say.
    pub fn check(settings: &Settings) -> Result<(), StartError> {
        checked(settings).map(drop)
    }

    /// Starts to serve clients of `store`.
    ///
    /// # Errors
    /// Something in `settings` cannot be done; nothing was started.
    pub fn start(settings: Settings, store: Arc<dyn Store>, log: Log) -> Result<Server, StartError> {
        let (tls, users) = checked(&settings)?;
        let shared = Arc::new(Shared {
            store,
            users,
            clients: Arc::default(),
            channels: Arc::default(),
            scripts: Scripts::new(settings.limits.scripts_bytes),
            statistics: Arc::default(),
            tls,
            log,
            stopping: watch::Sender::new(false),
            samples: Samples::default(),
            run_id: (0..40).map(|_| fastrand::digit(16)).collect(),
            settings,
        });
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.enable_all().thread_name("clients").max_blocking_threads(AT_ONCE);
        if let Some(threads) = shared.settings.threads {
            builder.worker_threads(threads.max(1));
        }
        let runtime = builder.build().map_err(StartError::Threads)?;
        let mut server = Server {
            shared,
            runtime,
            listeners: Vec::new(),
            addresses: Vec::new(),
            tls_addresses: Vec::new(),
            page_addresses: Vec::new(),
        };
        server.listen()?;
        Ok(server)
    }

    fn listen(&mut self) -> Result<(), StartError> {
        let shared = Arc::clone(&self.shared);
        let _inside = self.runtime.enter();
        let open = |addresses: &[SocketAddr]| {
            addresses.iter().map(|address| bind(*address)).collect::<Result<Vec<_>, _>>()
        };
        // All of them first, so that nothing was served if one fails.
        let (plain, tls, pages) = (
            open(&shared.settings.listen)?,
            open(&shared.settings.listen_tls)?,
            open(&shared.settings.page)?,
        );
        for (listener, address) in plain {
            self.addresses.push(address);
            self.listeners.push(self.runtime.spawn(listener::serve(listener, false, Arc::clone(&shared))));
        }
        for (listener, address) in tls {
            self.tls_addresses.push(address);
            self.listeners.push(self.runtime.spawn(listener::serve(listener, true, Arc::clone(&shared))));
        }
        if !pages.is_empty() {
            self.listeners.push(self.runtime.spawn(samples::take(Arc::clone(&shared))));
        }
        for (listener, address) in pages {
            self.page_addresses.push(address);
            self.listeners.push(self.runtime.spawn(page::serve(listener, Arc::clone(&shared))));
        }
        Ok(())
    }

    /// Where clients connect.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where clients connect with TLS.
    pub fn tls_addresses(&self) -> &[SocketAddr] {
        &self.tls_addresses
    }

    /// Where the page is.
    pub fn page_addresses(&self) -> &[SocketAddr] {
        &self.page_addresses
    }

    /// Other users from now on. Connections of users that are gone or have another password are ended.
    ///
    /// # Errors
    /// A name or hash is none, or nobody would have to authenticate on an address of the network; the old users stay.
    pub fn replace_users(&self, users: &BTreeMap<String, String>) -> Result<(), StartError> {
        protect(&Settings { users: users.clone(), ..self.shared.settings.clone() })?;
        let were_required = self.shared.users.required();
        let gone = self.shared.users.replace(users)?;
        for client in self.shared.clients.all() {
            let user = client.about().user.clone();
            let is_gone = user.as_ref().is_some_and(|user| gone.iter().any(|name| **name == **user));
            // Where nobody had to authenticate before, everybody has to now.
            if is_gone || (!were_required && self.shared.users.required()) {
                client.kill();
            }
        }
        Ok(())
    }

    /// Reads the certificates again, for connections from now on.
    ///
    /// # Errors
    /// They cannot be used; the old ones stay.
    pub fn reload_certificates(&self, files: &TlsFiles) -> Result<(), StartError> {
        if let Some(tls) = &self.shared.tls {
            tls.reload(files)?;
        }
        Ok(())
    }

    /// Takes no more connections and requests, answers those that were read, and ends; after `patience` whatever is left
    /// is cut off.
    pub fn stop(self, patience: Duration) {
        self.shared.stopping.send_replace(true);
        let all = async {
            for listener in self.listeners {
                // A task that panicked has said so.
                let _ = listener.await;
            }
        };
        if self.runtime.block_on(async { tokio::time::timeout(patience, all).await }).is_err() {
            let left = self.shared.clients.len();
            (self.shared.log)(
                Level::Warning,
                &format!("stopped with {left} clients that took no reply in time"),
            );
        }
        self.runtime.shutdown_background();
    }
}

/// Refuses what would let anybody on the network in.
fn checked(settings: &Settings) -> Result<(Option<Tls>, Users), StartError> {
    protect(settings)?;
    let tls = settings.tls.as_ref().map(Tls::read).transpose()?;
    if tls.is_none() && !settings.listen_tls.is_empty() {
        return Err(StartError::NoCertificate);
    }
    Ok((tls, Users::new(&settings.users)?))
}

fn protect(settings: &Settings) -> Result<(), StartError> {
    if !settings.users.is_empty() || settings.without_authentication {
        return Ok(());
    }
    let verified = settings.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
    let tls = settings.listen_tls.iter().filter(|_| !verified);
    match settings.listen.iter().chain(tls).find(|address| !address.ip().is_loopback()) {
        Some(address) => Err(StartError::Unprotected(*address)),
        None => Ok(()),
    }
}

fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let bind = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        // A storm of connections after a failover waits rather than being refused.
        let listener = socket.listen(4096)?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    };
    bind().map_err(|error| StartError::Listen { address, error })
}
