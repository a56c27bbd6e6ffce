//! The one write transaction that a sync site runs at this server.
//!
//! The rules of the DISK calls about it, without the database: [`Remote`] says what a call may do and collects the
//! changes until the commit. Whether the caller is the server that has this one's promise is asked before
//! (`docs/ubik-protocol.md`, Fence).

use crate::cell::ServerId;
use crate::code::AbortCode;
use crate::log::Change;
use crate::messages::{LOCK_WRITE, Write};
use crate::version::TransactionId;

/// The most bytes of changes that one transaction of an application may hold in memory.
pub const MAX_TRANSACTION_BYTES: usize = 63 << 20;
/// The most bytes of changes that a server takes at once: one transaction, and what its sync site commits with it.
pub const MAX_GROUP_BYTES: usize = 64 << 20;

/// How far the transaction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Begun,
    Locked,
    /// It is in the database and not yet shown to readers.
    Committed,
}

#[derive(Clone, Debug)]
struct Current {
    id: TransactionId,
    host: ServerId,
    stage: Stage,
    changes: Vec<Change>,
    bytes: usize,
}

/// What is to become of the committed transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// Show it to readers.
    Reveal,
    /// Nothing was committed.
    Nothing,
}

/// At most one remote transaction.
#[derive(Clone, Debug, Default)]
pub struct Remote {
    current: Option<Current>,
}

impl Remote {
    /// Begins a transaction; an older one that was never finished is dropped.
    ///
    /// # Errors
    /// `OUT_OF_SYNC` if a newer one of the same server runs: this call is a late one.
    pub fn begin(&mut self, host: ServerId, id: TransactionId) -> Result<(), AbortCode> {
        if self.current.as_ref().is_some_and(|current| current.host == host && current.id >= id) {
            return Err(AbortCode::OUT_OF_SYNC);
        }
        self.current = Some(Current { id, host, stage: Stage::Begun, changes: Vec::new(), bytes: 0 });
        Ok(())
    }

    fn open(&mut self, host: ServerId, id: TransactionId) -> Result<&mut Current, AbortCode> {
        let current = self.current.as_mut().filter(|current| current.id == id && current.host == host);
        current.filter(|current| current.stage != Stage::Committed).ok_or(AbortCode::OUT_OF_SYNC)
    }

    /// Takes the write lock.
    ///
    /// # Errors
    /// `BAD_LOCK` for a lock that is none, `OUT_OF_SYNC` without this transaction.
    pub fn lock(
        &mut self,
        host: ServerId,
        id: TransactionId,
        length: u32,
        kind: u32,
    ) -> Result<(), AbortCode> {
        if length != 1 {
            return Err(AbortCode::BAD_LOCK);
        }
        let current = self.open(host, id)?;
        if kind == LOCK_WRITE {
            current.stage = Stage::Locked;
        }
        Ok(())
    }

    /// Adds writes.
    ///
    /// # Errors
    /// `NO_ENTRY` for another file than 0, `INTERNAL` if it grows too large, `OUT_OF_SYNC` without this transaction.
    pub fn write(&mut self, host: ServerId, id: TransactionId, writes: Vec<Write>) -> Result<(), AbortCode> {
        let current = self.open(host, id)?;
        for write in writes {
            let end = u64::from(write.position) + write.bytes.len() as u64;
            if write.file != 0 {
                return Err(AbortCode::NO_ENTRY);
            }
            current.bytes += write.bytes.len();
            if current.bytes > MAX_GROUP_BYTES || end > i32::MAX as u64 {
                return Err(AbortCode::INTERNAL);
            }
            current.changes.push(Change::Write { position: write.position, bytes: write.bytes });
        }
        Ok(())
    }

    /// Adds a truncation, in order with the writes.
    ///
    /// # Errors
    /// `NO_ENTRY` for another file than 0, `OUT_OF_SYNC` without this transaction.
    pub fn truncate(
        &mut self,
        host: ServerId,
        id: TransactionId,
        file: u32,
        length: u32,
    ) -> Result<(), AbortCode> {
        let current = self.open(host, id)?;
        if file != 0 {
            return Err(AbortCode::NO_ENTRY);
        }
        current.changes.push(Change::Truncate { length });
        Ok(())
    }

    /// How many pages of `page_len` bytes the running transaction changes.
    pub fn changed_pages(&self, page_len: u32) -> usize {
        let changes = self.current.iter().flat_map(|current| &current.changes);
        let pages = changes.filter_map(|change| match change {
            Change::Write { position, bytes } if !bytes.is_empty() => {
                Some(position / page_len..=(position + (bytes.len() as u32 - 1)) / page_len)
            }
            Change::Write { .. } | Change::Truncate { .. } => None,
        });
        pages.flatten().collect::<std::collections::BTreeSet<u32>>().len()
    }

    /// That the transaction is open, for a call that changes nothing of it.
    ///
    /// # Errors
    /// `OUT_OF_SYNC` without this transaction.
    pub fn check(&mut self, host: ServerId, id: TransactionId) -> Result<(), AbortCode> {
        self.open(host, id).map(|_| ())
    }

    /// Hands out the changes to commit.
    ///
    /// # Errors
    /// `OUT_OF_SYNC` without this transaction.
    pub fn commit(&mut self, host: ServerId, id: TransactionId) -> Result<Vec<Change>, AbortCode> {
        let current = self.open(host, id)?;
        current.stage = Stage::Committed;
        Ok(std::mem::take(&mut current.changes))
    }

    /// The sync site is done with the transaction.
    ///
    /// # Errors
    /// `OUT_OF_SYNC` without this transaction.
    pub fn release(&mut self, host: ServerId, id: TransactionId) -> Result<Release, AbortCode> {
        let current = self.current.as_ref().filter(|current| current.id == id && current.host == host);
        let committed = current.ok_or(AbortCode::OUT_OF_SYNC)?.stage == Stage::Committed;
        self.current = None;
        Ok(if committed { Release::Reveal } else { Release::Nothing })
    }

    /// Forgets an uncommitted transaction.
    ///
    /// # Errors
    /// `OUT_OF_SYNC` without this transaction.
    pub fn abort(&mut self, host: ServerId, id: TransactionId) -> Result<(), AbortCode> {
        self.open(host, id)?;
        self.current = None;
        Ok(())
    }

    /// The sync site `host` runs `running`, or will run it next: whatever else is here is stale.
    pub fn check_stale(&mut self, host: ServerId, running: TransactionId) {
        let stale = |current: &Current| {
            current.host != host || current.id.epoch != running.epoch || current.id.counter < running.counter
        };
        if self.current.as_ref().is_some_and(stale) {
            self.current = None;
        }
    }

    /// Forgets whatever there is: another sync site is listened to now, or the database was replaced.
    pub fn clear(&mut self) {
        self.current = None;
    }

    /// The transaction, for status.
    pub fn current(&self) -> Option<TransactionId> {
        self.current.as_ref().map(|current| current.id)
    }

    /// Whether its write lock is held, for status.
    pub fn is_locked(&self) -> bool {
        self.current.as_ref().is_some_and(|current| current.stage != Stage::Begun)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(counter: u32) -> TransactionId {
        TransactionId { epoch: 7, counter }
    }

    fn host(index: usize) -> ServerId {
        ServerId::new(index)
    }

    fn write(position: u32) -> Vec<Write> {
        vec![Write { file: 0, position, bytes: vec![1] }]
    }

    /// U39: the pages that a transaction changes, each counted once, also those that a write only touches.
    #[test]
    fn changed_pages_are_counted() {
        let mut remote = Remote::default();
        assert_eq!(remote.changed_pages(1024), 0);
        remote.begin(host(1), id(1)).unwrap();
        remote.lock(host(1), id(1), 1, LOCK_WRITE).unwrap();
        let long = Write { file: 0, position: 1020, bytes: vec![1; 1030] };
        remote.write(host(1), id(1), [write(5), write(7), vec![long], write(5 << 10)].concat()).unwrap();
        assert_eq!(remote.changed_pages(1024), 4, "pages 0, 1, 2 and 5");
    }

    /// U29: changes come out in the order they came in, once.
    #[test]
    fn a_transaction_hands_out_its_changes_in_order() {
        let mut remote = Remote::default();
        remote.begin(host(1), id(1)).unwrap();
        remote.lock(host(1), id(1), 1, LOCK_WRITE).unwrap();
        remote.write(host(1), id(1), write(5)).unwrap();
        remote.truncate(host(1), id(1), 0, 3).unwrap();
        let changes = vec![Change::Write { position: 5, bytes: vec![1] }, Change::Truncate { length: 3 }];
        assert_eq!(remote.commit(host(1), id(1)), Ok(changes));
        assert_eq!(remote.commit(host(1), id(1)), Err(AbortCode::OUT_OF_SYNC), "not twice");
        assert_eq!(remote.release(host(1), id(1)), Ok(Release::Reveal));
        assert_eq!(remote.release(host(1), id(1)), Err(AbortCode::OUT_OF_SYNC));
    }

    /// U29, K3: calls of another server or about another transaction change nothing.
    #[test]
    fn calls_that_do_not_match_are_out_of_sync() {
        let mut remote = Remote::default();
        let out = Err(AbortCode::OUT_OF_SYNC);
        assert_eq!(remote.write(host(1), id(1), write(0)), out);
        remote.begin(host(1), id(2)).unwrap();
        assert_eq!(remote.write(host(2), id(2), write(0)), out);
        assert_eq!(remote.abort(host(1), id(1)), out);
        assert_eq!(remote.begin(host(1), id(1)), out, "a late call");
        assert_eq!(remote.lock(host(1), id(2), 2, LOCK_WRITE), Err(AbortCode::BAD_LOCK));
        assert_eq!(remote.truncate(host(1), id(2), 1, 0), Err(AbortCode::NO_ENTRY));
        assert_eq!(remote.current(), Some(id(2)));
    }

    /// U17: a beacon with a later transaction, or from another server, drops a stale one.
    #[test]
    fn a_stale_transaction_is_dropped() {
        let mut remote = Remote::default();
        for (from, running, survives) in
            [(host(1), id(2), true), (host(1), id(3), false), (host(2), id(2), false)]
        {
            remote.clear();
            remote.begin(host(1), id(2)).unwrap();
            remote.check_stale(from, running);
            assert_eq!(remote.current().is_some(), survives);
        }
    }
}
