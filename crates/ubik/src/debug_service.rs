//! The debug calls: what this server is and what it knows of the others, as `udebug` prints it.
//!
//! Each part is taken under the lock that guards it, so it is consistent in itself; no call holds a lock while anything
//! is waited for, and everything that is sent was put there on purpose.

use ubik_proto::cell::{ServerId, ServerKind};
use ubik_proto::changed::PAGE_LEN;
use ubik_proto::election::Election;
use ubik_proto::messages::VoteCall;
use ubik_proto::replica::SyncSite;
use ubik_proto::replica::recovery::Progress;
use ubik_proto::stock::debug::{Generation, ServerDebug, SiteDebug};
use ubik_proto::time::{Moment, Now};
use ubik_proto::version::{TransactionId, Version};

use crate::database::Database;
use crate::locks::{Held, Nothing};
use crate::server_state::{Replica, ServerState};

impl ServerState {
    /// The answer to a debug call; `None` if it asks about a server that is not in the list, or is none.
    pub fn debug(&self, held: &mut Held<'_, Nothing>, call: VoteCall) -> Option<Vec<u8>> {
        match call {
            VoteCall::DebugOld => Some(self.site_debug(held).encode(Generation::Old)),
            VoteCall::Debug => Some(self.site_debug(held).encode(Generation::Addresses)),
            VoteCall::DebugWithKind => Some(self.site_debug(held).encode(Generation::Kind)),
            VoteCall::ServerDebugOld(which) => Some(self.server_debug(held, which)?.encode(Generation::Old)),
            VoteCall::ServerDebug(which) => {
                Some(self.server_debug(held, which)?.encode(Generation::Addresses))
            }
            VoteCall::ServerDebugWithKind(which) => {
                Some(self.server_debug(held, which)?.encode(Generation::Kind))
            }
            VoteCall::Stands => {
                let stands = self.with_election(held, |_, election| election.is_eligible());
                Some(u32::from(stands).to_be_bytes().to_vec())
            }
            VoteCall::Beacon(_) | VoteCall::SyncSite => None,
        }
    }

    /// What this server is.
    pub fn site_debug(&self, held: &mut Held<'_, Nothing>) -> SiteDebug {
        let mut debug = self.with_election(held, of_election);
        self.with_replica(held, |replica| add_replica(&mut debug, self.database(), replica));
        if let Some(hosts) = self.hosts() {
            debug.addresses = hosts.own().to_vec();
        }
        debug
    }

    /// What it knows of the `which`th other server.
    pub fn server_debug(&self, held: &mut Held<'_, Nothing>, which: u32) -> Option<ServerDebug> {
        let (peer, mut debug) = self.with_election(held, |now, election| {
            let peer = election.cell().peers().nth(which as usize)?;
            Some((peer, of_link(now, election, peer)))
        })?;
        self.with_replica(held, |replica| {
            let version = replica.role().and_then(|role| role.version_of(peer));
            debug.remote_version = version.unwrap_or(Version::NONE);
            debug.current = version == Some(replica.tail());
        });
        debug.addresses = self.hosts().map_or_else(Vec::new, |hosts| hosts.others(peer));
        Some(debug)
    }
}

/// A reading of the monotonic clock, as the wall clock would have shown it.
fn wall_of(now: Now, at: Moment) -> i32 {
    let seconds = if at >= now.moment {
        now.wall.saturating_add(at.since(now.moment).as_secs().min(i32::MAX as u64) as i64)
    } else {
        now.wall.saturating_sub(now.moment.since(at).as_secs() as i64)
    };
    i32::try_from(seconds).unwrap_or(i32::MAX)
}

fn of_election(now: Now, election: &Election) -> SiteDebug {
    let cell = election.cell();
    let address = |id: ServerId| cell.server(id).address;
    let me = cell.server(cell.me());
    let mut debug = SiteDebug {
        now: wall_of(now, now.moment),
        lowest_host: me.address,
        lowest_time: wall_of(now, now.moment),
        sync_host: election.sync_site(now.moment).map_or(0, address),
        is_sync_site: election.holds_mandate(now.moment),
        servers: cell.len() as i32,
        epoch_time: election.epoch().unwrap_or(0) as i32,
        // What C has before it votes.
        last_yes_host: u32::MAX,
        addresses: vec![me.address],
        is_clone: me.kind == ServerKind::Clone,
        ..SiteDebug::default()
    };
    if let Some(following) = election.voter().following() {
        debug.last_yes_time = wall_of(now, following.last_yes);
        debug.last_yes_host = address(following.host);
        if following.host < cell.me() || me.kind == ServerKind::Clone {
            debug.lowest_host = address(following.host);
            debug.lowest_time = debug.last_yes_time;
        }
        debug.last_yes_state = following.claims_sync_site;
        debug.last_yes_claim = debug.last_yes_time;
        debug.sync_time = debug.last_yes_time;
        debug.sync_version = following.version;
        debug.sync_transaction = following.transaction;
    }
    if debug.is_sync_site {
        debug.sync_site_until = election.mandate_end().map_or(0, |end| wall_of(now, end));
        debug.sync_version = election.claim().version;
        debug.sync_transaction =
            TransactionId { epoch: election.epoch().unwrap_or(0), counter: election.claim().transaction };
        debug.sync_time = debug.now;
        // Its own vote is renewed with every round.
        let rounds = cell.peers().filter_map(|peer| election.beaconer().link(peer).last_sent);
        let last = rounds.max().map_or(debug.now, |at| wall_of(now, at));
        (debug.last_yes_host, debug.last_yes_state) = (me.address, true);
        (debug.last_yes_time, debug.last_yes_claim) = (last, last);
    }
    debug
}

fn add_replica(debug: &mut SiteDebug, database: &Database, replica: &Replica) {
    debug.local_version = database.version();
    let (readers, kept) = database.readers();
    let written = replica.remote().changed_pages(PAGE_LEN as u32);
    // C counts the pages that transactions hold: here those that a transaction changes, and those kept for older readers.
    debug.write_locked_pages = i32::try_from(written).unwrap_or(i32::MAX);
    debug.locked_pages = i32::try_from(written + kept).unwrap_or(i32::MAX);
    debug.any_read_locks = readers > 0;
    debug.current_transaction = replica.remote().current().is_some();
    debug.write_transaction = debug.current_transaction;
    debug.any_write_locks = replica.remote().is_locked();
    if let Some(role) = replica.role() {
        debug.active_write = role.is_writing();
        debug.any_write_locks |= role.is_writing();
        debug.transaction_counter = debug.sync_transaction.counter as i32;
        debug.recovery_state = recovery_bits(role);
    }
}

/// C's bits: 1 sync site, 2 found, 4 have, 8 labelled, 16 sent. This program labels before it is established.
fn recovery_bits(role: &SyncSite) -> i32 {
    match role.progress() {
        Progress::SyncSite => 0x01,
        Progress::FoundDatabase => 0x03,
        Progress::HaveDatabase => 0x07,
        Progress::Labelled => 0x0f,
        Progress::Established => 0x1f,
    }
}

fn of_link(now: Now, election: &Election, peer: ServerId) -> ServerDebug {
    let server = election.cell().server(peer);
    let link = election.beaconer().link(peer);
    let sent = link.last_sent.map_or(0, |at| wall_of(now, at));
    ServerDebug {
        address: server.address,
        // As in C: the voter's own clock, where it tells.
        last_vote_time: match (link.last_vote, link.clock()) {
            (true, Some(clock)) => clock,
            (true, None) => sent,
            (false, _) => 0,
        },
        last_beacon_sent: sent,
        last_vote: link.last_vote,
        beacon_since_down: link.up && link.last_vote,
        up: link.up,
        is_clone: server.kind == ServerKind::Clone,
        ..ServerDebug::default()
    }
}
