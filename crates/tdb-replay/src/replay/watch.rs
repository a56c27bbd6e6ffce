//! The watchdog: ends a replay that stands still, and says which lines wait for each other.
//!
//! Owns where each worker is ([`Place`]), and the judgement that nobody gets on. A replay whose order is right never
//! stands still (docs/ordering.md); but the locks are the engine's, others may use the file, and an order may be read from
//! one. No total time is limited: it stands still when for a while no worker has finished a row or shown a record, and those
//! that are in the engine sleep there.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::shared::{Line, Shared};
use crate::trace::History;

/// Where one worker is, on a cache line of its own: written by it alone, read by the watchdog.
#[derive(Clone, Copy)]
pub struct Place<'a>(&'a [AtomicU32; NUMBERS]);

// What the numbers of a place are.
/// Its next row.
const ROW: usize = 0;
/// Counts records that traversals have shown.
const SHOWN: usize = 1;
/// One of the states below, or [`WAITS`] and the trace that it waits for.
const STATE: usize = 2;
/// How many rows of that trace it waits for.
const ROWS: usize = 3;
/// The process and the thread that work.
const PROCESS: usize = 4;
const THREAD: usize = 5;
const NUMBERS: usize = 6;

const OPENS: u32 = 0;
const WORKS: u32 = 1;
const PACES: u32 = 2;
const ENDED: u32 = 3;
const WAITS: u32 = 4;

impl Place<'_> {
    /// This thread is the worker.
    pub fn enter(self) {
        // Something like 123/task/456, relative to /proc.
        let path = std::fs::read_link("/proc/thread-self").unwrap_or_default();
        let mut numbers = path.iter().filter_map(|part| part.to_str()?.parse().ok());
        self.set(PROCESS, numbers.next().unwrap_or_default());
        self.set(THREAD, numbers.next().unwrap_or_default());
    }

    /// The database is open, or the wait is over.
    pub fn works(self) {
        self.set(STATE, WORKS);
    }

    /// It has come to `row`.
    #[inline]
    pub fn at(self, row: u32) {
        self.set(ROW, row);
    }

    /// A traversal has shown a record.
    pub fn shows(self) {
        self.set(SHOWN, self.number(SHOWN).wrapping_add(1));
    }

    /// It waits for the first `rows` rows of trace `on`.
    pub fn waits(self, on: u16, rows: u32) {
        self.set(ROWS, rows);
        self.set(STATE, WAITS + u32::from(on));
    }

    /// It sleeps until a row's recorded time.
    pub fn paces(self) {
        self.set(STATE, PACES);
    }

    /// It has ended, with or without success.
    pub fn ended(self) {
        self.set(STATE, ENDED);
    }

    #[inline]
    fn set(self, which: usize, number: u32) {
        self.0[which].store(number, Ordering::Relaxed);
    }

    fn number(self, which: usize) -> u32 {
        self.0[which].load(Ordering::Relaxed)
    }

    fn look(self) -> Seen {
        Seen {
            row: self.number(ROW),
            shown: self.number(SHOWN),
            state: self.number(STATE),
            rows: self.number(ROWS),
        }
    }

    /// Whether the kernel says that the thread runs, sleeps for a disk or is stopped; one that waits for a lock or for
    /// another thread sleeps otherwise.
    fn is_awake(self) -> bool {
        let (process, thread) = (self.number(PROCESS), self.number(THREAD));
        let stat = std::fs::read_to_string(format!("/proc/{process}/task/{thread}/stat"));
        // The name may hold anything; behind it stands the state.
        stat.is_ok_and(|stat| {
            let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().bytes().next());
            state.is_some_and(|state| state != b'S')
        })
    }
}

/// What the watchdog saw of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    row: u32,
    shown: u32,
    state: u32,
    rows: u32,
}

impl Seen {
    fn is_in_the_engine(self) -> bool {
        matches!(self.state, OPENS | WORKS)
    }
}

/// Whether a run has ended.
#[derive(Default)]
pub struct Ended {
    ended: Mutex<bool>,
    changed: Condvar,
}

impl Ended {
    /// It has.
    pub fn set(&self) {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    /// Waits until it has, for so long at most; whether it has.
    pub fn wait(&self, longest: Duration) -> bool {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(ended, longest, |ended| !*ended);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// The places of all workers.
pub struct Places(Shared<Line<NUMBERS>>);

/// One worker of a replay that stands still.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stuck {
    /// `file:line` of what it does or waits to do.
    pub place: String,
    /// `file:line` of what it waits for; none if the engine does not let it go on.
    pub waits_for: Option<String>,
}

impl fmt::Display for Stuck {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.waits_for {
            Some(other) => write!(out, "{} waits for {other}", self.place),
            None => write!(out, "{} waits for a lock of the database", self.place),
        }
    }
}

/// Looks in one span of patience. Enough that one worker found awake by chance does not end the span.
const LOOKS: u32 = 30;
/// Of these, how many may find a worker awake in the engine: one that tries for a lock again and again is, now and then.
const AWAKE: u32 = 3;

impl Places {
    /// For workers that are threads or forked processes.
    pub fn new(traces: usize) -> io::Result<Places> {
        Shared::new(traces).map(Places)
    }

    /// The place of the worker of a trace.
    pub fn of(&self, trace: usize) -> Place<'_> {
        Place(&self.0.all()[trace].0)
    }

    fn all(&self) -> impl Iterator<Item = Place<'_>> {
        self.0.all().iter().map(|line| Place(&line.0))
    }

    /// Returns true once nobody has got on for `patience`, false when the run has ended. To be called from a thread of its
    /// own.
    pub fn stand_still(&self, patience: Duration, ended: &Ended) -> bool {
        let look = || -> Vec<Seen> { self.all().map(Place::look).collect() };
        let (mut last, mut since, mut awake) = (look(), Instant::now(), 0);
        while !ended.wait(patience / LOOKS) {
            let now = look();
            let paced = now.iter().any(|seen| seen.state == PACES);
            let mut working = self.all().zip(&now).filter(|(_, seen)| seen.is_in_the_engine());
            awake += u32::from(working.any(|(place, _)| place.is_awake()));
            if now != last || paced || awake > AWAKE {
                (last, since, awake) = (now, Instant::now(), 0);
            } else if since.elapsed() >= patience {
                return true;
            }
        }
        false
    }

    /// What every worker that has not ended does or waits for.
    pub fn stuck(&self, history: &History) -> Vec<Stuck> {
        let place = |trace: usize, row: u32| match history.traces.get(trace) {
            Some(trace) if trace.rows.is_empty() => trace.path.display().to_string(),
            Some(one) => history.place(trace, (row as usize).min(one.rows.len() - 1)),
            None => "what puts records there before the traces, or compares them afterwards,".into(),
        };
        let workers = self.all().map(Place::look).enumerate();
        workers
            .filter(|(_, seen)| seen.state != ENDED)
            .map(|(trace, seen)| Stuck {
                place: place(trace, seen.row),
                waits_for: (seen.state >= WAITS)
                    .then(|| place((seen.state - WAITS) as usize, seen.rows.saturating_sub(1))),
            })
            .collect()
    }
}
