//! OpenAFS servers that refuse to begin a transaction, since a late beacon named the version before their last commit.
//!
//! Such a server compares its version with the last beacon's, which may have been sent before a commit and come after it. It is
//! told again and asked again, with growing pauses, for as long as a call may take.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::cell::ServerId;
use crate::time::Moment;

/// How long after the first refusal a server is asked again, at the soonest; each further refusal doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// The longest of these pauses.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A server that is to be asked again.
#[derive(Clone, Copy, Debug)]
struct Beginner {
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
    fn deadline(&self) -> Moment {
        if self.told { self.until.min(self.not_before) } else { self.until }
    }
}

/// What is to be done about a server that refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Ask it again.
    AskAgain,
    /// It answers no beacon, or has refused for too long.
    GiveUp,
}

/// The servers that refused to begin the transaction at hand.
#[derive(Clone, Debug, Default)]
pub(crate) struct Beginners(BTreeMap<ServerId, Beginner>);

impl Beginners {
    /// A server refuses; returns whether it is to be sent a beacon and asked again, which is for `patience` at most.
    pub(crate) fn refused(&mut self, now: Moment, peer: ServerId, patience: Duration) -> bool {
        let fresh = Beginner { until: now + patience, not_before: now, pause: FIRST_PAUSE, told: false };
        let beginner = self.0.entry(peer).or_insert(fresh);
        if now >= beginner.until {
            self.forget(peer);
            return false;
        }
        beginner.not_before = now + beginner.pause;
        beginner.pause = (beginner.pause * 2).min(LONGEST_PAUSE);
        beginner.told = false;
        true
    }

    /// A server has answered a beacon: if it refused before, it may be asked again.
    pub(crate) fn told(&mut self, peer: ServerId) {
        if let Some(beginner) = self.0.get_mut(&peer) {
            beginner.told = true;
        }
    }

    /// A server is being asked again.
    pub(crate) fn asked(&mut self, peer: ServerId) {
        if let Some(beginner) = self.0.get_mut(&peer) {
            beginner.told = false;
        }
    }

    /// Nothing is to be done about a server any more.
    pub(crate) fn forget(&mut self, peer: ServerId) {
        self.0.remove(&peer);
    }

    /// A new transaction begins.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// What is to be done now.
    pub(crate) fn due(&self, now: Moment) -> Vec<(ServerId, Due)> {
        let due = self.0.iter().filter(|(_, beginner)| now >= beginner.deadline());
        let what = |beginner: &Beginner| if now >= beginner.until { Due::GiveUp } else { Due::AskAgain };
        due.map(|(&peer, beginner)| (peer, what(beginner))).collect()
    }

    /// When something is to be done.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        self.0.values().map(Beginner::deadline).min()
    }
}
