//! The page cache of one data file.
//!
//! It holds committed pages as the file has them; a page changed by a commit is replaced here in the same step. It is
//! made with the database, before the first call can come in, with a stated size and statistics.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ubik_proto::changed::{PAGE_LEN, Page};

use crate::sync::{Mutex, MutexGuard};

/// Fills `buffer` from `position` with what `page` gives; where no page can be there are zeros.
pub(crate) fn read_pages(
    position: u64,
    buffer: &mut [u8],
    page: impl Fn(u32) -> io::Result<Arc<Page>>,
) -> io::Result<()> {
    let mut done = 0;
    while done < buffer.len() {
        let at = position + done as u64;
        let offset = (at % PAGE_LEN as u64) as usize;
        let count = (PAGE_LEN - offset).min(buffer.len() - done);
        let target = &mut buffer[done..done + count];
        match u32::try_from(at / PAGE_LEN as u64) {
            Ok(number) => target.copy_from_slice(&page(number)?[offset..offset + count]),
            Err(_) => target.fill(0),
        }
        done += count;
    }
    Ok(())
}

/// How well the cache does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStatistics {
    /// Pages it holds.
    pub pages: usize,
    /// Pages it may hold.
    pub capacity: usize,
    /// Reads that found their page.
    pub hits: u64,
    /// Reads that went to the file.
    pub misses: u64,
}

#[derive(Debug, Default)]
struct Slots {
    pages: HashMap<u32, Arc<Page>>,
    /// In the order they came in; the oldest goes first.
    order: VecDeque<u32>,
}

/// Pages by number.
#[derive(Debug)]
pub struct PageCache {
    slots: Mutex<Slots>,
    capacity: usize,
    hits: AtomicU64,
    misses: AtomicU64,
}

impl PageCache {
    /// A cache of at most `capacity` pages.
    pub fn new(capacity: usize) -> Self {
        PageCache { slots: Mutex::default(), capacity, hits: AtomicU64::new(0), misses: AtomicU64::new(0) }
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().expect("no code here panics while it holds this lock")
    }

    /// The page, if it is here.
    pub fn find(&self, number: u32) -> Option<Arc<Page>> {
        let found = self.slots().pages.get(&number).cloned();
        let counter = if found.is_some() { &self.hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
        found
    }

    /// Puts a page in, in place of the one with its number.
    pub fn insert(&self, number: u32, page: Arc<Page>) {
        let mut slots = self.slots();
        if slots.pages.insert(number, page).is_none() {
            slots.order.push_back(number);
        }
        while slots.pages.len() > self.capacity {
            let Some(oldest) = slots.order.pop_front() else {
                break;
            };
            slots.pages.remove(&oldest);
        }
    }

    /// Puts a page in that was read, unless there is one with its number.
    pub fn insert_if_absent(&self, number: u32, page: &Arc<Page>) {
        let absent = !self.slots().pages.contains_key(&number);
        if absent {
            self.insert(number, page.clone());
        }
    }

    /// Drops every page from `first` on: the file was cut.
    pub fn cut(&self, first: u32) {
        let mut slots = self.slots();
        slots.pages.retain(|&number, _| number < first);
        slots.order.retain(|&number| number < first);
    }

    /// How well it does.
    pub fn statistics(&self) -> CacheStatistics {
        CacheStatistics {
            pages: self.slots().pages.len(),
            capacity: self.capacity,
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// U6: the size is kept, and what happened is counted.
    #[test]
    fn the_cache_never_grows_beyond_its_size() {
        let cache = PageCache::new(3);
        for number in 0..10 {
            cache.insert(number, Arc::new([number as u8; PAGE_LEN]));
        }
        assert!(cache.find(0).is_none());
        assert_eq!(cache.find(9).unwrap()[0], 9);
        cache.cut(9);
        assert!(cache.find(9).is_none());
        assert_eq!(cache.statistics(), CacheStatistics { pages: 2, capacity: 3, hits: 1, misses: 2 });
    }
}
