//! The threads that answer calls, and the call as they see it.
//!
//! Each share of calls ([`Share`]) has threads and a queue of its own: votes never wait for strangers. A handler may make calls
//! itself, also from the same port.

use std::sync::{Arc, PoisonError};

use rx_proto::admission::Share;
use rx_proto::rpc::{CallStream, ServedCall};
use rx_proto::{AbortCode, CallFailure, CallRef, Caller, ServiceId};

use crate::shared::Shared;
use crate::stream::Stream;

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

/// The life of a thread of this share: it answers calls until the port is closed.
pub(crate) fn serve_loop(shared: &Arc<Shared>, share: Share) {
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
