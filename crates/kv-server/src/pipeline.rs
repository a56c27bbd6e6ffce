//! The replies of one connection, in the order of its requests, whatever the order in which they become known.
//!
//! Several steps may be in flight: writes that wait together share a commit. The store keeps the order of writes among
//! themselves; a read among writes would have none, so reads and writes take turns ([`Pipeline::must_drain`]).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use kv::{Step, StepError, Store};
use resp::{ReplyWriter, Version};
use tokio::sync::oneshot;

use crate::statistics::{SLOW, Statistics, excerpt};

/// The replies that are not sent yet.
pub struct Pipeline {
    statistics: Arc<Statistics>,
    peer: String,
    slots: VecDeque<Slot>,
    /// Steps in flight, and whether they write.
    in_flight: usize,
    writes: bool,
}

enum Slot {
    Ready(Vec<u8>),
    Waiting(Waiting),
}

struct Waiting {
    outcome: oneshot::Receiver<Result<Vec<u8>, StepError>>,
    started: Instant,
    writes: bool,
    about: Vec<Vec<u8>>,
    protocol: Version,
}

impl Pipeline {
    /// That of the client at `peer`.
    pub fn new(statistics: Arc<Statistics>, peer: String) -> Pipeline {
        Pipeline { statistics, peer, slots: VecDeque::new(), in_flight: 0, writes: false }
    }

    /// Requests that have no reply yet, or whose reply waits for an earlier one.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether every reply is known and taken.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Whether a step has to wait until those in flight are done.
    pub fn must_drain(&self, writes: bool) -> bool {
        self.in_flight > 0 && self.writes != writes
    }

    /// A reply that is known; it goes to `output` unless earlier ones are missing.
    pub fn answer(&mut self, reply: Vec<u8>, output: &mut Vec<u8>) {
        self.count(&reply);
        match self.slots.is_empty() {
            true => output.extend_from_slice(&reply),
            false => self.slots.push_back(Slot::Ready(reply)),
        }
    }

    /// Hands a step to `store`.
    pub fn submit(&mut self, store: &dyn Store, step: Step) {
        let (done, outcome) = oneshot::channel();
        let writes = step.writes();
        let about = step.body.commands().first().map(|words| excerpt(words)).unwrap_or_default();
        let waiting = Waiting { outcome, started: Instant::now(), writes, about, protocol: step.protocol };
        // A connection that ended takes no reply.
        store.submit(step, Box::new(move |reply| drop(done.send(reply))));
        self.writes = writes;
        self.in_flight += 1;
        self.slots.push_back(Slot::Waiting(waiting));
    }

    /// Waits until every reply is known, and puts them into `output`.
    pub async fn drain(&mut self, output: &mut Vec<u8>) {
        while !self.slots.is_empty() {
            self.ready().await;
            self.take(output, usize::MAX);
        }
    }

    /// Waits until the next reply is known; forever if there is none. Nothing is lost if the wait is given up.
    pub async fn ready(&mut self) {
        match self.slots.front_mut() {
            None => std::future::pending().await,
            Some(Slot::Ready(_)) => {}
            Some(Slot::Waiting(waiting)) => {
                let outcome = (&mut waiting.outcome).await;
                let reply = waiting.reply(outcome, &self.statistics, &self.peer);
                self.in_flight -= 1;
                self.count(&reply);
                self.slots[0] = Slot::Ready(reply);
            }
        }
    }

    /// Puts the replies that are known into `output`, until it has `enough` bytes.
    pub fn take(&mut self, output: &mut Vec<u8>, enough: usize) {
        while output.len() < enough
            && let Some(Slot::Ready(reply)) = self.slots.front()
        {
            output.extend_from_slice(reply);
            self.slots.pop_front();
        }
    }

    fn count(&self, reply: &[u8]) {
        Statistics::count(&self.statistics.commands);
        if reply.starts_with(b"-") {
            Statistics::count(&self.statistics.errors);
        }
    }
}

impl Waiting {
    fn reply(
        &mut self,
        outcome: Result<Result<Vec<u8>, StepError>, oneshot::error::RecvError>,
        statistics: &Statistics,
        peer: &str,
    ) -> Vec<u8> {
        let took = self.started.elapsed();
        statistics.answered(self.writes, took);
        if took >= SLOW {
            statistics.slow(took, std::mem::take(&mut self.about), peer.to_owned());
        }
        let outcome = outcome.unwrap_or_else(|_| Err(lost(self.writes)));
        outcome.unwrap_or_else(|error| error_reply(&error, self.protocol))
    }
}

/// What is known of a step whose outcome the store never gave: it has ended, or has a fault.
pub fn lost(writes: bool) -> StepError {
    match writes {
        true => {
            StepError::Undecided("the store ended before it answered; the write may have happened".into())
        }
        false => StepError::Unavailable("the store ended before it answered; ask another server".into()),
    }
}

/// A step's failure as clients see it.
pub fn error_reply(error: &StepError, protocol: Version) -> Vec<u8> {
    let kind = match error {
        StepError::Unavailable(_) => "TRYAGAIN",
        StepError::Undecided(_) => "UNDECIDED",
        _ => "ERR",
    };
    let mut reply = ReplyWriter::new(protocol);
    reply.error(&format!("{kind} {error}"));
    reply.take()
}
