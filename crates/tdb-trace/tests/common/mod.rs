//! What these tests share: databases that are recorded, and their traces.
#![allow(clippy::unwrap_used)]
#![allow(dead_code)]

use std::io::Read;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use tdb::compat::Tdb;
use tdb::{LockKind, OpenOptions, StoreMode, Wait};
use tdb_trace::packed::{MAGIC, PackedText};
use tdb_trace::{Recording, TraceForm};
use tempfile::TempDir;

/// In memory, so that syncs are cheap; the system's folder elsewhere.
pub fn folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

pub fn open(folder: &Path) -> Tdb {
    open_in_form(folder, TraceForm::Extended)
}

pub fn open_in_form(folder: &Path, form: TraceForm) -> Tdb {
    OpenOptions::new()
        .create(true)
        .hash_size(7)
        .observe(Recording::to(folder.join("traces")).form(form))
        .open_in_dialect(folder.join("db"))
        .unwrap()
}

/// A form as text, and one as bytes.
pub const FORMS: [TraceForm; 2] = [TraceForm::Extended, TraceForm::Packed];

/// The traces in a folder, by name.
pub fn traces(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        std::fs::read_dir(folder.join("traces")).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

/// The one trace that there is.
pub fn only_trace(folder: &Path) -> PathBuf {
    let [trace] = &traces(folder)[..] else { panic!("{:?}", traces(folder)) };
    trace.clone()
}

/// A trace's text, whatever its form.
pub fn text(trace: &Path) -> Vec<u8> {
    let bytes = std::fs::read(trace).unwrap();
    if !bytes.starts_with(&MAGIC) {
        return bytes;
    }
    let mut text = Vec::new();
    PackedText::new(&*bytes).unwrap().read_to_end(&mut text).unwrap();
    text
}

/// A trace's lines without their stamps, up to its end.
pub fn lines(trace: &Path) -> Vec<String> {
    let text = text(trace);
    let text = text.split(|&byte| byte == 0).next().unwrap();
    let text = std::str::from_utf8(text).unwrap();
    text.lines().map(|line| line.split(" #").next().unwrap().to_owned()).collect()
}

/// One of everything that a handle can do.
pub fn everything(database: &Tdb) {
    database.store(b"a", b"1", StoreMode::Insert).unwrap();
    database.store(b"a", b"1", StoreMode::Insert).unwrap_err();
    database.store_parts(b"b", &[b"2", b"", b"3"], StoreMode::Replace).unwrap();
    database.store(b"c", b"", StoreMode::Modify).unwrap_err();
    database.append(b"c", b"4").unwrap();
    database.append(b"c", b"5").unwrap();
    assert_eq!(database.fetch(b"c").unwrap().unwrap(), b"45");
    assert!(!database.exists(b"d").unwrap());
    database.parse_record(b"a", |_| ()).unwrap();
    database.parse_record(b"d", |_| ()).unwrap();
    database.delete(b"a").unwrap();
    database.delete(b"a").unwrap_err();
    database.seqnum().unwrap();
    database.lock_chain(b"b", LockKind::Read, Wait::No).unwrap();
    database.unlock_chain(b"b", LockKind::Read).unwrap();
    database.lock_chain(b"b", LockKind::Write, Wait::Yes).unwrap();
    database.unlock_chain(b"b", LockKind::Write).unwrap();
    database.unlock_chain(b"b", LockKind::Write).unwrap_err();
    database.lock_all(LockKind::Write, Wait::Yes).unwrap();
    database.unlock_all(LockKind::Write).unwrap();
    database.lock_all(LockKind::Read, Wait::No).unwrap();
    database.unlock_all(LockKind::Read).unwrap();
    database.traverse(|_, _| ControlFlow::Break(())).unwrap();
    database.delete(b"b").unwrap();
    database
        .traverse_read(|_, _| {
            database.fetch(b"c").unwrap();
            ControlFlow::Continue(())
        })
        .unwrap();
    let key = database.first_key().unwrap().unwrap();
    database.next_key(&key).unwrap();
    database.transaction_start(Wait::Yes).unwrap();
    database.transaction_start(Wait::Yes).unwrap();
    database.store(b"t", b"6", StoreMode::Replace).unwrap();
    database.transaction_prepare_commit().unwrap();
    database.transaction_commit().unwrap();
    database.fetch(b"t").unwrap();
    database.transaction_commit().unwrap();
    database.transaction_start(Wait::Yes).unwrap();
    database.store(b"t", b"7", StoreMode::Replace).unwrap();
    database.transaction_prepare_commit().unwrap();
    database.transaction_cancel().unwrap();
    database.wipe_all().unwrap();
    database.repack().unwrap();
    database.mark_chain(b"a").unwrap();
    database.unmark_chain(b"a").unwrap();
}

/// Opening what C's interface would open.
pub trait Dialect {
    /// Opens in C's dialect.
    fn open_in_dialect(&self, path: impl AsRef<Path>) -> Result<Tdb, tdb::OpenError>;
}

impl Dialect for OpenOptions {
    fn open_in_dialect(&self, path: impl AsRef<Path>) -> Result<Tdb, tdb::OpenError> {
        Tdb::open(self, path)
    }
}
