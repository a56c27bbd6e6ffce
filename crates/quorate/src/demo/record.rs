//! What the demo's clients did and when, and what else happened.

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use client_history::{Action, Datum, History, Lines, Operation};

use crate::Outcome;

/// What a client did to a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// GET; what was found.
    Read(Option<u64>),
    /// SET.
    Write(u64),
    /// SET with IFEQ: old, new.
    Cas(u64, u64),
}

/// One command of a client.
#[derive(Clone, Copy, Debug)]
pub struct Done {
    /// The client; one whose command has no known outcome goes on under another number.
    pub client: u32,
    /// At which server.
    pub server: usize,
    /// Which register.
    pub register: u32,
    /// What.
    pub asked: Asked,
    /// What came of it.
    pub outcome: client_history::Outcome,
    /// When, since the demo began.
    pub call: Duration,
    /// When it ended.
    pub end: Duration,
}

/// Something that happened to the servers.
#[derive(Clone, Debug)]
pub struct Note {
    /// When, since the demo began.
    pub at: Duration,
    /// What.
    pub what: String,
    /// Drawn as a line across the pictures.
    pub mark: bool,
}

/// All of it, and the clock.
pub struct Record {
    begun: Instant,
    done: Mutex<Vec<Done>>,
    notes: Mutex<Vec<Note>>,
    /// Why a line could not be printed.
    unprinted: Mutex<Option<io::Error>>,
}

impl Record {
    /// Nothing yet; the clock starts.
    pub fn new() -> Record {
        Record {
            begun: Instant::now(),
            done: Mutex::default(),
            notes: Mutex::default(),
            unprinted: Mutex::default(),
        }
    }

    /// The time since the demo began.
    pub fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Adds a command.
    pub fn add(&self, done: Done) {
        self.done.lock().unwrap_or_else(PoisonError::into_inner).push(done);
    }

    /// Notes what happened, and prints it.
    pub fn note(&self, what: impl Into<String>, mark: bool) {
        let note = Note { at: self.now(), what: what.into(), mark };
        if let Err(error) = writeln!(io::stdout(), "{:6.2} s  {}", note.at.as_secs_f64(), note.what) {
            *self.unprinted.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        }
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).push(note);
    }

    /// Whether every line was printed.
    ///
    /// # Errors
    /// Standard output does not take them.
    pub fn printed(&self) -> Outcome {
        match self.unprinted.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }

    /// The commands so far, by the time of their call.
    pub fn commands(&self) -> Vec<Done> {
        let mut all = self.done.lock().unwrap_or_else(PoisonError::into_inner).clone();
        all.sort_by_key(|done| done.call);
        all
    }

    /// What happened so far.
    pub fn notes(&self) -> Vec<Note> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The commands as a history for checkers; times in nanoseconds, so that no client's command begins in the same unit of time
/// in which its last one ended.
pub fn history(commands: &[Done]) -> History {
    let mut history = History::default();
    for done in commands {
        let mut value = |number: Option<u64>| history.value(number.map_or(Datum::Nil, Datum::from));
        let action = match done.asked {
            Asked::Read(found) => Action::Read(value(found)),
            Asked::Write(new) => Action::Write(value(Some(new))),
            Asked::Cas(old, new) => Action::Cas(value(Some(old)), value(Some(new))),
        };
        let key = history.key(Datum::Text(format!("r{}", done.register)));
        let client = history.client(Datum::from(u64::from(done.client)));
        history.operations.push(Operation {
            client,
            key,
            action,
            outcome: done.outcome,
            call: done.call.as_nanos() as u64,
            end: Some(done.end.as_nanos() as u64),
            lines: Lines { call: history.operations.len() as u32 + 1, end: None },
        });
    }
    history
}

/// The longest time in which no write of any client was acknowledged, and its beginning.
pub fn longest_standstill(commands: &[Done]) -> Option<(Duration, Duration)> {
    let written =
        |done: &&Done| done.outcome == client_history::Outcome::Ok && !matches!(done.asked, Asked::Read(_));
    let mut ends: Vec<Duration> = commands.iter().filter(written).map(|done| done.end).collect();
    ends.sort_unstable();
    ends.array_windows().map(|[one, next]| (*one, *next - *one)).max_by_key(|(_, length)| *length)
}
