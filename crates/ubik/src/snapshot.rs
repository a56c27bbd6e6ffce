//! The database as it was at one version, for as long as somebody reads it.
//!
//! A commit keeps the pages it replaces while an older snapshot is alive, so readers run beside a writer and beside each
//! other, and see one version from their first read to their last (U7, U12). They wait only for the moment in which
//! changed pages are put into the file and the cache.
//!
//! A [`Generation`] is one data file; a whole-file replacement starts a new one, and the old is closed when its last
//! snapshot is gone (U3).

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::io;
use std::sync::Arc;

use ubik_proto::version::Version;

use crate::pages::{CacheStatistics, PAGE_LEN, Page, PageCache, read_pages};
use crate::phys::StoreFile;
use crate::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// What one commit replaced.
struct Undo {
    point: u64,
    pages: HashMap<u32, Arc<Page>>,
}

#[derive(Default)]
struct Contents {
    length: u64,
    /// Oldest first; what is older than every snapshot is dropped.
    history: VecDeque<Undo>,
}

/// One data file, its cached pages, and what older snapshots still need.
pub(crate) struct Generation {
    pub(crate) file: Arc<dyn StoreFile>,
    contents: RwLock<Contents>,
    cache: PageCache,
    /// How many snapshots stand at each point.
    readers: Mutex<BTreeMap<u64, usize>>,
}

const NOT_POISONED: &str = "no code here panics while it holds this lock";

impl Generation {
    pub(crate) fn new(file: Arc<dyn StoreFile>, cache_pages: usize) -> io::Result<Self> {
        let contents = RwLock::new(Contents { length: file.length()?, history: VecDeque::new() });
        Ok(Generation { file, contents, cache: PageCache::new(cache_pages), readers: Mutex::default() })
    }

    /// How many bytes the file has now.
    pub(crate) fn length(&self) -> u64 {
        self.contents().length
    }

    fn contents(&self) -> RwLockReadGuard<'_, Contents> {
        self.contents.read().expect(NOT_POISONED)
    }

    fn contents_mut(&self) -> RwLockWriteGuard<'_, Contents> {
        self.contents.write().expect(NOT_POISONED)
    }

    fn readers(&self) -> MutexGuard<'_, BTreeMap<u64, usize>> {
        self.readers.lock().expect(NOT_POISONED)
    }

    /// How many snapshots of it there are.
    pub(crate) fn snapshots(&self) -> usize {
        self.readers().values().sum()
    }

    /// How many replaced pages are kept for snapshots of older versions.
    pub(crate) fn kept_pages(&self) -> usize {
        self.contents().history.iter().map(|undo| undo.pages.len()).sum()
    }

    pub(crate) fn statistics(&self) -> CacheStatistics {
        self.cache.statistics()
    }

    /// Puts the pages of commit `point` into the file and the cache, keeping what they replace.
    pub(crate) fn install(&self, point: u64, new: &Changed) -> io::Result<()> {
        let mut contents = self.contents_mut();
        let old_pages = contents.length.div_ceil(PAGE_LEN as u64) as u32;
        let mut undo = Undo { point, pages: HashMap::new() };
        let cut = new.cut.map(|cut| (cut / PAGE_LEN as u64) as u32..old_pages).unwrap_or(0..0);
        for number in new.pages.keys().copied().filter(|&number| number < old_pages).chain(cut) {
            if let std::collections::hash_map::Entry::Vacant(slot) = undo.pages.entry(number) {
                slot.insert(self.current(number)?);
            }
        }
        contents.history.push_back(undo);
        if let Some(cut) = new.cut {
            self.file.truncate(cut)?;
            self.cache.cut((cut / PAGE_LEN as u64) as u32);
        }
        for (&number, page) in &new.pages {
            self.file.write_at(u64::from(number) * PAGE_LEN as u64, &page[..])?;
            self.cache.insert(number, page.clone());
        }
        if new.cut.is_some() {
            // A cut leaves a length that need not be whole pages, and may be longer than what was written.
            self.file.truncate(new.length)?;
        }
        contents.length = new.length;
        Ok(())
    }

    /// The page as the file has it; the caller holds `contents`.
    fn current(&self, number: u32) -> io::Result<Arc<Page>> {
        if let Some(page) = self.cache.find(number) {
            return Ok(page);
        }
        let mut page = [0; PAGE_LEN];
        self.file.read_at(u64::from(number) * PAGE_LEN as u64, &mut page)?;
        let page = Arc::new(page);
        self.cache.insert(number, page.clone());
        Ok(page)
    }

    fn prune(&self) {
        let oldest = self.readers().keys().next().copied().unwrap_or(u64::MAX);
        let needed = |contents: &Contents| contents.history.front().is_some_and(|undo| undo.point <= oldest);
        if needed(&self.contents()) {
            let mut contents = self.contents_mut();
            while needed(&contents) {
                contents.history.pop_front();
            }
        }
    }
}

/// The database at one version.
pub struct Snapshot {
    generation: Arc<Generation>,
    point: u64,
    length: u64,
    version: Version,
}

impl Snapshot {
    /// What the file holds at `point`; `length` is that point's, since the next commit may be in the file already.
    pub(crate) fn new(generation: Arc<Generation>, point: u64, version: Version, length: u64) -> Self {
        *generation.readers().entry(point).or_insert(0) += 1;
        Snapshot { generation, point, length, version }
    }

    /// Which version it is.
    pub fn version(&self) -> Version {
        self.version
    }

    /// How many bytes there are.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Fills `buffer` from `position`; beyond the end there are zeros.
    ///
    /// # Errors
    /// Those of the store.
    pub fn read(&self, position: u64, buffer: &mut [u8]) -> io::Result<()> {
        read_pages(position, buffer, |number| self.page(number))
    }

    /// Fills `buffer` from `position` as [`Snapshot::read`] does, past the page cache: whoever copies the whole database
    /// would leave nothing in it that anybody else needs.
    ///
    /// # Errors
    /// Those of the store.
    pub fn copy(&self, position: u64, buffer: &mut [u8]) -> io::Result<()> {
        let contents = self.generation.contents();
        let there = self.length.saturating_sub(position).min(buffer.len() as u64) as usize;
        let read = self.generation.file.read_at(position, &mut buffer[..there])?;
        buffer[read..].fill(0);
        // The newest first, so that of two that replaced a page the older one has the last word.
        for undo in contents.history.iter().rev().filter(|undo| undo.point > self.point) {
            for (&number, page) in &undo.pages {
                lay_over(&mut buffer[..there], position, u64::from(number) * PAGE_LEN as u64, page);
            }
        }
        Ok(())
    }

    /// One page.
    ///
    /// # Errors
    /// Those of the store.
    pub fn page(&self, number: u32) -> io::Result<Arc<Page>> {
        if u64::from(number) * PAGE_LEN as u64 >= self.length {
            return Ok(Arc::new([0; PAGE_LEN]));
        }
        let contents = self.generation.contents();
        let replaced = contents.history.iter().filter(|undo| undo.point > self.point);
        match replaced.filter_map(|undo| undo.pages.get(&number)).next() {
            Some(page) => Ok(page.clone()),
            None => self.generation.current(number),
        }
    }

    pub(crate) fn is_of(&self, generation: &Arc<Generation>) -> bool {
        Arc::ptr_eq(&self.generation, generation)
    }
}

impl Clone for Snapshot {
    fn clone(&self) -> Self {
        *self.generation.readers().entry(self.point).or_insert(0) += 1;
        Snapshot { generation: self.generation.clone(), ..*self }
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        {
            let mut readers = self.generation.readers();
            if let Some(count) = readers.get_mut(&self.point) {
                *count -= 1;
                if *count == 0 {
                    readers.remove(&self.point);
                }
            }
        }
        self.generation.prune();
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("version", &self.version).field("length", &self.length).finish()
    }
}

/// Puts the part of a page at `at` that lies within `buffer`, which begins at `position`, into it.
fn lay_over(buffer: &mut [u8], position: u64, at: u64, page: &Page) {
    let (from, to) = (at.max(position), (at + PAGE_LEN as u64).min(position + buffer.len() as u64));
    if from < to {
        let part = &page[(from - at) as usize..(to - at) as usize];
        buffer[(from - position) as usize..(to - position) as usize].copy_from_slice(part);
    }
}

/// What a transaction leaves: whole pages, the length, and where the file was cut before the pages were written.
#[derive(Debug, Default)]
pub(crate) struct Changed {
    pub(crate) pages: BTreeMap<u32, Arc<Page>>,
    pub(crate) cut: Option<u64>,
    pub(crate) length: u64,
}
