//! Who is connected: what CLIENT LIST shows, and a way to end each connection.
//!
//! The map is behind one lock, held for moments and never while a client is waited for.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use resp::Version;
use tokio::sync::Notify;

/// One connection, as others see it.
pub struct Client {
    /// Its number, never used twice by this process.
    pub id: u64,
    /// Where it comes from.
    pub peer: SocketAddr,
    /// Where it arrived.
    pub local: SocketAddr,
    /// When it connected.
    pub connected: Instant,
    /// Ends the connection; see [`Client::kill`].
    pub killing: Notify,
    killed: AtomicBool,
    /// Milliseconds after `connected` at which the last request was read.
    active_ms: AtomicU64,
    /// Bytes of requests and replies that are held for it.
    pub held: AtomicUsize,
    /// Commands in its transaction; -1 without one.
    pub queued: AtomicI64,
    /// Keys that it watches.
    pub watched: AtomicUsize,
    /// What it has chosen.
    pub about: Mutex<About>,
}

/// What a connection has said of itself and chosen.
#[derive(Clone, Default)]
pub struct About {
    /// By CLIENT SETNAME.
    pub name: String,
    /// By CLIENT SETINFO.
    pub library: String,
    /// By CLIENT SETINFO.
    pub library_version: String,
    /// As which user; `None` before AUTH.
    pub user: Option<Arc<str>>,
    /// By SELECT.
    pub database: usize,
    /// By HELLO.
    pub protocol: Version,
    /// The last command's name.
    pub command: String,
    /// Channels and patterns.
    pub subscriptions: (usize, usize),
}

impl Client {
    /// Ends the connection soon; from now on it is none of [`Clients::all`].
    pub fn kill(&self) {
        self.killed.store(true, Ordering::Relaxed);
        self.killing.notify_one();
    }

    /// What it has chosen.
    pub fn about(&self) -> MutexGuard<'_, About> {
        self.about.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It has sent a request.
    pub fn touch(&self) {
        self.active_ms.store(self.connected.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// Seconds since its last request.
    pub fn idle_secs(&self) -> u64 {
        let active = self.active_ms.load(Ordering::Relaxed);
        (self.connected.elapsed().as_millis() as u64).saturating_sub(active) / 1000
    }

    /// Its line in CLIENT LIST. What this server does not have is 0 there: clients split lines by position and name.
    pub fn line(&self) -> String {
        let about = self.about().clone();
        let (channels, patterns) = about.subscriptions;
        let resp = if about.protocol == Version::Resp3 { 3 } else { 2 };
        let queued = self.queued.load(Ordering::Relaxed);
        let flags = match (queued >= 0, channels + patterns > 0) {
            (true, _) => "x",
            (false, true) => "P",
            (false, false) => "N",
        };
        format!(
            "id={} addr={} laddr={} fd=0 name={} age={} idle={} flags={flags} db={} sub={channels} \
             psub={patterns} ssub=0 multi={queued} watch={} qbuf={held} qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 \
             rbp=0 obl=0 oll=0 omem=0 tot-mem={held} events=r cmd={} user={} redir=-1 resp={resp} lib-name={} \
             lib-ver={}",
            self.id,
            self.peer,
            self.local,
            about.name,
            self.connected.elapsed().as_secs(),
            self.idle_secs(),
            about.database,
            self.watched.load(Ordering::Relaxed),
            if about.command.is_empty() { "NULL" } else { &about.command },
            about.user.as_deref().unwrap_or("(none)"),
            about.library,
            about.library_version,
            held = self.held.load(Ordering::Relaxed),
        )
    }
}

/// All connections.
#[derive(Default)]
pub struct Clients {
    next: AtomicU64,
    connected: Mutex<BTreeMap<u64, Arc<Client>>>,
}

impl Clients {
    /// A new connection; `None` if there are `most` already. It is one until the value is dropped.
    pub fn admit(self: &Arc<Self>, peer: SocketAddr, local: SocketAddr, most: usize) -> Option<Admitted> {
        let mut connected = self.lock();
        if connected.len() >= most {
            return None;
        }
        let client = Arc::new(Client {
            id: self.next.fetch_add(1, Ordering::Relaxed) + 1,
            peer,
            local,
            connected: Instant::now(),
            killing: Notify::new(),
            killed: AtomicBool::new(false),
            active_ms: AtomicU64::new(0),
            held: AtomicUsize::new(0),
            queued: AtomicI64::new(-1),
            watched: AtomicUsize::new(0),
            about: Mutex::default(),
        });
        connected.insert(client.id, Arc::clone(&client));
        Some(Admitted { client, clients: Arc::clone(self) })
    }

    /// All but those that were killed and have not ended yet, the oldest first.
    pub fn all(&self) -> Vec<Arc<Client>> {
        let lives = |client: &&Arc<Client>| !client.killed.load(Ordering::Relaxed);
        self.lock().values().filter(lives).cloned().collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Client>>> {
        self.connected.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection's place among the others.
pub struct Admitted {
    /// What others see of it.
    pub client: Arc<Client>,
    clients: Arc<Clients>,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.clients.lock().remove(&self.client.id);
    }
}
