//! C's voter: promises by the wall clock, the lowest address preferred, nothing on disk.

use ubik_proto::cell::{Cell, ServerId};
use ubik_proto::messages::Beacon;
use ubik_proto::version::Version;

use super::{BIGTIME, SMALLTIME};

/// What it remembers of votes, in seconds of the wall clock.
#[derive(Debug)]
pub(super) struct Votes {
    lowest: Option<ServerId>,
    lowest_time: i64,
    sync_host: Option<ServerId>,
    sync_time: i64,
    last_yes_time: i64,
    last_yes_host: Option<ServerId>,
    last_yes_claim: i64,
    last_yes_state: bool,
    /// The version in the last beacon that got a yes, or what was committed since.
    pub(super) version: Version,
}

impl Votes {
    /// At the start nobody gets a vote for as long as one could bind that was forgotten.
    pub(super) fn new(now: i64) -> Self {
        Votes {
            lowest: None,
            lowest_time: 0,
            sync_host: None,
            sync_time: 0,
            last_yes_time: now,
            last_yes_host: None,
            last_yes_claim: 0,
            last_yes_state: false,
            version: Version::NONE,
        }
    }

    /// Whether `from` gets a yes.
    pub(super) fn decide(&mut self, cell: &Cell, now: i64, from: ServerId, beacon: &Beacon) -> bool {
        for candidate in [from, cell.me()] {
            if cell.is_voter(candidate)
                && (self.lowest.is_none_or(|lowest| candidate <= lowest) || self.lowest_time + BIGTIME < now)
            {
                self.lowest = Some(candidate);
                self.lowest_time = now;
            }
        }
        if beacon.claims_sync_site {
            self.sync_host = Some(from);
            self.sync_time = now;
        } else if self.sync_time + BIGTIME < now {
            self.sync_host = None;
        }
        let other_site = self.sync_host.is_some_and(|host| host != from);
        let preferred = beacon.claims_sync_site || (self.lowest == Some(from) && !other_site);
        if !preferred || !cell.is_voter(from) {
            return false;
        }
        if self.last_yes_time + BIGTIME >= now && self.last_yes_host != Some(from) {
            return false;
        }
        self.last_yes_time = now;
        self.last_yes_host = Some(from);
        self.last_yes_claim = i64::from(beacon.start);
        self.last_yes_state = beacon.claims_sync_site;
        self.version = beacon.version;
        true
    }

    /// Whether it should ask for votes itself.
    pub(super) fn should_run(&self, cell: &Cell, now: i64) -> bool {
        let me = cell.me();
        if !cell.is_voter(me) {
            return false;
        }
        if self.last_yes_time + BIGTIME < now {
            return true;
        }
        let to_other = self.last_yes_host != Some(me);
        !(self.last_yes_state && to_other || self.last_yes_host.is_some_and(|host| host < me))
    }

    /// Whether the last yes lets `version` be read.
    pub(super) fn vouched(&self, now: i64, version: Version) -> bool {
        self.last_yes_state && self.last_yes_claim + SMALLTIME >= now && self.version == version
    }

    /// Who is sync site, as far as the last yes says.
    pub(super) fn sync_site(&self, now: i64) -> Option<ServerId> {
        let recent = self.last_yes_state && self.last_yes_claim + SMALLTIME >= now;
        self.last_yes_host.filter(|_| recent)
    }
}
