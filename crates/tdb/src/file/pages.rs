//! Pages that a [`Storage`] has lent, kept so that the next access costs no call.
//!
//! A page may be kept for as long as nobody writes through this handle and the storage is not exchanged: storage that
//! lends pages promises that they do not change otherwise.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;

use crate::file::storage::Storage;

/// How many pages are kept; each has one place, by its number.
const KEPT: usize = 1024;

type Slot = Option<(u32, Arc<[u8]>)>;

/// Lent pages, each of `1 << shift` bytes.
pub(crate) struct Pages {
    shift: u32,
    slots: RefCell<Box<[Slot]>>,
}

impl Pages {
    /// The cache for what `storage` lends; none if it lends nothing.
    pub fn of(storage: &dyn Storage) -> Option<Pages> {
        let len = storage.page_len().filter(|len| len.is_power_of_two() && *len >= 4)?;
        let slots = RefCell::new(vec![None; KEPT].into_boxed_slice());
        Some(Pages { shift: len.trailing_zeros(), slots })
    }

    /// What `with` makes of the `len` bytes at `at`, if they are in one page that is kept.
    #[inline]
    pub fn kept<T>(&self, at: u32, len: usize, with: impl FnOnce(&[u8]) -> T) -> Option<T> {
        let within = at as usize & ((1 << self.shift) - 1);
        let number = at >> self.shift;
        match &self.slots.borrow()[number as usize % KEPT] {
            Some((kept, page)) if *kept == number => page.get(within..within + len).map(with),
            _ => None,
        }
    }

    /// Fills `out` with what the pages hold from `at` on.
    #[inline]
    pub fn read(&self, storage: &dyn Storage, at: u32, out: &mut [u8]) -> io::Result<()> {
        let within = at as usize & ((1 << self.shift) - 1);
        if within + out.len() <= 1 << self.shift {
            return self.with(storage, at >> self.shift, |page| {
                out.copy_from_slice(&page[within..within + out.len()]);
            });
        }
        self.read_pieces(storage, at, out)
    }

    fn read_pieces(&self, storage: &dyn Storage, at: u32, out: &mut [u8]) -> io::Result<()> {
        let (mut at, mut rest) = (at as usize, out);
        while !rest.is_empty() {
            let within = at & ((1 << self.shift) - 1);
            let (piece, left) = rest.split_at_mut(rest.len().min((1 << self.shift) - within));
            self.with(storage, (at >> self.shift) as u32, |page| {
                piece.copy_from_slice(&page[within..within + piece.len()]);
            })?;
            at += piece.len();
            rest = left;
        }
        Ok(())
    }

    #[inline]
    fn with<T>(&self, storage: &dyn Storage, number: u32, with: impl FnOnce(&[u8]) -> T) -> io::Result<T> {
        let mut slots = self.slots.borrow_mut();
        let slot = &mut slots[number as usize % KEPT];
        match slot {
            Some((kept, page)) if *kept == number => Ok(with(page)),
            _ => {
                let page = self.ask(storage, number)?;
                let (_, page) = slot.insert((number, page));
                Ok(with(page))
            }
        }
    }

    #[cold]
    fn ask(&self, storage: &dyn Storage, number: u32) -> io::Result<Arc<[u8]>> {
        let page = storage.page(number)?;
        if page.len() == 1 << self.shift {
            Ok(page)
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidData, "the storage lent a page of another length"))
        }
    }

    /// Forgets all pages.
    pub fn clear(&self) {
        self.slots.borrow_mut().fill(None);
    }
}
