//! The database's bytes as the engine sees them: words and runs of bytes at offsets, in the file's byte order.
//!
//! Owns the choice of where they come from. Normally that is the mapping, and an access is one comparison and one
//! load. While a transaction is open the mapping is hidden, every access takes the slow path, and that asks the
//! overlay first. Without a mapping the slow path goes through [`Storage`]. An offset beyond the end is looked at
//! once more after asking for the file's size, since another process may have grown it; then it is corruption.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use crate::error::AccessError;
use crate::file::format::{ByteOrder, Length, Offset, RECORD_HEADER, Record};
use crate::file::mapping::Mapping;
use crate::file::overlay::{BLOCK, Change, Overlay};
use crate::file::storage::{FileStorage, Storage};

/// What holds the bytes when they are not looked at through the mapping.
pub(crate) enum Backing {
    File(FileStorage),
    /// Anonymous memory: the mapping is all there is.
    Memory,
    Custom(Box<dyn Storage>),
}

/// The bytes of one open database.
pub(crate) struct Space {
    backing: Backing,
    mapping: Mapping,
    /// Whether a file shall be mapped.
    map_wanted: Cell<bool>,
    foreign: Cell<bool>,
    /// The bytes known to be there; with an open transaction, its own additions included.
    size: Cell<u32>,
    /// No database is shorter than this: header and chain heads. 0 while it is being opened.
    floor: Cell<u32>,
    /// Another process truncated the file; nothing is believed from then on.
    lost: Cell<bool>,
    overlay: RefCell<Option<Overlay>>,
    /// The memory of the last transaction's overlay.
    former: RefCell<Option<Overlay>>,
}

fn io_error(action: &'static str, at: u64) -> impl FnOnce(io::Error) -> AccessError {
    move |source| AccessError::Io { action, offset: at, source }
}

fn outside(at: Offset) -> AccessError {
    AccessError::Corrupt { offset: at, what: "something points here, and the file ends before it" }
}

impl Space {
    /// The bytes of `backing`, in `order`; nothing is read yet (see [`Space::refresh`]).
    pub fn new(backing: Backing, writable: bool, map_wanted: bool) -> Space {
        Space {
            backing,
            mapping: Mapping::empty(writable),
            map_wanted: Cell::new(map_wanted),
            foreign: Cell::new(false),
            size: Cell::new(0),
            floor: Cell::new(0),
            lost: Cell::new(false),
            overlay: RefCell::new(None),
            former: RefCell::new(None),
        }
    }

    pub fn set_order(&self, order: ByteOrder) {
        self.foreign.set(order.is_foreign());
    }

    pub fn order(&self) -> ByteOrder {
        if self.foreign.get() { ByteOrder::FOREIGN } else { ByteOrder::NATIVE }
    }

    /// The database's size in bytes, as last seen.
    #[inline]
    pub fn size(&self) -> u32 {
        self.size.get()
    }

    /// No list of records can be longer than this without going in a circle.
    pub fn most_records(&self) -> u32 {
        self.size.get() / RECORD_HEADER + 1
    }

    pub fn storage(&self) -> Option<&dyn Storage> {
        match &self.backing {
            Backing::File(file) => Some(file),
            Backing::Memory => None,
            Backing::Custom(storage) => Some(storage.as_ref()),
        }
    }

    /// The open file, if the database is one.
    pub fn file(&self) -> Option<&std::fs::File> {
        match &self.backing {
            Backing::File(file) => Some(file.file()),
            _ => None,
        }
    }

    pub fn is_memory(&self) -> bool {
        matches!(self.backing, Backing::Memory)
    }

    fn mapped_file(&self) -> Option<(BorrowedFd<'_>, u64)> {
        match &self.backing {
            Backing::File(file) => Some((file.file().as_fd(), file.start())),
            _ => None,
        }
    }

    /// From now on the database begins at `start` in its file, a whole number of pages; its size is asked anew.
    pub fn set_start(&self, start: u64) -> Result<(), AccessError> {
        if let Backing::File(file) = &self.backing {
            self.remap(0)?;
            file.set_start(start);
        }
        self.refresh()
    }

    /// Whether the bytes are used through memory, mapped or anonymous.
    pub fn is_mapped(&self) -> bool {
        self.mapping.len() != 0
    }

    /// Maps the file from now on, or stops mapping it.
    pub fn set_map_wanted(&self, wanted: bool) -> Result<(), AccessError> {
        self.map_wanted.set(wanted);
        if self.is_memory() { Ok(()) } else { self.remap(self.file_size()?) }
    }

    // Words and bytes.

    #[inline]
    fn to_native(&self, word: u32) -> u32 {
        if self.foreign.get() { word.swap_bytes() } else { word }
    }

    /// The word at `at`.
    #[inline]
    pub fn word(&self, at: Offset) -> Result<u32, AccessError> {
        match self.mapping.word(at) {
            Some(word) => Ok(self.to_native(word)),
            None => self.word_slowly(at),
        }
    }

    #[inline(never)]
    fn word_slowly(&self, at: Offset) -> Result<u32, AccessError> {
        let bytes = match self.in_transaction(at) {
            Some(bytes) => bytes,
            None => {
                let mut bytes = [0; 4];
                self.read_slowly(at, &mut bytes)?;
                bytes
            }
        };
        Ok(self.to_native(u32::from_ne_bytes(bytes)))
    }

    /// Puts the word at `at`.
    #[inline]
    pub fn set_word(&self, at: Offset, word: u32) -> Result<(), AccessError> {
        let word = self.to_native(word);
        if self.mapping.put_word(at, word) { Ok(()) } else { self.write_slowly(at, &word.to_ne_bytes()) }
    }

    /// The record header at `at`, whatever it holds.
    #[inline]
    pub fn record(&self, at: Offset) -> Result<Record, AccessError> {
        match self.mapping.six_words(at) {
            Some(words) => Ok(Record::from_words(words.map(|word| self.to_native(word)))),
            None => self.record_slowly(at),
        }
    }

    #[inline(never)]
    fn record_slowly(&self, at: Offset) -> Result<Record, AccessError> {
        let bytes = match self.in_transaction(at) {
            Some(bytes) => bytes,
            None => {
                let mut bytes = [0; RECORD_HEADER as usize];
                self.read_slowly(at, &mut bytes)?;
                bytes
            }
        };
        Ok(Record::from_bytes(&bytes, self.order()))
    }

    /// Puts a record header.
    pub fn set_record(&self, at: Offset, record: &Record) -> Result<(), AccessError> {
        self.write(at, &record.to_bytes(self.order()))
    }

    /// Whether `bytes` stand at `at`.
    #[inline]
    pub fn equals(&self, at: Offset, bytes: &[u8]) -> Result<bool, AccessError> {
        match self.mapping.equals(at, bytes) {
            Some(equal) => Ok(equal),
            None => self.equals_slowly(at, bytes),
        }
    }

    /// What a transaction sees at `at`, where that is in one block of the overlay, or in none of them and mapped.
    #[inline]
    fn in_transaction<const LEN: usize>(&self, at: Offset) -> Option<[u8; LEN]> {
        let overlay = self.overlay.borrow();
        let overlay = overlay.as_ref()?;
        let within = at as usize % BLOCK;
        let end = at as usize + LEN;
        if within + LEN > BLOCK || end > overlay.size as usize {
            return None;
        }
        if let Some(block) = overlay.block(at as usize / BLOCK) {
            return block[within..within + LEN].try_into().ok();
        }
        let mut bytes = [0; LEN];
        let held = end <= overlay.base_size as usize && self.mapping.copy_hidden(at, &mut bytes);
        held.then_some(bytes)
    }

    #[inline(never)]
    fn equals_slowly(&self, at: Offset, bytes: &[u8]) -> Result<bool, AccessError> {
        let mut piece = [0; 256];
        for (nth, part) in bytes.chunks(piece.len()).enumerate() {
            let out = &mut piece[..part.len()];
            self.read(advance(at, nth * 256)?, out)?;
            if out != part {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Fills `out` with the bytes at `at`.
    #[inline]
    pub fn read(&self, at: Offset, out: &mut [u8]) -> Result<(), AccessError> {
        if self.mapping.copy_out(at, out) { Ok(()) } else { self.read_slowly(at, out) }
    }

    /// Appends the `len` bytes at `at` to `out`. No memory is taken before the bytes are known to be there.
    #[inline]
    pub fn append_to(&self, at: Offset, len: Length, out: &mut Vec<u8>) -> Result<(), AccessError> {
        if self.mapping.append_to(at, len as usize, out) {
            return Ok(());
        }
        self.must_hold(at, len)?;
        let start = out.len();
        out.resize(start + len as usize, 0);
        self.read(at, &mut out[start..])
    }

    /// The `len` bytes at `at`.
    #[inline]
    pub fn bytes(&self, at: Offset, len: Length) -> Result<Vec<u8>, AccessError> {
        let mut out = Vec::new();
        self.append_to(at, len, &mut out)?;
        Ok(out)
    }

    /// Writes `bytes` at `at`.
    #[inline]
    pub fn write(&self, at: Offset, bytes: &[u8]) -> Result<(), AccessError> {
        if self.mapping.copy_in(at, bytes) { Ok(()) } else { self.write_slowly(at, bytes) }
    }

    /// Fails unless the `len` bytes at `at` are inside the file, which is asked for its size if need be.
    #[inline]
    pub fn must_hold(&self, at: Offset, len: Length) -> Result<(), AccessError> {
        if u64::from(at) + u64::from(len) <= u64::from(self.size.get()) {
            return Ok(());
        }
        self.must_hold_after_refresh(at, len)
    }

    #[cold]
    fn must_hold_after_refresh(&self, at: Offset, len: Length) -> Result<(), AccessError> {
        if self.overlay.borrow().is_none() {
            self.refresh()?;
        }
        if u64::from(at) + u64::from(len) <= u64::from(self.size.get()) { Ok(()) } else { Err(outside(at)) }
    }

    #[inline(never)]
    fn read_slowly(&self, at: Offset, out: &mut [u8]) -> Result<(), AccessError> {
        self.must_hold(at, out.len() as u32)?;
        let overlay = self.overlay.borrow();
        let Some(overlay) = overlay.as_ref() else {
            return self.read_base(at, out);
        };
        let mut done = 0;
        while done < out.len() {
            let place = at as usize + done;
            let within = place % BLOCK;
            let step = (BLOCK - within).min(out.len() - done);
            let part = &mut out[done..done + step];
            match overlay.block(place / BLOCK) {
                Some(block) => part.copy_from_slice(&block[within..within + step]),
                None => self.read_below(overlay.base_size, place as u32, part)?,
            }
            done += step;
        }
        Ok(())
    }

    #[inline(never)]
    fn write_slowly(&self, at: Offset, bytes: &[u8]) -> Result<(), AccessError> {
        self.must_hold(at, bytes.len() as u32)?;
        let mut overlay = self.overlay.borrow_mut();
        let Some(overlay) = overlay.as_mut() else {
            return self.write_base(at, bytes);
        };
        if overlay.sealed {
            return Err(AccessError::Refused { why: "the transaction is prepared; commit or cancel it" });
        }
        let base_size = overlay.base_size;
        let mut done = 0;
        while done < bytes.len() {
            let place = at as usize + done;
            let within = place % BLOCK;
            let step = (BLOCK - within).min(bytes.len() - done);
            let block =
                overlay.block_mut(place / BLOCK, |block| self.fill_block(base_size, place / BLOCK, block))?;
            block.put(within, &bytes[done..done + step]);
            done += step;
        }
        Ok(())
    }

    // Below the overlay: the file itself.

    fn read_base(&self, at: Offset, out: &mut [u8]) -> Result<(), AccessError> {
        if self.mapping.copy_hidden(at, out) {
            return Ok(());
        }
        match self.storage() {
            Some(storage) => storage.read_at(at.into(), out).map_err(io_error("read", at.into())),
            None => Err(outside(at)),
        }
    }

    /// Reads what the file holds below `base_size`, and zeros from there on.
    fn read_below(&self, base_size: u32, at: Offset, out: &mut [u8]) -> Result<(), AccessError> {
        let held = (base_size.saturating_sub(at) as usize).min(out.len());
        out[held..].fill(0);
        if held == 0 { Ok(()) } else { self.read_base(at, &mut out[..held]) }
    }

    fn fill_block(&self, base_size: u32, number: usize, block: &mut [u8; BLOCK]) -> Result<(), AccessError> {
        self.read_below(base_size, (number * BLOCK) as u32, block)
    }

    fn write_base(&self, at: Offset, bytes: &[u8]) -> Result<(), AccessError> {
        if self.mapping.sees(at, bytes.len()) && self.mapping.copy_in(at, bytes) {
            return Ok(());
        }
        match self.storage() {
            Some(storage) => storage.write_at(at.into(), bytes).map_err(io_error("write", at.into())),
            None => Err(outside(at)),
        }
    }

    // Size.

    fn file_size(&self) -> Result<u32, AccessError> {
        let Some(storage) = self.storage() else {
            return Ok(self.mapping.len() as u32);
        };
        let size = storage.size().map_err(io_error("read the size of the file", 0))?;
        // A byte beyond 4 GiB cannot be pointed at.
        Ok(u32::try_from(size).unwrap_or(u32::MAX))
    }

    /// Asks how long the file is now, and maps what is new.
    pub fn refresh(&self) -> Result<(), AccessError> {
        let size = self.file_size()?;
        // Mapping anew would forget that the guard noticed.
        self.whole(Ok::<(), AccessError>(()))?;
        if size < self.floor.get() {
            self.lost.set(true);
            return Err(AccessError::Truncated);
        }
        if size == self.size.get() && (self.is_mapped() || !self.map_wanted.get()) {
            return Ok(());
        }
        self.remap(size)
    }

    fn remap(&self, size: u32) -> Result<(), AccessError> {
        self.size.set(size);
        if let Some(file) = self.mapped_file() {
            let len = if self.map_wanted.get() { size as usize } else { 0 };
            // Without a mapping everything still works, through reads and writes of the file.
            let _ = self.mapping.resize(Some(file), len);
        }
        Ok(())
    }

    /// Makes the database longer, with zeros; nothing but a size if a transaction is open.
    pub fn grow(&self, to: u32) -> Result<(), AccessError> {
        if let Some(overlay) = self.overlay.borrow_mut().as_mut() {
            if overlay.sealed {
                return Err(AccessError::Refused { why: "the transaction is prepared; commit or cancel it" });
            }
            overlay.size = to;
            self.size.set(to);
            return Ok(());
        }
        self.grow_base(self.size.get(), to)
    }

    fn grow_base(&self, from: u32, to: u32) -> Result<(), AccessError> {
        match self.storage() {
            Some(storage) => {
                storage.grow(from.into(), to.into()).map_err(io_error("make the file longer", to.into()))?;
                self.remap(to)
            }
            None => {
                let grown = self.mapping.resize(None, to as usize);
                grown.map_err(io_error("get memory", to.into()))?;
                self.size.set(to);
                Ok(())
            }
        }
    }

    /// Cuts the file, or the memory, down to nothing or to `to` bytes; for new databases only.
    pub fn truncate(&self, to: u32) -> Result<(), AccessError> {
        if let Some(storage) = self.storage() {
            storage.truncate(to.into()).map_err(io_error("truncate the file", to.into()))?;
            return self.remap(to);
        }
        self.mapping.resize(None, to as usize).map_err(io_error("get memory", to.into()))?;
        self.size.set(to);
        Ok(())
    }

    /// Returns when everything written so far is durable.
    pub fn sync(&self) -> Result<(), AccessError> {
        match self.storage() {
            Some(storage) => storage.sync().map_err(io_error("sync the file", 0)),
            None => Ok(()),
        }
    }

    /// Adds 1 to the word at `at` in one step with regard to other processes; `false` where that is not possible.
    pub fn increment(&self, at: Offset) -> bool {
        !self.foreign.get() && self.mapping.increment(at)
    }

    /// From now on a file that is shorter has been truncated by someone.
    pub fn set_floor(&self, floor: u32) {
        self.floor.set(floor);
    }

    /// The result of an operation, unless another process truncated the file and the guard or a look at the size
    /// noticed: then whatever was read means nothing.
    #[inline]
    pub fn whole<T, E: From<AccessError>>(&self, result: Result<T, E>) -> Result<T, E> {
        if self.lost.get() || self.mapping.was_truncated() {
            self.lost.set(true);
            Err(AccessError::Truncated.into())
        } else {
            result
        }
    }

    // Transactions.

    /// Puts an empty overlay in front: from now on writes stay in memory.
    pub fn begin_overlay(&self) {
        let former = self.former.borrow_mut().take();
        *self.overlay.borrow_mut() = Some(Overlay::new(self.size.get(), former));
        self.mapping.set_hidden(true);
    }

    /// Takes the overlay away with all it holds: reads and writes meet the file again.
    pub fn end_overlay(&self) {
        let Some(mut overlay) = self.overlay.borrow_mut().take() else {
            return;
        };
        overlay.clear();
        self.size.set(overlay.base_size);
        *self.former.borrow_mut() = Some(overlay);
        self.mapping.set_hidden(false);
    }

    /// The ranges in which the transaction differs from the file.
    pub fn overlay_changes(&self) -> Result<Vec<Change>, AccessError> {
        let mut overlay = self.overlay.borrow_mut();
        let Some(overlay) = overlay.as_mut() else {
            return Ok(Vec::new());
        };
        let base_size = overlay.base_size;
        overlay.changes(|at, old| self.read_below(base_size, at, old))
    }

    /// No more writes in this transaction.
    pub fn seal_overlay(&self, sealed: bool) {
        if let Some(overlay) = self.overlay.borrow_mut().as_mut() {
            overlay.sealed = sealed;
        }
    }

    /// The file's own size, without what the transaction added.
    pub fn base_size(&self) -> u32 {
        self.overlay.borrow().as_ref().map_or(self.size.get(), |overlay| overlay.base_size)
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

    /// Writes to the file itself, past the overlay.
    pub fn write_through(&self, at: Offset, bytes: &[u8]) -> Result<(), AccessError> {
        let hidden = self.overlay.borrow().is_some();
        self.mapping.set_hidden(false);
        let result = self.write_base(at, bytes);
        self.mapping.set_hidden(hidden);
        result
    }

    /// Makes the file itself longer, under the overlay; the transaction's size becomes the larger of both.
    pub fn grow_through(&self, to: u32) -> Result<(), AccessError> {
        let seen = self.size.get();
        let grown = self.grow_base(self.base_size(), to);
        self.size.set(seen.max(if grown.is_ok() { to } else { 0 }));
        if let Some(overlay) = self.overlay.borrow_mut().as_mut()
            && grown.is_ok()
        {
            overlay.base_size = to;
            overlay.size = overlay.size.max(to);
        }
        grown
    }
}

/// `at + by`, which must stay inside 32 bits.
pub(crate) fn advance(at: Offset, by: usize) -> Result<Offset, AccessError> {
    u32::try_from(at as u64 + by as u64).map_err(|_| outside(at))
}
