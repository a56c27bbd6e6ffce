//! Recording: what a handle's trace holds, byte for byte but for the times.
#![allow(clippy::unwrap_used)]
#![allow(unsafe_code)]

mod common;

use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use common::{Dialect, FORMS, everything, folder, lines, only_trace, open, open_in_form, text, traces};
use tdb::{OpenOptions, StoreMode, Wait};
use tdb_trace::{Recording, TraceForm};

/// R4: every call is written as libtdb's tracer writes it, with times, and with a version where a lock was held.
#[test]
fn a_trace_says_what_was_done() {
    for form in [TraceForm::Extended, TraceForm::PackedExtended] {
        must_say_what_was_done(form);
    }
}

fn must_say_what_was_done(form: TraceForm) {
    let folder = folder();
    let database = open_in_form(folder.path(), form);
    let path = only_trace(folder.path());
    everything(&database);
    drop(database);
    let expected = include_str!("data/recorded.trace");
    assert_eq!(lines(&path), expected.lines().collect::<Vec<_>>());
    let text = String::from_utf8(text(&path)).unwrap();
    assert!(text.lines().all(|line| line.contains(" #")), "{text}");
    let versioned = |line: &&str| line.contains(" v");
    let [fetches, stores] = ["tdb_fetch", "tdb_store"].map(|name| {
        let named = text.lines().filter(|line| line.contains(name));
        (named.clone().count(), named.filter(versioned).count())
    });
    // One fetch and two stores are in transactions.
    assert_eq!((fetches.0 - fetches.1, stores.0 - stores.1), (1, 2), "{text}");
    let mut walks = text.lines().filter(|line| line.contains("tdb_nextkey") || line.contains("tdb_firstkey"));
    assert!(walks.all(|line| line.contains(" v") != line.contains("= NULL")), "{text}");
    assert!(
        path.file_name().unwrap().to_string_lossy().ends_with(&format!("db.trace.{}", std::process::id()))
    );
}

/// R4: the plain form is what libtdb's tracer writes, byte for byte, and the exact one says in its first line that its
/// numbers are versions; all of them are those of the extended form.
#[test]
fn the_plain_form_has_nothing_else() {
    let expected = include_str!("data/recorded.trace");
    let marked = expected.replacen('\n', " #v\n", 1);
    for (form, expected) in
        [(TraceForm::Plain, expected), (TraceForm::Exact, &marked), (TraceForm::Packed, &marked)]
    {
        let folder = folder();
        let database = open_in_form(folder.path(), form);
        let path = only_trace(folder.path());
        everything(&database);
        drop(database);
        assert_eq!(String::from_utf8(text(&path)).unwrap(), expected, "{form:?}");
    }
}

/// R4: what takes no locks reads its numbers at any moment, and does not say that they are exact.
#[test]
fn numbers_read_without_a_lock_are_not_called_exact() {
    let folder = folder();
    drop(open(folder.path()));
    let mut options = OpenOptions::new();
    options.read_only(true);
    options.observe(Recording::to(folder.path().join("reader/traces")).form(TraceForm::Exact));
    let _database = options.open_in_dialect(folder.path().join("db")).unwrap();
    let text = std::fs::read(only_trace(&folder.path().join("reader"))).unwrap();
    assert!(text.starts_with(b"0 tdb_open 7 0x"), "{}", String::from_utf8_lossy(&text[..50]));
    assert!(!text.contains(&b'#'));
}

/// Set for the process that looks at the variable.
const SECOND: &str = "QUORATE_TEST_FORM";

/// R4: the form is chosen by a variable too; a word that is none is told to the log, and the usual one is taken.
#[test]
fn the_form_is_chosen_by_a_variable() {
    if let Some(folder) = std::env::var_os(SECOND) {
        return show_form(Path::new(&folder));
    }
    for (word, form) in [("plain", Some("")), ("exact", Some(" #v")), ("extended", None), ("Plain", None)] {
        let folder = folder();
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_form_is_chosen_by_a_variable", "--nocapture"])
            .env(SECOND, folder.path())
            .env("QUORATE_TDB_RECORD", folder.path().join("traces"))
            .env("QUORATE_TDB_RECORD_FORM", word)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{text}");
        let trace = std::fs::read_to_string(&traces(folder.path())[0]).unwrap();
        let first = trace.lines().next().unwrap().strip_prefix("0 tdb_open 7 0x200 0x42").unwrap();
        match form {
            Some(mark) => assert_eq!(first, mark),
            None => assert!(first.starts_with(" #") && first.contains('+'), "{word}: {first}"),
        }
        let log = "unknown trace form \"Plain\"; expected plain, exact, extended";
        assert_eq!(text.contains(log), word == "Plain", "{text}");
    }
}

fn show_form(folder: &Path) {
    let mut options = OpenOptions::new();
    options.create(true).hash_size(7).log(Arc::new(|_, message| println!("{message}")));
    options.observe(Recording::from_environment().unwrap());
    drop(options.open_in_dialect(folder.join("db")).unwrap());
}

/// R4, R16: of a copy a walk shows what it will, but not behind lines that say something else: those may have had to wait
/// for a lock that was not there yet when the copy was made.
#[test]
fn a_copy_is_read_again_once_something_else_was_said() {
    let folder = folder();
    let database = OpenOptions::new()
        .create(true)
        .hash_size(1)
        .observe(Recording::to(folder.path().join("traces")))
        .open_in_dialect(folder.path().join("db"))
        .unwrap();
    let path = only_trace(folder.path());
    for key in [b"a", b"b", b"c", b"d", b"e", b"f"] {
        database.store(key, key, StoreMode::Replace).unwrap();
    }
    let mut key = database.first_key().unwrap();
    for nth in 0.. {
        if nth == 1 || nth == 2 {
            database.exists(b"a").unwrap();
        }
        let Some(last) = &key else { break };
        key = database.next_key(last).unwrap();
    }
    let mut nth = 0;
    let shown = database.traverse_read(|_, _| {
        nth += 1;
        if nth == 2 || nth == 3 {
            database.exists(b"a").unwrap();
        }
        ControlFlow::Continue(())
    });
    assert_eq!(shown.unwrap(), 6);
    drop(database);

    let text = std::fs::read_to_string(path).unwrap();
    for walk in [&["tdb_firstkey", "tdb_nextkey"][..], &["traverse "]] {
        let steps = |line: &&str| walk.iter().any(|name| line.contains(name)) || line.contains("tdb_exists");
        let begin = text.find(walk[0]).unwrap();
        let starts: Vec<(bool, u64)> = text[begin..]
            .lines()
            .filter(steps)
            .filter(|line| !line.contains("= NULL"))
            .take(8)
            .map(|line| {
                let start = line.split(['#', '+']).nth(1).unwrap().parse().unwrap();
                (line.contains("tdb_exists"), start)
            })
            .collect();
        assert_eq!(starts.iter().map(|line| line.0).filter(|says| *says).count(), 2, "{text}");
        let copy = starts[0].1;
        let second = starts.iter().rposition(|line| line.0).unwrap();
        for (at, &(says_else, start)) in starts.iter().enumerate() {
            let first = starts[..at].iter().position(|line| line.0);
            match first {
                None if !says_else => assert_eq!(start, copy, "line {at}: {text}"),
                _ => assert!(start > copy, "line {at}: {text}"),
            }
            assert!(at <= second || start > starts[second].1, "line {at}: {text}");
        }
    }
}

/// R4: nothing is recorded unless it is asked for, and a second handle has a trace of its own.
#[test]
fn each_handle_has_its_own_trace() {
    let folder = folder();
    let path = folder.path().join("db");
    let silent = OpenOptions::new().create(true).open_in_dialect(&path).unwrap();
    assert!(!silent.is_observed());
    let first = open(folder.path());
    let second = first.another().unwrap();
    first.store(b"a", b"1", StoreMode::Replace).unwrap();
    second.fetch(b"a").unwrap();
    assert!(first.is_observed() && second.is_observed());
    drop((first, second));
    let found = traces(folder.path());
    assert_eq!(found.len(), 2);
    assert_eq!(lines(&found[0])[1..], ["1 tdb_store 1:61 1:31 0x1 = 0", "1 tdb_close"]);
    assert_eq!(lines(&found[1])[1..], ["1 tdb_fetch 1:61 = 1:31", "1 tdb_close"]);
}

/// R4: a child goes on in a trace of its own, whatever the parent was in the middle of.
#[test]
fn a_forked_child_has_its_own_trace() {
    let folder = folder();
    let database = open(folder.path());
    database.store(b"a", b"1", StoreMode::Replace).unwrap();
    database.transaction_start(Wait::Yes).unwrap();
    database.store(b"a", b"2", StoreMode::Replace).unwrap();
    // SAFETY: the child calls this database only, and leaves without unwinding.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let done = database.fetch(b"a").is_ok_and(|value| value.as_deref() == Some(b"1"))
            && database.exists(b"b").is_ok_and(|there| !there);
        drop(database);
        // SAFETY: ends this process.
        unsafe { libc::_exit(i32::from(!done)) };
    }
    let mut status = 0;
    // SAFETY: our child, and room for its status.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(status, 0);
    database.transaction_commit().unwrap();
    drop(database);
    let found = traces(folder.path());
    let [ours, theirs] = [std::process::id(), child as u32]
        .map(|pid| lines(found.iter().find(|path| path.ends_with(format!("db.trace.{pid}"))).unwrap()));
    let expected = [
        "1 tdb_store 1:61 1:31 0x1 = 0",
        "1 tdb_transaction_start",
        "2 tdb_store 1:61 1:32 0x1 = 0",
        "2 tdb_transaction_commit",
        "2 tdb_close",
    ];
    assert_eq!(ours[1..], expected);
    assert_eq!(theirs[0].split(' ').next(), Some("1"), "it begins where the parent was");
    assert_eq!(theirs[1..], ["1 tdb_fetch 1:61 = 1:31", "1 tdb_exists 1:62 = 0", "1 tdb_close"]);
}

/// R4, R10: a child opens nothing: its first line says neither clear-if-first nor O_TRUNC, which would begin a new life.
#[test]
fn a_forked_child_clears_nothing() {
    let folder = folder();
    let mut options = OpenOptions::new();
    options
        .create(true)
        .truncate(true)
        .clear_if_first(true)
        .observe(Recording::to(folder.path().join("traces")));
    let database = options.open(folder.path().join("db")).unwrap();
    // SAFETY: the child calls this database only, and leaves without unwinding.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let done = database.exists(b"a").is_ok();
        drop(database);
        // SAFETY: ends this process.
        unsafe { libc::_exit(i32::from(!done)) };
    }
    let mut status = 0;
    // SAFETY: our child, and room for its status.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(status, 0);
    drop(database);
    let flags = |pid: u32| {
        let found = traces(folder.path());
        let path = found.iter().find(|path| path.ends_with(format!("db.trace.{pid}"))).unwrap();
        let flags = lines(path)[0].split(' ').skip(3).map(str::to_owned).collect::<Vec<_>>();
        flags.iter().map(|flags| u32::from_str_radix(&flags[2..], 16).unwrap()).collect::<Vec<_>>()
    };
    let (parent, child) = (flags(std::process::id()), flags(child as u32));
    assert_eq!([parent[0] & 1, parent[1] & libc::O_TRUNC as u32], [1, libc::O_TRUNC as u32]);
    assert_eq!([child[0], child[1]], [parent[0] & !1, parent[1] & !libc::O_TRUNC as u32]);
}

/// R4: behind the last number there is the counter goes on with 0, and so do the lines, those without a lock too.
#[test]
fn numbers_go_past_their_end() {
    let folder = folder();
    drop(open(folder.path()));
    let file = std::fs::OpenOptions::new().write(true).open(folder.path().join("db")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &(u32::MAX - 1).to_ne_bytes(), 48).unwrap();
    let database = open(folder.path());
    let trace = traces(folder.path()).pop().unwrap();

    for _ in 0..2 {
        database.store(b"a", b"1", StoreMode::Replace).unwrap();
    }
    database.traverse_read(|_, _| ControlFlow::Continue(())).unwrap();
    drop(database);

    let numbers: Vec<String> =
        lines(&trace).iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(numbers, ["4294967294", "4294967295", "0", "0", "0", "0", "0"]);
}

/// R2, R4: a number that a dead process's commit had already written, and that is taken back with the rest, does not get
/// into anybody's trace, though it is read before the first lock that would take it back.
#[test]
fn a_number_that_is_taken_back_is_not_written() {
    let folder = folder();
    let path = folder.path().join("db");
    let database = open(folder.path());
    database.store(b"a", b"1", StoreMode::Insert).unwrap();
    // SAFETY: the child opens files of its own and ends without returning.
    match unsafe { libc::fork() } {
        0 => {
            let half = OpenOptions::new().seqnum(true).open_in_dialect(&path).unwrap();
            half.transaction_start(Wait::Yes).unwrap();
            half.store(b"a", b"2", StoreMode::Replace).unwrap();
            half.transaction_prepare_commit().unwrap();
            // The commit's first write: the sequence number, in the header.
            let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
            std::os::unix::fs::FileExt::write_all_at(&file, &77u32.to_ne_bytes(), 48).unwrap();
            // SAFETY: ends the process at once.
            unsafe { libc::_exit(0) }
        }
        child => {
            let mut status = 0;
            // SAFETY: a child of ours, and room for its status.
            assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
            assert_eq!(status, 0);
        }
    }
    // Not by asking the handle, which would show that it was told so.
    let number = std::fs::read(&path).unwrap()[48..52].to_vec();
    assert_eq!(number, 77u32.to_ne_bytes(), "the commit is half done");

    database.traverse(|_, _| ControlFlow::Continue(())).unwrap();

    let trace = only_trace(folder.path());
    drop(database);
    let told = lines(&trace);
    let last = ["1 tdb_traverse_start", "1 traverse 1:61 = 1:31", "1 tdb_traverse_end", "1 tdb_close"];
    assert_eq!(told[told.len() - last.len()..], last);
}

/// R4: a folder that cannot be had is an error where it was asked for by name.
#[test]
fn a_folder_that_cannot_be_made_is_an_error() {
    let folder = folder();
    let mut options = OpenOptions::new();
    options.create(true).observe(Recording::to("/dev/null/traces"));
    let error = options.open_in_dialect(folder.path().join("db")).unwrap_err();
    assert!(error.to_string().contains("/dev/null/traces"), "{error}");
}

/// R4, T17: going back to a savepoint is told as changes that lead to the same records, and the recording goes on; so does the
/// sequence number.
#[test]
fn a_rollback_is_told_as_changes() {
    for form in FORMS {
        let folder = folder();
        let mut options = OpenOptions::new();
        options.create(true).hash_size(7).observe(Recording::to(folder.path().join("traces")).form(form));
        let mut database = options.open(folder.path().join("db")).unwrap();
        let path = only_trace(folder.path());
        database.store(b"a", b"1", StoreMode::Insert).unwrap();
        let mut transaction = database.transaction().unwrap();
        transaction.store(b"a", b"2", StoreMode::Replace).unwrap();
        let point = transaction.savepoint();
        for key in [b"a", b"b"] {
            transaction.append(key, b"3").unwrap();
        }
        let inner = transaction.nested();
        inner.delete(b"a").unwrap();
        inner.cancel();
        transaction.rollback_to(&point).unwrap();
        transaction.wipe_all().unwrap();
        transaction.store(b"c", b"4", StoreMode::Replace).unwrap();
        transaction.rollback_to(&point).unwrap();
        transaction.rollback_to(&point).unwrap();
        assert_eq!(transaction.fetch(b"a").unwrap().as_deref(), Some(&b"2"[..]));
        transaction.commit().unwrap();
        drop(database);

        let expected = [
            "1 tdb_store 1:61 1:31 0x2 = 0",
            "1 tdb_transaction_start",
            "2 tdb_store 1:61 1:32 0x1 = 0",
            "3 tdb_append 1:61 1:32 = 1:33",
            "4 tdb_append 1:62 NULL = 1:33",
            "5 tdb_delete 1:61 = 0",
            "6 tdb_store 1:61 2:3233 0x1 = 0",
            "7 tdb_store 1:61 1:32 0x1 = 0",
            "8 tdb_delete 1:62 = 0",
            "8 tdb_lockall",
            "8 tdb_wipe_all",
            "9 tdb_unlockall",
            "10 tdb_store 1:63 1:34 0x1 = 0",
            "11 tdb_delete 1:63 = 0",
            "12 tdb_store 1:61 1:32 0x1 = 0",
            "12 tdb_fetch 1:61 = 1:32",
            "12 tdb_transaction_commit",
            "12 tdb_close",
        ];
        assert_eq!(lines(&path)[1..], expected, "{form:?}");
    }
}

/// R4, T16: a transaction that was forgotten ends with the handle's next operation, and is told as cancelled.
#[test]
fn a_forgotten_transaction_is_told_as_cancelled() {
    let folder = folder();
    let mut options = OpenOptions::new();
    options.create(true).hash_size(7).observe(Recording::to(folder.path().join("traces")));
    let mut database = options.open(folder.path().join("db")).unwrap();
    let path = only_trace(folder.path());
    let transaction = database.transaction().unwrap();
    transaction.store(b"a", b"1", StoreMode::Insert).unwrap();
    std::mem::forget(transaction);
    assert!(!database.exists(b"a").unwrap());
    drop(database);
    let told: Vec<String> =
        lines(&path)[1..].iter().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect();
    let expected = [
        "tdb_transaction_start",
        "tdb_store 1:61 1:31 0x2 = 0",
        "tdb_transaction_cancel",
        "tdb_exists 1:61 = 0",
        "tdb_close",
    ];
    assert_eq!(told, expected);
}
