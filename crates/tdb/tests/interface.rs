//! What a Rust program finds in the crate's interface: keys of every kind, iterators that own what they give, errors that say
//! everything once, and nothing that the environment changes.
#![allow(clippy::unwrap_used)]

mod common;

use std::error::Error as _;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use tdb::{
    AccessError, Error, LockError, OpenError, OpenOptions, ReadError, StoreError, StoreMode, TransactionError,
};

/// T22: keys and values are whatever can be seen as bytes, and an iterator's records outlive the database.
#[test]
fn keys_are_of_any_kind_and_records_are_owned() {
    let folder = common::folder();
    let mut database = OpenOptions::new().create(true).open(folder.path().join("kinds")).unwrap();
    database.store("text", String::from("owned"), StoreMode::Insert).unwrap();
    database.store(b"bytes", vec![1, 2], StoreMode::Insert).unwrap();
    let transaction = database.transaction().unwrap();
    transaction.store([0_u8; 3], "array", StoreMode::Insert).unwrap();
    transaction.commit().unwrap();

    let mut records: Vec<(Vec<u8>, Vec<u8>)> = database.records().collect::<Result<_, _>>().unwrap();
    drop(database);

    records.sort();
    let expected: [(&[u8], &[u8]); 3] = [(&[0; 3], b"array"), (b"bytes", &[1, 2]), (b"text", b"owned")];
    assert!(records.iter().map(|(key, value)| (&**key, &**value)).eq(expected), "{records:?}");
}

fn failed() -> io::Error {
    io::Error::other("the disk said no")
}

fn refused_access() -> AccessError {
    AccessError::Io { action: "read", offset: 4, cause: failed() }
}

fn refused_lock() -> LockError {
    LockError::Recovery(refused_access())
}

/// T22: every error's text has its cause, once, and a report that prints `source()` after `source()` repeats nothing. The
/// umbrella takes all of them with `?`.
#[test]
fn an_error_says_everything_once() {
    let path = || PathBuf::from("a.tdb");
    let errors: [Error; 9] = [
        OpenError::Io { path: path(), cause: failed() }.into(),
        OpenError::Lock { path: path(), cause: LockError::Io { byte: 8, cause: failed() } }.into(),
        OpenError::Access { path: path(), cause: refused_access() }.into(),
        ReadError::Lock(refused_lock()).into(),
        StoreError::Access(refused_access()).into(),
        TransactionError::Lock(refused_lock()).into(),
        refused_lock().into(),
        refused_access().into(),
        tdb::CheckError::Access(refused_access()).into(),
    ];
    for error in errors {
        let mut report = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            report = format!("{report}: {cause}");
            source = cause.source();
        }
        assert_eq!(report.matches("the disk said no").count(), 1, "{report}");
    }
    let dump = tdb::dump::DumpError::from(failed());
    assert!(dump.to_string().contains("the disk said no") && dump.source().is_none());
}

const PART: &str = "QUORATE_TEST_FOLDER";

/// T23: the engine asks the environment for nothing: no trace appears where the tools and the C library would write one.
#[test]
fn the_environment_changes_nothing() {
    if let Some(folder) = std::env::var_os(PART) {
        let path = Path::new(&folder).join("a.tdb");
        let database = OpenOptions::new().create(true).open(path).unwrap();
        return database.store("key", "value", StoreMode::Insert).unwrap();
    }
    let folder = common::folder();
    let traces = folder.path().join("traces");
    std::fs::create_dir(&traces).unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_environment_changes_nothing"])
        .env(PART, folder.path())
        .env("QUORATE_TDB_RECORD", &traces)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(folder.path().join("a.tdb").exists());
    assert_eq!(std::fs::read_dir(&traces).unwrap().count(), 0, "the engine has recorded itself");
    for file in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let text = std::fs::read_to_string(&file).unwrap();
        let product = text.split("#[cfg(test)]").next().unwrap();
        for asks in ["env::var", "env::vars", "getenv"] {
            assert!(!product.contains(asks), "{} asks the environment", file.display());
        }
    }
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}
