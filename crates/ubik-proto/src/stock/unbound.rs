//! OpenAFS servers that are up and have not voted yet: they answer clients, so they are brought up to date all the same.
//!
//! One of those votes only 75 s after its start. Until then it takes no part in commits, so it falls behind at once: it is not sent
//! every version, and what it lacks when it votes is found out then.

use crate::cell::{Cell, ServerId, ServerSet};

/// What a sync site knows of such servers.
#[derive(Clone, Debug)]
pub(crate) struct Unbound {
    foreign: ServerSet,
    /// They were sent the database before they voted.
    spared: ServerSet,
}

impl Unbound {
    /// Those of `cell`.
    pub(crate) fn new(cell: &Cell) -> Self {
        Unbound { foreign: cell.foreign_peers(), spared: ServerSet::EMPTY }
    }

    /// The peers whose versions are asked and to whom the database is sent: those that have `voted`, and these if they are `up`.
    pub(crate) fn reached(&self, voted: ServerSet, up: impl Fn(ServerId) -> bool) -> ServerSet {
        voted.iter().chain(self.foreign.iter().filter(|&id| up(id))).collect()
    }

    /// A server has the database, and has not voted: it is left alone for a while.
    pub(crate) fn spare(&mut self, peer: ServerId) {
        self.spared.insert(peer);
    }

    /// A server has voted; returns whether it was spared before.
    pub(crate) fn voted(&mut self, peer: ServerId) -> bool {
        let spared = self.spared.contains(peer);
        self.spared.remove(peer);
        spared
    }
}
