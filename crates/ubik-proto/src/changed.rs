//! What a transaction leaves, before anything of it is on a disk: whole pages, and where the file was cut.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::log::Change;

/// Bytes in a page.
pub const PAGE_LEN: usize = 1024;

/// One page.
pub type Page = [u8; PAGE_LEN];

/// What a transaction leaves: whole pages, the length, and where the file was cut before the pages were written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// By number.
    pub pages: BTreeMap<u32, Arc<Page>>,
    /// In bytes.
    pub cut: Option<u64>,
    /// In bytes.
    pub length: u64,
}

impl Changed {
    /// Cuts to `length` bytes, or lengthens with zeros.
    pub fn truncate(&mut self, length: u64) {
        self.cut_at(length);
        self.length = length;
    }

    fn cut_at(&mut self, at: u64) {
        self.pages.split_off(&(at.div_ceil(PAGE_LEN as u64) as u32));
        if let Some(page) = self.pages.get_mut(&((at / PAGE_LEN as u64) as u32)) {
            Arc::make_mut(page)[(at % PAGE_LEN as u64) as usize..].fill(0);
        }
        self.cut = Some(self.cut.map_or(at, |cut| cut.min(at)));
    }

    /// Makes these the changes of this transaction and of a `later` one, which was made over it.
    pub fn absorb(&mut self, later: Changed) {
        if let Some(cut) = later.cut {
            self.cut_at(cut);
        }
        self.pages.extend(later.pages);
        self.length = later.length;
    }

    /// How many bytes of a page that is not among these are still what they were below.
    pub fn kept_below(&self, number: u32) -> usize {
        let start = u64::from(number) * PAGE_LEN as u64;
        self.cut.map_or(PAGE_LEN, |cut| cut.saturating_sub(start).min(PAGE_LEN as u64) as usize)
    }
}

/// A complete transaction: what it changes, in order, and the pages that come of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Writes that touch or overlap are one.
    pub changes: Vec<Change>,
    /// Over what it was made from.
    pub pages: Changed,
    /// What the writer wrote, in bytes.
    pub bytes: usize,
}
