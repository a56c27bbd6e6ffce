//! OpenAFS servers that refuse to begin a transaction, since a late beacon named the version before their last commit.

use ubik_proto::cell::{Dialect, ServerId};
use ubik_proto::messages::DiskCall;
use ubik_proto::version::TransactionId;

use super::Purpose;
use crate::commit::Taker;
use crate::effect::Effect;
use crate::replica::{Context, Replica};

impl Replica {
    /// An OpenAFS server compares its version with the last beacon's, which may have been sent before a commit and come
    /// after it. It is told again and asked again, for as long as a call may take; returns whether it will be.
    pub(super) fn may_begin_again(
        &mut self,
        cx: &mut Context<'_, '_>,
        peer: ServerId,
        id: TransactionId,
    ) -> bool {
        let patience = cx.now.moment + self.profile.disk_timeout;
        if self.cell.server(peer).dialect != Dialect::OpenAfs {
            return false;
        }
        let Some(role) = &mut self.role else { return false };
        let at_begin =
            role.commit.as_ref().filter(|commit| commit.id == id).is_some_and(|c| c.is_at_begin(peer));
        let until = *role.begin_again.entry(peer).or_insert(patience);
        if !at_begin || cx.now.moment >= until {
            role.begin_again.remove(&peer);
            return false;
        }
        let now = cx.now;
        let commands = cx.power().tell_again(now, peer);
        cx.effects.extend(commands.into_iter().map(Effect::Power));
        true
    }

    /// A peer has answered a beacon: if it refused a beginning before, it is asked again.
    pub(crate) fn begin_again(&mut self, cx: &mut Context<'_, '_>, peer: ServerId) {
        let Some(role) = &mut self.role else { return };
        let Some(commit) = role.commit.as_ref().filter(|commit| commit.is_at_begin(peer)) else {
            role.begin_again.remove(&peer);
            return;
        };
        let (epoch, id) = (role.recovery.epoch(), commit.id);
        let waits = role.begin_again.contains_key(&peer);
        let under_way = self.calls.values().any(|c| c.to == peer && c.purpose == Purpose::Prepare(id));
        if waits && !under_way {
            self.call(cx, epoch, peer, Purpose::Prepare(id), DiskCall::Begin(id));
        }
    }

    /// Gives up servers that were to be asked again and answer no beacon.
    pub(super) fn drop_silent_beginners(&mut self, cx: &mut Context<'_, '_>) {
        let now = cx.now.moment;
        let retry = now + self.profile.beacon / 4;
        let Some(role) = &mut self.role else { return };
        let late: Vec<ServerId> =
            role.begin_again.iter().filter(|&(_, &until)| now >= until).map(|(&peer, _)| peer).collect();
        for peer in late {
            role.begin_again.remove(&peer);
            let waiting =
                self.calls.values().any(|c| c.to == peer && matches!(c.purpose, Purpose::Prepare(_)));
            if let Some(commit) = role.commit.as_mut().filter(|c| c.is_at_begin(peer) && !waiting)
                && let Some(taker) = commit.taker(peer)
            {
                *taker = Taker::Failed;
                role.recovery.failed(peer, retry);
            }
        }
    }
}
