//! A mapped file that another process makes shorter.

use std::process::{Command, ExitStatus};

use tdb::{AccessError, OpenOptions, ReadError, StoreMode};

use crate::common;

const CHILD: &str = "QUORATE_TRUNCATED_CHILD";

#[test]
#[ignore = "a process of the test below, started by it"]
fn truncated_child() {
    let Ok(path) = std::env::var(CHILD) else { return };
    let (path, guard) = path.split_once('\t').expect("a path and whether to guard");
    if guard == "guarded" {
        tdb::sigbus::install().expect("the guard can be installed");
    }
    let database = OpenOptions::new().open(path).expect("the file opens");
    assert!(database.fetch(b"key1").expect("fetch").is_some());
    // Another opening of the file, as another process would.
    let file = std::fs::OpenOptions::new().write(true).open(path).expect("the file opens");
    file.set_len(0).expect("the file can be cut");
    let mut errors = Vec::new();
    for number in 0..200 {
        let key = format!("key{number}");
        match database.fetch(key.as_bytes()) {
            Err(ReadError::Access(AccessError::Truncated)) => errors.push("truncated".to_owned()),
            Err(error) => errors.push(error.to_string()),
            Ok(found) => assert!(found.is_none(), "what is gone was found"),
        }
        let stored = database.store(key.as_bytes(), b"new", StoreMode::Replace);
        errors.extend(stored.err().map(|error| error.to_string()));
    }
    assert!(database.check(|_, _| true).is_err());
    println!("\nerrors {}: {}", errors.len(), errors.first().map_or("none", String::as_str));
    assert!(errors.len() >= 200, "{errors:?}");
}

fn run_child(guard: &str) -> (ExitStatus, String) {
    let folder = common::folder();
    let path = folder.path().join("short.tdb");
    let database = OpenOptions::new().create(true).open(&path).expect("a new database");
    for number in 0..200 {
        database.store(format!("key{number}").as_bytes(), [5; 400], StoreMode::Insert).expect("store");
    }
    drop(database);
    let output = Command::new(std::env::current_exe().expect("this program has a path"))
        .args(["--exact", "truncated::truncated_child", "--ignored", "--nocapture"])
        .env(CHILD, format!("{}\t{guard}", path.display()))
        .output()
        .expect("this program starts");
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status, text)
}

/// T11: with the guard, a mapped file that another process truncates gives errors, and the process lives.
#[test]
fn a_truncated_file_gives_errors_and_kills_nobody() {
    let (status, text) = run_child("guarded");
    assert!(status.success(), "{text}");
    assert!(text.contains("errors "), "{text}");
}

/// T11: the test above can fail: without the guard the kernel ends the process.
#[test]
fn without_the_guard_a_truncated_file_ends_the_process() {
    use std::os::unix::process::ExitStatusExt;
    let (status, text) = run_child("unguarded");
    assert_eq!(status.signal(), Some(libc::SIGBUS), "{text}");
}
