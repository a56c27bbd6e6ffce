//! One UDP port: the endpoint, the thread that receives, the thread that keeps time.
//!
//! One mutex guards the endpoint and everything that waits for it (`State`). Whoever changes the endpoint sends what
//! it has to send before going on: it takes the sending lock *before* it lets go of the state, so that datagrams
//! leave in the order in which the endpoint made them. Nobody waits for a peer while holding a lock; waiting is on the
//! condition of a call or connection, which [`Shared::flush`] notifies.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rx_proto::security::{Random, SecurityClass};
use rx_proto::{
    CallRef, ConnectionRef, Endpoint, EndpointConfig, Event, ServiceId, ThreadReport, Time, Timeouts,
    Transmit,
};

use crate::client::Connection;
use crate::server::{self, Pool, Service, ServiceGate};
use crate::socket::{RECEIVE_BYTES, Socket};

/// Settings of a port.
#[derive(Debug, Clone)]
pub struct PortConfig {
    /// The endpoint's.
    pub endpoint: EndpointConfig,
    /// Threads that answer calls, for each share in the order of [`Share::ALL`]; they are started when needed. A handler may
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

/// What the state mutex guards.
pub(crate) struct State {
    pub endpoint: Endpoint,
    /// Who waits for progress of a call.
    pub call_waiters: HashMap<CallRef, Arc<Condvar>>,
    /// Who waits for a free channel.
    pub channel_waiters: HashMap<ConnectionRef, Arc<Condvar>>,
    /// The threads of each share, and the calls of peers that none of them has taken yet.
    pub pools: [Pool; 3],
    pub services: HashMap<ServiceId, Arc<dyn Service>>,
    pub waited_calls: u32,
    pub closed: bool,
    /// When the timer thread will look next.
    timer_at: Option<Time>,
}

/// What all threads of a port share.
pub(crate) struct Shared {
    state: Mutex<State>,
    /// Held while datagrams go out; taken before the state is let go, so that they keep their order.
    sending: Mutex<()>,
    socket: Socket,
    origin: Instant,
    /// The timer has to look earlier, or the port is closed.
    timer_changed: Condvar,
    /// A call of this share came in, or the port is closed.
    pub work: [Condvar; 3],
    pub max_threads: [usize; 3],
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
        let shared = Arc::new(Shared {
            state: Mutex::new(State::new(endpoint)),
            sending: Mutex::new(()),
            socket,
            origin: Instant::now(),
            timer_changed: Condvar::new(),
            work: Default::default(),
            max_threads: config.max_threads.map(|most| most.max(1)),
        });
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
        let mut state = self.shared.lock();
        state.closed = true;
        let waiters: Vec<_> =
            state.call_waiters.values().chain(state.channel_waiters.values()).cloned().collect();
        waiters.iter().for_each(|waiter| waiter.notify_all());
        drop(state);
        self.shared.timer_changed.notify_all();
        self.shared.work.iter().for_each(Condvar::notify_all);
        self.shared.socket.wake();
        for thread in self.threads.drain(..) {
            // A thread that panicked has already said so.
            let _ = thread.join();
        }
    }
}

impl State {
    fn new(endpoint: Endpoint) -> State {
        State {
            endpoint,
            call_waiters: HashMap::new(),
            channel_waiters: HashMap::new(),
            pools: Default::default(),
            services: HashMap::new(),
            waited_calls: 0,
            closed: false,
            timer_at: None,
        }
    }

    fn thread_report(&self) -> ThreadReport {
        let sum = |count: fn(&Pool) -> usize| self.pools.iter().map(count).sum::<usize>() as u32;
        ThreadReport {
            idle: sum(|pool| pool.idle),
            waiting: sum(|pool| pool.incoming.len()),
            waited: self.waited_calls,
        }
    }
}

impl Shared {
    /// The state. A thread that panicked while it held it has left the endpoint whole: it changes nothing between
    /// calls that can panic.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time, as the endpoint counts it.
    pub fn now(&self) -> Time {
        Time::from_origin(self.origin.elapsed())
    }

    /// Sends what the endpoint has to send, wakes whom its events concern, and lets go of the state.
    pub fn flush(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        let (transmits, waiters) = self.collect(&mut state);
        let sending =
            (!transmits.is_empty()).then(|| self.sending.lock().unwrap_or_else(PoisonError::into_inner));
        drop(state);
        // Woken while the state was held, they would only wait for it.
        waiters.iter().for_each(|waiter| waiter.notify_all());
        transmits.iter().for_each(|transmit| self.socket.send(transmit));
        drop(sending);
    }

    /// What is to be sent, and who is to be woken.
    fn collect(self: &Arc<Self>, state: &mut State) -> (Vec<Transmit>, Vec<Arc<Condvar>>) {
        let now = self.now();
        let (mut transmits, mut waiters) = (Vec::new(), Vec::new());
        while let Some(transmit) = state.endpoint.poll_transmit(now) {
            transmits.push(transmit);
        }
        while let Some(event) = state.endpoint.poll_event() {
            waiters.extend(self.on_event(state, event));
        }
        let next = state.endpoint.poll_timeout();
        if next.is_some_and(|next| state.timer_at.is_none_or(|at| next < at)) {
            self.timer_changed.notify_one();
        }
        (transmits, waiters)
    }

    /// Returns who waits for it.
    fn on_event(self: &Arc<Self>, state: &mut State, event: Event) -> Option<Arc<Condvar>> {
        match event {
            Event::Progress(call) => state.call_waiters.get(&call).cloned(),
            Event::ChannelFree(connection) => state.channel_waiters.get(&connection).cloned(),
            Event::IncomingCall { call, service, share } => {
                state.pools[share.index()].incoming.push_back((call, service));
                server::start_thread_if_needed(self, state, share);
                self.work[share.index()].notify_one();
                None
            }
        }
    }

    fn receive_loop(self: &Arc<Self>) {
        let mut buffer = vec![0; RECEIVE_BYTES];
        loop {
            let received = self.socket.receive(&mut buffer);
            let mut state = self.lock();
            if state.closed {
                return;
            }
            match received {
                Ok(None) => {}
                Ok(Some(batch)) => {
                    let now = self.now();
                    let report = state.thread_report();
                    state.endpoint.set_thread_report(report);
                    for datagram in buffer[..batch.length].chunks(batch.stride) {
                        state.endpoint.handle_datagram(now, batch.from, batch.local, datagram);
                    }
                    self.flush(state);
                }
                Err(_) => {
                    // The system is out of something; calls that suffer end by their time-outs.
                    drop(state);
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
        }
    }

    fn timer_loop(self: &Arc<Self>) {
        let mut state = self.lock();
        while !state.closed {
            let now = self.now();
            match state.endpoint.poll_timeout() {
                Some(at) if at <= now => {
                    state.endpoint.set_unix_time(now, unix_time());
                    state.endpoint.handle_timeout(now);
                    self.flush(state);
                    state = self.lock();
                }
                next => {
                    state.timer_at = next;
                    let wait = next.map_or(Duration::from_secs(60), |at| at - now);
                    let waited = self.timer_changed.wait_timeout(state, wait);
                    state = waited.unwrap_or_else(PoisonError::into_inner).0;
                    state.timer_at = None;
                }
            }
        }
    }
}

fn unix_time() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Random bytes of the system.
pub(crate) struct SystemRandom(std::fs::File);

impl SystemRandom {
    pub fn open() -> io::Result<SystemRandom> {
        Ok(SystemRandom(std::fs::File::open("/dev/urandom")?))
    }
}

impl Random for SystemRandom {
    fn fill(&mut self, bytes: &mut [u8]) {
        use std::io::Read;
        self.0.read_exact(bytes).expect("/dev/urandom never ends and never fails once it is open");
    }
}
