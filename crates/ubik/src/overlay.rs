//! A transaction's own view: a snapshot, and over it what the transaction has written and cut.
//!
//! Reads find the newest bytes, however often a page was written (U8), and truncation is ordered with the writes (U9).
//! Dropping the overlay undoes everything: nothing of it is in the database.

use std::collections::btree_map::Entry;
use std::io;
use std::sync::Arc;

use ubik_proto::log::Change;

use crate::pages::{PAGE_LEN, Page, read_pages};
use crate::snapshot::{Changed, Snapshot};

/// Changes over a snapshot.
#[derive(Debug)]
pub struct Overlay {
    base: Snapshot,
    changed: Changed,
    changes: Vec<Change>,
    bytes: usize,
}

impl Overlay {
    /// No changes over `base`.
    pub fn new(base: Snapshot) -> Self {
        let changed = Changed { length: base.length(), ..Changed::default() };
        Overlay { base, changed, changes: Vec::new(), bytes: 0 }
    }

    /// The snapshot below.
    pub fn base(&self) -> &Snapshot {
        &self.base
    }

    /// How many bytes there are; a file that was written ends with a whole page.
    pub fn length(&self) -> u64 {
        self.changed.length
    }

    /// How many bytes of changes are held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Fills `buffer` from `position`; beyond the end there are zeros.
    ///
    /// # Errors
    /// Those of the store.
    pub fn read(&self, position: u64, buffer: &mut [u8]) -> io::Result<()> {
        read_pages(position, buffer, |number| self.page(number))
    }

    fn page(&self, number: u32) -> io::Result<Arc<Page>> {
        match self.changed.pages.get(&number) {
            Some(page) => Ok(page.clone()),
            None => self.below(number),
        }
    }

    /// The page before this transaction wrote to it: what is beyond a cut is gone.
    fn below(&self, number: u32) -> io::Result<Arc<Page>> {
        let start = u64::from(number) * PAGE_LEN as u64;
        let kept =
            self.changed.cut.map_or(PAGE_LEN as u64, |cut| cut.saturating_sub(start)).min(PAGE_LEN as u64);
        if kept == 0 {
            return Ok(Arc::new([0; PAGE_LEN]));
        }
        let mut page = self.base.page(number)?;
        if kept < PAGE_LEN as u64 {
            Arc::make_mut(&mut page)[kept as usize..].fill(0);
        }
        Ok(page)
    }

    /// Writes `bytes` at `position`.
    ///
    /// # Errors
    /// Those of the store, from which the rest of a page comes.
    pub fn write(&mut self, position: u32, bytes: &[u8]) -> io::Result<()> {
        let mut done = 0;
        while done < bytes.len() {
            let at = u64::from(position) + done as u64;
            let offset = (at % PAGE_LEN as u64) as usize;
            let count = (PAGE_LEN - offset).min(bytes.len() - done);
            let number = (at / PAGE_LEN as u64) as u32;
            let page = self.page(number)?;
            let slot = match self.changed.pages.entry(number) {
                Entry::Occupied(slot) => slot.into_mut(),
                Entry::Vacant(slot) => slot.insert(page),
            };
            Arc::make_mut(slot)[offset..offset + count].copy_from_slice(&bytes[done..done + count]);
            let end = (u64::from(number) + 1) * PAGE_LEN as u64;
            self.changed.length = self.changed.length.max(end);
            done += count;
        }
        self.bytes += bytes.len();
        self.changes.push(Change::Write { position, bytes: bytes.to_vec() });
        Ok(())
    }

    /// Cuts the file to `length`, or lengthens it with zeros.
    ///
    /// # Errors
    /// Those of the store.
    pub fn truncate(&mut self, length: u32) -> io::Result<()> {
        let to = u64::from(length);
        if to < self.changed.length {
            let first_gone = to.div_ceil(PAGE_LEN as u64) as u32;
            self.changed.pages.split_off(&first_gone);
            let number = (to / PAGE_LEN as u64) as u32;
            if let Some(page) = self.changed.pages.get_mut(&number) {
                Arc::make_mut(page)[(to % PAGE_LEN as u64) as usize..].fill(0);
            }
        }
        self.changed.cut = Some(self.changed.cut.map_or(to, |cut| cut.min(to)));
        self.changed.length = to;
        self.changes.push(Change::Truncate { length });
        Ok(())
    }

    /// Makes one change.
    ///
    /// # Errors
    /// Those of the store.
    pub fn make(&mut self, change: &Change) -> io::Result<()> {
        match change {
            Change::Write { position, bytes } => self.write(*position, bytes),
            Change::Truncate { length } => self.truncate(*length),
        }
    }

    /// What was changed, in order.
    pub fn into_changes(self) -> Vec<Change> {
        self.changes
    }

    pub(crate) fn into_pages(self) -> Changed {
        self.changed
    }
}
