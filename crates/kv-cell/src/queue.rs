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
