//! Locks that another process holds.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tdb::{LockKind, Wait};

use super::{folder_with_database, text};

fn start(folder: &Path, arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_quorate"))
        .arg("tdb")
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts")
}

/// T7, T20: a tool that waits for a lock says which process has it, and goes on when it is given back; those that only look name
/// the way to read without.
#[test]
fn a_tool_that_waits_for_a_lock_says_who_holds_it() {
    let folder = folder_with_database();
    let folder = folder.path();
    let tools: [(&[&str], bool); 6] = [
        (&["keys", "a.tdb"], true),
        (&["dump", "-k", "key7\\00", "a.tdb"], true),
        (&["backup", "a.tdb"], true),
        (&["backup", "-v", "a.tdb"], true),
        (&["repack", "a.tdb"], false),
        (&["shell", "a.tdb", "show", "key7\\00"], false),
    ];
    let database = tdb::Database::open(folder.join("a.tdb")).expect("the database");
    for (arguments, only_looks) in tools {
        let everything = database.all_record_lock(LockKind::Write, Wait::Yes).expect("nobody else is here");
        let mut tool = start(folder, arguments);
        let mut told = BufReader::new(tool.stderr.take().expect("it is piped"));
        let mut line = String::new();
        told.read_line(&mut line).expect("a line of text");
        let holder = format!("a.tdb: waiting for a lock that process {} (", std::process::id());
        assert!(line.contains(&holder), "{arguments:?}: {line}");
        assert_eq!(line.contains("-l reads without locks"), only_looks, "{arguments:?}: {line}");

        drop(everything);

        let mut rest = String::new();
        told.read_to_string(&mut rest).expect("text");
        assert_eq!(tool.wait().expect("it ends").code(), Some(0), "{arguments:?}: {rest}");
    }
}

/// T7, T20: with a bound, a tool gives up at it, and changes nothing.
#[test]
fn a_tool_with_a_bound_gives_up_at_it() {
    let folder = folder_with_database();
    let folder = folder.path();
    let database = tdb::Database::open(folder.join("a.tdb")).expect("the database");
    let everything = database.all_record_lock(LockKind::Write, Wait::Yes).expect("nobody else is here");
    let before = std::fs::read(folder.join("a.tdb")).expect("the file");
    let tools: [&[&str]; 4] = [
        &["check", "a.tdb"],
        &["backup", "-v", "a.tdb"],
        &["repack", "a.tdb"],
        &["shell", "a.tdb", "delete", "key7\\00"],
    ];
    let bound = &["--timeout-secs", "1"][..];
    let started = tools.map(|tool| (tool, start(folder, &[&tool[..1], bound, &tool[1..]].concat())));
    for (tool, child) in started {
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(4), "{tool:?}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains("gave up after"), "{tool:?}: {}", text(&output.stderr));
    }
    assert!(std::fs::read(folder.join("a.tdb")).expect("the file") == before);
    drop(everything);
}
