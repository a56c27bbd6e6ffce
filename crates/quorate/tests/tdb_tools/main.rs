//! `quorate tdb` as a user meets it, beside libtdb's own tools where they are installed.

mod damage;
mod half_done;
mod waiting;

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
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
    // A program that ends before it has read everything is not a failure of the test's.
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

/// T7: space that a crash has left at the end is not damage, and is named; repack makes it free.
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

/// A dump that names one key twice.
const TWICE: &str = "{\nkey(1) = \"a\"\ndata(0) = \"\"\n}\n{\nkey(1) = \"a\"\ndata(0) = \"\"\n}\n";

/// T7, T11: wrong use is answered with one line and the documented exit code, and leaves nothing behind.
#[test]
fn wrong_use_is_one_clear_line_and_leaves_nothing_behind() {
    let folder = folder_with_database();
    let folder = folder.path();
    fs::write(folder.join("text"), "this is not a database, only some text that is long enough\n".repeat(20))
        .unwrap();
    fs::write(folder.join("short"), &fs::read(folder.join("a.tdb")).unwrap()[..300]).unwrap();
    fs::write(folder.join("empty"), "").unwrap();
    let cases: &[(&[&str], &str, i32, &str)] = &[
        (&["dump", "missing.tdb"], "", 3, "No such file"),
        (&["dump", "."], "", 3, "Is a directory"),
        (&["check", "text"], "", 3, "not a TDB file"),
        (&["check", "short"], "", 1, "short"),
        (&["check", "empty"], "", 3, "not a TDB file"),
        (&["dump", "-k", "nobody", "a.tdb"], "", 1, "no such key"),
        (&["restore", "a.tdb"], "", 2, "exists already"),
        (&["restore", "new.tdb"], "{\nkey(3) = \"ab\"\n", 3, "line 2 of the dump: there are fewer bytes"),
        (&["restore", "new.tdb"], TWICE, 3, "line 8: the key of the record that ends here occurs twice"),
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
            "expected plain, exact, extended, packed or packed-extended",
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

fn keys_of(folder: &Path, file: &str) -> Vec<String> {
    let output = quorate(folder, &["keys", file], "");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let mut keys: Vec<String> = text(&output.stdout).lines().map(str::to_owned).collect();
    keys.sort();
    keys
}

/// T21: what was deleted or never committed is not rescued, though its bytes are still in the file.
#[test]
fn rescue_leaves_free_records_alone() {
    let folder = folder_with_database();
    let folder = folder.path();
    let script: String = (0..50).map(|number| format!("delete key{number}\\00\n")).collect();
    assert!(quorate(folder, &["shell", "a.tdb"], &script).status.success());
    assert!(quorate(folder, &["rescue", "a.tdb", "saved.tdb"], "").status.success());
    assert_eq!(keys_of(folder, "saved.tdb"), keys_of(folder, "a.tdb"));
    assert!(quorate(folder, &["rescue", "--force", "a.tdb", "scanned.tdb"], "").status.success());
    assert_eq!(keys_of(folder, "scanned.tdb"), keys_of(folder, "a.tdb"));
}

/// The bytes of a database of 200 records whose process died in a commit that replaces 100 of them and adds 50: before the
/// commit's writes, after half of them, and after all.
fn died_in_commit(folder: &Path) -> [Vec<u8>; 3] {
    let path = folder.join("dies.tdb");
    let mut database = tdb::Database::create_new(&path).expect("a new database");
    let store = |transaction: &tdb::Transaction<'_>, key: u32, value: &[u8]| {
        transaction.store(key.to_le_bytes(), value, tdb::StoreMode::Replace).expect("a store")
    };
    let transaction = database.transaction().expect("a transaction");
    (0..200).for_each(|key| store(&transaction, key, &[b'o'; 100]));
    transaction.commit().expect("a commit");
    let transaction = database.transaction().expect("a transaction");
    (100..250).for_each(|key| store(&transaction, key, &[b'n'; 2000]));
    let prepared = transaction.prepare_commit().expect("room");
    let before = fs::read(&path).expect("the file");
    prepared.commit().expect("a commit");
    let after = fs::read(&path).expect("the file");
    // The last step makes the area at rest that keeps the old bytes.
    let area = u32::from_le_bytes(before[44..48].try_into().expect("4 bytes")) as usize;
    let still_valid = |mut bytes: Vec<u8>| {
        bytes[area + 20..area + 24].copy_from_slice(&before[area + 20..area + 24]);
        bytes
    };
    let half = [&after[..after.len() / 2], &before[after.len() / 2..]].concat();
    let states = [before.clone(), still_valid(half), still_valid(after.clone())];
    assert!(states[0] != states[1] && states[1] != states[2] && states[2] != after);
    states
}

/// T21: a commit that did not end is undone before anything is rescued, however far it got; a scan, which undoes nothing,
/// says so.
#[test]
fn rescue_saves_nothing_that_was_not_committed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    for (nth, state) in died_in_commit(folder).iter().enumerate() {
        fs::write(folder.join("died.tdb"), state).expect("a file");
        let saved = format!("saved{nth}.tdb");
        let output = quorate(folder, &["rescue", "--force", "died.tdb", &format!("scanned{nth}.tdb")], "");
        let warning = "a commit had not ended, and is not undone";
        assert!(text(&output.stderr).contains(warning), "{}", text(&output.stderr));

        let output = quorate(folder, &["rescue", "died.tdb", &saved], "");

        assert!(output.status.success(), "{}", text(&output.stderr));
        let database = tdb::Database::open(folder.join(&saved)).expect("the rescued database");
        let records: Result<Vec<_>, _> = database.records().collect();
        let records = records.expect("its records");
        assert_eq!(records.len(), 200, "state {nth}");
        assert!(records.iter().all(|(_, value)| value == &[b'o'; 100]), "state {nth}");
    }
}

/// `m.tdb`, whose chains are locked by mutexes, with one record.
fn with_mutexes(folder: &Path) -> tdb::Database {
    let mut options = tdb::OpenOptions::new();
    tdb::compat::set_flags(&mut options, tdb::Flags::MUTEX_LOCKING);
    let database = options.create(true).open(folder.join("m.tdb")).unwrap();
    database.store(b"key", b"value", tdb::StoreMode::Insert).unwrap();
    database
}

/// T21: files whose chains are locked by mutexes are read without locks, as by libtdb's tools.
#[test]
fn reading_tools_open_files_with_mutexes() {
    if !tdb::robust_mutexes_work() {
        return testbed::skip("reading_tools_open_files_with_mutexes", "no robust mutexes");
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let database = with_mutexes(folder);
    for arguments in [
        &["check", "m.tdb"][..],
        &["dump", "m.tdb"],
        &["info", "m.tdb"],
        &["keys", "m.tdb"],
        &["rescue", "m.tdb", "saved.tdb"],
        &["backup", "m.tdb"],
        &["dump", "-l", "m.tdb"],
        &["backup", "-v", "m.tdb"],
    ] {
        let output = quorate(folder, arguments, "");
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    }
    assert_eq!(keys_of(folder, "saved.tdb"), ["key"]);
    drop(database);
    for arguments in [&["repack", "m.tdb"][..], &["shell", "m.tdb", "keys"]] {
        let output = quorate(folder, arguments, "");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(
            text(&output.stderr).contains("-l takes no locks"),
            "{arguments:?}: {}",
            text(&output.stderr)
        );
    }
    assert!(quorate(folder, &["repack", "-l", "m.tdb"], "").status.success());
}

/// T21: a database that merely cannot be opened is not replaced by an old backup.
#[test]
fn a_database_that_cannot_be_opened_is_not_restored() {
    let folder = folder_with_database();
    let folder = folder.path();
    assert!(quorate(folder, &["backup", "a.tdb"], "").status.success());
    let mut newer = fs::read(folder.join("a.tdb")).unwrap();
    // A feature of tomorrow.
    newer[40..44].copy_from_slice(&0x0bad_1a52_u32.to_ne_bytes());
    newer[60..64].copy_from_slice(&0x80_u32.to_ne_bytes());
    fs::write(folder.join("a.tdb"), &newer).unwrap();
    let output = quorate(folder, &["backup", "-v", "a.tdb"], "");
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    assert_eq!(fs::read(folder.join("a.tdb")).unwrap(), newer);

    fs::remove_file(folder.join("a.tdb")).unwrap();
    assert!(quorate(folder, &["backup", "-v", "a.tdb"], "").status.success());
    assert_eq!(keys_of(folder, "a.tdb").len(), 100);
}

/// T21: backups and rescued files have the database's mode, and a link stays a link.
#[test]
fn modes_and_links_are_kept() {
    let folder = folder_with_database();
    let folder = folder.path();
    fs::set_permissions(folder.join("a.tdb"), fs::Permissions::from_mode(0o640)).unwrap();
    symlink("elsewhere.bak", folder.join("a.tdb.bak")).unwrap();
    assert!(quorate(folder, &["backup", "a.tdb"], "").status.success());
    assert!(quorate(folder, &["rescue", "a.tdb", "saved.tdb"], "").status.success());
    for file in ["elsewhere.bak", "saved.tdb"] {
        let mode = fs::symlink_metadata(folder.join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o640, "{file}");
    }
    assert!(fs::symlink_metadata(folder.join("a.tdb.bak")).unwrap().is_symlink());
}

/// T21: of several files the worst exit code counts, in whatever order they are named.
#[test]
fn the_worst_exit_code_counts() {
    let folder = folder_with_database();
    let folder = folder.path();
    fs::write(folder.join("text"), "no database").unwrap();
    for files in [["missing", "text", "a.tdb"], ["a.tdb", "text", "missing"], ["text", "missing", "a.tdb"]] {
        for tool in ["check", "backup"] {
            let output = quorate(folder, &[&[tool], &files[..]].concat(), "");
            assert_eq!(output.status.code(), Some(3), "{tool} {files:?}");
            assert_eq!(text(&output.stderr).lines().count(), 2, "{}", text(&output.stderr));
        }
    }
}

/// T21: every key that a tool prints is read back, in either spelling; `dump -k` prints the value's bytes and nothing else.
#[test]
fn keys_are_read_back_as_they_are_printed() {
    let folder = folder_with_database();
    let folder = folder.path();
    for (spelling, flags) in [(&["keys"][..], &["-k"][..]), (&["keys", "-x"], &["-x", "-k"])] {
        let printed = text(&quorate(folder, &[spelling, &["a.tdb"]].concat(), "").stdout);
        assert_eq!(printed.lines().count(), 100);
        for key in printed.lines().take(10) {
            let output = quorate(folder, &[&["dump"], flags, &[key, "a.tdb"]].concat(), "");
            let value = text(&output.stdout);
            assert!(value.starts_with("value ") && value.ends_with(r#" \22\FE"#), "{key}: {value:?}");
        }
    }
}

/// T21: a key that begins with a dash, has spaces at any place or is empty, too: by `dump -k`, and in the shell as it stands.
#[test]
fn odd_keys_are_read_back_as_they_are_printed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let database = tdb::Database::create_new(folder.join("odd.tdb")).unwrap();
    let keys = ["-dash", "-x", "--", " both ", "two words", "", "\"quoted\"", "\"a b\"", "tab\t"];
    for key in keys {
        database.store(key, format!("<{key}>"), tdb::StoreMode::Insert).unwrap();
    }
    drop(database);
    let printed = text(&quorate(folder, &["keys", "odd.tdb"], "").stdout);
    assert_eq!(printed.lines().count(), keys.len());
    for key in printed.lines() {
        let dumped = quorate(folder, &["dump", "-k", key, "odd.tdb"], "");
        assert_eq!(dumped.status.code(), Some(0), "{key}: {}", text(&dumped.stderr));
        assert!(text(&dumped.stdout).starts_with('<'), "{key}: {}", text(&dumped.stdout));
        let shown = quorate(folder, &["shell", "odd.tdb"], &format!("show {key}\n"));
        assert_eq!(shown.status.code(), Some(0), "{key}: {}", text(&shown.stderr));
    }
}

/// T16, T21: what cannot be made is named by the name that it was to have; a backup of a file that may only be read names the way.
#[test]
fn a_refusal_names_the_file_that_the_user_named() {
    let folder = folder_with_database();
    let folder = folder.path();
    let unreadable = quorate(folder, &["restore", "-n", "4294967295", "new.tdb"], "");
    let elsewhere = quorate(folder, &["rescue", "a.tdb", "missing/new.tdb"], "");
    for output in [unreadable, elsewhere] {
        let message = text(&output.stderr);
        assert!(message.contains("new.tdb\"") && !message.contains(".tmp"), "{message}");
    }
}

/// T21: an answer that cannot be written is a failure, and no panic.
#[test]
fn a_full_standard_output_is_a_failure() {
    let folder = folder_with_database();
    for arguments in [&["info"][..], &["info", "--json"], &["check"], &["keys"], &["dump"], &["backup"]] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_quorate"))
            .arg("tdb")
            .args(arguments)
            .arg("a.tdb")
            .current_dir(folder.path())
            .stdout(full)
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(3), "{arguments:?}: {}", text(&output.stderr));
    }
}

/// T21: a signal that ends a tool leaves no temporary file.
#[test]
fn a_signal_leaves_no_temporary_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut restore = Command::new(env!("CARGO_BIN_EXE_quorate"))
        .args(["tdb", "restore", "new.tdb"])
        .current_dir(folder.path())
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let files = || fs::read_dir(folder.path()).unwrap().count();
    while files() == 0 {
        assert!(restore.try_wait().unwrap().is_none(), "it ended");
        std::thread::yield_now();
    }
    let killed = Command::new("kill").arg("-INT").arg(restore.id().to_string()).status().unwrap();
    assert!(killed.success());
    assert!(!restore.wait().unwrap().success());
    assert_eq!(files(), 0);
}

/// P21: a restored database has as many chains as its records need.
#[test]
fn restore_chooses_the_number_of_chains() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let record = |number| format!("{{\nkey(5) = \"{number:05}\"\ndata(1) = \"x\"\n}}\n");
    let dump: String = (0..9_000).map(record).collect();
    assert!(quorate(folder, &["restore", "new.tdb"], &dump).status.success());
    let info = text(&quorate(folder, &["info", "--json", "new.tdb"], "").stdout);
    let chains: serde_json::Value = serde_json::from_str(&info).unwrap();
    assert!(chains["chains"]["count"].as_u64().unwrap() >= 9_000 / 4, "{info}");
    assert_eq!(keys_of(folder, "new.tdb").len(), 9_000);
}

/// T21: the area that commits use is shown, so that the percentages come to a hundred.
#[test]
fn info_shows_the_recovery_area() {
    let folder = folder_with_database();
    let folder = folder.path();
    let script = "transaction_start\nstore some thing\nstore key1\\00 other\ntransaction_commit\n";
    assert!(quorate(folder, &["shell", "a.tdb"], script).status.success());
    let info = text(&quorate(folder, &["info", "a.tdb"], "").stdout);
    let percent: u64 = info
        .lines()
        .filter(|line| line.starts_with("Percentage"))
        .flat_map(|line| line.rsplit_once(' ').unwrap().1.split('/'))
        .map(|number| number.parse::<u64>().unwrap())
        .sum();
    assert!(info.contains("Size of recovery area: "), "{info}");
    assert!((96..=104).contains(&percent), "{percent} in {info}");
}

/// T7: a backup never takes the place of a database that is backed up: without a suffix, under a link, or given as a file too.
#[test]
fn a_backup_overwrites_no_database() {
    let folder = folder_with_database();
    let folder = folder.path();
    let before = fs::read(folder.join("a.tdb")).unwrap();
    std::os::unix::fs::symlink("a.tdb", folder.join("a.tdb.link")).unwrap();
    fs::copy(folder.join("a.tdb"), folder.join("a.tdb.bak")).unwrap();
    let inode = |name: &str| std::os::unix::fs::MetadataExt::ino(&fs::metadata(folder.join(name)).unwrap());
    let inodes = [inode("a.tdb"), inode("a.tdb.bak")];
    for arguments in [
        &["backup", "-s", "", "a.tdb"][..],
        &["backup", "-s", "", "-v", "a.tdb"],
        &["backup", "-s", ".link", "a.tdb"],
        &["backup", "a.tdb", "a.tdb.bak"],
    ] {
        let output = quorate(folder, arguments, "");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(text(&output.stderr).contains("would overwrite"), "{arguments:?}: {}", text(&output.stderr));
    }
    assert_eq!([inode("a.tdb"), inode("a.tdb.bak")], inodes);
    assert_eq!(fs::read(folder.join("a.tdb")).unwrap(), before);
    assert!(quorate(folder, &["backup", "-v", "a.tdb", "a.tdb.bak"], "").status.code() != Some(2));
}

/// T7: a database that is damaged for a second time is restored as well, and each damaged file is kept: `.damaged`, which
/// the first repair left behind, once made the second fail. Under a symbolic link it is the file that is kept, not a second link.
#[test]
fn every_damaged_file_is_kept_under_a_name_of_its_own() {
    let folder = folder_with_database();
    let folder = folder.path();
    symlink("a.tdb", folder.join("l.tdb")).unwrap();
    assert!(quorate(folder, &["backup", "l.tdb"], "").status.success());
    for (damage, kept) in [(b'1', "a.tdb.damaged"), (b'2', "a.tdb.damaged.2"), (b'3', "a.tdb.damaged.3")] {
        let mut bytes = fs::read(folder.join("a.tdb")).unwrap();
        bytes[..400].fill(damage);
        fs::write(folder.join("a.tdb"), &bytes).unwrap();
        let output = quorate(folder, &["backup", "-v", "l.tdb"], "");
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains(kept), "{}", text(&output.stderr));
        assert!(quorate(folder, &["check", "a.tdb"], "").status.success());
        assert!(fs::symlink_metadata(folder.join(kept)).unwrap().is_file());
        assert_eq!(fs::read(folder.join(kept)).unwrap(), bytes);
    }
    assert!(!folder.join("l.tdb.damaged").exists());
}

/// T21: what has no end, or no beginning, is not scanned for records.
#[test]
fn only_a_regular_file_is_scanned_for_records() {
    let folder = folder_with_database();
    let folder = folder.path();
    assert!(run("mkfifo", folder, &["pipe"], "").status.success());
    for file in ["/dev/zero", "pipe"] {
        for force in [&["--force"][..], &[]] {
            let output = quorate(folder, &[&["rescue"], force, &[file, "saved.tdb"]].concat(), "");
            assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
            assert!(text(&output.stderr).contains("not a regular file"), "{}", text(&output.stderr));
        }
    }
}
