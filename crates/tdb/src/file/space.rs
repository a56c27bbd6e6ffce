//! The database's own bytes: the file, memory, or another [`Storage`], in the file's byte order.
//!
//! Owns the choice of where they come from. Normally that is the mapping, and an access is one comparison and one
//! load. What is not mapped takes the slow path through [`Storage`], or through the pages that it lends. An offset beyond
//! the end is looked at once more after asking for the file's size, since another process may have grown it; then it is
//! corruption. A transaction's changes are in front of this ([`super::over`]), not in here.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use crate::error::AccessError;
use crate::file::bytes::{Bytes, advance, inside, outside};
use crate::file::format::{ByteOrder, ChainStep, FreeStep, Length, Offset, RECORD_HEADER, Record};
use crate::file::mapping::Mapping;
use crate::file::pages::Pages;
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
    /// What a storage has lent, if it lends.
    pages: Option<Pages>,
    /// Whether a file shall be mapped.
    map_wanted: Cell<bool>,
    /// Whether writes stay in this process.
    private: Cell<bool>,
    foreign: Cell<bool>,
    /// The bytes known to be there.
    size: Cell<u32>,
    /// No database is shorter than this: header and chain heads. 0 while it is being opened.
    floor: Cell<u32>,
    /// Another process truncated the file; nothing is believed from then on.
    lost: Cell<bool>,
}

fn io_error(action: &'static str, at: u64) -> impl FnOnce(io::Error) -> AccessError {
    move |cause| AccessError::Io { action, offset: at, cause }
}

impl Bytes for Space {
    fn order(&self) -> ByteOrder {
        if self.foreign.get() { ByteOrder::FOREIGN } else { ByteOrder::NATIVE }
    }

    #[inline]
    fn size(&self) -> u32 {
        self.size.get()
    }

    #[inline]
    fn word(&self, at: Offset) -> Result<u32, AccessError> {
        match self.mapping.word(at) {
            Some(word) => Ok(self.to_native(word)),
            None => self.word_slowly(at),
        }
    }

    #[inline]
    fn set_word(&self, at: Offset, word: u32) -> Result<(), AccessError> {
        let word = self.to_native(word);
        if self.mapping.put_word(at, word) { Ok(()) } else { self.write_slowly(at, &word.to_ne_bytes()) }
    }

    #[inline]
    fn record(&self, at: Offset) -> Result<Record, AccessError> {
        match self.mapping.six_words(at) {
            Some(words) => Ok(Record::from_words(words.map(|word| self.to_native(word)))),
            None => self.record_slowly(at),
        }
    }

    #[inline(always)]
    fn chain_step(&self, at: Offset) -> Option<ChainStep> {
        self.mapping.chain_step(at).filter(|_| !self.foreign.get())
    }

    #[inline(always)]
    fn free_step(&self, at: Offset) -> Option<FreeStep> {
        self.mapping.free_step(at).filter(|_| !self.foreign.get())
    }

    #[inline]
    fn equals(&self, at: Offset, bytes: &[u8]) -> Result<bool, AccessError> {
        match self.mapping.equals(at, bytes) {
            Some(equal) => Ok(equal),
            None => match self.lent(at, bytes.len(), |lent| lent == bytes) {
                Some(equal) => Ok(equal),
                None => equals_by_pieces(self, at, bytes),
            },
        }
    }

    #[inline]
    fn read(&self, at: Offset, out: &mut [u8]) -> Result<(), AccessError> {
        if self.mapping.copy_out(at, out) { Ok(()) } else { self.read_slowly(at, out) }
    }

    #[inline]
    fn append_to(&self, at: Offset, len: Length, out: &mut Vec<u8>) -> Result<(), AccessError> {
        if self.mapping.append_to(at, len as usize, out) {
            return Ok(());
        }
        if self.lent(at, len as usize, |lent| out.extend_from_slice(lent)).is_some() {
            return Ok(());
        }
        append_after_check(self, at, len, out)
    }

    #[inline]
    fn bytes(&self, at: Offset, len: Length) -> Result<Vec<u8>, AccessError> {
        let mut out = Vec::new();
        if self.mapping.holds(at, len as usize) {
            // At once, and no more than that.
            out = Vec::with_capacity(len as usize);
        }
        self.append_to(at, len, &mut out)?;
        Ok(out)
    }

    #[inline]
    fn write(&self, at: Offset, bytes: &[u8]) -> Result<(), AccessError> {
        if self.mapping.copy_in(at, bytes) { Ok(()) } else { self.write_slowly(at, bytes) }
    }

    /// The file is asked for its size if need be.
    #[inline]
    fn must_hold(&self, at: Offset, len: Length) -> Result<(), AccessError> {
        if inside(at, len, self.size.get()) { Ok(()) } else { self.must_hold_after_refresh(at, len) }
    }

    fn grow(&self, to: u32) -> Result<(), AccessError> {
        match self.storage() {
            Some(storage) => {
                let from = self.size.get();
                storage.grow(from.into(), to.into()).map_err(io_error("make the file longer", to.into()))?;
                self.forget_pages();
                self.remap(to);
                Ok(())
            }
            None => self.resize_memory(to),
        }
    }

    /// Asks how long the file is now, and maps what is new.
    fn refresh(&self) -> Result<(), AccessError> {
        let size = self.file_size()?;
        // Mapping anew would forget that the guard noticed.
        self.check_truncation(Ok::<(), AccessError>(()))?;
        if size < self.floor.get() {
            self.lost.set(true);
            return Err(AccessError::Truncated);
        }
        if size != self.size.get() || !self.is_mapped() && self.map_wanted.get() {
            self.remap(size);
        }
        Ok(())
    }

    fn increment(&self, at: Offset) -> bool {
        !self.foreign.get() && self.mapping.increment(at)
    }
}

impl Space {
    /// The bytes of `backing`; nothing is read yet (see [`Bytes::refresh`]).
    pub fn new(backing: Backing, writable: bool, map_wanted: bool) -> Space {
        let pages = match &backing {
            Backing::Custom(storage) => Pages::of(storage.as_ref()),
            _ => None,
        };
        Space {
            backing,
            mapping: Mapping::empty(writable),
            pages,
            map_wanted: Cell::new(map_wanted),
            private: Cell::new(false),
            foreign: Cell::new(false),
            size: Cell::new(0),
            floor: Cell::new(0),
            lost: Cell::new(false),
        }
    }

    /// From now on words are read and written in `order`.
    pub fn set_order(&self, order: ByteOrder) {
        self.foreign.set(order.is_foreign());
    }

    /// What the bytes are in, unless they are in memory.
    pub fn storage(&self) -> Option<&dyn Storage> {
        match &self.backing {
            Backing::File(file) => Some(file),
            Backing::Memory => None,
            Backing::Custom(storage) => Some(storage.as_ref()),
        }
    }

    /// The open file, if the database is one.
    pub fn file(&self) -> Option<&Arc<File>> {
        match &self.backing {
            Backing::File(file) => Some(file.file()),
            _ => None,
        }
    }

    /// Whether the database is in memory alone.
    pub fn is_memory(&self) -> bool {
        matches!(self.backing, Backing::Memory)
    }

    /// Puts another storage in the place of the one it was opened in, which is given back; the bytes may be others, and
    /// nothing that was read is believed any more. `storage` comes back where there is no such place.
    pub fn exchange(&mut self, storage: Box<dyn Storage>) -> Result<Box<dyn Storage>, Box<dyn Storage>> {
        let Backing::Custom(present) = &mut self.backing else {
            return Err(storage);
        };
        let former = std::mem::replace(present, storage);
        match (&self.pages, present.page_len() == former.page_len()) {
            (Some(pages), true) => pages.clear(),
            _ => self.pages = Pages::of(present.as_ref()),
        }
        Ok(former)
    }

    /// The storage of a database that is closed.
    pub fn take_storage(&mut self) -> Option<Box<dyn Storage>> {
        self.pages = None;
        match std::mem::replace(&mut self.backing, Backing::Memory) {
            Backing::Custom(storage) => Some(storage),
            _ => None,
        }
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
            self.remap(0);
            file.set_start(start);
        }
        self.refresh()
    }

    /// Whether the bytes are used through memory, mapped or anonymous.
    fn is_mapped(&self) -> bool {
        self.mapping.len() != 0
    }

    /// Maps the file from now on, or stops mapping it.
    pub fn set_map_wanted(&self, wanted: bool) -> Result<(), AccessError> {
        self.map_wanted.set(wanted);
        if !self.is_memory() {
            self.remap(self.file_size()?);
        }
        Ok(())
    }

    /// Keeps what is written from now on in this process, for a file opened for reading; or forgets it, and shows the
    /// file as it is.
    ///
    /// # Errors
    /// The database is not in a file, or the system cannot map it.
    pub fn set_private(&self, private: bool) -> Result<(), AccessError> {
        if self.mapped_file().is_none() {
            let why = "only a file can be changed in memory alone";
            return Err(AccessError::Refused { why });
        }
        self.remap(0);
        self.mapping.set_private(private);
        self.private.set(private);
        self.remap(self.file_size()?);
        if private && !self.is_mapped() {
            let cause = io::Error::from(io::ErrorKind::Unsupported);
            return Err(io_error("map the file", 0)(cause));
        }
        Ok(())
    }

    /// The record header that the file itself has at `at`, whatever was written privately.
    pub fn record_in_file(&self, at: Offset) -> Result<Record, AccessError> {
        let mut bytes = [0; RECORD_HEADER as usize];
        if let Some(storage) = self.storage() {
            storage.read_at(at.into(), &mut bytes).map_err(io_error("read", at.into()))?;
        }
        Ok(Record::from_bytes(&bytes, self.order()))
    }

    // Where the bytes are not mapped.

    #[inline]
    fn to_native(&self, word: u32) -> u32 {
        if self.foreign.get() { word.swap_bytes() } else { word }
    }

    /// What `with` makes of the `len` bytes at `at`, if they are in one page that was lent.
    #[inline]
    fn lent<T>(&self, at: Offset, len: usize, with: impl FnOnce(&[u8]) -> T) -> Option<T> {
        let pages = self.pages.as_ref()?;
        if inside(at, len as u32, self.size.get()) { pages.kept(at, len, with) } else { None }
    }

    #[inline(never)]
    fn word_slowly(&self, at: Offset) -> Result<u32, AccessError> {
        let mut bytes = [0; 4];
        if self.lent(at, 4, |lent| bytes.copy_from_slice(lent)).is_some() {
            return Ok(self.to_native(u32::from_ne_bytes(bytes)));
        }
        self.read_slowly(at, &mut bytes)?;
        Ok(self.to_native(u32::from_ne_bytes(bytes)))
    }

    #[inline(never)]
    fn record_slowly(&self, at: Offset) -> Result<Record, AccessError> {
        let mut bytes = [0; RECORD_HEADER as usize];
        if self.lent(at, bytes.len(), |lent| bytes.copy_from_slice(lent)).is_none() {
            self.read_slowly(at, &mut bytes)?;
        }
        Ok(Record::from_bytes(&bytes, self.order()))
    }

    #[inline]
    fn read_slowly(&self, at: Offset, out: &mut [u8]) -> Result<(), AccessError> {
        self.must_hold(at, out.len() as u32)?;
        // The size may have been an old one.
        if self.mapping.copy_out(at, out) {
            return Ok(());
        }
        match (self.storage(), &self.pages) {
            (Some(storage), Some(pages)) => pages.read(storage, at, out).map_err(io_error("read", at.into())),
            (Some(storage), None) => storage.read_at(at.into(), out).map_err(io_error("read", at.into())),
            (None, _) => Err(outside(at)),
        }
    }

    #[inline(never)]
    fn write_slowly(&self, at: Offset, bytes: &[u8]) -> Result<(), AccessError> {
        self.must_hold(at, bytes.len() as u32)?;
        if self.mapping.copy_in(at, bytes) {
            return Ok(());
        }
        let Some(storage) = self.storage() else {
            return Err(outside(at));
        };
        self.forget_pages();
        storage.write_at(at.into(), bytes).map_err(io_error("write", at.into()))
    }

    fn forget_pages(&self) {
        if let Some(pages) = &self.pages {
            pages.clear();
        }
    }

    #[cold]
    fn must_hold_after_refresh(&self, at: Offset, len: Length) -> Result<(), AccessError> {
        self.refresh()?;
        if inside(at, len, self.size.get()) { Ok(()) } else { Err(outside(at)) }
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

    fn remap(&self, size: u32) {
        self.size.set(size);
        if let Some(file) = self.mapped_file() {
            let len = if self.map_wanted.get() || self.private.get() { size as usize } else { 0 };
            // Without a mapping everything still works, through reads and writes of the file.
            let _ = self.mapping.resize(Some(file), len);
        }
    }

    fn resize_memory(&self, to: u32) -> Result<(), AccessError> {
        self.mapping.resize(None, to as usize).map_err(io_error("get memory", to.into()))?;
        self.size.set(to);
        Ok(())
    }

    /// Cuts the file, or the memory, down to nothing or to `to` bytes; for new databases only.
    pub fn truncate(&self, to: u32) -> Result<(), AccessError> {
        let Some(storage) = self.storage() else {
            return self.resize_memory(to);
        };
        storage.truncate(to.into()).map_err(io_error("truncate the file", to.into()))?;
        self.forget_pages();
        self.remap(to);
        Ok(())
    }

    /// Returns when everything written so far is durable.
    pub fn sync(&self) -> Result<(), AccessError> {
        match self.storage() {
            _ if self.private.get() => Ok(()),
            Some(storage) => storage.sync().map_err(io_error("sync the file", 0)),
            None => Ok(()),
        }
    }

    /// From now on a file that is shorter has been truncated by someone.
    pub fn set_floor(&self, floor: u32) {
        self.floor.set(floor);
    }

    /// The result of an operation, unless another process truncated the file and the guard or a look at the size
    /// noticed: then whatever was read means nothing.
    #[inline]
    pub fn check_truncation<T, E: From<AccessError>>(&self, result: Result<T, E>) -> Result<T, E> {
        if self.lost.get() || self.mapping.was_truncated() {
            self.lost.set(true);
            Err(AccessError::Truncated.into())
        } else {
            result
        }
    }
}

/// [`Bytes::equals`] by reading.
#[inline(never)]
pub(crate) fn equals_by_pieces<B: Bytes>(space: &B, at: Offset, bytes: &[u8]) -> Result<bool, AccessError> {
    let mut piece = [0; 256];
    for (nth, part) in bytes.chunks(piece.len()).enumerate() {
        let out = &mut piece[..part.len()];
        space.read(advance(at, nth * 256)?, out)?;
        if out != part {
            return Ok(false);
        }
    }
    Ok(true)
}

/// [`Bytes::append_to`] by reading.
pub(crate) fn append_after_check<B: Bytes>(
    space: &B,
    at: Offset,
    len: Length,
    out: &mut Vec<u8>,
) -> Result<(), AccessError> {
    space.must_hold(at, len)?;
    let start = out.len();
    out.resize(start + len as usize, 0);
    space.read(at, &mut out[start..])
}
