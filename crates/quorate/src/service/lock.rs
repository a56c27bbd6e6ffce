//! `quorate lock`: a command that runs while a lock is held.
//!
//! The lock is a key with a random value and a time to live, as clients of Redis make them, so both exclude each other.
//! The time is counted from before the request that set it, on this machine's monotonic clock: before it has run out
//! without a renewal, the command and whatever it has started are stopped, whatever the network does. The key's revision is the fencing token:
//! it grows with every holder, so that a store can refuse the writes of one that was stopped too late.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::time::{Duration, Instant};

use clap::Args;
use resp::Value;
use rustix::process::Signal;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::client::{AskError, Client, Connection};
use super::descendants;
use crate::failure::{Failure, note};

/// Run a command while holding a lock.
///
/// The lock is renewed while the command runs and released when it ends. The command gets QUORATE_LOCK_NAME and
/// QUORATE_LOCK_REVISION, the fencing token: a number that is greater for each later holder. If the lock cannot be
/// renewed, the command and all processes that it has started are stopped before others can have the lock: with SIGTERM, and with SIGKILL five
/// seconds later, or a third of --ttl-secs if that is shorter. SIGTERM and SIGHUP are passed on to all of them, SIGINT to the command.
#[derive(Args)]
#[command(after_help = "Example:
  quorate lock nightly-backup -- rsync -a /srv backup:/srv

Exit codes: the command's own, 128 and the signal's number if one ended it; 1 the lock is held by others; 2 wrong use;
3 no server answers; 4 the lock was lost while the command ran")]
pub struct Arguments {
    #[command(flatten)]
    connection: Connection,
    /// Key of the lock
    name: String,
    /// Seconds that the lock outlives this program if it is killed, and an outage of the service
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    ttl_secs: u64,
    /// Seconds to wait for the lock
    #[arg(long, default_value_t = 0)]
    wait_secs: u64,
    /// The command and its arguments
    #[arg(required = true, last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Between two looks at a lock that others hold.
const RETRY: Duration = Duration::from_millis(250);
/// Between two looks at the command.
const TICK: Duration = Duration::from_millis(20);
/// Between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(5);

/// A lock that is held.
struct Lock<'a> {
    arguments: &'a Arguments,
    value: String,
    revision: i64,
    /// When it ends unless it is renewed.
    until: Instant,
    client: Option<Client>,
}

/// Takes the lock, runs the command, releases the lock; the command's exit code.
pub fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP]).map_err(Failure::system)?;
    let mut lock = acquire(arguments)?;
    let mut command = Command::new(&arguments.command[0]);
    command.args(&arguments.command[1..]);
    command.env("QUORATE_LOCK_NAME", &arguments.name).env("QUORATE_LOCK_REVISION", lock.revision.to_string());
    descendants::adopt().map_err(Failure::system)?;
    let child = command.spawn().map_err(|error| {
        lock.release();
        Failure::input(format!("{}: {error}", arguments.command[0].display()))
    });
    let status = watch(child?, &mut lock, &mut signals)?;
    lock.release();
    Ok(ExitCode::from(code(status)))
}

fn acquire(arguments: &Arguments) -> Result<Lock<'_>, Failure> {
    let give_up = Instant::now() + Duration::from_secs(arguments.wait_secs);
    let value: String = (0..32).map(|_| fastrand::digit(16)).collect();
    let mut lock = Lock { arguments, value, revision: 0, until: Instant::now(), client: None };
    loop {
        let begun = Instant::now();
        match lock.attempt() {
            Ok(Some(revision)) => {
                lock.revision = revision;
                lock.until = begun + lock.ttl();
                return Ok(lock);
            }
            Ok(None) if Instant::now() >= give_up => {
                return Err(Failure::no(format!("{} is held by others", arguments.name)));
            }
            Err(failure) if Instant::now() >= give_up => {
                lock.release();
                return Err(failure);
            }
            _ => std::thread::sleep(RETRY),
        }
    }
}

impl Lock<'_> {
    fn ttl(&self) -> Duration {
        Duration::from_secs(self.arguments.ttl_secs)
    }

    /// Tries to take it; its revision, or `None` if others hold it. One whose reply was lost is found to be held.
    fn attempt(&mut self) -> Result<Option<i64>, Failure> {
        let (name, value) = (self.arguments.name.clone().into_bytes(), self.value.clone().into_bytes());
        let ttl = self.ttl().as_millis().to_string();
        let steps: [&[&[u8]]; 5] = [
            &[b"MULTI"],
            &[b"SET", &name, &value, b"NX", b"PX", ttl.as_bytes()],
            &[b"GET", &name],
            &[b"QUORATE.REVISION", &name],
            &[b"EXEC"],
        ];
        let mut reply = Value::Null;
        for step in steps {
            reply = self.ask(step)?;
        }
        if let Some(Value::Error(text)) = reply.as_elements().and_then(|replies| replies.get(1)) {
            let text = String::from_utf8_lossy(text);
            return Err(Failure::system(format!("{} cannot be a lock: {text}", self.arguments.name)));
        }
        let holder = reply.as_elements().and_then(|replies| replies.get(1)?.as_bytes());
        if holder != Some(&value[..]) {
            return Ok(None);
        }
        let revision =
            reply.as_elements().and_then(|replies| replies.get(2)?.as_elements()?.first()?.as_integer());
        revision.map(Some).ok_or_else(|| Failure::system("the server does not answer QUORATE.REVISION"))
    }

    /// Makes it last from now on; false if it is lost.
    fn renew(&mut self) -> Result<bool, Failure> {
        let begun = Instant::now();
        let (name, value) = (self.arguments.name.clone().into_bytes(), self.value.clone().into_bytes());
        let ttl = self.ttl().as_millis().to_string();
        let reply = self.ask(&[b"SET", &name, &value, b"IFEQ", &value, b"PX", ttl.as_bytes()])?;
        let held = reply != Value::Null;
        if held {
            self.until = begun + self.ttl();
        }
        Ok(held)
    }

    /// Gives it back, if it is still held. One that cannot be given back ends by itself.
    fn release(&mut self) {
        let (name, value) = (self.arguments.name.clone().into_bytes(), self.value.clone().into_bytes());
        if let Err(failure) = self.ask(&[b"DELIFEQ", &name, &value]) {
            note(format!(
                "the lock was not released and ends within {} s: {failure}",
                self.arguments.ttl_secs
            ));
        }
    }

    /// Over the connection that is open, or a new one after it failed.
    fn ask(&mut self, words: &[&[u8]]) -> Result<Value, Failure> {
        if self.client.is_none() {
            self.client = Some(self.arguments.connection.open()?);
        }
        let client = self.client.as_mut().expect("it was opened just now");
        client.ask(words).map_err(|error| {
            if matches!(error, AskError::Lost { .. }) {
                self.client = None;
            }
            Failure::from(error)
        })
    }
}

/// Waits for the command, renews the lock, passes signals on; stops the command when the lock is lost.
fn watch(mut child: Child, lock: &mut Lock<'_>, signals: &mut Signals) -> Result<ExitStatus, Failure> {
    let pause = lock.ttl() / 3;
    let mut renew_at = lock.until - lock.ttl() + pause;
    let grace = GRACE.min(pause);
    let mut was_told_to_end = false;
    loop {
        if let Some(status) = child.try_wait().map_err(Failure::system)? {
            if was_told_to_end && !descendants::end_within(grace) {
                descendants::kill();
            }
            return Ok(status);
        }
        for signal in signals.pending() {
            was_told_to_end |= signal != SIGINT;
            pass_on(&child, signal);
        }
        let now = Instant::now();
        if now >= lock.until - grace {
            return Err(lost(child, grace, "it could not be renewed in time"));
        }
        if now >= renew_at {
            descendants::reap(child.id());
            match lock.renew() {
                Ok(true) => renew_at = Instant::now() + pause,
                Ok(false) => return Err(lost(child, grace, "another value is in its key, or none")),
                Err(failure) => {
                    note(format!("cannot renew the lock: {failure}; trying again"));
                    renew_at = Instant::now() + RETRY;
                }
            }
        }
        std::thread::sleep(TICK);
    }
}

/// Ends the command, whose lock is lost, and whatever it has started.
fn lost(mut child: Child, grace: Duration, why: &str) -> Failure {
    note(format!("the lock is lost ({why}): stopping the command"));
    descendants::signal(Signal::TERM);
    let ended = descendants::end_within(grace);
    if !ended {
        descendants::kill();
    }
    let _ = child.wait();
    Failure::gave_up(match ended {
        true => "the lock was lost while the command ran",
        false => "the lock was lost while the command ran; it did not end at SIGTERM and was killed",
    })
}

fn pass_on(child: &Child, signal: i32) {
    match signal {
        // A terminal has sent it to the others itself.
        SIGINT => descendants::signal_one(child.id(), Signal::INT),
        SIGHUP => descendants::signal(Signal::HUP),
        _ => descendants::signal(Signal::TERM),
    }
}

fn code(status: ExitStatus) -> u8 {
    let by_signal = || 128 + status.signal().unwrap_or(0);
    status.code().unwrap_or_else(by_signal).clamp(0, 255) as u8
}
