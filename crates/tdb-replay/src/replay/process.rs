//! Workers that are processes: for engines whose locks belong to processes.
//!
//! Owns the children: they are forked after the plan is made, so they share history and schedule without a copy, run one
//! trace each and send what they saw through a pipe. A child that dies without having sent it, however it dies, ends
//! the others' waits, and the run fails with its name.
#![allow(unsafe_code)]

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::shared::SharedTurns;
use super::tally::{Mismatch, Tally};
use super::timeline::Lane;
use super::worker::Halt;
use crate::engine::{EngineError, libtdb};
use crate::trace::op::Op;

/// What a worker comes to, on its way through the pipe.
#[derive(serde::Serialize, serde::Deserialize)]
struct Sent {
    operations: Vec<u64>,
    counts: [u64; 6],
    waited: Duration,
    kept: Vec<Mismatch>,
    /// By operation: times in nanoseconds, and how many.
    latency: Vec<Vec<(u64, u64)>>,
    lane: Lane,
    halt: Option<Ending>,
}

/// Why a worker stopped before its trace's end.
#[derive(serde::Serialize, serde::Deserialize)]
enum Ending {
    Stopped,
    Engine(u32, EngineError),
}

impl Sent {
    fn of(tally: Tally, result: Result<(), Halt>) -> Sent {
        let times = |histogram: &Option<Box<hdrhistogram::Histogram<u32>>>| {
            let recorded = histogram.iter().flat_map(|histogram| histogram.iter_recorded());
            recorded.map(|step| (step.value_iterated_to(), step.count_since_last_iteration())).collect()
        };
        Sent {
            operations: tally.operations.to_vec(),
            counts: [
                tally.compared,
                tally.mismatches,
                tally.waits,
                tally.parked,
                tally.not_run,
                tally.other_length,
            ],
            waited: tally.waited,
            kept: tally.kept,
            latency: tally.latency.iter().map(times).collect(),
            lane: tally.lane,
            halt: result.err().map(|halt| match halt {
                Halt::Stopped => Ending::Stopped,
                Halt::Engine(row, error) => Ending::Engine(row, error),
            }),
        }
    }

    fn into_tally(self) -> (Tally, Result<(), Halt>) {
        let [compared, mismatches, waits, parked, not_run, other_length] = self.counts;
        let (waited, kept, lane) = (self.waited, self.kept, self.lane);
        let mut tally = Tally {
            compared,
            mismatches,
            waits,
            parked,
            not_run,
            other_length,
            waited,
            kept,
            lane,
            ..Tally::default()
        };
        for (mine, sent) in tally.operations.iter_mut().zip(self.operations) {
            *mine = sent;
        }
        for (&op, times) in Op::ALL.iter().zip(&self.latency) {
            times.iter().for_each(|&(nanos, count)| tally.took_often(op, nanos, count));
        }
        let result = match self.halt {
            None => Ok(()),
            Some(Ending::Stopped) => Err(Halt::Stopped),
            Some(Ending::Engine(row, error)) => Err(Halt::Engine(row, error)),
        };
        (tally, result)
    }
}

/// How a process ended that sent nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Death(pub String);

/// What a worker process came to.
pub type Outcome = Result<(Tally, Result<(), Halt>), Death>;

/// The processes of a run.
#[derive(Default)]
pub struct Children(Mutex<Vec<(libc::pid_t, Gone)>>);

/// Whether a process has been waited for, so that its number may be another's. Held while it is waited for or killed.
type Gone = Arc<Mutex<bool>>;

impl Children {
    /// Kills those that have not ended.
    pub fn kill(&self) {
        for (pid, gone) in &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            let gone = gone.lock().unwrap_or_else(PoisonError::into_inner);
            if !*gone {
                // SAFETY: a child of ours that nobody has waited for yet.
                unsafe { libc::kill(*pid, libc::SIGKILL) };
            }
        }
    }
}

/// Runs `work` for each trace in a process of its own, all from the same moment on; how long it took, and what came
/// of each.
pub fn run(
    turns: &SharedTurns,
    traces: usize,
    known: &Children,
    work: &(dyn Fn(usize) -> (Tally, Result<(), Halt>) + Sync),
) -> io::Result<(Instant, Duration, Vec<Outcome>)> {
    let mut children = Vec::with_capacity(traces);
    for number in 0..traces {
        match start(|| work(number)) {
            Ok(child) => children.push(child),
            Err(error) => {
                // Those that run already end by themselves.
                turns.stop();
                children.into_iter().for_each(|child| drop(child.wait()));
                return Err(error);
            }
        }
    }
    let pids = children.iter().map(|child| (child.pid, Arc::clone(&child.gone)));
    known.0.lock().unwrap_or_else(PoisonError::into_inner).extend(pids);
    let mut begun = Instant::now();
    let outcomes: Vec<Outcome> = std::thread::scope(|scope| {
        let waiting: Vec<_> = children
            .into_iter()
            .map(|child| {
                scope.spawn(move || {
                    let outcome = child.wait();
                    if !matches!(outcome, Ok((_, Ok(())))) {
                        turns.stop();
                    }
                    outcome
                })
            })
            .collect();
        turns.begin();
        begun = Instant::now();
        let failed = || Err(Death("could not be waited for".into()));
        waiting.into_iter().map(|thread| thread.join().unwrap_or_else(|_| failed())).collect()
    });
    Ok((begun, begun.elapsed(), outcomes))
}

/// A worker process.
struct Child {
    pid: libc::pid_t,
    results: PipeReader,
    gone: Gone,
}

/// Forks a process that runs `work`, sends what came of it and ends without returning.
fn start(work: impl FnOnce() -> (Tally, Result<(), Halt>)) -> io::Result<Child> {
    let (results, sender) = io::pipe()?;
    // Given back on both sides.
    let list = libtdb::library::alone();
    // SAFETY: the child has this thread only. It uses what this process has made before, opens files and computes; it
    // takes no lock that another thread may hold (the C library takes care of its own), and does not return from here.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            drop((list, results));
            let sent = catch_unwind(AssertUnwindSafe(|| send(sender, work())));
            // SAFETY: ends the process at once, without what the parent has registered for its own end.
            unsafe { libc::_exit(if matches!(sent, Ok(Ok(()))) { 0 } else { FAILED }) }
        }
        pid => Ok(Child { pid, results, gone: Arc::default() }),
    }
}

/// The exit code of a worker that panicked or could not send.
const FAILED: i32 = 101;

fn send(mut sender: PipeWriter, (tally, result): (Tally, Result<(), Halt>)) -> io::Result<()> {
    let bytes = serde_json::to_vec(&Sent::of(tally, result))?;
    sender.write_all(&bytes)
}

impl Child {
    /// Reads what it sends until it ends.
    fn wait(mut self) -> Outcome {
        let mut bytes = Vec::new();
        let read = self.results.read_to_end(&mut bytes);
        let mut status = 0;
        // What it sent has ended, so it ends, and this does not take long.
        let mut gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: a child of ours that nobody else waits for, and room for its status.
        while unsafe { libc::waitpid(self.pid, &mut status, 0) } == -1 {
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(Death(format!("could not be waited for: {error}")));
            }
        }
        *gone = true;
        drop(gone);
        if libc::WIFSIGNALED(status) {
            return Err(Death(format!("was killed by signal {}", libc::WTERMSIG(status))));
        }
        if libc::WEXITSTATUS(status) == FAILED {
            return Err(Death("panicked; this is a bug in quorate".into()));
        }
        let sent = read.and_then(|_| Ok(serde_json::from_slice::<Sent>(&bytes)?));
        match sent {
            Ok(sent) => Ok(sent.into_tally()),
            Err(error) => {
                let code = libc::WEXITSTATUS(status);
                Err(Death(format!("ended with exit code {code} and said nothing that can be read: {error}")))
            }
        }
    }
}
