//! What the application does to a connection: start, write, finish, end calls.

use super::{Channel, Connection, Context};
use crate::call::{Call, Side};
use crate::codes::{AbortCode, CallFailure};
use crate::names::CallRef;
use crate::packet::HEADER_LEN;
use crate::peer::Peer;
use crate::security::PacketPosition;

impl Connection {
    /// Starts a call on the first free channel; `None` if all four are busy.
    pub fn start_call(&mut self, context: &mut Context<'_>) -> Option<CallRef> {
        let index = self.channels.iter().position(Channel::is_free)?;
        let windows = context.windows();
        self.drop_call(index, context);
        let channel = &mut self.channels[index];
        channel.number += 1;
        channel.ended = None;
        let call = Call::new(channel.number, Side::Client, self.timeouts, windows, context.now);
        channel.call = Some(Box::new(call));
        context.counters.calls_executed = context.counters.calls_executed.wrapping_add(1);
        Some(CallRef { connection: self.me, channel: index as u8, number: channel.number })
    }

    /// The call, if the application still has it.
    pub fn call(&mut self, channel: u8, number: u32) -> Option<&mut Call> {
        let call = self.channels.get_mut(usize::from(channel))?.call.as_deref_mut()?;
        (call.number == number && call.attached).then_some(call)
    }

    /// Takes bytes into the stream; returns how many. 0 means: wait for progress.
    pub fn write(
        &mut self,
        at: CallRef,
        bytes: &[u8],
        context: &mut Context<'_>,
    ) -> Result<usize, CallFailure> {
        let room = self.payload_room(context.peer);
        let mut taken = 0;
        while taken < bytes.len() {
            let call = self.call(at.channel, at.number).ok_or(CallFailure::GONE)?;
            if let Some(failure) = call.failure {
                return Err(failure);
            }
            if call.send.is_finished() {
                return Err(CallFailure::Unanswered(AbortCode::PROTOCOL_ERROR));
            }
            if call.send.partial.len() >= room {
                if !call.send.has_room() {
                    call.writer_waits = taken == 0;
                    break;
                }
                self.cut(at, false)?;
                continue;
            }
            let count = (room - call.send.partial.len()).min(bytes.len() - taken);
            call.send.partial.extend_from_slice(&bytes[taken..taken + count]);
            taken += count;
        }
        Ok(taken)
    }

    /// Ends our direction of the call.
    pub fn finish(&mut self, at: CallRef) -> Result<(), CallFailure> {
        let call = self.call(at.channel, at.number).ok_or(CallFailure::GONE)?;
        match call.failure {
            Some(failure) => Err(failure),
            None if call.send.is_finished() => Ok(()),
            None => self.cut(at, true),
        }
    }

    /// Seals what is in the partial packet and adds it to the stream.
    pub(super) fn cut(&mut self, at: CallRef, is_last: bool) -> Result<(), CallFailure> {
        let channel = &mut self.channels[usize::from(at.channel)];
        let call = channel.call.as_deref_mut().ok_or(CallFailure::GONE)?;
        let mut payload = std::mem::take(&mut call.send.partial);
        let position =
            PacketPosition { channel: at.channel, call_number: at.number, seq: call.send.next_seq() };
        let checksum = self.security.seal(position, &mut payload).map_err(CallFailure::Unanswered)?;
        call.send.push(payload, checksum, is_last);
        Ok(())
    }

    /// Bytes of the application that fit into a packet.
    pub(super) fn payload_room(&self, peer: &Peer) -> usize {
        usize::from(peer.packet_size) - HEADER_LEN - self.security.overhead()
    }

    /// The application is done with the call: a server's reply goes out, a client's reply is acked; a call that is not
    /// complete fails with `code`.
    pub fn end_call(&mut self, at: CallRef, code: Option<AbortCode>, context: &mut Context<'_>) {
        let Some(call) = self.call(at.channel, at.number) else {
            return;
        };
        if call.failure.is_none() && code.is_none() && call.side == Side::Server {
            let _ = self.finish(at);
        }
        let Some(call) = self.call(at.channel, at.number) else {
            return;
        };
        let complete = match call.side {
            Side::Client => call.receive.is_complete(),
            Side::Server => call.send.is_finished(),
        };
        let code = code.or((!complete).then_some(AbortCode::USER_ABORT));
        if call.failure.is_none() {
            match code {
                Some(code) => {
                    self.fail_call(usize::from(at.channel), CallFailure::Unanswered(code), true);
                }
                None if call.side == Side::Client => call.ack_reply(false, context.now),
                None => call.receive.discard(),
            }
        }
        if let Some(call) = self.call(at.channel, at.number) {
            call.attached = false;
            if call.side == Side::Server {
                context.shares.of(call.share).attached -= 1;
            }
        }
    }
}
