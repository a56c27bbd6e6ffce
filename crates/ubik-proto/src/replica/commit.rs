//! The commit of one write transaction, from the sync site's side.
//!
//! The sequence, and what a crash of the sync site leaves after each step:
//!
//! 1. Every server in step is told Begin, Lock, the writes and truncations in order (and SetVersion if the label
//!    changes), each server on its own, none waiting for another. *After a crash: nothing; the next beacon of whoever is
//!    sync site then drops the transaction everywhere.*
//! 2. When all have answered or failed: without a quorum of takers, without the mandate, or with this server's promise
//!    given away, the transaction is undone. *Nothing.*
//! 3. DISK_Commit to every taker, at once; each does 4 and 5 for itself. From now on nothing can be called failed, also when
//!    this server's disk then refuses it. *As after 4, for each that did.*
//! 4. Meanwhile the log is written and synced here, no lock being held. *The restarted server makes the commit and has it as its tail. If it
//!    is in the next sync site's quorum, it is adopted there and everywhere; if not, its tail is replaced when it comes
//!    back. Nobody has seen it either way.*
//! 5. Pages, label and one sync here; readers still see the version before. *As after 4.*
//! 6. A quorum, this server included, holds it: it survives every later election, since any two quorums share a server
//!    and that server answers for it. It is committed. Whoever lacks it may still be reading the version before, by a
//!    lease: the sync site waits until each such lease is over. *It survives.*
//! 7. It becomes visible here, beacons vouch for it, the application is told, ReleaseLocks goes to the takers, and they
//!    show it. *It survives; a taker that got no ReleaseLocks shows it when a beacon vouches for it.*
//!
//! Several transactions are one commit: while one is on its way the next writers go on, each over what the one before it
//! left ([`Group`]); what they leave is the next commit. If a commit ends otherwise than by step 7, so does everything that
//! was made over it, none of which has left this server.
//!
//! C makes a commit visible at its sync site after step 5, before anybody else has it; a reader there may see what is
//! then lost. Here only step 6 decides what is shown, everywhere, and a commit that stops between 3 and 6 is
//! reported as undecided.

use std::sync::Arc;

use super::outputs::ClientId;
use crate::cell::{ServerId, ServerSet};
use crate::changed::{Changed, Written};
use crate::log::{self, Change};
use crate::messages::DiskCall;
use crate::stock::Dialogue;
use crate::version::{TransactionId, Version};

/// Transactions that are committed as one: those that were completed while the commit before was under way, each made over
/// the one before it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Group {
    pub(crate) clients: Vec<ClientId>,
    /// In order.
    changes: Vec<Change>,
    /// What their writers wrote, in bytes.
    pub(crate) bytes: usize,
    /// What comes of them, over what they were made from.
    pub(crate) pages: Arc<Changed>,
}

impl Group {
    /// Adds a transaction that was made over all that are here.
    pub(crate) fn add(&mut self, client: ClientId, written: Written) {
        let Written { changes, pages, bytes } = written;
        if self.clients.is_empty() {
            self.pages = Arc::new(pages);
        } else {
            Arc::make_mut(&mut self.pages).absorb(pages);
        }
        self.clients.push(client);
        self.changes.extend(changes);
        self.bytes += bytes;
    }
}

/// Where one server is in it.
#[derive(Clone, Debug)]
pub(crate) enum Taker {
    /// It is being told what changes.
    Preparing(Dialogue),
    /// It has everything but the commit.
    Prepared,
    /// It was told to commit.
    Committing,
    /// It holds the new version.
    Done,
    /// A call failed; it may hold anything.
    Failed,
}

/// Which part of the sequence is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Step 1.
    Preparing,
    /// Steps 3 to 6.
    Deciding,
}

/// One commit on its way.
#[derive(Clone, Debug)]
pub(crate) struct Commit {
    pub(crate) id: TransactionId,
    /// Who is to hear of it; nobody, if it is the label's.
    pub(crate) clients: Vec<ClientId>,
    /// Whether it is a new sync site's, and changes nothing but the label.
    pub(crate) labels: bool,
    pub(crate) changes: Vec<Change>,
    /// What comes of it, over the version before.
    pub(crate) pages: Arc<Changed>,
    /// What it makes.
    pub(crate) version: Version,
    /// The version before, if the label changes.
    relabels: Option<Version>,
    pub(crate) stage: Stage,
    pub(crate) takers: Vec<(ServerId, Taker)>,
    /// The servers that hold the new version, by this commit or by a transfer.
    pub(crate) holders: ServerSet,
}

impl Commit {
    /// A commit of `group` to be taken by `servers`; without a group it is the label's. `relabel` is the label before and
    /// after, if it changes.
    pub(crate) fn new(
        id: TransactionId,
        group: Option<Group>,
        version: Version,
        relabel: Option<(Version, Version)>,
        servers: ServerSet,
    ) -> Self {
        let labels = group.is_none();
        let Group { clients, changes, pages, .. } = group.unwrap_or_default();
        // Each has merged its own.
        let changes = if clients.len() > 1 { log::merge(changes) } else { changes };
        let dialogue = Dialogue::new(id, &changes, relabel);
        let takers = servers.iter().map(|server| (server, Taker::Preparing(dialogue.clone()))).collect();
        let relabels = relabel.map(|(old, _)| old);
        let (stage, holders) = (Stage::Preparing, ServerSet::EMPTY);
        Commit { id, clients, labels, changes, pages, version, relabels, stage, takers, holders }
    }

    pub(crate) fn taker(&mut self, server: ServerId) -> Option<&mut Taker> {
        self.takers.iter_mut().find(|(id, _)| *id == server).map(|(_, taker)| taker)
    }

    /// The next call to a server that has answered the one before; `None` if it has everything.
    pub(crate) fn next_call(&mut self, server: ServerId) -> Option<DiskCall> {
        let taker = self.taker(server)?;
        let Taker::Preparing(dialogue) = taker else {
            return None;
        };
        let next = dialogue.next();
        if next.is_none() {
            *taker = Taker::Prepared;
        }
        next
    }

    /// While the label is being spread: the version before it, and which of `foreign` take part.
    pub(crate) fn relabelling(&self, foreign: ServerSet) -> Option<(Version, ServerSet)> {
        let before = self.relabels.filter(|_| self.stage == Stage::Preparing)?;
        Some((before, self.sound().and(foreign)))
    }

    /// Whether a server has not even begun the transaction.
    pub(crate) fn is_at_begin(&self, server: ServerId) -> bool {
        let mut at = self.takers.iter().filter(|(id, _)| *id == server);
        at.any(|(_, taker)| matches!(taker, Taker::Preparing(dialogue) if dialogue.is_at_begin()))
    }

    /// Whether every server has everything or has failed.
    pub(crate) fn is_prepared(&self) -> bool {
        self.takers.iter().all(|(_, taker)| !matches!(taker, Taker::Preparing(_)))
    }

    /// The servers for which `wanted` holds.
    pub(crate) fn servers(&self, wanted: impl Fn(&Taker) -> bool) -> ServerSet {
        self.takers.iter().filter(|(_, taker)| wanted(taker)).map(|&(id, _)| id).collect()
    }

    /// The servers that may be reading by this transaction's old or new version: those that did not fail.
    pub(crate) fn sound(&self) -> ServerSet {
        self.servers(|taker| !matches!(taker, Taker::Failed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_told_one_call_after_the_other() {
        let (server, id) = (ServerId::new(1), TransactionId { epoch: 5, counter: 1 });
        let mut group = Group::default();
        let changes = vec![Change::Write { position: 0, bytes: vec![1] }];
        let written = Written { changes, pages: Changed::default(), bytes: 1 };
        group.add(ClientId(1), written);
        let servers = [server].into_iter().collect();
        let mut commit = Commit::new(id, Some(group), Version::new(5, 3), None, servers);
        assert!(matches!(commit.next_call(server), Some(DiskCall::Lock { .. })), "Begin is under way");
        assert!(matches!(commit.next_call(server), Some(DiskCall::WriteV { .. })));
        assert!(!commit.is_prepared());
        assert_eq!(commit.next_call(server), None);
        assert!(commit.is_prepared());
    }
}
