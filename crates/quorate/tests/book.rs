//! The commands in the pages of the book, run as a reader runs them: one after the other, in an empty folder.

use std::fs;
use std::path::Path;
use std::process::Command;

/// The blocks of a page that a shell is meant to run: those marked `sh`.
fn shell_blocks(page: &str) -> Vec<&str> {
    let blocks = page.split("```").skip(1).step_by(2);
    blocks.filter_map(|block| block.strip_prefix("sh\n")).collect()
}

/// Runs what `page` tells in `folder`; the first command that fails ends it.
fn follow(page: &str, folder: &Path) {
    let text = fs::read_to_string(testbed::repository().join("docs").join(page)).unwrap();
    let blocks = shell_blocks(&text);
    assert!(!blocks.is_empty(), "{page} has no commands");
    let program = Path::new(env!("CARGO_BIN_EXE_quorate")).parent().unwrap();
    let path = std::env::var("PATH").unwrap_or_default();
    // Servers that a page starts end with it, also if a command fails.
    let script = format!("set -eu\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n{}", blocks.join("\n"));
    // A page that waits for something that never comes is a fault, not a hang.
    let output = Command::new("timeout")
        .args(["300", "bash", "-c", &script])
        .current_dir(folder)
        .env("PATH", format!("{}:{path}", program.display()))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{page}: {}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// R4, R15, R28: the tutorial's commands work, and leave the pictures that it promises.
#[test]
fn a_reader_can_record_and_replay() {
    let folder = tempfile::tempdir().unwrap();
    follow("tutorials/record-and-replay.md", folder.path());
    for made in ["recorded", "report.html", "contradiction.html", "small"] {
        assert!(folder.path().join(made).exists(), "{made} is missing");
    }
}

/// S5, S16: the tutorial's three servers take writes and reads, lose one of them and get it back.
#[test]
fn a_reader_can_run_three_servers() {
    let folder = tempfile::tempdir().unwrap();
    follow("tutorials/three-servers.md", folder.path());
}

/// T7: the commands for Samba's databases work on one.
#[test]
fn a_reader_can_keep_databases_safe() {
    let folder = tempfile::tempdir().unwrap();
    let database = tdb::Database::create_new(folder.path().join("secrets.tdb")).unwrap();
    database.store("machine password", "kept", tdb::StoreMode::Insert).unwrap();
    drop(database);
    follow("how-to/samba-databases.md", folder.path());
    for saved in ["secrets.tdb.bak", "copy.tdb", "saved.tdb"] {
        let database = tdb::Database::open(folder.path().join(saved)).unwrap();
        assert_eq!(database.fetch("machine password").unwrap().as_deref(), Some(&b"kept"[..]), "{saved}");
    }
}
