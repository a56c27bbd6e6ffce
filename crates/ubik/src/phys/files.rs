//! A database in files: `PREFIX.DB0` (data) and `PREFIX.DBSYS1` (log), as OpenAFS names them, `PREFIX.DB0.TMP` with a
//! number (each a database being received), and, which are this program's own, `PREFIX.PROMISE` and `PREFIX.LOCK`: the process that
//! has the last one locked may use the others.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use ubik_proto::election::promise::KeptPromise;
use ubik_proto::version::Version;

use super::{
    HEADER_LEN, PhysicalStore, ReplaceError, Replacement, StoreFile, decode_label, decode_promise,
    encode_label, encode_promise,
};

/// A database whose files begin with one path.
#[derive(Debug, Clone)]
pub struct FileStore {
    prefix: PathBuf,
    /// Counts the databases that were received, so that each has a file of its own.
    received: Arc<AtomicU64>,
    /// Locked from the first opening on, for as long as the store lives; the kernel gives it up when the process dies.
    lock: Arc<Mutex<Option<File>>>,
}

impl FileStore {
    /// The database at `prefix`, for instance `/var/lib/openafs/db/prdb`.
    pub fn new(prefix: impl Into<PathBuf>) -> Self {
        FileStore { prefix: prefix.into(), received: Arc::default(), lock: Arc::default() }
    }

    fn path(&self, suffix: &str) -> PathBuf {
        let mut name = OsString::from(self.prefix.as_os_str());
        name.push(suffix);
        PathBuf::from(name)
    }

    fn directory(&self) -> &Path {
        self.prefix.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }

    /// Keeps other processes away from the files. Two servers on one database would each overwrite what the other has promised.
    fn lock(&self) -> io::Result<()> {
        let mut held = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        if held.is_some() {
            return Ok(());
        }
        let path = self.path(".LOCK");
        let file = Self::open_for_update(&path)?;
        match file.try_lock() {
            Ok(()) => *held = Some(file),
            Err(TryLockError::WouldBlock) => {
                let text = format!(
                    "another server uses these files (it has {} locked); stop it, or name another directory",
                    path.display()
                );
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, text));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        Ok(())
    }

    /// Makes a rename or a new file safe: the directory has to be synced, not the file alone.
    fn sync_directory(&self) -> io::Result<()> {
        File::open(self.directory())?.sync_all()
    }

    /// Removes what earlier lives, OpenAFS's too, were receiving.
    fn remove_unfinished(&self) -> io::Result<()> {
        let unfinished = self.path(".DB0.TMP");
        let Some(unfinished) = unfinished.file_name() else { return Ok(()) };
        for entry in fs::read_dir(self.directory())? {
            let entry = entry?;
            if entry.file_name().as_encoded_bytes().starts_with(unfinished.as_encoded_bytes()) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    fn open_for_update(path: &Path) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(MODE).open(path)
    }
}

/// As OpenAFS: what is in a database is for its server alone.
const MODE: u32 = 0o600;

impl PhysicalStore for FileStore {
    fn open(&self) -> io::Result<(Arc<dyn StoreFile>, Option<Version>)> {
        self.lock()?;
        self.remove_unfinished()?;
        let path = self.path(".DB0");
        let created = !path.exists();
        let file = Self::open_for_update(&path)?;
        if created {
            self.sync_directory()?;
        }
        let mut header = [0; 16];
        let read = read_up_to(&file, 0, &mut header)?;
        let label = decode_label(&header[..read]).map_err(|error| at(&path, error))?;
        Ok((Arc::new(DataFile { file, path }), label))
    }

    fn write_log(&self, bytes: &[u8]) -> io::Result<()> {
        let path = self.path(".DBSYS1");
        let write = || {
            let file = Self::open_for_update(&path)?;
            file.write_all_at(bytes, 0)?;
            file.set_len(bytes.len() as u64)?;
            file.sync_data()
        };
        write().map_err(|error| at(&path, error))
    }

    fn clear_log(&self) -> io::Result<()> {
        let file = Self::open_for_update(&self.path(".DBSYS1"))?;
        // OpenAFS appends after the header, so the file must not end before it; zeros say that nobody's checksum is there.
        file.set_len(0)?;
        file.set_len(HEADER_LEN)
    }

    fn read_log(&self) -> io::Result<Vec<u8>> {
        absent_is_empty(fs::read(self.path(".DBSYS1")))
    }

    fn begin_replacement(&self) -> io::Result<Box<dyn Replacement>> {
        let nth = self.received.fetch_add(1, Ordering::Relaxed);
        let path = self.path(&format!(".DB0.TMP{nth}"));
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(MODE).open(&path)?;
        Ok(Box::new(Received { store: self.clone(), file: Some(file), path, length: 0 }))
    }

    fn load_promise(&self) -> io::Result<Option<KeptPromise>> {
        decode_promise(&absent_is_empty(fs::read(self.path(".PROMISE")))?)
    }

    fn save_promise(&self, promise: KeptPromise) -> io::Result<()> {
        let new = self.path(".PROMISE.TMP");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(MODE).open(&new)?;
        file.write_all(&encode_promise(promise))?;
        file.sync_all()?;
        fs::rename(&new, self.path(".PROMISE"))?;
        self.sync_directory()
    }
}

fn absent_is_empty(read: io::Result<Vec<u8>>) -> io::Result<Vec<u8>> {
    match read {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other,
    }
}

fn read_up_to(file: &File, mut position: u64, mut buffer: &mut [u8]) -> io::Result<usize> {
    let wanted = buffer.len();
    while !buffer.is_empty() {
        match file.read_at(buffer, position) {
            Ok(0) => break,
            Ok(read) => {
                position += read as u64;
                buffer = &mut buffer[read..];
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(wanted - buffer.len())
}

/// The same error, with the file that it is about.
fn at(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

struct DataFile {
    file: File,
    /// Where it was opened, for people.
    path: PathBuf,
}

impl StoreFile for DataFile {
    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        read_up_to(&self.file, HEADER_LEN + position, buffer)
    }

    fn write_at(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, HEADER_LEN + position)
    }

    fn reserve(&self, position: u64, length: u64) -> io::Result<()> {
        let reserved = fallocate(&self.file, FallocateFlags::KEEP_SIZE, HEADER_LEN + position, length.max(1));
        match reserved {
            // A file system that cannot do it says so; writing finds out then.
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            Err(error) => Err(at(&self.path, error.into())),
        }
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.file.set_len(HEADER_LEN + length)
    }

    fn length(&self) -> io::Result<u64> {
        // A fresh database of OpenAFS is its label alone, shorter than a header.
        Ok(self.file.metadata()?.len().saturating_sub(HEADER_LEN))
    }

    fn set_label(&self, version: Version) -> io::Result<()> {
        self.file.write_all_at(&encode_label(version), 0)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// A database being received into a file of its own.
#[derive(Debug)]
struct Received {
    store: FileStore,
    /// `None` once it is in the old one's place.
    file: Option<File>,
    path: PathBuf,
    length: u64,
}

impl Received {
    fn file(&self) -> io::Result<&File> {
        self.file.as_ref().ok_or_else(|| io::Error::other("the received database is in place"))
    }

    /// Everything up to the step that puts it in place.
    fn put_in_place(&mut self, version: Version) -> io::Result<File> {
        let file = self.file()?;
        file.write_all_at(&encode_label(version), 0)?;
        file.sync_all()?;
        fs::rename(&self.path, self.store.path(".DB0"))?;
        self.file.take().ok_or_else(|| io::Error::other("the received database is in place"))
    }
}

impl Replacement for Received {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file()?.write_all_at(bytes, HEADER_LEN + self.length)?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    fn commit(mut self: Box<Self>, version: Version) -> Result<Arc<dyn StoreFile>, ReplaceError> {
        let file = self.put_in_place(version).map_err(ReplaceError::Kept)?;
        self.store.sync_directory().map_err(ReplaceError::Unsafe)?;
        Ok(Arc::new(DataFile { file, path: self.store.path(".DB0") }))
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        if self.file.is_some() {
            // Left behind it would be harmless: opening the store removes it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(file: &dyn StoreFile) -> Vec<u8> {
        let mut bytes = vec![0; file.length().unwrap() as usize];
        file.read_at(0, &mut bytes).unwrap();
        bytes
    }

    /// U2, U3: until a replacement is committed the old database stays; whoever has it open reads on.
    #[test]
    fn a_replacement_is_whole_or_never_was() {
        let directory = tempfile::tempdir().unwrap();
        let store = FileStore::new(directory.path().join("prdb"));
        let (old, label) = store.open().unwrap();
        assert_eq!(label, None);
        old.write_at(0, b"old").unwrap();
        old.set_label(Version::new(5, 1)).unwrap();

        let mut abandoned = store.begin_replacement().unwrap();
        abandoned.append(b"half").unwrap();
        drop(abandoned);
        assert_eq!(store.open().unwrap().1, Some(Version::new(5, 1)));

        let mut replacement = store.begin_replacement().unwrap();
        replacement.append(b"brand ").unwrap();
        replacement.append(b"new").unwrap();
        assert_eq!(contents(&*replacement.commit(Version::new(6, 2)).unwrap()), b"brand new");
        let (new, label) = store.open().unwrap();
        assert_eq!((contents(&*new), label), (b"brand new".to_vec(), Some(Version::new(6, 2))));
        assert_eq!(contents(&*old), b"old");
    }

    /// U50: room is taken before it is needed, and changes neither the bytes nor the length; an error names the file.
    #[test]
    fn room_is_taken_without_a_change() {
        use std::os::unix::fs::MetadataExt;

        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("prdb.DB0");
        let (file, _) = FileStore::new(directory.path().join("prdb")).open().unwrap();
        file.write_at(0, b"old").unwrap();
        let before = fs::metadata(&path).unwrap();
        file.reserve(1 << 20, 1 << 20).unwrap();
        let after = fs::metadata(&path).unwrap();
        assert_eq!((after.len(), contents(&*file)), (before.len(), b"old".to_vec()));
        assert!(after.blocks() * 512 >= 1 << 20, "{} blocks", after.blocks());
        let error = file.reserve(1 << 62, 1 << 61).unwrap_err();
        assert!(error.to_string().contains("prdb.DB0"), "{error}");
    }

    /// U49: what is received has a file of its own. Two that came at once once shared one: the first put its bytes over the
    /// second's, which had been put in place, and took the file of a third away when it was given up.
    #[test]
    fn two_databases_received_at_once_do_not_touch_each_other() {
        let directory = tempfile::tempdir().unwrap();
        let store = FileStore::new(directory.path().join("prdb"));
        store.open().unwrap();
        let mut older = store.begin_replacement().unwrap();
        older.append(&[b'A'; 10]).unwrap();
        let mut newer = store.begin_replacement().unwrap();
        newer.append(&[b'B'; 20]).unwrap();
        let placed = newer.commit(Version::new(9, 2)).unwrap();
        older.append(&[b'A'; 15]).unwrap();
        let next = store.begin_replacement().unwrap();
        drop(older);
        assert_eq!(contents(&*placed), [b'B'; 20]);
        next.commit(Version::new(9, 3)).unwrap();
        let names = || {
            let all = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name());
            all.filter(|name| name != "prdb.LOCK")
        };
        assert_eq!(names().collect::<Vec<_>>(), ["prdb.DB0"]);
        fs::write(directory.path().join("prdb.DB0.TMP"), b"OpenAFS was receiving").unwrap();
        assert_eq!(store.open().unwrap().1, Some(Version::new(9, 3)));
        assert_eq!(names().count(), 1, "what an earlier life was receiving is gone");
    }

    /// U49: a second server on files in use is refused before it has touched any of them; it gets them when the first is gone.
    #[test]
    fn files_in_use_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let prefix = directory.path().join("prdb");
        let first = FileStore::new(&prefix);
        first.open().unwrap();
        first.open().unwrap();
        let receiving = first.begin_replacement().unwrap();
        let second = FileStore::new(&prefix);
        let refused = second.open().err().unwrap();
        assert_eq!(refused.kind(), io::ErrorKind::ResourceBusy, "{refused}");
        assert!(
            directory.path().join("prdb.DB0.TMP0").exists(),
            "what the first is receiving is there still"
        );
        drop((receiving, first));
        second.open().unwrap();
    }

    /// U4: the names and the layout of OpenAFS.
    #[test]
    fn the_files_are_those_of_openafs() {
        let directory = tempfile::tempdir().unwrap();
        let store = FileStore::new(directory.path().join("vldb"));
        let (file, _) = store.open().unwrap();
        file.set_label(Version::new(2, 1)).unwrap();
        file.write_at(1024, b"page").unwrap();
        file.sync().unwrap();
        let raw = fs::read(directory.path().join("vldb.DB0")).unwrap();
        assert_eq!((raw.len(), &raw[64 + 1024..]), (64 + 1028, &b"page"[..]));
        store.write_log(b"0123456789").unwrap();
        assert_eq!(store.read_log().unwrap(), b"0123456789");
        store.clear_log().unwrap();
        assert_eq!(fs::read(directory.path().join("vldb.DBSYS1")).unwrap(), [0; 64]);
        fs::write(directory.path().join("vldb.DB0"), b"something else entirely").unwrap();
        assert_eq!(store.open().err().unwrap().kind(), io::ErrorKind::InvalidData);
    }

    /// U14: a promise survives the process.
    #[test]
    fn a_promise_is_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let store = FileStore::new(directory.path().join("x"));
        assert_eq!(store.load_promise().unwrap(), None);
        let promise = KeptPromise { max_epoch: 9, to: Some(0x0a00_0001), cell: 7 };
        store.save_promise(promise).unwrap();
        assert_eq!(store.load_promise().unwrap(), Some(promise));
    }
}
