//! What becomes of a call that a peer begins: its service says whose it is, and the application gets it in its time.

use super::{Connection, Context};
use crate::admission::Share;
use crate::codes::{AbortCode, CallFailure};
use crate::names::{CallRef, Caller, Event};

impl Connection {
    /// Asks the service about a call as soon as its first packet is here.
    pub(super) fn admit_call(&mut self, index: usize, context: &mut Context<'_>) {
        let Some(call) = self.channels[index].call.as_deref() else { return };
        if call.admitted || call.failure.is_some() || !call.receive.is_readable() {
            return;
        }
        let (caller, at) = (self.caller(index), self.call_ref(index));
        let gate = context.gates.get(&self.service);
        let decision = gate
            .ok_or(AbortCode::INVALID_OPERATION)
            .and_then(|gate| gate.admit(&caller, call.receive.first_packet()));
        let admission = match decision {
            Ok(admission) => admission,
            Err(code) => return self.fail_call(index, CallFailure::Unanswered(code), true),
        };
        let windows = context.windows_of(admission.share);
        let Some(call) = self.channels[index].call.as_deref_mut() else { return };
        if call.share != admission.share {
            context.shares.leave(call.share);
            context.shares.enter(admission.share, at);
        }
        call.admit(admission, windows);
        self.is_member |= admission.share != Share::Strangers;
    }

    /// Gives a call to the application, when it may have it and its share has room.
    pub(super) fn announce_call(&mut self, index: usize, context: &mut Context<'_>) {
        let at = self.call_ref(index);
        let Some(call) = self.channels[index].call.as_deref_mut() else { return };
        if call.announced || !call.admitted || call.failure.is_some() {
            return;
        }
        let share = call.share;
        match call.is_ready(context.now) {
            Ok(false) => {}
            Err(code) => self.fail_call(index, CallFailure::Unanswered(code), true),
            Ok(true)
                if context.shares.of(share).attached >= context.config.shares[share.index()].attached =>
            {
                context.counters.overload_drops = context.counters.overload_drops.wrapping_add(1);
                self.fail_call(index, CallFailure::Unanswered(AbortCode::RESTARTING), true);
            }
            Ok(true) => {
                (call.announced, call.attached) = (true, true);
                context.shares.of(share).attached += 1;
                context.counters.calls_executed = context.counters.calls_executed.wrapping_add(1);
                context.events.push_back(Event::IncomingCall { call: at, service: self.service, share });
            }
        }
    }

    /// Who is at the other end of a call.
    pub fn caller(&self, index: usize) -> Caller {
        Caller {
            address: self.peer,
            local: self.local,
            security: self.identity.security_index,
            identity: self.security.identity(),
            channel: (u64::from(self.me.generation) << 32) | (u64::from(self.me.index) << 2) | index as u64,
        }
    }

    /// Whether a call is here, and is this share's; and whether it may give way to another.
    pub fn may_give_way(&self, at: CallRef, share: Share) -> Option<bool> {
        let call = self.channels[usize::from(at.channel)].call.as_deref()?;
        (call.number == at.number && call.share == share).then_some(!call.attached)
    }

    /// A call gives way to another.
    pub fn give_way(&mut self, at: CallRef, context: &mut Context<'_>) {
        let index = usize::from(at.channel);
        context.counters.overload_drops = context.counters.overload_drops.wrapping_add(1);
        self.fail_call(index, CallFailure::Unanswered(AbortCode::RESTARTING), true);
        self.drop_call(index, context);
    }
}
