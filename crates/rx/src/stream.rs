//! The two streams of a call, of either side, whose readers and writers wait as ordinary code does.

use std::sync::{Arc, Condvar, MutexGuard, PoisonError};

use rx_proto::{AbortCode, CallFailure, CallRef, Read};

use crate::shared::{Shared, State};

/// The streams of a call, of either side. The call ends when this is dropped.
pub(crate) struct Stream {
    pub shared: Arc<Shared>,
    pub at: CallRef,
    progress: Arc<Condvar>,
    ended: bool,
}

impl Stream {
    pub fn new(shared: &Arc<Shared>, at: CallRef) -> Stream {
        Stream { shared: Arc::clone(shared), at, progress: Arc::default(), ended: false }
    }

    pub fn write(&mut self, mut bytes: &[u8]) -> Result<(), CallFailure> {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        while !bytes.is_empty() {
            let taken = state.endpoint.write(shared.now(), self.at, bytes)?;
            bytes = &bytes[taken..];
            if taken > 0 {
                shared.flush(state);
                state = shared.lock();
            } else {
                state = self.wait(state)?;
            }
        }
        Ok(())
    }

    pub fn finish(&mut self) -> Result<(), CallFailure> {
        let mut state = self.shared.lock();
        state.endpoint.finish(self.shared.now(), self.at)?;
        self.shared.flush(state);
        Ok(())
    }

    pub fn read(&mut self, out: &mut [u8]) -> Result<usize, CallFailure> {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        loop {
            match state.endpoint.read(shared.now(), self.at, out)? {
                Read::Bytes(count) => {
                    shared.flush(state);
                    return Ok(count);
                }
                Read::End => return Ok(0),
                Read::Blocked if out.is_empty() => return Ok(0),
                Read::Blocked => state = self.wait(state)?,
            }
        }
    }

    /// Ends the call: with a code it is aborted.
    pub fn end(&mut self, code: Option<AbortCode>) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let mut state = self.shared.lock();
        state.call_waiters.remove(&self.at);
        state.endpoint.end_call(self.shared.now(), self.at, code);
        self.shared.flush(state);
    }

    /// Waits until reading or writing may go on.
    fn wait<'a>(&self, mut state: MutexGuard<'a, State>) -> Result<MutexGuard<'a, State>, CallFailure> {
        if state.closed {
            return Err(CallFailure::Unanswered(AbortCode::RESTARTING));
        }
        state.call_waiters.entry(self.at).or_insert_with(|| Arc::clone(&self.progress));
        Ok(self.progress.wait(state).unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.end(None);
    }
}
