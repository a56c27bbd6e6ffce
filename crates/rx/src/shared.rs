//! What the threads of a port share: the endpoint, and who waits for what of it.
//!
//! One mutex guards the endpoint and everything that waits for it (`State`). Whoever changes the endpoint sends what
//! it has to send before going on: it takes the sending lock *before* it lets go of the state, so that datagrams
//! leave in the order in which the endpoint made them. Nobody waits for a peer while holding a lock; waiting is on the
//! condition of a call or connection, which [`Shared::flush`] notifies.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rx_proto::admission::Share;
use rx_proto::{CallRef, ConnectionRef, Endpoint, Event, ServiceId, ThreadReport, Time, Transmit};

use crate::service::Service;
use crate::socket::{RECEIVE_BYTES, Socket};

/// The threads of one share, and the calls that wait for them.
#[derive(Default)]
pub(crate) struct Pool {
    pub incoming: VecDeque<(CallRef, ServiceId)>,
    pub threads: usize,
    pub idle: usize,
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
    pub socket: Socket,
    origin: Instant,
    /// The timer has to look earlier, or the port is closed.
    timer_changed: Condvar,
    /// A call of this share came in, or the port is closed.
    pub work: [Condvar; 3],
    pub max_threads: [usize; 3],
    /// What a thread that answers calls does.
    serve: fn(&Arc<Shared>, Share),
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
    /// What a port with this socket shares; `serve` is the life of a thread that answers the calls of a share.
    pub fn new(
        endpoint: Endpoint,
        socket: Socket,
        max_threads: [usize; 3],
        serve: fn(&Arc<Shared>, Share),
    ) -> Shared {
        Shared {
            state: Mutex::new(State::new(endpoint)),
            sending: Mutex::new(()),
            socket,
            origin: Instant::now(),
            timer_changed: Condvar::new(),
            work: Default::default(),
            max_threads: max_threads.map(|most| most.max(1)),
            serve,
        }
    }

    /// Ends everything that waits: the port is closed.
    pub fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let waiters: Vec<_> =
            state.call_waiters.values().chain(state.channel_waiters.values()).cloned().collect();
        waiters.iter().for_each(|waiter| waiter.notify_all());
        drop(state);
        self.timer_changed.notify_all();
        self.work.iter().for_each(Condvar::notify_all);
        self.socket.wake();
    }

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
                start_thread_if_needed(self, state, share);
                self.work[share.index()].notify_one();
                None
            }
        }
    }

    /// The life of the thread that receives.
    pub fn receive_loop(self: &Arc<Self>) {
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

    /// The life of the thread that keeps time.
    pub fn timer_loop(self: &Arc<Self>) {
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

/// The time of day, in seconds of Unix time.
pub(crate) fn unix_time() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Starts a thread for calls that no idle one will take. Called with the state held.
fn start_thread_if_needed(shared: &Arc<Shared>, state: &mut State, share: Share) {
    let pool = &mut state.pools[share.index()];
    let waiting = pool.incoming.len() > pool.idle;
    if !waiting || pool.threads >= shared.max_threads[share.index()] {
        state.waited_calls = state.waited_calls.wrapping_add(u32::from(waiting));
        return;
    }
    let for_thread = Arc::clone(shared);
    let name = ["rx-votes", "rx-members", "rx-strangers"][share.index()];
    let started = std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || (for_thread.serve)(&for_thread, share));
    // Without a thread the call waits for one that ends another.
    pool.threads += usize::from(started.is_ok());
}
