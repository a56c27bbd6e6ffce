//! What clients at all servers see while the sync site is stopped and started again, checked as a history.
#![allow(clippy::unwrap_used)]

mod shared;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use client_history::{Action, Datum, History, Lines, Operation, Outcome, Verdict, check};
use fastrand::Rng;
use history::solver::Limits;
use kv::StepError;
use kv_cell::Cell;
use resp::Value;
use shared::{Three, ask};

const REGISTERS: u32 = 6;

/// Client, register, what was asked and what came of it, call, end.
type Done = (u64, u32, Asked, Outcome, u64, u64);

/// What all clients share.
struct Work {
    begun: Instant,
    /// `None` while a server is down.
    servers: [Mutex<Option<std::sync::Arc<Cell>>>; 3],
    ends: AtomicBool,
    values: AtomicU64,
    clients: AtomicU64,
    written: AtomicU64,
    done: Mutex<Vec<Done>>,
}

#[derive(Clone, Copy)]
enum Asked {
    Read(Option<u64>),
    Write(u64),
    Cas(u64, u64),
}

impl Work {
    fn now(&self) -> u64 {
        self.begun.elapsed().as_nanos() as u64
    }

    /// A client at one server, until the end.
    fn run(&self, server: usize, mut rng: Rng) {
        let mut client = self.clients.fetch_add(1, Ordering::Relaxed);
        let mut seen = [None; REGISTERS as usize];
        while !self.ends.load(Ordering::Relaxed) {
            let Some(cell) = self.servers[server].lock().unwrap().clone() else {
                std::thread::yield_now();
                continue;
            };
            let register = rng.u32(..REGISTERS);
            let fresh = self.values.fetch_add(1, Ordering::Relaxed);
            let asked = match (rng.u32(..4), seen[register as usize]) {
                (0, _) => Asked::Write(fresh),
                (1, Some(old)) => Asked::Cas(old, fresh),
                _ => Asked::Read(None),
            };
            let (outcome, asked) = self.perform(client, register, asked, &cell);
            if let (Outcome::Ok, Asked::Read(Some(value)) | Asked::Write(value) | Asked::Cas(_, value)) =
                (outcome, asked)
            {
                seen[register as usize] = Some(value);
            }
            if outcome == Outcome::Unknown {
                client = self.clients.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn perform(&self, client: u64, register: u32, mut asked: Asked, cell: &Cell) -> (Outcome, Asked) {
        let command = match asked {
            Asked::Read(_) => format!("get r{register}"),
            Asked::Write(new) => format!("set r{register} {new}"),
            Asked::Cas(old, new) => format!("set r{register} {new} ifeq {old}"),
        };
        let call = self.now();
        let answer = ask(cell, &command);
        let end = self.now();
        let outcome = match (answer, &mut asked) {
            (Ok(found), Asked::Read(value)) => {
                *value = found.as_bytes().map(|bytes| std::str::from_utf8(bytes).unwrap().parse().unwrap());
                Outcome::Ok
            }
            (Ok(Value::Null) | Err(StepError::Unavailable(_)), _) => Outcome::Failed,
            (Ok(_), _) => {
                self.written.fetch_add(1, Ordering::Relaxed);
                Outcome::Ok
            }
            (Err(StepError::Undecided(_)), _) => Outcome::Unknown,
            (Err(error), _) => panic!("{command}: {error}"),
        };
        self.done.lock().unwrap().push((client, register, asked, outcome, call, end));
        (outcome, asked)
    }

    /// Waits until clients have written so much more.
    fn await_writes(&self, more: u64) {
        let until = self.written.load(Ordering::Relaxed) + more;
        while self.written.load(Ordering::Relaxed) < until {
            std::thread::yield_now();
        }
    }

    fn history(&self) -> History {
        let mut history = History::default();
        for &(client, register, asked, outcome, call, end) in &*self.done.lock().unwrap() {
            let mut value = |number: Option<u64>| history.value(number.map_or(Datum::Nil, Datum::from));
            let action = match asked {
                Asked::Read(found) => Action::Read(value(found)),
                Asked::Write(new) => Action::Write(value(Some(new))),
                Asked::Cas(old, new) => Action::Cas(value(Some(old)), value(Some(new))),
            };
            let (key, client) =
                (history.key(Datum::from(u64::from(register))), history.client(Datum::from(client)));
            let lines = Lines { call: history.operations.len() as u32 + 1, end: None };
            history.operations.push(Operation { client, key, action, outcome, call, end: Some(end), lines });
        }
        history
    }
}

/// S5, S6: one order explains every answer that clients at all three servers got, with two sync sites stopped one after the
/// other and started again; some writes have no known outcome, none that was acknowledged is lost, no read is stale.
#[test]
fn clients_at_all_servers_see_one_order() {
    let mut rng = Rng::with_seed(testbed::seed("clients_at_all_servers_see_one_order"));
    let mut three = Three::start();
    ask(three.cell(0), "dbsize").unwrap();
    let servers = [0, 1, 2].map(|nth| Mutex::new(three.cells[nth].clone()));
    let work = Work {
        begun: Instant::now(),
        servers,
        ends: AtomicBool::new(false),
        values: AtomicU64::new(1),
        clients: AtomicU64::new(0),
        written: AtomicU64::new(0),
        done: Mutex::default(),
    };
    std::thread::scope(|scope| {
        for client in 0..6 {
            let (work, rng) = (&work, rng.fork());
            scope.spawn(move || work.run(client % 3, rng));
        }
        for _ in 0..2 {
            work.await_writes(100);
            let victim = three.sync_site();
            *work.servers[victim].lock().unwrap() = None;
            three.stop(victim);
            work.await_writes(100);
            three.restart(victim);
            *work.servers[victim].lock().unwrap() = three.cells[victim].clone();
        }
        work.await_writes(100);
        work.ends.store(true, Ordering::Relaxed);
    });
    let history = work.history();
    let checked = check(&history, Limits::default());
    let contradiction: Vec<String> = checked
        .findings
        .iter()
        .flat_map(|finding| &finding.operations)
        .map(|&at| {
            format!(
                "{:?}",
                (&history.operations[at as usize], history.describe(&history.operations[at as usize]))
            )
        })
        .collect();
    assert_eq!(checked.verdict(), Verdict::Explained, "{contradiction:#?}");
}
