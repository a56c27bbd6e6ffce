//! What peers ask of a running server.

use std::sync::{Arc, Weak};

use rx::ServiceId;
use ubik_proto::cell::ServerId;
use ubik_proto::code::AbortCode;
use ubik_proto::election::beacon::VoteReply;
use ubik_proto::election::vote::Vote;
use ubik_proto::messages::{Beacon, DiskCall, VoteCall};
use ubik_proto::version::Version;

use super::Shared;
use crate::effect::Answer;
use crate::hosts::Hosts;
use crate::locks::{Held, Nothing};
use crate::phys::Replacement;
use crate::server_state::ServerState;
use crate::snapshot::Snapshot;

/// Takes the calls of peers, from any thread, as long as the server runs.
#[derive(Clone)]
pub struct PeerService(pub(super) Weak<Shared>);

impl PeerService {
    /// The server, while it runs.
    fn server(&self) -> Option<Arc<Shared>> {
        self.0.upgrade().filter(|shared| !shared.is_stopped())
    }

    /// A beacon; the vote to answer with, `None` if the answer must not be sent.
    pub fn serve_beacon(&self, from: ServerId, series: u64, beacon: &Beacon) -> Option<VoteReply> {
        let shared = self.server()?;
        let mut held = Held::thread_entry();
        let (vote, commands) = shared.state.on_beacon(&mut held, from, series, beacon);
        shared.perform(&mut held, commands);
        match vote {
            Vote::No(_) => Some(VoteReply::No(shared.state.agreeable(&mut held, from))),
            Vote::Yes { persist: None } => Some(VoteReply::Yes(beacon.start)),
            Vote::Yes { persist: Some(record) } if shared.save_promise(&mut held, record) => {
                Some(VoteReply::Yes(beacon.start))
            }
            // A vote that could not be saved is not given.
            Vote::Yes { persist: Some(_) } => Some(VoteReply::No(shared.state.agreeable(&mut held, from))),
        }
    }

    /// Debug calls tell the addresses of these hosts from now on, and this database, whose votes are at `votes`, hears from the
    /// others that share them when a host answers again.
    pub fn know_hosts(&self, hosts: &Arc<Hosts>, votes: ServiceId) {
        if let Some(shared) = self.server() {
            shared.state.know_hosts(hosts.clone());
        }
        let peers = self.clone();
        hosts.watch(votes, move |peer| {
            if let Some(shared) = peers.server() {
                let mut held = Held::thread_entry();
                let commands = shared.state.on_peer_seen(&mut held, peer);
                shared.perform(&mut held, commands);
            }
        });
    }

    /// A debug call; the answer's bytes, `None` if it asks about a server that there is not.
    pub fn serve_debug(&self, call: VoteCall) -> Option<Vec<u8>> {
        self.server()?.state.debug(&mut Held::thread_entry(), call)
    }

    /// The address of the sync site as this server knows it; 0 if it knows none.
    pub fn sync_site_address(&self) -> u32 {
        let Some(shared) = self.server() else { return 0 };
        shared.state.with_election(&mut Held::thread_entry(), |now, election| {
            election.sync_site(now.moment).map_or(0, |id| election.cell().server(id).address)
        })
    }

    /// The newest version that is known here to be committed, for a copy.
    pub fn committed(&self) -> Option<Snapshot> {
        self.server()?.state.database().visible()
    }

    /// Any call of the DISK service but `SendFile`.
    ///
    /// # Errors
    /// What the caller is told.
    pub fn serve_call(&self, from: ServerId, call: DiskCall) -> Result<Answer, AbortCode> {
        let shared = self.server().ok_or(AbortCode::NO_QUORUM)?;
        let mut held = Held::thread_entry();
        let restarted = matches!(call, DiskCall::UpdateInterfaceAddr(_));
        let answered = shared.answer_when(&mut held, |state, held, id| state.on_call(held, from, id, call));
        if restarted {
            let effects = shared.state.on_peer_restarted(&mut held, from);
            shared.carry_out(&mut held, effects);
        }
        answered
    }

    /// Where a `SendFile` of `version` puts its bytes, if `from` may send them.
    ///
    /// # Errors
    /// What the caller is told, before it has sent them.
    pub fn begin_receive(&self, from: ServerId, version: Version) -> Result<Box<dyn Replacement>, AbortCode> {
        let shared = self.server().ok_or(AbortCode::NO_QUORUM)?;
        let mut held = Held::thread_entry();
        let (received, effects) = shared.state.receive(&mut held, from, version);
        shared.carry_out(&mut held, effects);
        received
    }

    /// A `SendFile` whose bytes have all come.
    ///
    /// # Errors
    /// What the caller is told.
    pub fn serve_database(
        &self,
        from: ServerId,
        version: Version,
        received: Box<dyn Replacement>,
    ) -> Result<Answer, AbortCode> {
        let shared = self.server().ok_or(AbortCode::NO_QUORUM)?;
        let take = |state: &ServerState, held: &mut Held<'_, Nothing>, id| {
            state.on_database(held, from, id, version, received)
        };
        shared.answer_when(&mut Held::thread_entry(), take)
    }
}
