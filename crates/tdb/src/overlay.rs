//! What an open transaction has written and nobody else has seen: blocks of changed bytes in front of the file.
//!
//! A block is copied from the file when it is first written; reads look here first. Nothing of it reaches the file
//! before the commit, which asks for the ranges that really differ. The table of blocks has two levels, so that a
//! transaction that touches three blocks of a large file costs three blocks.

use crate::format::Offset;

/// Bytes a block: small, because most stores touch one record and two words of list.
pub(crate) const BLOCK: usize = 1024;
/// Blocks a leaf of the table.
const LEAF: usize = 1024;
/// Ranges closer than this are saved as one: each costs 8 bytes of its own in the recovery area.
const MERGE_GAP: usize = 8;

type Block = Box<[u8; BLOCK]>;

/// The changed blocks, and how long the database is with them.
pub(crate) struct Overlay {
    leaves: Vec<Option<Box<[Option<Block>]>>>,
    /// Numbers of the blocks that exist, in order of their first write.
    touched: Vec<u32>,
    /// Blocks of former transactions, to be used again.
    spare: Vec<Block>,
    /// The database's size as this transaction sees it.
    pub size: u32,
    /// The file's size when the transaction began: what lies beyond reads as zeros.
    pub base_size: u32,
    /// Prepared: no more writes.
    pub sealed: bool,
}

/// A run of bytes that the transaction changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub at: Offset,
    pub len: u32,
}

impl Overlay {
    /// An overlay of a file of `size` bytes, reusing the memory of a former one.
    pub fn new(size: u32, former: Option<Overlay>) -> Overlay {
        let mut overlay = former.unwrap_or(Overlay {
            leaves: Vec::new(),
            touched: Vec::new(),
            spare: Vec::new(),
            size,
            base_size: size,
            sealed: false,
        });
        overlay.size = size;
        overlay.base_size = size;
        overlay.sealed = false;
        overlay
    }

    /// Forgets all changes, keeping some memory for the next transaction.
    pub fn clear(&mut self) {
        const KEPT_BLOCKS: usize = 256;
        for number in std::mem::take(&mut self.touched) {
            let leaf = self.leaves[number as usize / LEAF].as_mut().expect("touched blocks have a leaf");
            let block = leaf[number as usize % LEAF].take();
            if self.spare.len() < KEPT_BLOCKS {
                self.spare.extend(block);
            }
        }
        if self.leaves.len() > 64 {
            self.leaves = Vec::new();
        }
    }

    /// The block's bytes, if it was written.
    #[inline]
    pub fn block(&self, number: usize) -> Option<&[u8; BLOCK]> {
        self.leaves.get(number / LEAF)?.as_ref()?[number % LEAF].as_deref()
    }

    /// The block's bytes for writing; `fill` gives its content in the file when it is new here.
    pub fn block_mut<E>(
        &mut self,
        number: usize,
        fill: impl FnOnce(&mut [u8; BLOCK]) -> Result<(), E>,
    ) -> Result<&mut [u8; BLOCK], E> {
        if self.leaves.len() <= number / LEAF {
            self.leaves.resize_with(number / LEAF + 1, || None);
        }
        let leaf = self.leaves[number / LEAF].get_or_insert_with(|| vec![None; LEAF].into_boxed_slice());
        let slot = &mut leaf[number % LEAF];
        if slot.is_none() {
            let mut block = self.spare.pop().unwrap_or_else(|| Box::new([0; BLOCK]));
            fill(&mut block)?;
            self.touched.push(number as u32);
            *slot = Some(block);
        }
        Ok(slot.as_mut().expect("filled right above"))
    }

    /// The ranges in which the transaction differs from the file, ascending, none longer than a block's neighbours
    /// make it. `base` fills a block with what the file holds.
    pub fn changes<E>(
        &mut self,
        mut base: impl FnMut(usize, &mut [u8; BLOCK]) -> Result<(), E>,
    ) -> Result<Vec<Change>, E> {
        self.touched.sort_unstable();
        let mut changes: Vec<Change> = Vec::new();
        let mut old = [0; BLOCK];
        for number in &self.touched {
            let number = *number as usize;
            let Some(new) = self.block(number) else { continue };
            base(number, &mut old)?;
            // Bytes beyond the end exist in the block only.
            let len = BLOCK.min((self.size as usize).saturating_sub(number * BLOCK));
            differences(&old[..len], &new[..len], |start, end| {
                push(&mut changes, (number * BLOCK + start) as u32, (end - start) as u32);
            });
        }
        Ok(changes)
    }
}

fn push(changes: &mut Vec<Change>, at: Offset, len: u32) {
    if let Some(last) = changes.last_mut()
        && at - (last.at + last.len) < MERGE_GAP as u32
    {
        last.len = at + len - last.at;
    } else {
        changes.push(Change { at, len });
    }
}

/// Calls `found` with each run of bytes that differ; runs with a short gap between them are one.
fn differences(old: &[u8], new: &[u8], mut found: impl FnMut(usize, usize)) {
    // Whole words: then a range never reaches into a neighbour, and least of all into the recovery area.
    const STEP: usize = 4;
    let mut run: Option<(usize, usize)> = None;
    let mut at = 0;
    while at < new.len() {
        let end = (at + STEP).min(new.len());
        if old[at..end] != new[at..end] {
            match &mut run {
                Some((_, run_end)) if *run_end == at => *run_end = end,
                _ => {
                    if let Some((start, end)) = run {
                        found(start, end);
                    }
                    run = Some((at, end));
                }
            }
        }
        at = end;
    }
    if let Some((start, end)) = run {
        found(start, end);
    }
}
