//! Workers that are processes: for engines whose locks belong to processes.
//!
//! Owns the children: they are forked after the plan is made, so they share history and schedule without a copy, run one
//! trace each and send what they saw through a pipe. A child that dies without having sent it, however it dies, ends
//! the others' waits, and the run fails with its name.
#![allow(unsafe_code)]

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::shared::SharedTurns;
use super::tally::{Mismatch, Tally};
use super::timeline::Lane;
use super::worker::Halt;
use crate::engine::EngineError;
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

/// After so long without a worker that uses the processor the run is given up. The order leaves no reason for it; but the
/// locks are another program's, and a run that says what it is better than one that never ends. No recorded line
/// takes as long.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a worker process came to.
pub type Outcome = Result<(Tally, Result<(), Halt>), Death>;

/// Runs `work` for each trace in a process of its own, all from the same moment on; how long it took, and what came
/// of each. `paced` workers may sleep as long as they like; others that all stand still are stopped, and the first of
/// them is said to have.
pub fn run(
    turns: &SharedTurns,
    traces: usize,
    paced: bool,
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
    let mut begun = Instant::now();
    let pids: Vec<_> = children.iter().map(|child| child.pid).collect();
    let (ended, stuck) = (AtomicBool::new(false), AtomicBool::new(false));
    let mut outcomes: Vec<Outcome> = std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            if !paced && stand_still(&pids, &ended) {
                stuck.store(true, Ordering::SeqCst);
                // Whoever waits for a turn ends, and with that lets go of its locks.
                turns.stop();
            }
        });
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
        let outcomes = waiting.into_iter().map(|thread| thread.join().unwrap_or_else(|_| failed())).collect();
        ended.store(true, Ordering::SeqCst);
        watch.thread().unpark();
        outcomes
    });
    if stuck.load(Ordering::SeqCst)
        && let Some(stopped) = outcomes.iter_mut().find(|one| matches!(one, Ok((_, Err(Halt::Stopped)))))
    {
        let seconds = PATIENCE.as_secs();
        let how = format!(
            "stood still with all others for {seconds} s: the engine holds locks that the order does not know"
        );
        *stopped = Err(Death(how));
    }
    Ok((begun, begun.elapsed(), outcomes))
}

/// Returns true once no process of `pids` has used the processor for [`PATIENCE`], false when the run has ended.
fn stand_still(pids: &[libc::pid_t], ended: &AtomicBool) -> bool {
    let (mut last, mut since) = (processor_times(pids), Instant::now());
    while !ended.load(Ordering::SeqCst) {
        std::thread::park_timeout(Duration::from_secs(1));
        let now = processor_times(pids);
        if now != last {
            (last, since) = (now, Instant::now());
        } else if since.elapsed() >= PATIENCE {
            return !ended.load(Ordering::SeqCst);
        }
    }
    false
}

/// What the kernel says of each process's time, in its ticks; nothing of one that has ended.
fn processor_times(pids: &[libc::pid_t]) -> Vec<Option<(String, String)>> {
    let time = |pid: &libc::pid_t| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name may hold anything; behind it stands the third field, and the times are the 14th and 15th.
        let mut fields = text.rsplit_once(')')?.1.split_whitespace().skip(11);
        Some((fields.next()?.to_owned(), fields.next()?.to_owned()))
    };
    pids.iter().map(time).collect()
}

/// A worker process.
struct Child {
    pid: libc::pid_t,
    results: PipeReader,
}

/// Forks a process that runs `work`, sends what came of it and ends without returning.
fn start(work: impl FnOnce() -> (Tally, Result<(), Halt>)) -> io::Result<Child> {
    let (results, sender) = io::pipe()?;
    // SAFETY: the child has this thread only. It uses what this process has made before, opens files and computes; it
    // takes no lock that another thread may hold (the C library takes care of its own), and does not return from here.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            drop(results);
            let sent = catch_unwind(AssertUnwindSafe(|| send(sender, work())));
            // SAFETY: ends the process at once, without what the parent has registered for its own end.
            unsafe { libc::_exit(if matches!(sent, Ok(Ok(()))) { 0 } else { FAILED }) }
        }
        pid => Ok(Child { pid, results }),
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
        // SAFETY: a child of ours that nobody else waits for, and room for its status.
        while unsafe { libc::waitpid(self.pid, &mut status, 0) } == -1 {
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(Death(format!("could not be waited for: {error}")));
            }
        }
        if libc::WIFSIGNALED(status) {
            return Err(Death(format!("was killed by signal {}", libc::WTERMSIG(status))));
        }
        if libc::WEXITSTATUS(status) == FAILED {
            return Err(Death("failed, which is a fault in this program".into()));
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
