//! Commits that are half-done: because their process died, or because it is at it.

use std::fs;
use std::path::Path;

use super::{keys_of, quorate, text};

/// A database whose keys have the value `old`, with a transaction that replaces each by `new` and adds others.
fn with_transaction(path: &Path, flags: tdb::Flags, at_commit: impl FnOnce()) {
    let mut options = tdb::OpenOptions::new();
    tdb::compat::set_flags(&mut options, flags);
    let mut database = options.create(true).open(path).expect("a new database");
    for key in 0..20u32 {
        database.store(format!("k{key}"), "old", tdb::StoreMode::Insert).expect("a store");
    }
    let transaction = database.transaction().expect("a transaction");
    for key in 0..30u32 {
        let value = format!("new {}", "n".repeat(900));
        transaction.store(format!("k{key}"), value, tdb::StoreMode::Replace).expect("a store");
    }
    let prepared = transaction.prepare_commit().expect("room");
    at_commit();
    prepared.commit().expect("a commit");
}

/// Locking by byte ranges, and by mutexes where they work.
fn ways_to_lock() -> Vec<tdb::Flags> {
    let mut ways = vec![tdb::Flags::default()];
    if tdb::robust_mutexes_work() {
        ways.push(tdb::Flags::MUTEX_LOCKING);
    } else {
        testbed::skip("half-done commits of files with mutexes", "no robust mutexes");
    }
    ways
}

/// What each tool that reads must do with the 20 records of `p.tdb`.
fn must_read_the_old_records(folder: &Path, more: &[&str], told: &str) {
    for arguments in [
        &["check", "p.tdb"][..],
        &["info", "p.tdb"],
        &["keys", "p.tdb"],
        &["dump", "p.tdb"],
        &["dump", "-e", "p.tdb"],
        &["dump", "-k", "k7", "p.tdb"],
        &["backup", "-v", "p.tdb"],
        &["backup", "p.tdb"],
        &["rescue", "p.tdb", "saved.tdb"],
    ] {
        let arguments = [arguments, more].concat();
        let output = quorate(folder, &arguments, "");
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains(told), "{arguments:?}: {}", text(&output.stderr));
        assert!(!text(&output.stdout).contains("new"), "{arguments:?}: {}", text(&output.stdout));
    }
    for copy in ["p.tdb.bak", "saved.tdb"] {
        assert_eq!(keys_of(folder, copy).len(), 20, "{copy}");
        assert_eq!(text(&quorate(folder, &["dump", "-k", "k7", copy], "").stdout), "old");
        fs::remove_file(folder.join(copy)).expect("the copy is there");
    }
}

/// T4, T21: what a process left half-done when it was killed is undone in memory by tools that may not write, whatever the
/// file is locked by, and the file stays as it is; tools that lock it undo it in the file.
#[test]
fn a_commit_whose_process_died_is_undone_by_every_tool() {
    for flags in ways_to_lock() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let folder = folder.path();
        let path = folder.join("p.tdb");
        with_transaction(&folder.join("lives.tdb"), flags, || {
            // Nobody has the copy open, so it is what a killed process leaves.
            fs::copy(folder.join("lives.tdb"), &path).expect("a copy");
        });
        let died = fs::read(&path).expect("the file");

        must_read_the_old_records(folder, &["-l"], "a commit was interrupted");
        assert!(fs::read(&path).expect("the file") == died, "{flags:?}: -l has changed the file");

        let mutexes = flags.has(tdb::Flags::MUTEX_LOCKING);
        must_read_the_old_records(folder, &[], if mutexes { "a commit was interrupted" } else { "" });
        let undone = fs::read(&path).expect("the file") != died;
        assert_eq!(undone, !mutexes, "a file whose mutexes are not used cannot be written");
    }
}

/// T21: a commit that another process is at just now is nothing to undo in the file: those who read without locks do not see it
/// yet, and those who would write without locks are refused.
#[test]
fn a_commit_that_is_going_on_is_not_taken_for_a_half_done_one() {
    for flags in ways_to_lock() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let folder = folder.path();
        let path = folder.join("p.tdb");
        with_transaction(&path, flags, || {
            let prepared = fs::read(&path).expect("the file");
            must_read_the_old_records(folder, &["-l"], "another process is committing");
            for arguments in [&["repack", "-l", "p.tdb"][..], &["shell", "-l", "p.tdb", "delete", "k1"]] {
                let output = quorate(folder, arguments, "");
                assert_eq!(output.status.code(), Some(3), "{arguments:?}: {}", text(&output.stderr));
            }
            assert!(fs::read(&path).expect("the file") == prepared, "{flags:?}");
        });
        let value = text(&quorate(folder, &["dump", "-l", "-k", "k7", "p.tdb"], "").stdout);
        assert!(value.starts_with("new"), "{flags:?}: {value}");
    }
}
