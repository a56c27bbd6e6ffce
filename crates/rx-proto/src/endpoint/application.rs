//! What the application does: connections, and the calls on them.

use std::net::SocketAddr;

use super::Endpoint;
use crate::call::Side;
use crate::codes::{AbortCode, CallFailure};
use crate::config::Timeouts;
use crate::connection::Connection;
use crate::names::{CallRef, Caller, ConnectionRef, Read, ServiceId, StartError};
use crate::security::{ConnectionIdentity, SecurityClass, SecurityIndex};
use crate::table::Key;
use crate::time::Time;

impl Endpoint {
    /// Opens a connection to a service. Nothing is sent before the first call.
    pub fn connect(
        &mut self,
        now: Time,
        peer: SocketAddr,
        service: ServiceId,
        security: &dyn SecurityClass,
        timeouts: Timeouts,
    ) -> ConnectionRef {
        let identity = self.fresh_identity(security.index());
        let state = security.connection(identity);
        self.peer_mut(peer).connections += 1;
        let key =
            Key::new(identity.epoch, identity.connection_id, identity.security_index.0, Side::Client, peer);
        self.table.insert(key, |me| {
            Connection::new(me, identity, Side::Client, service, peer, state, timeouts, 0, now)
        })
    }

    pub(super) fn fresh_identity(&mut self, security_index: SecurityIndex) -> ConnectionIdentity {
        let connection_id = self.next_connection_id;
        self.next_connection_id = connection_id.wrapping_add(4);
        ConnectionIdentity { epoch: self.epoch, connection_id, security_index }
    }

    /// Closes a connection; calls on it fail.
    pub fn close(&mut self, now: Time, at: ConnectionRef) {
        self.with(now, at, |connection, context| {
            if connection.is_in_use() {
                connection.fail(AbortCode::USER_ABORT, true);
            }
            connection.closing = true;
            connection.settle(context);
        });
    }

    /// Why a connection has failed, if it has.
    pub fn connection_error(&self, at: ConnectionRef) -> Option<AbortCode> {
        self.table.get(at)?.error
    }

    /// Changes the time-outs of calls that start from now on.
    pub fn set_timeouts(&mut self, at: ConnectionRef, timeouts: Timeouts) {
        if let Some(connection) = self.table.get_mut(at) {
            connection.timeouts = timeouts;
        }
    }

    /// Starts a call; `None` while all four channels are busy ([`crate::Event::ChannelFree`] tells when not).
    ///
    /// # Errors
    /// The connection is closed or has failed.
    pub fn start_call(&mut self, now: Time, at: ConnectionRef) -> Result<Option<CallRef>, StartError> {
        let result = self.with(now, at, |connection, context| {
            if let Some(code) = connection.error {
                return Err(StartError::Failed(code));
            }
            if connection.closing {
                return Err(StartError::Closed);
            }
            let call = connection.start_call(context);
            connection.waits_for_channel |= call.is_none();
            Ok(call)
        });
        result.unwrap_or(Err(StartError::Closed))
    }

    /// Writes to a call; returns how many bytes were taken. 0 means: wait for [`crate::Event::Progress`].
    ///
    /// # Errors
    /// The call has failed so.
    pub fn write(&mut self, now: Time, call: CallRef, bytes: &[u8]) -> Result<usize, CallFailure> {
        let result =
            self.with(now, call.connection, |connection, context| connection.write(call, bytes, context));
        result.unwrap_or(Err(CallFailure::GONE))
    }

    /// Ends our direction of a call: the peer reads the end.
    ///
    /// # Errors
    /// The call has failed so.
    pub fn finish(&mut self, now: Time, call: CallRef) -> Result<(), CallFailure> {
        let result = self.with(now, call.connection, |connection, _| connection.finish(call));
        result.unwrap_or(Err(CallFailure::GONE))
    }

    /// Reads from a call.
    ///
    /// # Errors
    /// The call has failed so; for a client [`CallFailure::Aborted`] is also how a server says no.
    pub fn read(&mut self, now: Time, at: CallRef, out: &mut [u8]) -> Result<Read, CallFailure> {
        let result = self.with(now, at.connection, |connection, _| {
            let Some(call) = connection.call(at.channel, at.number) else {
                return Err(CallFailure::GONE);
            };
            let count = call.receive.read(out);
            if count > 0 {
                call.on_read(now);
                return Ok(Read::Bytes(count));
            }
            match call.failure {
                Some(failure) => Err(failure),
                None if call.receive.is_at_end() => Ok(Read::End),
                None => {
                    call.reader_waits = !out.is_empty();
                    Ok(Read::Blocked)
                }
            }
        });
        result.unwrap_or(Err(CallFailure::GONE))
    }

    /// The application is done with a call. With a code, or when it is not complete, it is aborted; a complete reply
    /// goes out, a complete one that was read is acked.
    pub fn end_call(&mut self, now: Time, call: CallRef, code: Option<AbortCode>) {
        self.with(now, call.connection, |connection, context| connection.end_call(call, code, context));
    }

    /// Who is at the other end of a call.
    pub fn caller(&self, call: CallRef) -> Option<Caller> {
        Some(self.table.get(call.connection)?.caller(usize::from(call.channel)))
    }
}
