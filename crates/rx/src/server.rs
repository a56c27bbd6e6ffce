//! Services: who answers calls, and the call as the answering thread sees it.
//!
//! Threads are started when a call comes and none is idle, up to the port's limit; beyond it calls wait. A handler
//! may make calls itself, also from the same port.

use std::sync::{Arc, PoisonError};

use rx_proto::rpc::{CallStream, ServedCall};
use rx_proto::{AbortCode, CallFailure, CallRef, Caller, ServiceId};

use crate::client::Stream;
use crate::port::{Shared, State};

/// What answers the calls of a service; usually `|call| my_procedures::dispatch(&server, call)`.
pub trait Service: Send + Sync {
    /// Answers one call. What is written is the reply; an error aborts the call with its code.
    ///
    /// # Errors
    /// The code that the caller gets.
    fn answer(&self, call: &mut dyn ServedCall) -> Result<(), AbortCode>;
}

impl<F> Service for F
where
    F: Fn(&mut dyn ServedCall) -> Result<(), AbortCode> + Send + Sync,
{
    fn answer(&self, call: &mut dyn ServedCall) -> Result<(), AbortCode> {
        self(call)
    }
}

/// A call that a peer makes.
struct IncomingCall {
    stream: Stream,
    caller: Caller,
}

impl CallStream for IncomingCall {
    fn write(&mut self, bytes: &[u8]) -> Result<(), CallFailure> {
        self.stream.write(bytes)
    }

    fn read(&mut self, out: &mut [u8]) -> Result<usize, CallFailure> {
        self.stream.read(out)
    }
}

impl ServedCall for IncomingCall {
    fn caller(&self) -> &Caller {
        &self.caller
    }
}

/// A panic in a handler is answered with this code, so that the caller need not wait.
const HANDLER_FAILED: AbortCode = AbortCode::SERVER_MARSHAL;

/// Starts a thread for calls that no idle one will take. Called with the state held.
pub(crate) fn start_thread_if_needed(shared: &Arc<Shared>, state: &mut State) {
    if state.incoming.len() <= state.idle_threads || state.threads >= shared.max_threads {
        if state.incoming.len() > state.idle_threads {
            state.waited_calls = state.waited_calls.wrapping_add(1);
        }
        return;
    }
    let for_thread = Arc::clone(shared);
    let started =
        std::thread::Builder::new().name("rx-serve".to_owned()).spawn(move || serve_loop(&for_thread));
    // Without a thread the call waits for one that ends another.
    state.threads += usize::from(started.is_ok());
}

fn serve_loop(shared: &Arc<Shared>) {
    let mut state = shared.lock();
    while !state.closed {
        let Some((call, service)) = state.incoming.pop_front() else {
            state.idle_threads += 1;
            state = shared.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle_threads -= 1;
            continue;
        };
        drop(state);
        serve(shared, call, service);
        state = shared.lock();
    }
    state.threads -= 1;
}

fn serve(shared: &Arc<Shared>, at: CallRef, service: ServiceId) {
    let mut stream = Stream::new(shared, at);
    let state = shared.lock();
    let (caller, service) = (state.endpoint.caller(at), state.services.get(&service).cloned());
    drop(state);
    let (Some(caller), Some(service)) = (caller, service) else {
        return stream.end(Some(AbortCode::INVALID_OPERATION));
    };
    let mut call = IncomingCall { stream, caller };
    let answered = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| service.answer(&mut call)));
    match answered {
        Ok(result) => call.stream.end(result.err()),
        Err(_panic) => call.stream.end(Some(HANDLER_FAILED)),
    }
}
