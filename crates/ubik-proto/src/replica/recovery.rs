//! What a new sync site does before it serves, and what it does for servers that fall behind.
//!
//! [`Recovery`] holds what is known of each server's version *under this mandate*; [`Recovery::next`] looks at that and
//! says what to do now. It is asked again after everything that happens, so nothing depends on an order of events.
//!
//! //= docs/ubik-protocol.md#recovery

use crate::cell::{Cell, ServerId, ServerSet};
use crate::plant::{Fault, planted};
use crate::quorum::Quorum;
use crate::time::Moment;
use crate::version::Version;

/// How far the sync site has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Progress {
    /// Asking a quorum of its voters which versions they hold.
    SyncSite,
    /// Fetching the newest of them.
    FoundDatabase,
    /// The newest is here and not yet labelled with this mandate's epoch.
    HaveDatabase,
    /// It is labelled; a quorum must hold it before anything is served.
    Labelled,
    /// A quorum holds it: reads and writes are served.
    Established,
}

/// What a call to one server is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Busy {
    /// Nothing.
    Idle,
    /// Which version has it?
    Asking,
    /// It sends its database.
    Fetching,
    /// It is sent this version.
    Sending(Version),
    /// It takes part in a transaction.
    InTransaction,
}

/// What the sync site knows of one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its version, if it told it since it voted for this mandate, and nothing failed since.
    pub version: Option<Version>,
    /// What is going on with it.
    pub busy: Busy,
    /// Nothing is tried again before this.
    pub not_before: Moment,
}

/// Something the sync site does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ask it for its version.
    Ask(ServerId),
    /// Get its database, which is newer than one's own.
    Fetch(ServerId),
    /// Stand again with an epoch above this one.
    DemandEpoch(u32),
    /// Label the own database with this mandate's epoch and begin the empty transaction that spreads the label.
    Relabel,
    /// Send it the whole database.
    Send(ServerId),
}

/// The sync site's table.
#[derive(Clone, Debug)]
pub struct Recovery {
    epoch: u32,
    progress: Progress,
    known: Vec<Known>,
    me: ServerId,
    quorum: Quorum,
    /// Whether an empty database may be taken for the cell's without asking every voter.
    bootstrap: bool,
}

impl Recovery {
    /// The table of a sync site just elected.
    pub fn new(cell: &Cell, epoch: u32, bootstrap: bool) -> Self {
        let unknown = Known { version: None, busy: Busy::Idle, not_before: Moment::START };
        Recovery {
            epoch,
            progress: Progress::SyncSite,
            known: vec![unknown; cell.len()],
            me: cell.me(),
            quorum: Quorum::of(cell),
            bootstrap,
        }
    }

    /// The mandate's epoch.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// How far it has come.
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// What is known of one server.
    pub fn known(&self, id: ServerId) -> Known {
        self.known[id.index()]
    }

    /// Notes that a call to `id` begins.
    pub fn begin(&mut self, id: ServerId, busy: Busy) {
        self.known[id.index()].busy = busy;
    }

    /// Notes that a server holds `version`.
    pub fn holds(&mut self, id: ServerId, version: Version) {
        let known = &mut self.known[id.index()];
        known.version = Some(version);
        known.busy = Busy::Idle;
    }

    /// Notes that a call to `id` failed: nothing is known of it, and it is left alone until `not_before`.
    pub fn failed(&mut self, id: ServerId, not_before: Moment) {
        self.known[id.index()] = Known { version: None, busy: Busy::Idle, not_before };
    }

    /// Leaves `id` alone until `not_before`, whatever it holds.
    pub fn leave_alone(&mut self, id: ServerId, not_before: Moment) {
        self.known[id.index()].not_before = not_before;
    }

    /// Notes that `id` is not reached for now; its last version is void.
    pub fn forget(&mut self, id: ServerId) {
        self.known[id.index()].version = None;
    }

    /// Notes that the own database now is the newest.
    pub fn fetched(&mut self) {
        self.progress = self.progress.max(Progress::HaveDatabase);
    }

    /// Notes that the own database carries this mandate's epoch.
    pub fn labelled(&mut self) {
        self.progress = self.progress.max(Progress::Labelled);
    }

    /// Notes that the label is committed.
    pub fn established(&mut self) {
        self.progress = self.progress.max(Progress::Established);
    }

    /// The servers, this one included, that hold `tail`, among those that have voted for this mandate.
    pub fn holders(&self, tail: Version, voted: ServerSet) -> ServerSet {
        let others = voted.iter().filter(|&id| self.known[id.index()].version == Some(tail));
        others.chain(std::iter::once(self.me)).collect()
    }

    /// What to do now. `voted` are the peers that are up and have promised this mandate; `own` is the tail here.
    pub fn next(&mut self, now: Moment, voted: ServerSet, own: Version) -> Vec<Step> {
        let asks = self.asks(now, voted);
        match self.progress {
            Progress::SyncSite => match self.newest(voted, own) {
                Some((_, version)) if version.epoch >= self.epoch => vec![Step::DemandEpoch(version.epoch)],
                Some((_, version)) if version == own => {
                    self.progress = Progress::HaveDatabase;
                    vec![Step::Relabel]
                }
                Some((from, _)) => {
                    self.progress = Progress::FoundDatabase;
                    self.begin(from, Busy::Fetching);
                    vec![Step::Fetch(from)]
                }
                None => self.start(asks),
            },
            Progress::FoundDatabase => {
                if self.known.iter().all(|known| known.busy != Busy::Fetching) {
                    self.progress = Progress::SyncSite;
                }
                Vec::new()
            }
            Progress::HaveDatabase => vec![Step::Relabel],
            Progress::Labelled | Progress::Established => {
                let mut steps = self.start(asks);
                steps.extend(self.sends(now, voted, own));
                steps
            }
        }
    }

    fn asks(&self, now: Moment, voted: ServerSet) -> Vec<ServerId> {
        let wants =
            |known: &Known| known.version.is_none() && known.busy == Busy::Idle && now >= known.not_before;
        voted.iter().filter(|id| wants(&self.known[id.index()])).collect()
    }

    fn start(&mut self, asks: Vec<ServerId>) -> Vec<Step> {
        for &id in &asks {
            self.begin(id, Busy::Asking);
        }
        asks.into_iter().map(Step::Ask).collect()
    }

    fn sends(&mut self, now: Moment, voted: ServerSet, tail: Version) -> Vec<Step> {
        let mut steps = Vec::new();
        for id in voted.iter() {
            let known = &mut self.known[id.index()];
            let behind = known.version.is_some_and(|version| version != tail);
            if behind && known.busy == Busy::Idle && now >= known.not_before {
                known.busy = Busy::Sending(tail);
                steps.push(Step::Send(id));
            }
        }
        steps
    }

    /// The newest version among enough servers, and who has it; the own copy wins a tie.
    ///
    /// A copy that never was in a quorum proves nothing, so it does not count towards enough: its server may have lost
    /// what it took. Answers of every voter are enough whatever they are; a new cell needs them, and so does one whose
    /// first sync site labelled its copy and reached nobody.
    fn newest(&self, voted: ServerSet, own: Version) -> Option<(ServerId, Version)> {
        let others = voted.iter().filter_map(|id| Some((id, self.known[id.index()].version?)));
        let all: Vec<(ServerId, Version)> = others.chain(std::iter::once((self.me, own))).collect();
        if planted(Fault::OwnCopyOnly) {
            return Some((self.me, own));
        }
        let voters = self.quorum.voters();
        let answered: ServerSet = all.iter().map(|&(id, _)| id).collect();
        let proven: ServerSet = all
            .iter()
            .filter(|(_, version)| !version.is_fresh() || planted(Fault::EmptyCopyCounts))
            .map(|&(id, _)| id)
            .collect();
        let everybody = answered.and(voters) == voters;
        let declared_new = self.bootstrap && proven.is_empty() && self.quorum.is_met(answered);
        if !self.quorum.is_met(proven) && !everybody && !declared_new {
            return None;
        }
        if proven.is_empty() {
            return Some((self.me, own));
        }
        all.into_iter().max_by_key(|&(id, version)| (version, id == self.me))
    }

    /// When something that failed is to be tried again.
    pub fn next_deadline(&self, now: Moment) -> Option<Moment> {
        self.known.iter().map(|known| known.not_before).filter(|&at| at > now).min()
    }
}

/// Whether a version is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Too few servers hold it.
    NoQuorum,
    /// Enough do; a server that lacks it may read what was before until then.
    LeasesUntil(Moment),
    /// It is: every later election finds it, and nobody reads what was before.
    Committed,
}

/// Decides on a commit: held by `holders`, while `lacking` are the others' obligations.
///
/// //= docs/ubik-protocol.md#commit
pub fn verdict(
    quorum: Quorum,
    holders: ServerSet,
    now: Moment,
    lacking: impl Iterator<Item = Option<Moment>>,
) -> Verdict {
    if !quorum.is_met(holders) {
        return Verdict::NoQuorum;
    }
    if planted(Fault::LeasesNotAwaited) {
        return Verdict::Committed;
    }
    match lacking.flatten().max() {
        Some(until) if until >= now => Verdict::LeasesUntil(until),
        _ => Verdict::Committed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::{Dialect, Server, ServerKind};

    fn cell(voters: u32) -> Cell {
        let server = |address| Server { address, kind: ServerKind::Voter, dialect: Dialect::Quorate };
        Cell::new((0..voters).map(server).collect(), 0).unwrap()
    }

    fn id(index: usize) -> ServerId {
        ServerId::new(index)
    }

    fn peers(ids: &[usize]) -> ServerSet {
        ids.iter().map(|&index| id(index)).collect()
    }

    const NOW: Moment = Moment::from_micros(1000);
    const OLD: Version = Version::new(50, 3);
    const NEW: Version = Version::new(50, 4);

    /// U25: the newest among a quorum of voters is found and fetched before anything is labelled.
    #[test]
    fn the_newest_version_of_a_quorum_is_fetched_first() {
        let mut recovery = Recovery::new(&cell(5), 100, false);
        let voted = peers(&[1, 2, 3]);
        assert_eq!(recovery.next(NOW, voted, OLD), [Step::Ask(id(1)), Step::Ask(id(2)), Step::Ask(id(3))]);
        recovery.holds(id(1), OLD);
        assert_eq!(recovery.next(NOW, voted, OLD), [], "two of five decide nothing");
        recovery.holds(id(2), NEW);
        assert_eq!(recovery.next(NOW, voted, OLD), [Step::Fetch(id(2))]);
        recovery.holds(id(2), NEW);
        recovery.fetched();
        assert_eq!(recovery.next(NOW, voted, NEW), [Step::Relabel]);
        recovery.labelled();
        let label = Version::new(100, 2);
        assert_eq!(recovery.next(NOW, voted, label), [Step::Send(id(1)), Step::Send(id(2))]);
    }

    /// U25, U35: the answer of a server that has not promised this mandate does not count.
    #[test]
    fn only_servers_that_promised_count() {
        let mut recovery = Recovery::new(&cell(3), 100, false);
        recovery.holds(id(1), OLD);
        assert_eq!(recovery.next(NOW, peers(&[]), OLD), []);
        assert_eq!(recovery.next(NOW, peers(&[1]), OLD), [Step::Relabel]);
    }

    /// U35: a server that lost its disk does not count towards a quorum; a new cell needs every voter, or the word.
    #[test]
    fn an_empty_copy_proves_nothing() {
        let mut recovery = Recovery::new(&cell(3), 100, false);
        recovery.holds(id(1), OLD);
        assert_eq!(
            recovery.next(NOW, peers(&[1]), Version::FRESH),
            [],
            "one of three may have missed commits"
        );
        recovery.holds(id(2), OLD);
        assert_eq!(recovery.next(NOW, peers(&[1, 2]), Version::FRESH), [Step::Fetch(id(2))]);
        for (voters, bootstrap, expected) in [
            (&[1usize][..], false, None),
            (&[1, 2], false, Some(Step::Relabel)),
            (&[1], true, Some(Step::Relabel)),
        ] {
            let mut recovery = Recovery::new(&cell(3), 100, bootstrap);
            voters.iter().for_each(|&index| recovery.holds(id(index), Version::FRESH));
            assert_eq!(recovery.next(NOW, peers(voters), Version::FRESH).first().copied(), expected);
        }
    }

    /// U25: the first sync site of a new cell labelled its copy and stopped before anybody else had the label: nobody's
    /// copy is from a quorum, and the cell goes on when every voter has answered, with the one that is labelled.
    #[test]
    fn a_cell_whose_first_label_reached_nobody_begins_again() {
        let mut recovery = Recovery::new(&cell(3), 100, false);
        recovery.holds(id(1), Version::FRESH);
        assert_eq!(recovery.next(NOW, peers(&[1]), OLD), [], "the third may have what a quorum took");
        recovery.holds(id(2), Version::FRESH);
        assert_eq!(recovery.next(NOW, peers(&[1, 2]), OLD), [Step::Relabel]);
        let mut recovery = Recovery::new(&cell(3), 100, false);
        recovery.holds(id(1), Version::FRESH);
        recovery.holds(id(2), OLD);
        assert_eq!(recovery.next(NOW, peers(&[1, 2]), Version::FRESH), [Step::Fetch(id(2))]);
    }

    /// U11: an epoch that is not above every epoch in the quorum is given up for a higher one.
    #[test]
    fn a_newer_epoch_in_the_quorum_demands_a_higher_one() {
        let mut recovery = Recovery::new(&cell(3), 100, false);
        recovery.holds(id(2), Version::new(100, 1));
        assert_eq!(recovery.next(NOW, peers(&[2]), OLD), [Step::DemandEpoch(100)]);
    }

    /// U34, U35: a commit needs a quorum, and the end of every lease that could show what was before.
    #[test]
    fn a_commit_waits_for_a_quorum_and_for_leases() {
        let quorum = Quorum::of(&cell(3));
        let later = NOW + std::time::Duration::from_secs(1);
        assert_eq!(verdict(quorum, peers(&[1]), NOW, [None].into_iter()), Verdict::NoQuorum);
        assert_eq!(
            verdict(quorum, peers(&[1, 2]), NOW, [Some(later)].into_iter()),
            Verdict::LeasesUntil(later)
        );
        assert_eq!(
            verdict(
                quorum,
                peers(&[1, 2]),
                later + std::time::Duration::from_micros(1),
                [Some(later)].into_iter()
            ),
            Verdict::Committed
        );
        assert_eq!(verdict(quorum, peers(&[1, 2]), NOW, [None].into_iter()), Verdict::Committed);
    }
}
