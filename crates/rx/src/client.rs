//! The client's side: connections and the calls made on them, both waiting as ordinary code does.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};

use rx_proto::rpc::{CallStream, Dial};
use rx_proto::{AbortCode, CallFailure, ConnectionRef, StartError, Timeouts};

use crate::shared::Shared;
use crate::stream::Stream;

/// A connection to a service of a peer. Closes when dropped.
pub struct Connection {
    shared: Arc<Shared>,
    at: ConnectionRef,
    peer: SocketAddr,
}

impl Connection {
    pub(crate) fn new(shared: Arc<Shared>, at: ConnectionRef, peer: SocketAddr) -> Connection {
        Connection { shared, at, peer }
    }

    /// The peer's address.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Why the whole connection has failed, if it has; no call can be made on it any more.
    pub fn failure(&self) -> Option<AbortCode> {
        self.shared.lock().endpoint.connection_error(self.at)
    }

    /// Changes the time-outs of calls that start from now on.
    pub fn set_timeouts(&self, timeouts: Timeouts) {
        self.shared.lock().endpoint.set_timeouts(self.at, timeouts);
    }

    /// Starts a call; waits while four others run.
    ///
    /// # Errors
    /// The connection has failed, or the port is closed. A connection that has failed stays so: open another.
    pub fn start(&self) -> Result<ClientCall, CallFailure> {
        let mut state = self.shared.lock();
        loop {
            if state.closed {
                return Err(CallFailure::NotSent(AbortCode::RESTARTING));
            }
            match state.endpoint.start_call(self.shared.now(), self.at) {
                Ok(Some(at)) => {
                    return Ok(ClientCall { stream: Stream::new(&self.shared, at), finished: false });
                }
                Ok(None) => {
                    let waiter = Arc::clone(state.channel_waiters.entry(self.at).or_default());
                    state = waiter.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                Err(StartError::Failed(code)) => return Err(CallFailure::NotSent(code)),
                Err(StartError::Closed) => return Err(CallFailure::NotSent(AbortCode::USER_ABORT)),
            }
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.channel_waiters.remove(&self.at);
        state.endpoint.close(self.shared.now(), self.at);
        self.shared.flush(state);
    }
}

impl Dial for Connection {
    type Call = ClientCall;

    fn dial(&self) -> Result<ClientCall, CallFailure> {
        self.start()
    }

    fn complete(&self, call: ClientCall) -> Result<(), CallFailure> {
        drop(call);
        Ok(())
    }
}

/// A call that we make: write the request, read the reply to its end. A call that is dropped before its reply has
/// come whole is aborted.
pub struct ClientCall {
    stream: Stream,
    finished: bool,
}

impl ClientCall {
    /// Ends the request; the first read does so too.
    ///
    /// # Errors
    /// The call has failed so.
    pub fn finish(&mut self) -> Result<(), CallFailure> {
        if std::mem::replace(&mut self.finished, true) {
            return Ok(());
        }
        self.stream.finish()
    }

    /// Gives the call up: the server sees `code`.
    pub fn abort(mut self, code: AbortCode) {
        self.stream.end(Some(code));
    }
}

impl CallStream for ClientCall {
    fn write(&mut self, bytes: &[u8]) -> Result<(), CallFailure> {
        self.stream.write(bytes)
    }

    fn read(&mut self, out: &mut [u8]) -> Result<usize, CallFailure> {
        self.finish()?;
        self.stream.read(out)
    }
}
