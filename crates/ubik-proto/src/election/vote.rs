//! The voter: whom this server has promised its vote, and what it may read as a follower.
//!
//! One [`Voter`] belongs to one database. What it holds is volatile but for [`PromiseRecord`], which must be on disk
//! before the yes that caused it is sent (`docs/ubik-protocol.md`, Promise). After a restart the promise counts as
//! given at the start of the process, so no clock has to survive.

use crate::cell::{Cell, Dialect, ServerId, ServerKind};
use crate::election::epochs::{self, Allowance};
use crate::election::promise::PromiseRecord;
use crate::messages::Beacon;
use crate::plant::{Fault, planted};
use crate::profile::Profile;
use crate::time::{Moment, Now};
use crate::version::{TransactionId, Version};

/// Why a beacon got no vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A clone cannot be elected.
    FromClone,
    /// The epoch it proposes or claims is not above all that this voter agreed to.
    OldEpoch,
    /// The epoch is so far above what this voter knows that it would use the epochs up.
    FarEpoch,
    /// This voter is bound to another server.
    Promised,
    /// A server with a lower address asks too.
    LowerAsks,
    /// This server is a clone and has no vote to give.
    IsClone,
    /// The start of the round is not a time.
    BadStart,
}

/// The answer to a beacon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vote {
    /// Not now.
    No(Refusal),
    /// Yes; if there is a record, it must be synced before the answer is sent.
    Yes {
        /// What to write.
        persist: Option<PromiseRecord>,
    },
}

/// The sync site, or the candidate, that has this voter's promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Following {
    /// Who.
    pub host: ServerId,
    /// Whether it says that it is sync site.
    pub claims_sync_site: bool,
    /// The epoch of its mandate.
    pub epoch: u32,
    /// What it vouches for.
    pub version: Version,
    /// Its transaction.
    pub transaction: TransactionId,
    /// When it was last told yes.
    pub last_yes: Moment,
    /// The yes before that, if the host is known to have had it answered before it sent the last beacon.
    pub(super) proven_yes: Option<Moment>,
    series: u64,
    pub(super) dialect: Dialect,
}

/// A yes whose record is not on disk yet: it was not sent, so it binds only if it is.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    /// When the promise ended before it.
    before: Moment,
    /// When it ends with it.
    until: Moment,
}

/// One server's votes.
#[derive(Clone, Debug)]
pub struct Voter {
    pub(super) profile: Profile,
    cell: Cell,
    record: PromiseRecord,
    /// What is known to be on disk; every yes waits for the record it was given with.
    saved: PromiseRecord,
    promised_until: Moment,
    /// When the process started.
    started: Moment,
    /// When a yes that waits for its record began and would end the promise.
    waiting: Option<Waiting>,
    /// The lowest address that asked of late while there was no sync site, and when.
    lower_asked: Option<(ServerId, Moment)>,
    pub(super) following: Option<Following>,
    allowance: Allowance,
}

impl Voter {
    /// The voter of a process that started at `now`, with what it found on disk and its database's epoch.
    ///
    /// //= docs/ubik-protocol.md#promise
    pub fn new(cell: Cell, profile: Profile, mut record: PromiseRecord, label: Version, now: Moment) -> Self {
        record.max_epoch = record.max_epoch.max(label.epoch);
        // The only voter has nobody to whom it could have promised anything.
        let alone = cell.voters().len() == 1 && cell.is_voter(cell.me());
        let promised_until =
            if alone || planted(Fault::PromiseForgotten) { Moment::START } else { now + profile.promise };
        Voter {
            allowance: Allowance::new(cell.len(), profile.promise, now),
            profile,
            cell,
            record,
            saved: record,
            promised_until,
            started: now,
            waiting: None,
            lower_asked: None,
            following: None,
        }
    }

    /// Decides on a beacon. `series` names the connection it came on: a caller that had a call fail uses a new one.
    ///
    /// `standing` says whether this server is itself a candidate now.
    pub fn handle_beacon(
        &mut self,
        now: Now,
        from: ServerId,
        series: u64,
        beacon: &Beacon,
        standing: bool,
    ) -> Vote {
        match self.judge(now, from, beacon, standing) {
            Err(refusal) => Vote::No(refusal),
            Ok(epoch) => Vote::Yes { persist: self.agree(now, from, series, beacon, epoch) },
        }
    }

    /// The epoch that a yes would agree to, or why there is none.
    fn judge(&mut self, now: Now, from: ServerId, beacon: &Beacon, standing: bool) -> Result<u32, Refusal> {
        if self.cell.server(from).kind == ServerKind::Clone {
            return Err(Refusal::FromClone);
        }
        let start = u32::try_from(beacon.start).ok().filter(|&start| start > 0).ok_or(Refusal::BadStart)?;
        let epoch = if beacon.claims_sync_site { beacon.transaction.epoch } else { start };
        // Asked first, so that a server whose clock is far ahead keeps nobody else from being preferred.
        if epoch > self.record.max_epoch && epoch > self.highest_agreeable(now) {
            return Err(Refusal::FarEpoch);
        }
        let lower_asks = self.lower_asks(now.moment, from, beacon, standing);
        // A sync site of OpenAFS's keeps its epoch whatever it is told, so a voter that agreed to a candidate's since would
        // never follow it again. That candidate's mandate is over when this server is free.
        let foreign_site = beacon.claims_sync_site && !self.cell.server(from).dialect.keeps_epochs();
        if self.record.to == Some(from) && (beacon.claims_sync_site || self.cell.is_voter(self.cell.me())) {
            let old = epoch < self.record.max_epoch && !foreign_site;
            return if old { Err(Refusal::OldEpoch) } else { Ok(epoch) };
        }
        let free = now.moment > self.promised_until;
        if !self.cell.is_voter(self.cell.me()) {
            // A clone follows whoever is sync site; having no vote, it has none to promise.
            let newer = epoch >= self.record.max_epoch || (foreign_site && free);
            return if beacon.claims_sync_site && newer { Ok(epoch) } else { Err(Refusal::IsClone) };
        }
        if !free && !planted(Fault::PromiseIgnored) {
            return Err(Refusal::Promised);
        }
        if epoch <= self.record.max_epoch && !foreign_site && !planted(Fault::OldEpochAccepted) {
            return Err(Refusal::OldEpoch);
        }
        if lower_asks { Err(Refusal::LowerAsks) } else { Ok(epoch) }
    }

    /// While nobody is sync site, the lowest address that asks is preferred, this server's own included.
    fn lower_asks(&mut self, now: Moment, from: ServerId, beacon: &Beacon, standing: bool) -> bool {
        let memory = self.profile.beacon * 2;
        self.lower_asked = self.lower_asked.filter(|&(id, at)| id < from && now.since(at) <= memory);
        let lower_asks = self.lower_asked.is_some() || (standing && self.cell.me() < from);
        if self.lower_asked.is_none() && !beacon.claims_sync_site {
            self.lower_asked = Some((from, now));
        }
        lower_asks && !beacon.claims_sync_site
    }

    fn agree(
        &mut self,
        now: Now,
        host: ServerId,
        series: u64,
        beacon: &Beacon,
        epoch: u32,
    ) -> Option<PromiseRecord> {
        self.allowance.agree(self.record.max_epoch, epoch, self.mixed_wall(now));
        let now = now.moment;
        // What was said before may have been said to a beacon that the last life of this server had answered, and that came again:
        // the host had that answer, and has sent the beacon that comes now long ago.
        let again = self.started + self.profile.call_timeout;
        let proven_yes = self
            .following
            .filter(|before| before.host == host && before.series == series)
            .map(|before| before.last_yes)
            .filter(|&yes| yes >= again || planted(Fault::RepeatedYesCounts));
        self.following = Some(Following {
            host,
            claims_sync_site: beacon.claims_sync_site,
            epoch,
            version: beacon.version,
            transaction: beacon.transaction,
            last_yes: now,
            proven_yes,
            series,
            dialect: self.cell.server(host).dialect,
        });
        let renewed = self.record.to == Some(host);
        let bound_before = self.promised_until;
        if !renewed || !planted(Fault::RenewalsBindNobody) {
            self.promised_until = now + self.profile.promise;
        }
        let before = self.record;
        self.record(epoch, host);
        if planted(Fault::RenewalNotAwaited) {
            return (self.record != before).then_some(self.record);
        }
        // An earlier yes may have waited in vain for its record, or may be waiting still.
        if self.record == self.saved || planted(Fault::PromiseNotSaved) {
            return None;
        }
        let before = self.waiting.map_or(bound_before, |waiting| waiting.before);
        self.waiting = Some(Waiting { before, until: self.promised_until });
        Some(self.record)
    }

    fn record(&mut self, epoch: u32, to: ServerId) {
        let highest = if planted(Fault::OldEpochAccepted) { epoch } else { epoch.max(self.record.max_epoch) };
        self.record = PromiseRecord { max_epoch: highest, to: Some(to) };
    }

    /// The highest epoch that this voter would agree to at `now`.
    pub fn highest_agreeable(&self, now: Now) -> u32 {
        if planted(Fault::EpochsUnbounded) {
            return epochs::LAST;
        }
        self.allowance.limit(now.moment, self.record.max_epoch, self.mixed_wall(now))
    }

    fn mixed_wall(&self, now: Now) -> Option<i64> {
        self.cell.has_foreign_voters().then_some(now.wall)
    }

    /// This record is on disk now. Returns whether the yes that waited for it may be sent: not if this server has agreed to
    /// something else since.
    pub fn on_saved(&mut self, record: PromiseRecord) -> bool {
        self.saved = record;
        if record != self.record {
            return false;
        }
        if let Some(waiting) = self.waiting.take() {
            self.promised_until = self.promised_until.max(waiting.until);
        }
        true
    }

    /// This record could not be written: no yes was sent with it, so nobody has this promise. What is on disk is not
    /// known, so the next yes writes it again.
    pub fn on_save_failed(&mut self, record: PromiseRecord) {
        if record == self.record
            && record != self.saved
            && let Some(waiting) = &self.waiting
        {
            self.promised_until = waiting.before;
            self.following = None;
        }
    }

    /// Whether this server could vote for itself in `epoch` at `now`.
    pub fn free_for_self(&self, now: Moment, epoch: u32) -> bool {
        let me = Some(self.cell.me());
        self.free_to_stand(now)
            && (epoch > self.record.max_epoch || (epoch == self.record.max_epoch && self.record.to == me))
    }

    /// Whether nobody else holds this server's promise at `now`.
    pub fn free_to_stand(&self, now: Moment) -> bool {
        self.record.to == Some(self.cell.me()) || now > self.promised_until
    }

    /// When the promise ends.
    pub fn promised_until(&self) -> Moment {
        self.promised_until
    }

    /// Votes for itself; the record must be synced before the vote is counted.
    pub fn vote_for_self(&mut self, now: Moment, epoch: u32) -> PromiseRecord {
        assert!(self.free_for_self(now, epoch), "the caller asked free_for_self");
        self.following = None;
        self.promised_until = self.promised_until.max(now);
        self.record(epoch, self.cell.me());
        self.record
    }

    /// Stays bound to itself until `until` at least: a promise after the last beacon that it sent as sync site.
    ///
    /// //= docs/ubik-protocol.md#own-promise
    pub fn bind_self(&mut self, until: Moment) {
        if self.record.to == Some(self.cell.me()) && !planted(Fault::OwnPromiseFreed) {
            self.promised_until = self.promised_until.max(until);
        }
    }

    /// Who is listened to: only its DISK calls are served, however long ago it asked.
    ///
    /// //= docs/ubik-protocol.md#fence
    pub fn promised_to(&self) -> Option<ServerId> {
        self.record.to
    }

    /// What must be on disk.
    pub fn promise_record(&self) -> PromiseRecord {
        self.record
    }

    /// The highest epoch that this server agreed to.
    pub fn max_epoch(&self) -> u32 {
        self.record.max_epoch
    }

    /// Whom this server follows, if anybody.
    pub fn following(&self) -> Option<&Following> {
        self.following.as_ref()
    }
}
