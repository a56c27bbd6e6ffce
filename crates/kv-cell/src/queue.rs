//! Steps that wait for one of the threads, in the order in which they came; how many may is bounded.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kv::{Done, Step, StepError};

/// How many steps may wait for one thread. More clients than this that wait at once are told to come again.
pub const WAITING: usize = 16_384;

/// A step, and who waits for its outcome.
pub struct Item {
    /// What is to be done.
    pub step: Step,
    /// Who waits.
    pub done: Done,
    /// What another server sent it here with, if one did: then it goes no further.
    pub from_peer: Option<Together>,
    /// When it came.
    pub since: Instant,
}

impl Item {
    /// A step that comes now.
    pub fn new(step: Step, done: Done, from_peer: Option<Together>) -> Item {
        Item { step, done, from_peer, since: Instant::now() }
    }

    /// How many bytes its strings have.
    pub fn bytes(&self) -> usize {
        self.step.body.commands().iter().flatten().map(Vec::len).sum()
    }

    /// Those that were sent with it are refused, too.
    pub fn refuse_together(&self) {
        self.from_peer.iter().for_each(Together::refuse);
    }

    /// Ends it.
    pub fn answer(self, reply: Result<Vec<u8>, StepError>) {
        (self.done)(reply);
    }
}

/// Steps that one server sent together: when one of them cannot be carried out here, neither can those after it, so that
/// they keep their order when they are sent again.
#[derive(Clone, Debug, Default)]
pub struct Together(Arc<AtomicBool>);

impl Together {
    /// One of them was refused.
    pub fn refuse(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether one was.
    pub fn is_refused(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Ends all of `items` with the same error.
pub fn fail(items: impl IntoIterator<Item = Item>, error: &StepError) {
    items.into_iter().for_each(|item| item.answer(Err(error.clone())));
}

#[derive(Default)]
struct State {
    items: VecDeque<Item>,
    closed: bool,
    /// The thread waits for another server's answer.
    forwarding: bool,
}

/// Steps that wait.
#[derive(Default)]
pub struct Queue {
    state: Mutex<State>,
    /// Notified when there is something to do: a step has come, or the queue was closed.
    came: Condvar,
}

/// What a thread has to do.
pub enum Work {
    /// These, in order.
    Steps(Vec<Item>),
    /// Nothing has come in time.
    Nothing,
    /// To end.
    End,
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a step at the end, or ends it if too many wait or the server stops.
    pub fn push(&self, item: Item) {
        let mut state = self.state();
        let error = if state.closed {
            stopping()
        } else if state.forwarding && item.from_peer.is_some() {
            item.refuse_together();
            elsewhere()
        } else if state.items.len() >= WAITING {
            let text = format!("more than {WAITING} commands are waiting already; try again later");
            StepError::Unavailable(text)
        } else {
            state.items.push_back(item);
            self.came.notify_one();
            return;
        };
        drop(state);
        item.answer(Err(error));
    }

    /// Takes steps from the front, at most `most` and about `bytes` of strings; waits up to `patience` for the first.
    pub fn take(&self, most: usize, bytes: usize, patience: Duration) -> Work {
        let state = self.state();
        let idle = |state: &mut State| state.items.is_empty() && !state.closed;
        let waited = self.came.wait_timeout_while(state, patience, idle);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if state.closed {
            return Work::End;
        }
        let mut taken = Vec::new();
        let mut room = bytes;
        while taken.len() < most
            && room > 0
            && let Some(item) = state.items.pop_front()
        {
            room = room.saturating_sub(item.bytes());
            taken.push(item);
        }
        if taken.is_empty() { Work::Nothing } else { Work::Steps(taken) }
    }

    /// Runs `call`, which waits for another server's answer. Other servers' steps are refused meanwhile: two servers that sent each
    /// other steps would otherwise wait for each other.
    pub fn while_forwarding<R>(&self, call: impl FnOnce() -> R) -> R {
        let refused: Vec<Item> = {
            let mut state = self.state();
            state.forwarding = true;
            let (of_peers, own) =
                std::mem::take(&mut state.items).into_iter().partition(|item| item.from_peer.is_some());
            state.items = own;
            Vec::from(of_peers)
        };
        refused.iter().for_each(Item::refuse_together);
        fail(refused, &elsewhere());
        let result = call();
        self.state().forwarding = false;
        result
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.state().items.len()
    }

    /// Ends what waits and what comes from here on.
    pub fn close(&self) {
        let items = {
            let mut state = self.state();
            state.closed = true;
            self.came.notify_all();
            std::mem::take(&mut state.items)
        };
        fail(items, &stopping());
    }
}

/// What a step is told that comes to a server that stops. It was not begun.
pub fn stopping() -> StepError {
    StepError::Unavailable("this server is stopping; try another one".to_owned())
}

/// What another server's step is told that comes to one that is not the sync site, or not at present.
pub fn elsewhere() -> StepError {
    StepError::Unavailable("the server that was asked is not the sync site".to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use kv::Body;

    use super::*;

    /// S5: two servers that know of no sync site may send each other steps; neither waits for the other, whose thread waits for it. (They
    /// did, for a minute.)
    #[test]
    fn a_thread_that_waits_for_another_server_keeps_no_other_server_waiting() {
        let (sender, answers) = channel();
        let item = |name: &'static str, from_peer| {
            let (sender, body) = (sender.clone(), Body::Command(vec![b"DBSIZE".to_vec()]));
            let step = Step { database: 0, body, watched: Vec::new(), protocol: resp::Version::Resp3 };
            Item::new(step, Box::new(move |reply| sender.send((name, reply.is_err())).unwrap()), from_peer)
        };
        let queue = Queue::default();
        queue.push(item("own", None));
        queue.push(item("came before", Some(Together::default())));
        queue.while_forwarding(|| {
            assert_eq!(answers.try_recv(), Ok(("came before", true)));
            queue.push(item("comes meanwhile", Some(Together::default())));
            assert_eq!(answers.try_recv(), Ok(("comes meanwhile", true)));
            queue.push(item("own, too", None));
        });
        queue.push(item("comes after", Some(Together::default())));
        assert!(answers.try_recv().is_err());
        assert_eq!(queue.len(), 3);
    }
}
