//! The demo's clients: each reads, writes and compares-and-sets registers at its server, one command after the other, and
//! records what it was told.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use client_history::Outcome;
use fastrand::Rng;
use resp::Value;

use super::connection::{CommandError, Connection};
use super::record::{Asked, Done, Record};

/// How many registers there are: each gets enough commands to be interesting, and few enough to be checked at once.
pub const REGISTERS: u32 = 40;
/// A client thinks so long between two commands, so that the figures are about waiting and not about this machine's load.
const THINKING: Duration = Duration::from_millis(3);
/// The pause before a client tries to connect again.
const AGAIN: Duration = Duration::from_millis(50);

/// One client.
pub struct Client<'a> {
    /// What it is called, until a command of its has no known outcome.
    pub number: u32,
    /// The place of its server.
    pub server: usize,
    /// Where that is.
    pub address: SocketAddr,
    /// Where it records.
    pub record: &'a Record,
    /// When to stop.
    pub stop: &'a AtomicBool,
    /// The last number given to a client.
    pub numbers: &'a AtomicU32,
    /// The last value given to a write; no two write the same.
    pub values: &'a AtomicU32,
    /// What chance is derived from.
    pub rng: Rng,
}

impl Client<'_> {
    /// Works until it is stopped.
    pub fn run(mut self) {
        let mut connection = None;
        while !self.stop.load(Ordering::Relaxed) {
            let Some(open) = connection.as_mut() else {
                connection = Connection::open(self.address).ok();
                if connection.is_none() {
                    std::thread::sleep(AGAIN);
                }
                continue;
            };
            if !self.one_command(open) {
                connection = None;
            }
            std::thread::sleep(THINKING);
        }
    }

    /// Reads every register once, at the end.
    pub fn read_all(mut self) {
        let Ok(mut connection) = Connection::open(self.address) else { return };
        for register in 0..REGISTERS {
            self.perform(&mut connection, register, Asked::Read(None));
        }
    }

    /// Whether the connection can be used again.
    fn one_command(&mut self, connection: &mut Connection) -> bool {
        let register = self.rng.u32(..REGISTERS);
        let fresh = || u64::from(self.values.fetch_add(1, Ordering::Relaxed));
        let asked = match self.rng.u32(..10) {
            0..5 => Asked::Read(None),
            5..8 => Asked::Write(fresh()),
            // Most likely the value is another by the time this comes; then nothing is done.
            _ => match last_value(connection, register) {
                Some(old) => Asked::Cas(old, fresh()),
                None => Asked::Write(fresh()),
            },
        };
        self.perform(connection, register, asked)
    }

    fn perform(&mut self, connection: &mut Connection, register: u32, mut asked: Asked) -> bool {
        let key = format!("r{register}");
        let call = self.record.now();
        let answer = match asked {
            Asked::Read(_) => connection.ask(&["GET", &key]),
            Asked::Write(new) => connection.ask(&["SET", &key, &new.to_string()]),
            Asked::Cas(old, new) => {
                connection.ask(&["SET", &key, &new.to_string(), "IFEQ", &old.to_string()])
            }
        };
        let end = self.record.now();
        let outcome = match (&answer, &mut asked) {
            (Ok(found), Asked::Read(value)) => {
                *value = number(found);
                Outcome::Ok
            }
            (Ok(Value::Null), _) | (Err(CommandError::Refused), _) => Outcome::Failed,
            (Ok(_), _) => Outcome::Ok,
            (Err(CommandError::Unknown), _) => Outcome::Unknown,
        };
        self.record.add(Done {
            client: self.number,
            server: self.server,
            register,
            asked,
            outcome,
            call,
            end,
        });
        if outcome == Outcome::Unknown {
            // A client does one thing after the other; this one does not know whether it has ended.
            self.number = self.numbers.fetch_add(1, Ordering::Relaxed);
        }
        outcome != Outcome::Unknown
    }
}

/// What a register holds, without record: to have something to compare with.
fn last_value(connection: &mut Connection, register: u32) -> Option<u64> {
    connection.ask(&["GET", &format!("r{register}")]).ok().and_then(|found| number(&found))
}

fn number(value: &Value) -> Option<u64> {
    std::str::from_utf8(value.as_bytes()?).ok()?.parse().ok()
}
