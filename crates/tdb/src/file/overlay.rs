//! What an open transaction has written and nobody else has seen: blocks of changed bytes in front of the file.
//!
//! A block is copied from the file when it is first written; reads look here first. Each block knows which of its
//! words were written, so that the commit, which asks for the ranges that really differ, compares those only. Nothing
//! reaches the file before the commit. The table of blocks has two levels, so that a transaction that touches three
//! blocks of a large file costs three blocks.
//!
//! A savepoint costs nothing by itself: from then on a block is copied once more before its first write, and going back
//! puts those copies into their places.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::file::format::Offset;

/// Bytes a block: small, because most stores touch one record and two words of list.
pub(crate) const BLOCK: usize = 256;
/// Bytes a word; ranges are whole words, so that none reaches into a neighbour, and least of all the recovery area.
const WORD: usize = 4;
/// Words for which one integer of a block says whether they were written.
const FLAGS: usize = 64;
/// Blocks a leaf of the table.
const LEAF: usize = 1024;
/// Blocks that are given memory together.
const CHUNK: usize = 64;
/// Chunks that are kept for the next transaction.
const KEPT_CHUNKS: usize = 16;
/// Ranges closer than this are saved as one: each costs 8 bytes of its own in the recovery area.
const MERGE_GAP: usize = 8;

/// Some bytes of the database as the transaction sees them.
#[derive(Clone)]
pub(crate) struct Block {
    bytes: [u8; BLOCK],
    /// One bit for each word that was written.
    written: [u64; BLOCK / WORD / FLAGS],
    /// The number of marks when it was last copied for a savepoint, or made.
    marked: u32,
}

impl Block {
    const EMPTY: Block = Block { bytes: [0; BLOCK], written: [0; BLOCK / WORD / FLAGS], marked: 0 };

    /// Puts `bytes` at `within`, which must leave room for them.
    pub fn put(&mut self, within: usize, bytes: &[u8]) {
        self.bytes[within..within + bytes.len()].copy_from_slice(bytes);
        for word in within / WORD..(within + bytes.len()).div_ceil(WORD) {
            self.written[word / FLAGS] |= 1 << (word % FLAGS);
        }
    }

    fn word(&self, nth: usize) -> &[u8] {
        &self.bytes[nth * WORD..(nth + 1) * WORD]
    }

    /// Calls `with` with the first word and the number of each run of words that were written.
    fn runs<E>(&self, mut with: impl FnMut(usize, usize) -> Result<(), E>) -> Result<(), E> {
        let mut word = 0;
        while word < BLOCK / WORD {
            let left = self.written[word / FLAGS] >> (word % FLAGS);
            if left & 1 == 0 {
                // The rest of an integer without a bit is passed over at once.
                word += (left.trailing_zeros() as usize).min(FLAGS - word % FLAGS);
                continue;
            }
            let length = left.trailing_ones() as usize;
            with(word, length)?;
            word += length;
        }
        Ok(())
    }
}

/// The changed blocks, and how long the database is with them.
pub(crate) struct Overlay {
    /// For each block of the database 0, or one more than its place in `chunks`.
    leaves: Vec<Option<Box<[u32]>>>,
    /// The blocks in order of their first write, and room for more.
    chunks: Vec<Box<[Block]>>,
    /// Numbers of the blocks that exist.
    touched: Vec<u32>,
    /// Blocks as they were before their first write after a savepoint, with their places.
    undo: Vec<(u32, Block)>,
    /// The savepoints that can be gone back to.
    points: Vec<Point>,
    /// How many savepoints were made, and gone back to: a block with a lower number must be copied before a write.
    marks: u32,
    /// The database's size as this transaction sees it.
    pub size: u32,
    /// The file's size when the transaction began: what lies beyond reads as zeros.
    pub base_size: u32,
    /// Prepared: no more writes.
    pub sealed: bool,
}

/// What going back to a savepoint needs to know.
struct Point {
    serial: u64,
    undo: usize,
    touched: usize,
    size: u32,
}

/// The next savepoint's number; no two of a process are the same, so none is taken for that of another transaction.
static SERIAL: AtomicU64 = AtomicU64::new(0);

/// A run of bytes that the transaction changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub at: Offset,
    pub len: u32,
}

impl Overlay {
    /// An overlay without changes, and without memory.
    pub const fn empty() -> Overlay {
        Overlay {
            leaves: Vec::new(),
            chunks: Vec::new(),
            touched: Vec::new(),
            undo: Vec::new(),
            points: Vec::new(),
            marks: 0,
            size: 0,
            base_size: 0,
            sealed: false,
        }
    }

    /// Becomes the overlay of a file of `size` bytes, without changes, with the memory of its former use.
    pub fn begin(&mut self, size: u32) {
        self.clear();
        self.size = size;
        self.base_size = size;
    }

    /// Forgets all changes, keeping some memory for the next transaction.
    pub fn clear(&mut self) {
        self.untouch(0);
        self.undo.clear();
        self.points.clear();
        self.marks = 0;
        self.sealed = false;
        self.chunks.truncate(KEPT_CHUNKS);
        if self.leaves.len() > 64 {
            self.leaves = Vec::new();
        }
    }

    /// Forgets the blocks made after the first `kept`.
    fn untouch(&mut self, kept: usize) {
        for number in self.touched.drain(kept..) {
            let leaf = self.leaves[number as usize / LEAF].as_mut().expect("touched blocks have a leaf");
            leaf[number as usize % LEAF] = 0;
        }
    }

    // Savepoints.

    /// A place to go back to, by the number that is returned.
    pub fn mark(&mut self) -> u64 {
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let (undo, touched) = (self.undo.len(), self.touched.len());
        self.points.push(Point { serial, undo, touched, size: self.size });
        self.marks += 1;
        serial
    }

    /// Undoes what came after a mark, which stays; later ones are gone. `false` if there is no such mark (any more).
    pub fn go_back(&mut self, serial: u64) -> bool {
        let Some(nth) = self.points.iter().position(|point| point.serial == serial) else {
            return false;
        };
        self.points.truncate(nth + 1);
        let Point { undo, touched, size, .. } = self.points[nth];
        // The newest first: of two copies of a block the older one has the last word.
        for (place, block) in self.undo.drain(undo..).rev() {
            self.chunks[place as usize / CHUNK][place as usize % CHUNK] = block;
        }
        self.untouch(touched);
        self.size = size;
        self.marks += 1;
        true
    }

    /// Forgets a mark and later ones, keeping the changes.
    pub fn unmark(&mut self, serial: u64) {
        if let Some(nth) = self.points.iter().position(|point| point.serial == serial) {
            self.points.truncate(nth);
        }
        if self.points.is_empty() {
            self.undo.clear();
        }
    }

    // Blocks.

    /// The block's bytes, if it was written.
    #[inline]
    pub fn block(&self, number: usize) -> Option<&[u8; BLOCK]> {
        self.written_block(number).map(|block| &block.bytes)
    }

    #[inline]
    fn written_block(&self, number: usize) -> Option<&Block> {
        let place = self.leaves.get(number / LEAF)?.as_ref()?[number % LEAF].checked_sub(1)? as usize;
        Some(&self.chunks[place / CHUNK][place % CHUNK])
    }

    /// The block for writing; `fill` gives its content in the file when it is new here.
    pub fn block_mut<E>(
        &mut self,
        number: usize,
        fill: impl FnOnce(&mut [u8; BLOCK]) -> Result<(), E>,
    ) -> Result<&mut Block, E> {
        if self.leaves.len() <= number / LEAF {
            self.leaves.resize_with(number / LEAF + 1, || None);
        }
        let leaf = self.leaves[number / LEAF].get_or_insert_with(|| vec![0; LEAF].into_boxed_slice());
        let slot = &mut leaf[number % LEAF];
        if *slot != 0 {
            let place = *slot as usize - 1;
            let block = &mut self.chunks[place / CHUNK][place % CHUNK];
            if block.marked < self.marks && !self.points.is_empty() {
                self.undo.push((place as u32, block.clone()));
                block.marked = self.marks;
            }
            return Ok(block);
        }
        let place = self.touched.len();
        if place / CHUNK == self.chunks.len() {
            self.chunks.push(vec![Block::EMPTY; CHUNK].into_boxed_slice());
        }
        let block = &mut self.chunks[place / CHUNK][place % CHUNK];
        fill(&mut block.bytes)?;
        block.written = Block::EMPTY.written;
        block.marked = self.marks;
        self.touched.push(number as u32);
        *slot = self.touched.len() as u32;
        Ok(block)
    }

    /// The ranges in which the transaction differs from the file, ascending, none longer than a block's neighbours
    /// make it. `base` fills what it is given with what the file holds from a place on.
    pub fn changes<E>(
        &self,
        mut base: impl FnMut(Offset, &mut [u8]) -> Result<(), E>,
    ) -> Result<Vec<Change>, E> {
        let mut touched = self.touched.clone();
        touched.sort_unstable();
        let mut changes: Vec<Change> = Vec::new();
        let mut old = [0; BLOCK];
        for number in &touched {
            let start = *number as usize * BLOCK;
            let Some(block) = self.written_block(*number as usize) else { continue };
            block.runs(|first, words| {
                let old = &mut old[..words * WORD];
                base((start + first * WORD) as Offset, old)?;
                for (nth, old) in old.chunks_exact(WORD).enumerate() {
                    let at = start + (first + nth) * WORD;
                    // Bytes beyond the end exist in the block only.
                    let len = WORD.min((self.size as usize).saturating_sub(at));
                    if block.word(first + nth)[..len] != old[..len] {
                        push(&mut changes, at as Offset, len as u32);
                    }
                }
                Ok(())
            })?;
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
