//! What comes out of [`Election`](super::Election), and what the database's side tells it.

use crate::cell::{ServerId, ServerSet};
use crate::election::promise::PromiseRecord;
use crate::messages::Beacon;
use crate::version::{TransactionId, Version};

/// Something to do, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Send a beacon; answer with [`Election::on_vote`](super::Election::on_vote) and the same number.
    Beacon {
        /// To whom.
        to: ServerId,
        /// On which connection; a number not used before wants a new one.
        series: u64,
        /// Which beacon.
        number: u64,
        /// What.
        beacon: Beacon,
    },
    /// Ask whether it is there; answer with [`Election::on_probe`](super::Election::on_probe).
    Probe {
        /// Whom.
        to: ServerId,
    },
    /// Write the record, sync it, then call [`Election::on_own_vote_persisted`](super::Election::on_own_vote_persisted).
    PersistOwnVote(PromiseRecord),
    /// Tell the database's side, without making the beacon wait for it.
    Notify(Event),
    /// A peer has told its wall clock; nothing is decided by it.
    Clock {
        /// Which.
        of: ServerId,
        /// How far it is ahead of this server's, in seconds.
        ahead_secs: i64,
    },
}

/// What the database's side must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// This server was elected.
    Elected {
        /// Its epoch.
        epoch: u32,
    },
    /// It is sync site no more.
    SteppedDown {
        /// Its epoch.
        epoch: u32,
    },
    /// It gave its promise to another server, or in another epoch.
    Follows {
        /// Whom.
        host: ServerId,
        /// Its epoch.
        epoch: u32,
    },
    /// It said yes to the sync site, which vouches for this and has this transaction.
    Heard {
        /// The sync site.
        host: ServerId,
        /// What it vouches for.
        version: Version,
        /// The running or the next transaction.
        transaction: TransactionId,
    },
    /// A peer's vote was counted: it may take part again, and its older leases are over.
    Voted {
        /// Which.
        peer: ServerId,
    },
    /// A peer does not answer.
    Down {
        /// Which.
        peer: ServerId,
    },
}

impl Event {
    /// Whether nothing of this event is worth knowing after `later`.
    pub fn is_outdated_by(&self, later: &Event) -> bool {
        match (self, later) {
            (Event::Heard { .. }, Event::Heard { .. }) | (Event::Follows { .. }, Event::Follows { .. }) => {
                true
            }
            (Event::Voted { peer }, Event::Voted { peer: same })
            | (Event::Down { peer }, Event::Down { peer: same }) => peer == same,
            _ => false,
        }
    }
}

/// What the sync site lets its followers read: set by the database's side, sent with the beacons.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Claim {
    /// The version it vouches for.
    pub version: Version,
    /// The servers that hold it.
    pub in_step: ServerSet,
    /// The counter of the running or next transaction.
    pub transaction: u32,
    /// Servers are being told to commit, so some hold the next version already.
    pub deciding: bool,
    /// While the label is not committed: the version before it, and the OpenAFS servers that hold it and are to take the
    /// label. They take part in nothing that a beacon has not said they hold.
    pub relabelling: Option<(Version, ServerSet)>,
}
