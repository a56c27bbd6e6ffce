//! `quorate demo` as a newcomer runs it, in a shorter form: three real processes, one of them killed.
#![allow(clippy::unwrap_used)]

use std::process::{Command, Output};

fn quorate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_quorate")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// S1, S5, S6, S29: clients at all three servers, the sync site ended with SIGKILL and started again: nothing acknowledged is
/// lost, no read is stale, and whoever does not believe it has the history in two forms, which `quorate check` explains too.
#[test]
fn the_demo_loses_nothing_and_lets_others_check() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("demo");
    let path = path.to_str().unwrap();
    let demo = quorate(&["demo", "--seconds", "6", "--directory", path, "--seed", "1"]);
    let said = text(&demo.stdout);
    assert!(demo.status.success(), "{said}{}", text(&demo.stderr));
    for expected in
        ["is sync site", "was ended with SIGKILL", "answers reads again", "linearizable: one order"]
    {
        assert!(said.contains(expected), "{expected:?} is missing in {said}");
    }
    for (file, options) in [("history.jsonl", None), ("history.edn", Some("--keyed"))] {
        let file = format!("{path}/{file}");
        let arguments: Vec<&str> = ["check"].into_iter().chain(options).chain([file.as_str()]).collect();
        let checked = quorate(&arguments);
        assert!(checked.status.success(), "{}{}", text(&checked.stdout), text(&checked.stderr));
    }
    for (file, expected) in
        [("report.txt", "verdict"), ("report.html", "</svg>"), ("a.log", "clients connect")]
    {
        let found = std::fs::read_to_string(format!("{path}/{file}")).unwrap();
        assert!(found.contains(expected), "{file}: {found}");
    }
    assert!(!std::path::Path::new(path).join("a").exists(), "the data are removed");
    let again = quorate(&["demo", "--directory", path]);
    assert_eq!(again.status.code(), Some(2), "{}", text(&again.stderr));
}
