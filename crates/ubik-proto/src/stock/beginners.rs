//! OpenAFS servers that refuse to begin a transaction, since a late beacon named the version before their last commit.

use std::time::Duration;

use crate::cell::ServerId;
use crate::messages::DiskCall;
use crate::replica::{Context, Purpose, Replica};
use crate::time::Moment;
use crate::version::TransactionId;

/// How long after the first refusal a server is asked again, at the soonest; each further refusal doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// The longest of these pauses.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A server that is to be asked again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Beginner {
    /// It is given up then.
    until: Moment,
    /// It is left alone until then.
    not_before: Moment,
    pause: Duration,
    /// It has answered a beacon since it refused.
    told: bool,
}

impl Beginner {
    /// When something is to be done about it.
    pub(crate) fn deadline(&self) -> Moment {
        if self.told { self.until.min(self.not_before) } else { self.until }
    }
}

impl<R> Replica<R> {
    /// An OpenAFS server compares its version with the last beacon's, which may have been sent before a commit and come
    /// after it. It is told again and asked again, with growing pauses, for as long as a call may take; returns whether it
    /// will be.
    pub(crate) fn may_begin_again(
        &mut self,
        cx: &mut Context<'_, R>,
        peer: ServerId,
        id: TransactionId,
    ) -> bool {
        let now = cx.now.moment;
        let fresh = Beginner {
            until: now + self.profile.disk_timeout,
            not_before: now,
            pause: FIRST_PAUSE,
            told: false,
        };
        if self.cell.server(peer).dialect.keeps_epochs() {
            return false;
        }
        let Some(role) = &mut self.role else { return false };
        let at_begin =
            role.commit.as_ref().filter(|commit| commit.id == id).is_some_and(|c| c.is_at_begin(peer));
        let beginner = role.begin_again.entry(peer).or_insert(fresh);
        if !at_begin || now >= beginner.until {
            role.begin_again.remove(&peer);
            return false;
        }
        beginner.not_before = now + beginner.pause;
        beginner.pause = (beginner.pause * 2).min(LONGEST_PAUSE);
        beginner.told = false;
        let commands = cx.election.tell_again(cx.now, peer);
        cx.extend(commands);
        true
    }

    /// A peer has answered a beacon: if it refused a beginning before, it may be asked again.
    pub(crate) fn beginner_told(&mut self, peer: ServerId) {
        let Some(role) = &mut self.role else { return };
        if role.commit.as_ref().is_none_or(|commit| !commit.is_at_begin(peer)) {
            role.begin_again.remove(&peer);
        } else if let Some(beginner) = role.begin_again.get_mut(&peer) {
            beginner.told = true;
        }
    }

    /// Asks again whose pause is over, and gives up who answers no beacon, or refuses for too long.
    pub(crate) fn settle_beginners(&mut self, cx: &mut Context<'_, R>) {
        let now = cx.now.moment;
        let retry = now + self.profile.beacon / 4;
        let Some(role) = &mut self.role else { return };
        let due: Vec<(ServerId, Beginner)> = role
            .begin_again
            .iter()
            .filter(|(_, beginner)| now >= beginner.deadline())
            .map(|(&peer, &beginner)| (peer, beginner))
            .collect();
        for (peer, beginner) in due {
            let waiting =
                self.calls.values().any(|c| c.to == peer && matches!(c.purpose, Purpose::Prepare(_)));
            let Some(role) = &mut self.role else { return };
            let (epoch, late) = (role.recovery.epoch(), now >= beginner.until);
            let Some(commit) = role.commit.as_mut().filter(|c| c.is_at_begin(peer) && !waiting) else {
                role.begin_again.remove(&peer);
                continue;
            };
            let id = commit.id;
            if late {
                role.begin_again.remove(&peer);
                role.taker_failed(peer, id, retry);
            } else {
                if let Some(asked) = role.begin_again.get_mut(&peer) {
                    asked.told = false;
                }
                self.call(cx, epoch, peer, Purpose::Prepare(id), DiskCall::Begin(id));
            }
        }
    }
}
