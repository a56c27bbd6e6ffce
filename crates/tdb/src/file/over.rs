//! What a transaction sees: its own changes in front of the file.

use std::cell::RefCell;

use crate::error::AccessError;
use crate::file::bytes::{Bytes, inside, outside};
use crate::file::format::{ByteOrder, Length, Offset, RECORD_HEADER, Record};
use crate::file::overlay::{BLOCK, Change, Overlay};
use crate::file::space::{Space, append_after_check, equals_by_pieces};

/// Changes in front of a file; made for each operation from its two halves.
///
/// Nobody else changes the file meanwhile: the transaction has all records locked. Nothing here reaches the file.
#[derive(Clone, Copy)]
pub(crate) struct Over<'a> {
    pub base: &'a Space,
    pub changes: &'a RefCell<Overlay>,
}

impl Bytes for Over<'_> {
    fn order(&self) -> ByteOrder {
        self.base.order()
    }

    #[inline]
    fn size(&self) -> u32 {
        self.changes.borrow().size
    }

    #[inline]
    fn word(&self, at: Offset) -> Result<u32, AccessError> {
        let mut bytes = [0; 4];
        self.read(at, &mut bytes)?;
        Ok(self.order().word(bytes))
    }

    #[inline]
    fn set_word(&self, at: Offset, word: u32) -> Result<(), AccessError> {
        self.write(at, &self.order().bytes(word))
    }

    #[inline]
    fn record(&self, at: Offset) -> Result<Record, AccessError> {
        let mut bytes = [0; RECORD_HEADER as usize];
        self.read(at, &mut bytes)?;
        Ok(Record::from_bytes(&bytes, self.order()))
    }

    fn equals(&self, at: Offset, bytes: &[u8]) -> Result<bool, AccessError> {
        equals_by_pieces(self, at, bytes)
    }

    #[inline]
    fn read(&self, at: Offset, out: &mut [u8]) -> Result<(), AccessError> {
        let changes = self.changes.borrow();
        let (start, within) = (at as usize, at as usize % BLOCK);
        if !inside(at, out.len() as u32, changes.size) {
            return Err(outside(at));
        }
        if within + out.len() > BLOCK {
            return self.read_pieces(&changes, start, out);
        }
        match changes.block(start / BLOCK) {
            Some(block) => out.copy_from_slice(&block[within..within + out.len()]),
            None => self.read_below(changes.base_size, at, out)?,
        }
        Ok(())
    }

    fn append_to(&self, at: Offset, len: Length, out: &mut Vec<u8>) -> Result<(), AccessError> {
        append_after_check(self, at, len, out)
    }

    fn write(&self, at: Offset, bytes: &[u8]) -> Result<(), AccessError> {
        let mut changes = self.changes.borrow_mut();
        if !inside(at, bytes.len() as u32, changes.size) {
            return Err(outside(at));
        }
        must_be_open(&changes)?;
        let base_size = changes.base_size;
        let mut done = 0;
        while done < bytes.len() {
            let place = at as usize + done;
            let (number, within) = (place / BLOCK, place % BLOCK);
            let step = (BLOCK - within).min(bytes.len() - done);
            let fill = |block: &mut [u8; BLOCK]| self.read_below(base_size, (number * BLOCK) as u32, block);
            changes.block_mut(number, fill)?.put(within, &bytes[done..done + step]);
            done += step;
        }
        Ok(())
    }

    #[inline]
    fn must_hold(&self, at: Offset, len: Length) -> Result<(), AccessError> {
        if inside(at, len, self.size()) { Ok(()) } else { Err(outside(at)) }
    }

    fn grow(&self, to: u32) -> Result<(), AccessError> {
        let mut changes = self.changes.borrow_mut();
        must_be_open(&changes)?;
        changes.size = to;
        Ok(())
    }

    /// Nobody makes the file longer while all records are locked.
    fn refresh(&self) -> Result<(), AccessError> {
        Ok(())
    }

    /// Nobody else looks at these bytes, so there is no need for one step.
    fn increment(&self, _: Offset) -> bool {
        false
    }
}

fn must_be_open(changes: &Overlay) -> Result<(), AccessError> {
    if changes.sealed {
        return Err(AccessError::Refused { why: "the transaction is prepared; commit or cancel it" });
    }
    Ok(())
}

impl Over<'_> {
    fn read_pieces(&self, changes: &Overlay, start: usize, out: &mut [u8]) -> Result<(), AccessError> {
        let mut done = 0;
        while done < out.len() {
            let place = start + done;
            let within = place % BLOCK;
            let step = (BLOCK - within).min(out.len() - done);
            let part = &mut out[done..done + step];
            match changes.block(place / BLOCK) {
                Some(block) => part.copy_from_slice(&block[within..within + step]),
                None => self.read_below(changes.base_size, place as u32, part)?,
            }
            done += step;
        }
        Ok(())
    }

    /// Reads what the file holds below `base_size`, and zeros from there on.
    fn read_below(&self, base_size: u32, at: Offset, out: &mut [u8]) -> Result<(), AccessError> {
        let held = (base_size.saturating_sub(at) as usize).min(out.len());
        out[held..].fill(0);
        if held == 0 { Ok(()) } else { self.base.read(at, &mut out[..held]) }
    }

    /// The ranges in which the transaction differs from the file.
    pub fn changed(&self) -> Result<Vec<Change>, AccessError> {
        let changes = self.changes.borrow();
        let base_size = changes.base_size;
        changes.changes(|at, old| self.read_below(base_size, at, old))
    }

    /// No more writes in this transaction.
    pub fn seal(&self) {
        self.changes.borrow_mut().sealed = true;
    }

    /// The file's own size, without what the transaction added.
    pub fn base_size(&self) -> u32 {
        self.changes.borrow().base_size
    }

    /// The file's own bytes at `at`, as they were before this transaction.
    pub fn base_bytes(&self, at: Offset, out: &mut [u8]) -> Result<(), AccessError> {
        self.read_below(self.base_size(), at, out)
    }

    /// The file's own word at `at`.
    pub fn base_word(&self, at: Offset) -> Result<u32, AccessError> {
        let mut bytes = [0; 4];
        self.base_bytes(at, &mut bytes)?;
        Ok(self.order().word(bytes))
    }

    /// The file's own record at `at`.
    pub fn base_record(&self, at: Offset) -> Result<Record, AccessError> {
        let mut header = [0; RECORD_HEADER as usize];
        self.base_bytes(at, &mut header)?;
        Ok(Record::from_bytes(&header, self.order()))
    }

    /// Makes the file itself longer, under the changes; the transaction's size becomes the larger of both.
    pub fn grow_base(&self, to: u32) -> Result<(), AccessError> {
        self.base.grow(to)?;
        let mut changes = self.changes.borrow_mut();
        changes.base_size = to;
        changes.size = changes.size.max(to);
        Ok(())
    }
}
