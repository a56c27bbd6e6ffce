//! A transaction's own view: a snapshot, over it what is being committed and is not in it yet, and over that what the
//! transaction has written and cut.
//!
//! Reads find the newest bytes, however often a page was written, and truncation is ordered with the writes.
//! Dropping the overlay undoes everything: nothing of it is in the database.

use std::collections::btree_map::Entry;
use std::io;
use std::sync::Arc;

use ubik_proto::changed::{Changed, PAGE_LEN, Page, Written};
use ubik_proto::log::{self, Change};
use ubik_proto::version::Version;

use crate::pages::read_pages;
use crate::snapshot::Snapshot;

/// What a write transaction begins with: a snapshot and, oldest first, the changes of the transactions before it that are
/// complete and not yet decided. If those fail, so does whatever was made of them.
#[derive(Clone, Debug)]
pub struct View {
    base: Snapshot,
    pending: Vec<Arc<Changed>>,
    certain: bool,
}

impl From<Snapshot> for View {
    /// What readers see.
    fn from(base: Snapshot) -> Self {
        View { base, pending: Vec::new(), certain: true }
    }
}

impl View {
    /// What is here, and over it what is complete and not here yet, oldest first; `certain` if all of it is shown to readers.
    pub(crate) fn new(base: Snapshot, pending: Vec<Arc<Changed>>, certain: bool) -> Self {
        View { base, pending, certain }
    }

    /// Whether all of it is decided. What was read of any other view may never have been: nobody may be told of it before a
    /// transaction that was made over it, be it one without changes, is committed.
    pub fn is_certain(&self) -> bool {
        self.certain
    }

    /// The version at the bottom: what is pending has none yet.
    pub fn version(&self) -> Version {
        self.base.version()
    }

    /// How many bytes there are.
    pub fn length(&self) -> u64 {
        self.pending.last().map_or(self.base.length(), |top| top.length)
    }

    /// Fills `buffer` from `position`; beyond the end there are zeros.
    ///
    /// # Errors
    /// Those of the store, or that the snapshot has ended.
    pub fn read(&self, position: u64, buffer: &mut [u8]) -> io::Result<()> {
        read_pages(position, buffer, |number| self.page(number))
    }

    /// One page.
    ///
    /// # Errors
    /// Those of the store, or that the snapshot has ended.
    pub fn page(&self, number: u32) -> io::Result<Arc<Page>> {
        let mut kept = PAGE_LEN;
        for layer in self.pending.iter().rev() {
            if let Some(page) = layer.pages.get(&number) {
                return Ok(cut_page(page.clone(), kept));
            }
            kept = kept.min(layer.kept_below(number));
        }
        if kept == 0 { Ok(Arc::new([0; PAGE_LEN])) } else { Ok(cut_page(self.base.page(number)?, kept)) }
    }
}

/// Changes over a view.
#[derive(Debug)]
pub struct Overlay {
    below: View,
    changed: Changed,
    changes: Vec<Change>,
    bytes: usize,
}

impl Overlay {
    /// No changes over `below`.
    pub fn new(below: impl Into<View>) -> Self {
        let below = below.into();
        let changed = Changed { length: below.length(), ..Changed::default() };
        Overlay { below, changed, changes: Vec::new(), bytes: 0 }
    }

    /// What is below the changes.
    pub fn base(&self) -> &View {
        &self.below
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
        if let Some(page) = self.changed.pages.get(&number) {
            return Ok(page.clone());
        }
        // What was there before this transaction wrote to it: what is beyond a cut is gone.
        match self.changed.kept_below(number) {
            0 => Ok(Arc::new([0; PAGE_LEN])),
            kept => Ok(cut_page(self.below.page(number)?, kept)),
        }
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
    pub fn truncate(&mut self, length: u32) {
        self.changed.truncate(u64::from(length));
        self.changes.push(Change::Truncate { length });
    }

    /// Makes one change.
    ///
    /// # Errors
    /// Those of the store.
    pub fn make(&mut self, change: &Change) -> io::Result<()> {
        match change {
            Change::Write { position, bytes } => self.write(*position, bytes),
            Change::Truncate { length } => {
                self.truncate(*length);
                Ok(())
            }
        }
    }

    /// The transaction is complete: what it changes, writes that touch or overlap made one.
    pub fn finish(self) -> Written {
        Written { changes: log::merge(self.changes), pages: self.changed, bytes: self.bytes }
    }

    pub(crate) fn into_pages(self) -> Changed {
        self.changed
    }
}

/// The page with zeros beyond its first `kept` bytes.
fn cut_page(mut page: Arc<Page>, kept: usize) -> Arc<Page> {
    if kept < PAGE_LEN {
        Arc::make_mut(&mut page)[kept..].fill(0);
    }
    page
}
