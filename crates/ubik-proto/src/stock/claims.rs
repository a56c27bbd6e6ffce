//! Beacons that keep the claims of OpenAFS's servers to read short, and right about versions.
//!
//! //= docs/ubik-protocol.md#mixed-cells

use crate::cell::{Dialect, ServerId};
use crate::election::beacon::Flight;
use crate::election::{Command, Election, Standing};
use crate::messages::Beacon;
use crate::time::{Moment, Now};
use crate::version::Version;

/// A wall clock that is so much farther ahead or behind than at the vote before was set.
const STEP_SECS: i64 = 5;

impl Election {
    /// When the round began, for `to`: its own clock as it told it, for a server that counts its lease from there.
    ///
    /// Before it has told it, it is given a start that it would not answer with by chance: a server of ours that was not
    /// named as one answers with the start, and that must not be taken for its clock.
    pub(crate) fn start_for(&self, now: Now, to: ServerId) -> i32 {
        let shift = self.profile.foreign_start_shift_secs as i32;
        let wall = i32::try_from(now.wall).unwrap_or(0);
        let start = match (self.cell.server(to).dialect, self.beaconer.link(to).clock) {
            (Dialect::OpenAfs, Some((clock, _))) => clock.saturating_sub(shift),
            (Dialect::OpenAfs, None) => wall.saturating_sub(shift / 2),
            (Dialect::Quorate, _) => wall,
        };
        start.max(1)
    }

    /// An OpenAFS server's yes is its clock. By that clock it keeps its promises: while it is being set they are none. It is
    /// compared with this server's monotonic clock, so that setting this one's wall clock means nothing.
    pub(crate) fn note_clock(&mut self, now: Now, from: ServerId, clock: i32, flight: &Flight) {
        if self.cell.server(from).dialect.keeps_epochs() || flight.start == clock {
            return;
        }
        let promise = self.profile.promise;
        let distrusted_until = now.moment + promise;
        let link = self.beaconer.link_mut(from);
        let seconds = |moment: Moment| (moment.as_micros() / 1_000_000) as i64;
        let clock_secs = i64::from(clock);
        let ahead = (clock_secs - seconds(now.moment) - 1, clock_secs - seconds(flight.sent) + 1);
        // After a long silence clocks that run at other rates differ too.
        let recent = link.clock.is_some_and(|(_, at)| now.moment.since(at) < self.profile.promise * 2);
        let was_set = link
            .ahead
            .filter(|_| recent)
            .is_some_and(|(before, _)| ahead.0 > before.1 + STEP_SECS || ahead.1 < before.0 - STEP_SECS);
        if was_set {
            link.distrusted_until = Some(distrusted_until);
        }
        // Compared with a reading of some time ago: beacons come every second, and a clock that stands, or an old answer that
        // is given again and again, is off by one second only from the one before.
        let old = link.ahead.is_none_or(|(_, since)| now.moment.since(since) >= promise);
        if old || was_set || !recent {
            link.ahead = Some((ahead, now.moment));
        }
        link.skew = Some(clock_secs - now.wall);
        link.clock = Some((clock, now.moment));
    }

    /// An OpenAFS server's beacons, and those of a sync site of ours, name their sender's clock.
    pub(crate) fn note_caller_clock(&mut self, now: Now, from: ServerId, beacon: &Beacon) {
        if !self.cell.server(from).dialect.keeps_epochs() || beacon.claims_sync_site {
            self.beaconer.link_mut(from).skew = Some(i64::from(beacon.start) - now.wall);
        }
    }

    /// What is said to a server that may not read: a version that it cannot hold. OpenAFS's servers label a database
    /// that they are receiving 0.0, also when that came to nothing, and would read it if they were told 0.0.
    pub(crate) fn no_version_for(&self, to: ServerId, epoch: u32) -> Version {
        match self.cell.server(to).dialect {
            Dialect::Quorate => Version::NONE,
            Dialect::OpenAfs => Version::new(epoch, 0),
        }
    }

    /// An OpenAFS server believes the last beacon over its own commit: whoever was told the version before one is told again.
    pub(crate) fn correct_versions(&mut self, now: Now, commands: &mut Vec<Command>) {
        let mut any = false;
        for to in self.cell.foreign_peers().iter() {
            let link = self.beaconer.link_mut(to);
            let wrong = std::mem::take(&mut link.told_old_version);
            link.wanted |= wrong;
            any |= wrong;
        }
        if any {
            self.send_wanted(now, commands);
        }
    }

    /// Sends `peer` a beacon now, or when the one under way is answered.
    pub fn tell_again(&mut self, now: Now, peer: ServerId) -> Vec<Command> {
        let mut commands = Vec::new();
        if self.holds_mandate(now.moment) {
            self.beaconer.link_mut(peer).wanted = true;
            self.send_wanted(now, &mut commands);
        }
        commands
    }

    /// When the next beacon to `peer`, an OpenAFS server, is due; its claims are short, so beacons come often.
    pub(crate) fn foreign_due(&self, peer: ServerId) -> Option<Moment> {
        let link = self.beaconer.link(peer);
        let foreign = !self.cell.server(peer).dialect.keeps_epochs();
        let speaks = self.standing != Standing::Follower && foreign && link.up && link.flight.is_none();
        speaks.then(|| link.last_sent.map_or(Moment::START, |sent| sent + self.profile.foreign_beacon))
    }

    pub(crate) fn beacon_foreigners(&mut self, now: Now, commands: &mut Vec<Command>) {
        let due: Vec<ServerId> =
            self.cell.peers().filter(|&id| self.foreign_due(id).is_some_and(|at| at <= now.moment)).collect();
        for &to in &due {
            self.beaconer.link_mut(to).wanted = true;
        }
        if !due.is_empty() {
            self.send_wanted(now, commands);
        }
    }
}
