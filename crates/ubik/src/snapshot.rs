//! The database as it was at one version, for as long as somebody reads it.
//!
//! A commit keeps the pages it replaces while an older snapshot is alive, so readers run beside a writer and beside each
//! other, and see one version from their first read to their last. Kept pages are found by their number, so an old
//! snapshot costs the others nothing; and there is a bound to them ([`KEPT_BYTES`]): above it the oldest snapshots end,
//! and their holders are told so.
//!
//! No lock is held while the file is read or written. A writer first keeps what it will replace, then writes. A reader reads
//! the file, and then looks whether the page was kept meanwhile: if it was, what it read may be of either version and the kept
//! page is its own; if not, the writer had not begun.
//!
//! A [`Generation`] is one data file; a whole-file replacement starts a new one, and the old is closed when its last
//! snapshot is gone.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ubik_proto::changed::{Changed, PAGE_LEN, Page};
use ubik_proto::version::Version;

use crate::pages::{CacheStatistics, PageCache, read_pages};
use crate::phys::StoreFile;
use crate::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// The most bytes of pages that are kept for old snapshots, beside those of the last two commits.
pub const KEPT_BYTES: usize = 64 << 20;
/// The commits whose pages are always kept: what is shown, and what is being decided.
const KEPT_COMMITS: usize = 2;

/// Pages that commits replaced, for the snapshots that still need them.
#[derive(Default)]
struct Kept {
    /// By number: the page as it was before each commit that replaced it, oldest first.
    pages: HashMap<u32, VecDeque<(u64, Arc<Page>)>>,
    /// Which pages each commit replaced, oldest first.
    commits: VecDeque<(u64, Vec<u32>)>,
    count: usize,
    /// Snapshots of before this point have ended.
    floor: u64,
}

impl Kept {
    /// The page as a snapshot at `point` sees it, if a commit has replaced it since.
    fn find(&self, number: u32, point: u64) -> Option<&Arc<Page>> {
        let versions = self.pages.get(&number)?;
        let later = versions.partition_point(|&(at, _)| at <= point);
        versions.get(later).map(|(_, page)| page)
    }

    fn keep(&mut self, point: u64, replaced: Vec<(u32, Arc<Page>)>) {
        let numbers = replaced.iter().map(|&(number, _)| number).collect();
        self.count += replaced.len();
        for (number, page) in replaced {
            self.pages.entry(number).or_default().push_back((point, page));
        }
        self.commits.push_back((point, numbers));
    }

    fn drop_oldest(&mut self) {
        let Some((point, numbers)) = self.commits.pop_front() else { return };
        self.count -= numbers.len();
        for number in numbers {
            if let Some(versions) = self.pages.get_mut(&number) {
                versions.pop_front();
                if versions.is_empty() {
                    self.pages.remove(&number);
                }
            }
        }
        self.floor = self.floor.max(point);
    }

    /// Drops what no snapshot needs of which the oldest is at `oldest`, and what is beyond the bound.
    fn prune(&mut self, oldest: u64, bound: usize) {
        while self.commits.front().is_some_and(|&(point, _)| point <= oldest)
            || (self.count * PAGE_LEN > bound && self.commits.len() > KEPT_COMMITS)
        {
            self.drop_oldest();
        }
    }
}

/// One data file, its cached pages, and what older snapshots still need.
pub(crate) struct Generation {
    pub(crate) file: Arc<dyn StoreFile>,
    length: AtomicU64,
    kept: RwLock<Kept>,
    bound: usize,
    cache: PageCache,
    /// How many snapshots stand at each point.
    readers: Mutex<BTreeMap<u64, usize>>,
}

const NOT_POISONED: &str = "no code here panics while it holds this lock";

impl Generation {
    pub(crate) fn new(file: Arc<dyn StoreFile>, cache_pages: usize) -> io::Result<Self> {
        Ok(Generation {
            length: AtomicU64::new(file.length()?),
            file,
            kept: RwLock::default(),
            bound: KEPT_BYTES,
            cache: PageCache::new(cache_pages),
            readers: Mutex::default(),
        })
    }

    /// How many bytes the file has now.
    pub(crate) fn length(&self) -> u64 {
        self.length.load(Ordering::Relaxed)
    }

    fn kept(&self) -> RwLockReadGuard<'_, Kept> {
        self.kept.read().expect(NOT_POISONED)
    }

    fn kept_mut(&self) -> RwLockWriteGuard<'_, Kept> {
        self.kept.write().expect(NOT_POISONED)
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
        self.kept().count
    }

    pub(crate) fn statistics(&self) -> CacheStatistics {
        self.cache.statistics()
    }

    /// Puts the pages of commit `point` into the file and the cache, keeping what they replace. One caller at a time.
    pub(crate) fn install(&self, point: u64, new: &Changed) -> io::Result<()> {
        let old_pages = self.length().div_ceil(PAGE_LEN as u64) as u32;
        let cut = new.cut.map(|cut| (cut / PAGE_LEN as u64) as u32..old_pages).unwrap_or(0..0);
        let mut numbers: Vec<u32> =
            new.pages.keys().copied().filter(|&number| number < old_pages).chain(cut).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let replaced = numbers.into_iter().map(|number| Ok((number, self.in_file(number)?)));
        let replaced = replaced.collect::<io::Result<_>>()?;
        self.kept_mut().keep(point, replaced);
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
        self.length.store(new.length, Ordering::Relaxed);
        Ok(())
    }

    /// The page as the file or the cache has it; whoever is not the writer must look whether it was kept meanwhile.
    fn in_file(&self, number: u32) -> io::Result<Arc<Page>> {
        if let Some(page) = self.cache.find(number) {
            return Ok(page);
        }
        let mut page = [0; PAGE_LEN];
        self.file.read_at(u64::from(number) * PAGE_LEN as u64, &mut page)?;
        Ok(Arc::new(page))
    }

    /// The page at `point`.
    fn page(&self, number: u32, point: u64) -> io::Result<Arc<Page>> {
        let early = {
            let kept = self.kept();
            check_floor(&kept, point)?;
            kept.find(number, point).cloned()
        };
        if let Some(page) = early {
            return Ok(page);
        }
        let read = self.in_file(number);
        let kept = self.kept();
        check_floor(&kept, point)?;
        match kept.find(number, point) {
            Some(page) => Ok(page.clone()),
            None => {
                let page = read?;
                // Still under the lock: a writer that keeps this page puts its own into the cache after that.
                self.cache.insert_if_absent(number, &page);
                Ok(page)
            }
        }
    }

    fn prune(&self) {
        let oldest = self.readers().keys().next().copied().unwrap_or(u64::MAX);
        let needed = |kept: &Kept| {
            kept.commits.front().is_some_and(|&(point, _)| point <= oldest)
                || kept.count * PAGE_LEN > self.bound
        };
        if needed(&self.kept()) {
            self.kept_mut().prune(oldest, self.bound);
        }
    }
}

fn check_floor(kept: &Kept, point: u64) -> io::Result<()> {
    if point < kept.floor {
        let why = "so much has been written since this transaction began that its version is not kept any more; begin again";
        return Err(io::Error::other(why));
    }
    Ok(())
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
    /// Those of the store, or that this snapshot has ended.
    pub fn read(&self, position: u64, buffer: &mut [u8]) -> io::Result<()> {
        read_pages(position, buffer, |number| self.page(number))
    }

    /// Fills `buffer` from `position` as [`Snapshot::read`] does, past the page cache: whoever copies the whole database
    /// would leave nothing in it that anybody else needs.
    ///
    /// # Errors
    /// Those of the store, or that this snapshot has ended.
    pub fn copy(&self, position: u64, buffer: &mut [u8]) -> io::Result<()> {
        let there = self.length.saturating_sub(position).min(buffer.len() as u64) as usize;
        let read = self.generation.file.read_at(position, &mut buffer[..there])?;
        buffer[read..].fill(0);
        let kept = self.generation.kept();
        check_floor(&kept, self.point)?;
        let numbers = position / PAGE_LEN as u64..(position + there as u64).div_ceil(PAGE_LEN as u64);
        for number in numbers {
            if let Some(page) = kept.find(number as u32, self.point) {
                lay_over(&mut buffer[..there], position, number * PAGE_LEN as u64, page);
            }
        }
        Ok(())
    }

    /// One page.
    ///
    /// # Errors
    /// Those of the store, or that this snapshot has ended.
    pub fn page(&self, number: u32) -> io::Result<Arc<Page>> {
        if u64::from(number) * PAGE_LEN as u64 >= self.length {
            return Ok(Arc::new([0; PAGE_LEN]));
        }
        self.generation.page(number, self.point)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::phys::PhysicalStore;
    use crate::phys::memory::MemoryStore;

    const PAGES: u32 = 4;

    fn commit(generation: &Generation, point: u64, number: u32) {
        let pages = BTreeMap::from([(number, Arc::new([point as u8; PAGE_LEN]))]);
        let length = u64::from(PAGES) * PAGE_LEN as u64;
        generation.install(point, &Changed { pages, cut: None, length }).unwrap();
    }

    fn snapshot(generation: &Arc<Generation>, point: u64) -> Snapshot {
        let version = Version::new(1, point as u32);
        Snapshot::new(generation.clone(), point, version, generation.length())
    }

    /// U51: one snapshot that is never given up keeps no more than the bound; above that it ends, and says so, while others read
    /// on; and a page that was replaced a thousand times is found as quickly as any other.
    #[test]
    fn an_old_snapshot_ends_before_it_costs_too_much() {
        let (file, _) = MemoryStore::new().open().unwrap();
        let mut generation = Generation::new(file, 2).unwrap();
        generation.bound = 100 * PAGE_LEN;
        let generation = Arc::new(generation);
        (0..PAGES).for_each(|number| commit(&generation, u64::from(number) + 1, number));
        let old = snapshot(&generation, 4);
        for point in 5..=104 {
            commit(&generation, point, 0);
        }
        let middle = snapshot(&generation, 104);
        assert_eq!(old.page(0).unwrap()[0], 1, "within the bound it is as it was");
        assert_eq!(generation.kept().find(0, 50).unwrap()[0], 50);
        for point in 105..1000 {
            let before = snapshot(&generation, point - 1);
            commit(&generation, point, (point % 2) as u32);
            let byte = if point % 2 == 0 { point - 2 } else { point - 1 };
            assert_eq!(before.page(0).unwrap()[0], byte.max(104) as u8);
            drop(before);
            assert!(generation.kept().count <= 101, "{} pages", generation.kept().count);
        }
        for ended in [old, middle] {
            let error = ended.page(0).unwrap_err().to_string();
            assert!(error.contains("begin again"), "{error}");
            assert!(ended.copy(0, &mut [0; 10]).is_err());
        }
        assert_eq!(snapshot(&generation, 999).page(0).unwrap()[0], 998_u64 as u8);
        assert_eq!(generation.kept().count, 0, "nobody needs anything");
    }
}
