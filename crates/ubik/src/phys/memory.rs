//! A database in memory, with a model of what a crash leaves.
//!
//! What was written and not synced may after a crash be there, be missing, or be there in part, sector by sector, in any
//! combination: disks keep no order between two syncs. A rename is one step and is safe when it returns, as
//! [`super::files`] syncs the directory. Every operation can be made to fail from a given one on ([`MemoryStore::blow_after`]):
//! that is how a test or the simulator crashes a server in the middle of its work.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use ubik_proto::election::promise::KeptPromise;
use ubik_proto::plant::{Fault, planted};
use ubik_proto::version::Version;

use super::{HEADER_LEN, PhysicalStore, ReplaceError, Replacement, StoreFile, decode_label, encode_label};

/// What a disk writes in one piece.
const SECTOR: usize = 512;

#[derive(Debug, Clone)]
enum Operation {
    Write { position: usize, bytes: Vec<u8> },
    Length(usize),
}

/// One file: what reads see, what is safe, and the way from one to the other.
#[derive(Debug, Clone, Default)]
struct Medium {
    current: Vec<u8>,
    safe: Vec<u8>,
    pending: Vec<Operation>,
}

impl Medium {
    fn write(&mut self, position: usize, bytes: &[u8]) {
        let operation = Operation::Write { position, bytes: bytes.to_vec() };
        apply(&mut self.current, &operation);
        self.pending.push(operation);
    }

    fn set_length(&mut self, length: usize) {
        let operation = Operation::Length(length);
        apply(&mut self.current, &operation);
        self.pending.push(operation);
    }

    fn sync(&mut self) {
        for operation in std::mem::take(&mut self.pending) {
            apply(&mut self.safe, &operation);
        }
    }

    /// Keeps each pending sector or length or loses it, as `keep` says.
    fn crash(&mut self, keep: &mut dyn FnMut() -> bool) {
        for operation in std::mem::take(&mut self.pending) {
            match operation {
                Operation::Length(_) if keep() => apply(&mut self.safe, &operation),
                Operation::Length(_) => {}
                Operation::Write { position, bytes } => {
                    for (sector, part) in split_at_sectors(position, &bytes) {
                        if keep() {
                            apply(
                                &mut self.safe,
                                &Operation::Write { position: sector, bytes: part.to_vec() },
                            );
                        }
                    }
                }
            }
        }
        self.current.clone_from(&self.safe);
    }
}

fn apply(bytes: &mut Vec<u8>, operation: &Operation) {
    match operation {
        Operation::Length(length) => bytes.resize(*length, 0),
        Operation::Write { position, bytes: new } => {
            let end = position + new.len();
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[*position..end].copy_from_slice(new);
        }
    }
}

fn split_at_sectors(mut position: usize, mut bytes: &[u8]) -> Vec<(usize, &[u8])> {
    let mut parts = Vec::new();
    while !bytes.is_empty() {
        let (part, rest) = bytes.split_at(bytes.len().min(SECTOR - position % SECTOR));
        parts.push((position, part));
        position += part.len();
        bytes = rest;
    }
    parts
}

/// What happens to a store's next operations.
#[derive(Debug, Default)]
struct Fuse {
    /// How many more operations succeed; `None` for all.
    left: Option<u32>,
    /// Writes that grow a file fail.
    full: bool,
    /// The most bytes that the database may have, its label's not counted; `None` for any number.
    room: Option<u64>,
    blown: bool,
    operations: u64,
    syncs: u64,
}

impl Fuse {
    fn burn(&mut self) -> io::Result<()> {
        self.operations += 1;
        match &mut self.left {
            Some(0) => {
                self.blown = true;
                Err(io::Error::other("the machine has crashed"))
            }
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

#[derive(Debug, Default)]
struct Disk {
    data: Arc<Mutex<Medium>>,
    log: Mutex<Medium>,
    promise: Option<KeptPromise>,
    /// What was received last, or is being received.
    received: Arc<Mutex<Vec<u8>>>,
    fuse: Fuse,
}

/// A database in memory. Clones share it; what it holds survives the server that used it, as a disk does.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore(Arc<Mutex<Disk>>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no code here panics while it holds this lock")
}

impl MemoryStore {
    /// An empty one.
    pub fn new() -> Self {
        MemoryStore::default()
    }

    /// Lets `operations` more operations succeed and makes all after them fail.
    pub fn blow_after(&self, operations: u32) {
        lock(&self.0).fuse.left = Some(operations);
    }

    /// Takes the fuse out again; returns whether an operation has failed by it.
    pub fn disarm(&self) -> bool {
        let fuse = &mut lock(&self.0).fuse;
        fuse.left = None;
        std::mem::take(&mut fuse.blown)
    }

    /// Makes writes that need space fail, or succeed again.
    pub fn set_full(&self, full: bool) {
        lock(&self.0).fuse.full = full;
    }

    /// Makes writes fail that need more than `room` bytes for the database, or none of them. The log has room in any case.
    pub fn set_room(&self, room: Option<u64>) {
        lock(&self.0).fuse.room = room;
    }

    /// What the machine finds when it comes back: of everything not synced, each sector is kept if `keep` says so.
    pub fn crash(&self, keep: &mut dyn FnMut() -> bool) {
        let mut disk = lock(&self.0);
        lock(&disk.data).crash(keep);
        lock(&disk.log).crash(keep);
        disk.fuse.left = None;
        disk.fuse.blown = false;
    }

    /// Loses everything, as a new disk would have.
    pub fn wipe(&self) {
        *lock(&self.0) = Disk::default();
    }

    /// Operations and syncs so far: what they cost is the simulator's to say.
    pub fn work_done(&self) -> (u64, u64) {
        let fuse = &lock(&self.0).fuse;
        (fuse.operations, fuse.syncs)
    }

    fn burn(&self) -> io::Result<MutexGuard<'_, Disk>> {
        let mut disk = lock(&self.0);
        disk.fuse.burn()?;
        Ok(disk)
    }

    /// An operation that makes a file longer by `grows` bytes.
    fn burn_for_space(&self, grows: usize) -> io::Result<MutexGuard<'_, Disk>> {
        let disk = self.burn()?;
        if disk.fuse.full && grows > 0 { Err(io::Error::from(io::ErrorKind::StorageFull)) } else { Ok(disk) }
    }
}

impl PhysicalStore for MemoryStore {
    fn open(&self) -> io::Result<(Arc<dyn StoreFile>, Option<Version>)> {
        let disk = self.burn()?;
        let medium = disk.data.clone();
        let label = {
            let bytes = lock(&medium);
            decode_label(&bytes.current[..bytes.current.len().min(16)])?
        };
        Ok((Arc::new(MemoryFile { store: self.clone(), medium }), label))
    }

    fn write_log(&self, bytes: &[u8]) -> io::Result<()> {
        lock(&self.burn_for_space(bytes.len())?.log).write(0, bytes);
        lock(&self.burn()?.log).set_length(bytes.len());
        let mut disk = self.burn()?;
        disk.fuse.syncs += 1;
        lock(&disk.log).sync();
        Ok(())
    }

    fn clear_log(&self) -> io::Result<()> {
        let disk = self.burn()?;
        let mut log = lock(&disk.log);
        log.set_length(0);
        log.set_length(HEADER_LEN as usize);
        Ok(())
    }

    fn read_log(&self) -> io::Result<Vec<u8>> {
        Ok(lock(&self.burn()?.log).current.clone())
    }

    fn begin_replacement(&self) -> io::Result<Box<dyn Replacement>> {
        let mut disk = self.burn()?;
        if planted(Fault::TransfersMixed) {
            lock(&disk.received).clear();
        } else {
            disk.received = Arc::default();
        }
        Ok(Box::new(Received { store: self.clone(), bytes: disk.received.clone() }))
    }

    fn load_promise(&self) -> io::Result<Option<KeptPromise>> {
        Ok(self.burn()?.promise)
    }

    fn save_promise(&self, promise: KeptPromise) -> io::Result<()> {
        let mut disk = self.burn_for_space(16)?;
        disk.fuse.syncs += 1;
        disk.promise = Some(promise);
        Ok(())
    }
}

struct MemoryFile {
    store: MemoryStore,
    medium: Arc<Mutex<Medium>>,
}

impl MemoryFile {
    /// Finds room for bytes of the database up to `end`.
    fn make_room(&self, end: u64) -> io::Result<()> {
        let length = lock(&self.medium).current.len();
        let disk = self.store.burn_for_space(((HEADER_LEN + end) as usize).saturating_sub(length))?;
        match disk.fuse.room {
            Some(room) if end > room => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }
}

impl StoreFile for MemoryFile {
    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        drop(self.store.burn()?);
        let medium = lock(&self.medium);
        let from = medium.current.get((HEADER_LEN + position) as usize..).unwrap_or(&[]);
        let count = from.len().min(buffer.len());
        buffer[..count].copy_from_slice(&from[..count]);
        Ok(count)
    }

    fn write_at(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
        self.make_room(position + bytes.len() as u64)?;
        lock(&self.medium).write((HEADER_LEN + position) as usize, bytes);
        Ok(())
    }

    fn reserve(&self, position: u64, length: u64) -> io::Result<()> {
        self.make_room(position + length)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        drop(self.store.burn()?);
        lock(&self.medium).set_length((HEADER_LEN + length) as usize);
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        drop(self.store.burn()?);
        Ok((lock(&self.medium).current.len() as u64).saturating_sub(HEADER_LEN))
    }

    fn set_label(&self, version: Version) -> io::Result<()> {
        drop(self.store.burn()?);
        lock(&self.medium).write(0, &encode_label(version));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.store.burn()?.fuse.syncs += 1;
        lock(&self.medium).sync();
        Ok(())
    }
}

#[derive(Debug)]
struct Received {
    store: MemoryStore,
    bytes: Arc<Mutex<Vec<u8>>>,
}

impl Replacement for Received {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        drop(self.store.burn_for_space(bytes.len())?);
        lock(&self.bytes).extend_from_slice(bytes);
        Ok(())
    }

    fn commit(self: Box<Self>, version: Version) -> Result<Arc<dyn StoreFile>, ReplaceError> {
        let mut disk = self.store.burn().map_err(ReplaceError::Kept)?;
        disk.fuse.syncs += 2;
        let mut whole = encode_label(version).to_vec();
        whole.resize(HEADER_LEN as usize, 0);
        whole.extend_from_slice(&lock(&self.bytes));
        let medium = Medium { current: whole.clone(), safe: whole, pending: Vec::new() };
        disk.data = Arc::new(Mutex::new(medium));
        let medium = disk.data.clone();
        drop(disk);
        // A crash after the rename and before the directory is synced may leave either of the two; that the server does not
        // go on without knowing which is what counts.
        drop(self.store.burn().map_err(ReplaceError::Unsafe)?);
        Ok(Arc::new(MemoryFile { store: self.store, medium }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// U1: the crash model loses, keeps and tears what was not synced, and nothing else.
    #[test]
    fn a_crash_touches_only_what_was_not_synced() {
        let store = MemoryStore::new();
        let (file, _) = store.open().unwrap();
        file.write_at(0, &[1; 2000]).unwrap();
        file.sync().unwrap();
        file.write_at(0, &[2; 2000]).unwrap();
        let mut nth = 0;
        store.crash(&mut || {
            nth += 1;
            nth % 2 == 0
        });
        let (file, _) = store.open().unwrap();
        let mut bytes = [0; 2000];
        file.read_at(0, &mut bytes).unwrap();
        assert!(bytes.contains(&1) && bytes.contains(&2), "torn at sectors");
        assert_eq!(bytes[447], 1);
        assert_eq!(bytes[448], 2, "the second sector of the file begins 64 bytes early");
    }

    #[test]
    fn a_blown_fuse_fails_everything_until_the_machine_is_back() {
        let store = MemoryStore::new();
        let (file, _) = store.open().unwrap();
        store.blow_after(1);
        file.write_at(0, b"x").unwrap();
        assert!(file.write_at(1, b"y").is_err());
        assert!(store.save_promise(KeptPromise::default()).is_err());
        store.crash(&mut || true);
        assert_eq!(store.open().unwrap().0.length().unwrap(), 1);
    }
}
