//! Damaged files: what is said of them, and what is saved.

use std::fs;

use super::{folder_with_database, keys_of, quorate, text, with_mutexes};

/// T11, T21: damage is told once, and no tool advises what was just done.
#[test]
fn damage_is_told_once() {
    let folder = folder_with_database();
    let folder = folder.path();
    let mut bytes = fs::read(folder.join("a.tdb")).unwrap();
    bytes.truncate(bytes.len() - 4);
    // A head that leads nowhere, for the tools that read chains only.
    bytes[172..172 + 131 * 4].fill(0x55);
    fs::write(folder.join("a.tdb"), &bytes).unwrap();
    for arguments in [&["check", "a.tdb"][..], &["dump", "a.tdb"], &["keys", "a.tdb"], &["info", "a.tdb"]] {
        let output = quorate(folder, arguments, "");
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {message}");
        assert_eq!(message.lines().count(), 1, "{arguments:?}: {message}");
        assert!(message.contains("corrupt at offset") && !message.contains("run a check"), "{message}");
    }
}

/// T21: a file with mutexes whose inner header is overwritten is damaged, though it can be opened.
#[test]
fn a_damaged_header_behind_mutexes_is_found() {
    if !tdb::robust_mutexes_work() {
        return testbed::skip("a_damaged_header_behind_mutexes_is_found", "no robust mutexes");
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    drop(with_mutexes(folder));
    assert!(quorate(folder, &["backup", "m.tdb"], "").status.success());
    let sound = fs::read(folder.join("m.tdb")).unwrap();
    let inner = u32::from_le_bytes(sound[64..68].try_into().unwrap()) as usize;
    for at in [inner, inner + 36, inner + 52] {
        let mut bytes = sound.clone();
        bytes[at] ^= 0x55;
        fs::write(folder.join("m.tdb"), &bytes).unwrap();
        let output = quorate(folder, &["check", "m.tdb"], "");
        assert_eq!(output.status.code(), Some(1), "byte {at}: {}", text(&output.stdout));
        assert!(text(&output.stderr).contains("header"), "{}", text(&output.stderr));
    }
    // Words of the first header that then look like a newer program's, or another machine's.
    for at in [40, 60, 63, 64, 67] {
        let mut bytes = sound.clone();
        bytes[at] ^= 0x55;
        fs::write(folder.join("m.tdb"), &bytes).unwrap();
        let output = quorate(folder, &["backup", "-v", "m.tdb"], "");
        assert_eq!(output.status.code(), Some(0), "byte {at}: {}", text(&output.stderr));
        assert_eq!(keys_of(folder, "m.tdb"), ["key"], "byte {at}");
    }
}

/// T21: one damaged byte of the header, wherever it is, costs no record.
#[test]
fn rescue_saves_all_records_whatever_byte_of_the_header_is_damaged() {
    let folder = folder_with_database();
    let folder = folder.path();
    let sound = fs::read(folder.join("a.tdb")).unwrap();
    let keys = keys_of(folder, "a.tdb");
    for (at, what) in [
        (0, "magic"),
        (32, "version"),
        (36, "hash size"),
        (39, "hash size, high byte"),
        (44, "recovery pointer"),
        (52, "hash check"),
    ] {
        let mut damaged = sound.clone();
        damaged[at] ^= 0x55;
        fs::write(folder.join("damaged.tdb"), damaged).unwrap();
        let output = quorate(folder, &["rescue", "damaged.tdb", "saved.tdb"], "");
        assert!(output.status.success(), "{what}: {}", text(&output.stderr));
        assert_eq!(keys_of(folder, "saved.tdb"), keys, "{what}");
        fs::remove_file(folder.join("saved.tdb")).unwrap();
    }
}

/// T21: one damaged word of the header is damage, also where the file then looks like one of another program: it is no wrong
/// use, `rescue` saves all records without being told to, and `backup -v` restores it.
#[test]
fn a_damaged_word_of_the_header_is_not_taken_for_wrong_use() {
    let folder = folder_with_database();
    let folder = folder.path();
    assert!(quorate(folder, &["backup", "a.tdb"], "").status.success());
    let sound = fs::read(folder.join("a.tdb")).unwrap();
    // Locks of old versions, and what the hash function makes of a word.
    for at in [40, 43, 52, 55, 56, 59] {
        let mut bytes = sound.clone();
        bytes[at] ^= 0x55;
        fs::write(folder.join("a.tdb"), &bytes).unwrap();
        for tool in ["check", "info", "keys", "dump"] {
            let output = quorate(folder, &[tool, "a.tdb"], "");
            let code = output.status.code();
            assert!(code == Some(1) || code == Some(3), "{tool}, byte {at}: {code:?}");
            assert!(text(&output.stderr).contains("header"), "{tool}: {}", text(&output.stderr));
        }
        let output = quorate(folder, &["rescue", "a.tdb", &format!("saved{at}.tdb")], "");
        assert!(text(&output.stdout).contains("100 records"), "byte {at}: {}", text(&output.stderr));
        let code = quorate(folder, &["backup", "-v", "a.tdb"], "").status.code();
        assert_eq!(code, Some(0), "byte {at}");
    }
}
