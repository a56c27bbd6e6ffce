//! The disk's work: decided here, one piece at a time, and what waits until it is done.
//!
//! While the disk works it is not known what the copy holds: nobody is told its version, it is no sync site anew, and nothing
//! is decided that depends on it. What must not overtake the work (calls of peers, what votes tell) waits here, in the order in
//! which it came; readers, replies and clients do not.

use super::outputs::{AnswerId, DiskFailure, Output};
use super::{Context, Replica};
use crate::cell::ServerId;
use crate::election::{Event, Resignation};
use crate::messages::DiskCall;
use crate::version::Version;

/// What the disk is at.
#[derive(Clone, Debug)]
pub(super) struct Work {
    /// The tail when it is done.
    makes: Version,
    then: Then,
}

/// What is done when the disk has done its work.
#[derive(Clone, Copy, Debug)]
pub(super) enum Then {
    /// This sync site's own commit is in its log.
    OwnCommit,
    /// The adopted database has this mandate's label; it had this one.
    OwnLabel(Version),
    /// A newer database, which was fetched, is in place.
    Adopted,
    /// A peer's call moved the database on, from this version.
    Moved(AnswerId, Version),
    /// A peer's database is in place.
    Placed(AnswerId),
}

/// What waits for the disk.
#[derive(Clone, Debug)]
pub(super) enum Deferred<R> {
    Event(Event),
    Call(ServerId, AnswerId, DiskCall),
    Database(ServerId, AnswerId, Version, R),
}

impl<R> Replica<R> {
    pub(super) fn disk_is_busy(&self) -> bool {
        self.work.is_some()
    }

    /// Lets the disk do `work`, which makes the tail `makes`.
    pub(super) fn start_disk(
        &mut self,
        cx: &mut Context<'_, R>,
        work: Output<R>,
        makes: Version,
        then: Then,
    ) {
        assert!(self.work.is_none(), "one piece of work at a time");
        self.work = Some(Work { makes, then });
        cx.outputs.push(work);
    }

    /// The disk has done its work, or failed: what follows from it, and then whatever waited, in the order in which it came.
    pub fn on_disk(&mut self, cx: &mut Context<'_, R>, done: Result<(), DiskFailure>) {
        let Some(Work { makes, then }) = self.work.take() else { return };
        if done.is_ok() {
            self.tail = makes;
        }
        match then {
            Then::OwnCommit => self.own_commit_logged(cx, done),
            Then::OwnLabel(old) => self.own_label_written(cx, old, done),
            Then::Adopted => self.adopted(cx, done),
            Then::Moved(answer, old) => self.moved(cx, answer, old, done),
            Then::Placed(answer) => self.placed(cx, answer, done),
        }
        self.settle(cx);
        while let (false, Some(next)) = (self.disk_is_busy(), self.deferred.pop_front()) {
            match next {
                Deferred::Event(event) => self.on_event(cx, event),
                Deferred::Call(from, answer, call) => self.on_call(cx, from, answer, call),
                Deferred::Database(from, answer, version, received) => {
                    self.on_database(cx, from, answer, version, received);
                }
            }
        }
    }

    /// The newest event of a kind says it all, so a disk that hangs gathers no heap of them.
    pub(super) fn defer_event(&mut self, event: Event) {
        self.deferred.retain(|old| !matches!(old, Deferred::Event(old) if old.is_outdated_by(&event)));
        self.deferred.push_back(Deferred::Event(event));
    }

    /// After a failure of the own disk, a full one too: a sync site that cannot log gives its mandate up, so that one that
    /// can takes over.
    pub(super) fn note_disk_failure(&mut self, cx: &mut Context<'_, R>, failure: &DiskFailure) {
        cx.outputs.push(Output::DiskFailed(failure.to_string()));
        let commands = cx.election.resign(cx.now, Resignation::DiskFailed);
        cx.extend(commands);
    }
}
