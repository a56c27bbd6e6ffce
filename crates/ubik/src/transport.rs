//! How a server reaches its peers: the seam between the driver and the network.

use ubik_proto::cell::ServerId;
use ubik_proto::election::beacon::VoteReply;
use ubik_proto::messages::{Beacon, DiskCall};
use ubik_proto::version::Version;

use crate::effect::{CallError, Reply};
use crate::phys::Replacement;
use crate::snapshot::Snapshot;

/// Calls to peers. Each blocks until it is answered or has failed; each may be made from many threads at once.
pub trait Transport: Send + Sync {
    /// Asks for a vote, on connection `series`: a number not used before wants a new connection, and no call may be
    /// received twice or after a later one on the same.
    fn beacon(&self, to: ServerId, series: u64, beacon: &Beacon) -> VoteReply;

    /// Asks whether a peer is there, on all its addresses.
    fn probe(&self, to: ServerId) -> bool;

    /// Any call but the two transfers.
    ///
    /// # Errors
    /// The peer's error, or that there was no answer.
    fn call(&self, to: ServerId, call: &DiskCall) -> Result<Reply, CallError>;

    /// `SendFile`.
    ///
    /// # Errors
    /// As for [`Transport::call`].
    fn send(&self, to: ServerId, database: &Snapshot) -> Result<(), CallError>;

    /// `GetFile`; returns the version of what was put into `into`.
    ///
    /// # Errors
    /// As for [`Transport::call`], or that the bytes could not be kept.
    fn fetch(&self, to: ServerId, into: &mut dyn Replacement) -> Result<Version, CallError>;
}
