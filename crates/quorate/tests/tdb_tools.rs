//! `quorate tdb` as a user meets it, beside libtdb's own tools where they are installed.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Runs `program` with `arguments` and `input` in `folder`.
fn run(program: &str, folder: &Path, arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    // A program that ends before it has read everything is no failure of the test's.
    let _ = child.stdin.take().expect("stdin is piped").write_all(input.as_bytes());
    child.wait_with_output().expect("the program ends")
}

fn quorate(folder: &Path, arguments: &[&str], input: &str) -> Output {
    let arguments: Vec<&str> = std::iter::once("tdb").chain(arguments.iter().copied()).collect();
    run(env!("CARGO_BIN_EXE_quorate"), folder, &arguments, input)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A folder with `a.tdb`: 100 records, binary keys and values among them.
fn folder_with_database() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut script = "create a.tdb\n".to_owned();
    for number in 0..100 {
        script.push_str(&format!("store key{number}\\00 \"value {number} \\22\\fe\"\n"));
    }
    let output = quorate(folder.path(), &["shell"], &script);
    assert!(output.status.success(), "{}", text(&output.stderr));
    folder
}

/// T7: dump, restore and check of ours and of libtdb's tools take each other's output.
#[test]
fn dumps_and_files_pass_between_our_tools_and_libtdbs() {
    if !Path::new("/usr/bin/tdbdump").exists() {
        return testbed::skip(
            "dumps_and_files_pass_between_our_tools_and_libtdbs",
            "tdb-tools is not installed",
        );
    }
    let folder = folder_with_database();
    let folder = folder.path();
    let ours = quorate(folder, &["dump", "a.tdb"], "");
    let theirs = run("tdbdump", folder, &["a.tdb"], "");
    assert_eq!(text(&ours.stdout), text(&theirs.stdout));

    assert!(quorate(folder, &["restore", "b.tdb"], &text(&theirs.stdout)).status.success());
    assert!(run("tdbrestore", folder, &["c.tdb"], &text(&ours.stdout)).status.success());
    for file in ["a.tdb", "b.tdb", "c.tdb"] {
        assert!(quorate(folder, &["check", file], "").status.success());
        assert!(text(&run("tdbtool", folder, &[file, "check"], "").stdout).contains("integrity is OK"));
    }
    assert!(run("tdbbackup", folder, &["b.tdb"], "").status.success());
    assert!(quorate(folder, &["check", "b.tdb.bak"], "").status.success());
}

/// T7: a backup is a whole database; a damaged one is found, kept aside and replaced from its backup.
#[test]
fn a_damaged_database_is_restored_from_its_backup_and_kept_aside() {
    let folder = folder_with_database();
    let folder = folder.path();
    let before = text(&quorate(folder, &["dump", "a.tdb"], "").stdout);
    assert!(quorate(folder, &["backup", "a.tdb"], "").status.success());
    let mut bytes = fs::read(folder.join("a.tdb")).unwrap();
    bytes[200..600].fill(0x5a);
    fs::write(folder.join("a.tdb"), &bytes).unwrap();

    let found = quorate(folder, &["check", "a.tdb"], "");
    assert_eq!(found.status.code(), Some(1), "{}", text(&found.stderr));
    assert!(quorate(folder, &["backup", "-v", "a.tdb"], "").status.success());

    let sorted = |text: String| {
        let mut records: Vec<String> = text.split("{\n").map(str::to_owned).collect();
        records.sort();
        records
    };
    let after = text(&quorate(folder, &["dump", "a.tdb"], "").stdout);
    assert_eq!(sorted(after), sorted(before));
    assert_eq!(fs::read(folder.join("a.tdb.damaged")).unwrap(), bytes);
}

/// T7: rescue saves the records that damage has spared; repack and keys keep every record.
#[test]
fn rescue_saves_what_damage_has_spared() {
    let folder = folder_with_database();
    let folder = folder.path();
    assert!(quorate(folder, &["repack", "a.tdb"], "").status.success());
    assert_eq!(text(&quorate(folder, &["keys", "-x", "a.tdb"], "").stdout).lines().count(), 100);
    let mut bytes = fs::read(folder.join("a.tdb")).unwrap();
    // All chain heads are lost; the records are still there.
    bytes[172..172 + 131 * 4].fill(0);
    fs::write(folder.join("a.tdb"), &bytes).unwrap();

    let output = quorate(folder, &["rescue", "a.tdb", "saved.tdb"], "");
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&quorate(folder, &["keys", "saved.tdb"], "").stdout).lines().count(), 100);
}

/// T7: space that a crash has left at the end is no damage, and is named; repack makes it free.
#[test]
fn check_names_the_bytes_that_belong_to_nothing() {
    let folder = folder_with_database();
    let folder = folder.path();
    let mut bytes = fs::read(folder.join("a.tdb")).unwrap();
    bytes.resize(bytes.len() + 4096, 0);
    fs::write(folder.join("a.tdb"), &bytes).unwrap();

    let output = quorate(folder, &["check", "a.tdb"], "");
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("4096 bytes belong to nothing"), "{}", text(&output.stdout));
    assert!(quorate(folder, &["repack", "a.tdb"], "").status.success());
    let output = quorate(folder, &["check", "a.tdb"], "");
    assert!(!text(&output.stdout).contains("belong to nothing"), "{}", text(&output.stdout));
}

/// T7, T11: wrong use is answered with one line and the documented exit code, and leaves nothing behind.
#[test]
fn wrong_use_is_one_clear_line_and_leaves_nothing_behind() {
    let folder = folder_with_database();
    let folder = folder.path();
    fs::write(folder.join("text"), "this is no database, only some text that is long enough\n".repeat(20))
        .unwrap();
    fs::write(folder.join("short"), &fs::read(folder.join("a.tdb")).unwrap()[..300]).unwrap();
    fs::write(folder.join("empty"), "").unwrap();
    let cases: &[(&[&str], &str, i32, &str)] = &[
        (&["dump", "missing.tdb"], "", 3, "No such file"),
        (&["dump", "."], "", 3, "Is a directory"),
        (&["check", "text"], "", 2, "not a TDB file"),
        (&["check", "short"], "", 1, "short"),
        (&["check", "empty"], "", 2, "not a TDB file"),
        (&["dump", "-k", "nobody", "a.tdb"], "", 1, "no such key"),
        (&["restore", "a.tdb"], "", 2, "exists already"),
        (&["restore", "new.tdb"], "{\nkey(3) = \"ab\"\n", 2, "fewer bytes"),
        (&["restore", "missing/new.tdb"], "", 3, "No such file"),
        (&["shell", "a.tdb", "delete", "nobody"], "", 1, "does not exist"),
        (&["shell", "a.tdb", "delete"], "", 2, "takes 1 argument"),
    ];
    for (arguments, input, code, part) in cases {
        let output = quorate(folder, arguments, input);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(*code), "{arguments:?}: {message}");
        assert!(message.contains(part), "{arguments:?}: {message}");
        assert_eq!(message.lines().count(), 1, "{arguments:?}: {message}");
    }
    let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["a.tdb", "empty", "short", "text"]);
}

/// R4: what stands in the way of recording, where a variable asks for it, is told, and does not end the work.
#[test]
fn a_recording_that_cannot_begin_is_told() {
    let folder = folder_with_database();
    let keys = |variables: &[(&str, &str)]| {
        Command::new(env!("CARGO_BIN_EXE_quorate"))
            .args(["tdb", "keys", "a.tdb"])
            .current_dir(folder.path())
            .envs(variables.iter().copied())
            .output()
            .expect("the program starts")
    };
    let cases = [
        (&[("QUORATE_TDB_RECORD", "a.tdb/traces")][..], "nothing is recorded"),
        (
            &[("QUORATE_TDB_RECORD", "traces"), ("QUORATE_TDB_RECORD_FORM", "short")],
            "expected plain, exact or extended",
        ),
    ];
    for (variables, part) in cases {
        let output = keys(variables);
        let message = text(&output.stderr);
        assert!(output.status.success(), "{message}");
        assert_eq!(text(&output.stdout).lines().count(), 100);
        assert!(message.contains(part) && message.lines().count() == 1, "{message}");
    }
}

/// R4: `--record-form` of the shell chooses the form of the trace.
#[test]
fn the_shell_records_in_the_form_asked_for() {
    let folder = folder_with_database();
    for (form, end_of_first_line) in [("plain", "0x2"), ("exact", " #v")] {
        let record = ["--record", form, "--record-form", form, "a.tdb", "store", "k", form];
        let arguments: Vec<&str> = ["shell"].iter().chain(&record).copied().collect();
        let output = quorate(folder.path(), &arguments, "");
        assert!(output.status.success(), "{}", text(&output.stderr));
        let trace = fs::read_dir(folder.path().join(form)).unwrap().next().expect("a trace").unwrap().path();
        let trace = fs::read_to_string(trace).unwrap();
        let first = trace.lines().next().expect("a first line");
        assert!(first.ends_with(end_of_first_line), "{trace}");
        assert!(trace.lines().skip(1).all(|line| !line.contains('#')), "{trace}");
    }
}
