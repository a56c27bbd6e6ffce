//! One UDP port: what it is opened with, the services on it, the connections from it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use rx_proto::security::SecurityClass;
use rx_proto::{Endpoint, EndpointConfig, ServiceId, Time, Timeouts};

use crate::client::Connection;
use crate::random::SystemRandom;
use crate::server;
use crate::service::{Service, ServiceGate};
use crate::shared::{Shared, unix_time};
use crate::socket::Socket;

/// Settings of a port.
#[derive(Debug, Clone)]
pub struct PortConfig {
    /// The endpoint's.
    pub endpoint: EndpointConfig,
    /// Threads that answer calls, for each share in the order of [`rx_proto::admission::Share::ALL`]; they are started when needed. A handler may
    /// itself make calls.
    pub max_threads: [usize; 3],
}

impl Default for PortConfig {
    fn default() -> Self {
        PortConfig { endpoint: EndpointConfig::default(), max_threads: [16, 24, 32] }
    }
}

/// Why a port could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The socket.
    #[error("cannot bind UDP {address}: {source}; is another server running there?")]
    Bind {
        /// What was to be bound.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// A thread.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
    /// Random numbers.
    #[error("cannot read random numbers from the system: {0}")]
    Random(io::Error),
}

/// A UDP port that makes and answers calls. Closes when dropped: calls in progress fail.
pub struct Port {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Port {
    /// Opens a port on `address`; port 0 takes a free one, an unspecified address all of the machine's.
    ///
    /// # Errors
    /// The address is taken or not ours, or the system is out of something.
    pub fn open(address: SocketAddr, config: PortConfig) -> Result<Port, OpenError> {
        let socket = Socket::bind(address).map_err(|source| OpenError::Bind { address, source })?;
        let random = Box::new(SystemRandom::open().map_err(OpenError::Random)?);
        let mut endpoint = Endpoint::new(config.endpoint, random);
        endpoint.set_unix_time(Time::ZERO, unix_time());
        let shared = Arc::new(Shared::new(endpoint, socket, config.max_threads, server::serve_loop));
        let mut port = Port { shared: Arc::clone(&shared), threads: Vec::new() };
        port.start("rx-receive", Shared::receive_loop)?;
        port.start("rx-timer", Shared::timer_loop)?;
        Ok(port)
    }

    fn start(&mut self, name: &str, run: fn(&Arc<Shared>)) -> Result<(), OpenError> {
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || run(&shared));
        self.threads.push(thread.map_err(OpenError::Thread)?);
        Ok(())
    }

    /// The address that the port is bound to.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.shared.socket.local_addr()
    }

    /// Offers a service, under each of the security classes. Handlers run on threads of the port.
    pub fn serve(&self, id: ServiceId, security: Vec<Arc<dyn SecurityClass>>, service: Arc<dyn Service>) {
        let mut state = self.shared.lock();
        state.endpoint.add_service(id, security, Arc::new(ServiceGate(service.clone())));
        state.services.insert(id, service);
    }

    /// Opens a connection to a service of a peer; nothing is sent before the first call. May be used by any number of
    /// threads: four calls run at once, more wait.
    pub fn connect(
        &self,
        peer: SocketAddr,
        service: ServiceId,
        security: &dyn SecurityClass,
        timeouts: Timeouts,
    ) -> Connection {
        connect(&self.shared, peer, service, security, timeouts)
    }

    /// Something to open connections with from a handler, which outlives neither the port nor keeps it open.
    pub fn dialer(&self) -> Dialer {
        Dialer { shared: Arc::downgrade(&self.shared) }
    }

    /// What was counted so far.
    pub fn counters(&self) -> rx_proto::debug::Counters {
        self.shared.lock().endpoint.counters()
    }
}

fn connect(
    shared: &Arc<Shared>,
    peer: SocketAddr,
    service: ServiceId,
    security: &dyn SecurityClass,
    timeouts: Timeouts,
) -> Connection {
    let at = shared.lock().endpoint.connect(shared.now(), peer, service, security, timeouts);
    Connection::new(Arc::clone(shared), at, peer)
}

/// Opens connections from a port without keeping it open.
#[derive(Clone)]
pub struct Dialer {
    shared: std::sync::Weak<Shared>,
}

impl Dialer {
    /// As [`Port::connect`]; `None` if the port is closed.
    pub fn connect(
        &self,
        peer: SocketAddr,
        service: ServiceId,
        security: &dyn SecurityClass,
        timeouts: Timeouts,
    ) -> Option<Connection> {
        Some(connect(&self.shared.upgrade()?, peer, service, security, timeouts))
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.shared.close();
        for thread in self.threads.drain(..) {
            // A thread that panicked has already said so.
            let _ = thread.join();
        }
    }
}
