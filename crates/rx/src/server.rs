//! Services: who answers calls, and the call as the answering thread sees it.
//!
//! Each share of calls ([`Share`]) has threads and a queue of its own: votes never wait for strangers. Threads are started when
//! a call comes and none is idle, up to the share's limit; beyond it calls wait. A handler may make calls itself, also from
//! the same port.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};

use rx_proto::admission::{Admission, Begins, Gate, Share};
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

    /// Whose a call is whose first packet holds `first`, and when it is answered. Asked while the port is locked: it must
    /// not wait for anything. By default everybody is a stranger, and requests must be whole and short.
    ///
    /// # Errors
    /// The code with which the call is refused at once.
    fn admit(&self, caller: &Caller, first: &[u8]) -> Result<Admission, AbortCode> {
        let _ = (caller, first);
        Ok(Admission { share: Share::Strangers, begins: Begins::Whole { most: STRANGERS_REQUEST } })
    }
}

/// The longest request of a stranger, in bytes.
pub const STRANGERS_REQUEST: usize = 8 << 10;

/// A service as the endpoint asks it.
pub(crate) struct ServiceGate(pub Arc<dyn Service>);

impl Gate for ServiceGate {
    fn admit(&self, caller: &Caller, first: &[u8]) -> Result<Admission, AbortCode> {
        self.0.admit(caller, first)
    }
}

/// The threads of one share, and the calls that wait for them.
#[derive(Default)]
pub(crate) struct Pool {
    pub incoming: VecDeque<(CallRef, ServiceId)>,
    pub threads: usize,
    pub idle: usize,
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
pub(crate) fn start_thread_if_needed(shared: &Arc<Shared>, state: &mut State, share: Share) {
    let pool = &mut state.pools[share.index()];
    let waiting = pool.incoming.len() > pool.idle;
    if !waiting || pool.threads >= shared.max_threads[share.index()] {
        state.waited_calls = state.waited_calls.wrapping_add(u32::from(waiting));
        return;
    }
    let for_thread = Arc::clone(shared);
    let name = ["rx-votes", "rx-members", "rx-strangers"][share.index()];
    let started =
        std::thread::Builder::new().name(name.to_owned()).spawn(move || serve_loop(&for_thread, share));
    // Without a thread the call waits for one that ends another.
    pool.threads += usize::from(started.is_ok());
}

fn serve_loop(shared: &Arc<Shared>, share: Share) {
    let mut state = shared.lock();
    while !state.closed {
        let Some((call, service)) = state.pools[share.index()].incoming.pop_front() else {
            state.pools[share.index()].idle += 1;
            state = shared.work[share.index()].wait(state).unwrap_or_else(PoisonError::into_inner);
            state.pools[share.index()].idle -= 1;
            continue;
        };
        drop(state);
        serve(shared, call, service);
        state = shared.lock();
    }
    state.pools[share.index()].threads -= 1;
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
