//! What is counted while clients are served, for INFO, SLOWLOG, the page and Prometheus; `latency`: how long commands take.

mod latency;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub use latency::{Counts, Latency};

/// A command that took longer is in the slow log.
pub const SLOW: Duration = Duration::from_millis(100);
/// Entries of the slow log.
pub const SLOW_KEPT: usize = 128;
/// Arguments of a slow command that are kept, and bytes of each.
const SLOW_ARGUMENTS: usize = 3;
const SLOW_BYTES: usize = 64;

/// Counters of one server.
pub struct Statistics {
    /// When it started.
    pub started: Instant,
    /// Connections taken.
    pub connections: AtomicU64,
    /// Connections refused because there were too many.
    pub rejected: AtomicU64,
    /// Connections that were cut off: they did not read, did not authenticate, or held too much.
    pub cut_off: AtomicU64,
    /// AUTH that failed.
    pub wrong_passwords: AtomicU64,
    /// Commands answered.
    pub commands: AtomicU64,
    /// Error replies.
    pub errors: AtomicU64,
    /// Bytes that arrived.
    pub received: AtomicU64,
    /// Bytes that were sent.
    pub sent: AtomicU64,
    /// Bytes of requests and replies that are held for all connections.
    pub held: AtomicUsize,
    /// Times from a reading command's arrival until its reply.
    pub reads: Latency,
    /// The same of commands that write.
    pub writes: Latency,
    slow: Mutex<SlowLog>,
    /// What had been counted when a client asked to begin anew.
    reset_at: Mutex<Traffic>,
}

/// The counters that INFO shows, as numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Traffic {
    /// Connections taken.
    pub connections: u64,
    /// Connections refused.
    pub rejected: u64,
    /// Connections cut off.
    pub cut_off: u64,
    /// AUTH that failed.
    pub wrong_passwords: u64,
    /// Commands answered.
    pub commands: u64,
    /// Error replies.
    pub errors: u64,
    /// Bytes that arrived.
    pub received: u64,
    /// Bytes that were sent.
    pub sent: u64,
}

#[derive(Default)]
struct SlowLog {
    next: u64,
    entries: VecDeque<Slow>,
}

/// A command that took long.
#[derive(Clone, Debug)]
pub struct Slow {
    /// Its number.
    pub id: u64,
    /// Seconds since 1970 when it was answered.
    pub at_secs: u64,
    /// How long it took.
    pub took: Duration,
    /// The first arguments, cut.
    pub arguments: Vec<Vec<u8>>,
    /// Who sent it.
    pub peer: String,
}

impl Default for Statistics {
    fn default() -> Statistics {
        Statistics {
            started: Instant::now(),
            connections: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            cut_off: AtomicU64::new(0),
            wrong_passwords: AtomicU64::new(0),
            commands: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            held: AtomicUsize::new(0),
            reads: Latency::default(),
            writes: Latency::default(),
            slow: Mutex::default(),
            reset_at: Mutex::default(),
        }
    }
}

impl Statistics {
    /// One more of `counter`.
    pub fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// What INFO counts from zero again, as CONFIG RESETSTAT asks; the slow commands are forgotten. The page and Prometheus count
    /// on: a client must not take their numbers back.
    pub fn reset(&self) {
        *self.reset_at.lock().unwrap_or_else(PoisonError::into_inner) = self.traffic();
        self.forget_slow();
    }

    /// What happened since the last [`Statistics::reset`].
    pub fn since_reset(&self) -> Traffic {
        let before = *self.reset_at.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.traffic();
        Traffic {
            connections: now.connections - before.connections,
            rejected: now.rejected - before.rejected,
            cut_off: now.cut_off - before.cut_off,
            wrong_passwords: now.wrong_passwords - before.wrong_passwords,
            commands: now.commands - before.commands,
            errors: now.errors - before.errors,
            received: now.received - before.received,
            sent: now.sent - before.sent,
        }
    }

    fn traffic(&self) -> Traffic {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Traffic {
            connections: read(&self.connections),
            rejected: read(&self.rejected),
            cut_off: read(&self.cut_off),
            wrong_passwords: read(&self.wrong_passwords),
            commands: read(&self.commands),
            errors: read(&self.errors),
            received: read(&self.received),
            sent: read(&self.sent),
        }
    }

    /// A command was carried out by the store.
    pub fn answered(&self, writes: bool, took: Duration) {
        let histogram = if writes { &self.writes } else { &self.reads };
        histogram.observe(took);
    }

    /// A command was slow.
    pub fn slow(&self, took: Duration, arguments: Vec<Vec<u8>>, peer: String) {
        let at_secs = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let mut log = self.slow_log();
        let id = log.next;
        log.next += 1;
        log.entries.truncate(SLOW_KEPT - 1);
        log.entries.push_front(Slow { id, at_secs, took, arguments, peer });
    }

    /// The last slow commands, the newest first.
    pub fn slowest(&self, most: usize) -> Vec<Slow> {
        self.slow_log().entries.iter().take(most).cloned().collect()
    }

    /// How many slow commands are kept.
    pub fn slow_len(&self) -> usize {
        self.slow_log().entries.len()
    }

    /// Forgets the slow commands.
    pub fn forget_slow(&self) {
        self.slow_log().entries.clear();
    }

    fn slow_log(&self) -> MutexGuard<'_, SlowLog> {
        self.slow.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the slow log keeps of a command. Values are cut, so that it does not become a copy of the data.
pub fn excerpt(arguments: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let cut = |argument: &Vec<u8>| argument[..argument.len().min(SLOW_BYTES)].to_vec();
    arguments.iter().take(SLOW_ARGUMENTS).map(cut).collect()
}
