//! A disk with room for the log and none for what it would bring into the database.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ubik::database::{ApplyError, Database};
use ubik::phys::memory::MemoryStore;
use ubik::phys::{PhysicalStore, Replacement, StoreFile};
use ubik_proto::election::promise::KeptPromise;
use ubik_proto::log::Change;
use ubik_proto::version::Version;

/// A store whose database cannot grow beyond a length; its log can.
#[derive(Clone)]
struct TightStore {
    store: MemoryStore,
    most: Arc<AtomicU64>,
}

struct TightFile {
    file: Arc<dyn StoreFile>,
    most: Arc<AtomicU64>,
}

impl TightFile {
    fn check(&self, end: u64) -> io::Result<()> {
        let fits = end <= self.most.load(Ordering::Relaxed);
        if fits { Ok(()) } else { Err(io::ErrorKind::StorageFull.into()) }
    }
}

impl PhysicalStore for TightStore {
    fn open(&self) -> io::Result<(Arc<dyn StoreFile>, Option<Version>)> {
        let (file, label) = self.store.open()?;
        Ok((Arc::new(TightFile { file, most: self.most.clone() }), label))
    }

    fn write_log(&self, bytes: &[u8]) -> io::Result<()> {
        self.store.write_log(bytes)
    }

    fn clear_log(&self) -> io::Result<()> {
        self.store.clear_log()
    }

    fn read_log(&self) -> io::Result<Vec<u8>> {
        self.store.read_log()
    }

    fn begin_replacement(&self) -> io::Result<Box<dyn Replacement>> {
        self.store.begin_replacement()
    }

    fn load_promise(&self) -> io::Result<Option<KeptPromise>> {
        self.store.load_promise()
    }

    fn save_promise(&self, promise: KeptPromise) -> io::Result<()> {
        self.store.save_promise(promise)
    }
}

impl StoreFile for TightFile {
    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(position, buffer)
    }

    fn write_at(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
        self.check(position + bytes.len() as u64)?;
        self.file.write_at(position, bytes)
    }

    fn reserve(&self, position: u64, length: u64) -> io::Result<()> {
        self.check(position + length)?;
        self.file.reserve(position, length)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.file.truncate(length)
    }

    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn set_label(&self, version: Version) -> io::Result<()> {
        self.file.set_label(version)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}

/// U50: a commit that would not fit into the database is refused before it is logged, whatever part of a page it is: nothing is
/// changed, the server need not end, and the same commit is made when there is room. (Its log was safe and the process ended; it
/// could not start again either.)
#[test]
fn a_commit_that_does_not_fit_is_not_logged() {
    let store = TightStore { store: MemoryStore::new(), most: Arc::new(AtomicU64::new(8192)) };
    let database = Database::open(Arc::new(store.clone()), 8).unwrap();
    let write = |position, text: &[u8]| [Change::Write { position, bytes: text.to_vec() }];
    database.apply(&write(0, b"old"), Version::new(3, 2)).unwrap();
    let logged = store.read_log().unwrap();
    for position in [8190, 8192, 1 << 20] {
        let refused = database.apply(&write(position, b"more"), Version::new(3, 3));
        assert!(matches!(refused, Err(ApplyError::NotLogged(_))), "{position}: {refused:?}");
        assert_eq!(store.read_log().unwrap(), logged, "{position}");
    }
    assert!(!database.is_broken());
    database.apply(&write(4, b"small"), Version::new(3, 3)).expect("what fits is committed");
    store.most.store(u64::MAX, Ordering::Relaxed);
    database.apply(&write(8190, b"more"), Version::new(3, 4)).expect("there is room");
    let again = Database::open(Arc::new(store), 8).unwrap();
    assert_eq!(again.version(), Version::new(3, 4));
}
