//! What a voter must not forget, and what is kept of it on disk.
//!
//! //= docs/ubik-protocol.md#promise

use crate::cell::{Cell, ServerId};
use crate::election::epochs;

/// What a voter must not forget: the highest epoch it agreed to, and with whom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PromiseRecord {
    /// No sync site of a lower epoch is listened to, and no candidate of this one but `to`.
    pub max_epoch: u32,
    /// Who has the promise.
    pub to: Option<ServerId>,
}

/// A [`PromiseRecord`] as it is kept: it names an address and a cell, which mean the same when the list of servers has
/// changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeptPromise {
    /// As in the record.
    pub max_epoch: u32,
    /// The primary address of who has the promise.
    pub to: Option<u32>,
    /// Which cell it was given in ([`Cell::name_hash`]).
    pub cell: u64,
}

impl PromiseRecord {
    /// What is kept of this record in `cell`.
    pub fn kept(self, cell: &Cell) -> KeptPromise {
        let to = self.to.map(|id| cell.server(id).address);
        KeptPromise { max_epoch: self.max_epoch, to, cell: cell.name_hash() }
    }

    /// What a server that starts by the wall clock `wall` is bound to, with what was `kept`.
    ///
    /// Without a promise, or with one of another cell, what this server agreed to is not known: it agrees to nothing below
    /// the clock, unless it is a clone. A promise to a server that the list does not have any more binds like one to any other: to the end.
    ///
    /// //= docs/ubik-protocol.md#promise
    pub fn found(kept: Option<KeptPromise>, cell: &Cell, wall: i64) -> Self {
        match kept.filter(|kept| kept.cell == cell.name_hash()) {
            Some(kept) => {
                PromiseRecord { max_epoch: kept.max_epoch, to: kept.to.and_then(|to| cell.by_address(to)) }
            }
            // It has nothing to promise, and no vote by which a sync site of an older epoch would learn to stand again.
            None if !cell.is_voter(cell.me()) => PromiseRecord::default(),
            None => PromiseRecord { max_epoch: epochs::by_clock(wall), to: None },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::{Dialect, Server, ServerKind};

    /// U52: a clone without a file follows whoever is sync site, though its epoch began before the clone was started. (It followed
    /// nobody until the next election.)
    #[test]
    fn a_clone_without_a_promise_is_bound_to_nothing() {
        let server = |address, kind| Server { address, kind, dialect: Dialect::Quorate };
        let servers = vec![server(10, ServerKind::Voter), server(20, ServerKind::Clone)];
        let cell = |me| Cell::new(servers.clone(), me).unwrap();
        assert_eq!(PromiseRecord::found(None, &cell(20), 5000), PromiseRecord::default());
        assert_eq!(PromiseRecord::found(None, &cell(10), 5000).max_epoch, 5000);
    }

    /// U52: a promise names an address: a server that was added to the list before it takes nothing over. One without a file,
    /// or with another cell's, agrees to nothing below the clock.
    #[test]
    fn a_promise_names_an_address_and_a_cell() {
        let server = |address| Server { address, kind: ServerKind::Voter, dialect: Dialect::Quorate };
        let cell = |addresses: &[u32]| Cell::new(addresses.iter().map(|&a| server(a)).collect(), 30).unwrap();
        let (old, new) = (cell(&[20, 30, 40]), cell(&[10, 20, 30, 40]));
        let kept = PromiseRecord { max_epoch: 100, to: old.by_address(20) }.kept(&old);
        let found = PromiseRecord::found(Some(kept), &new, 5000);
        assert_eq!(found, PromiseRecord { max_epoch: 100, to: Some(ServerId::new(1)) });
        let gone = PromiseRecord::found(Some(kept), &cell(&[10, 30, 40]), 5000);
        assert_eq!(gone, PromiseRecord { max_epoch: 100, to: None });
        let unknown = PromiseRecord { max_epoch: 5000, to: None };
        assert_eq!(PromiseRecord::found(None, &new, 5000), unknown);
        assert_eq!(PromiseRecord::found(Some(kept), &new.named("example.org"), 5000), unknown);
    }
}
