//! Programs that know nothing of this project run on this library and say what they say on Samba's.

mod library;

use library::{PYTHON, Stage, Which, built, printed, source, works};

/// Runs the same thing with either library, each in a folder of its own, and compares what is printed.
fn same_on_both(stage: &Stage, run: impl Fn(Which, &std::path::Path) -> String) -> String {
    let [ours, theirs] = [(Which::Ours, "ours"), (Which::System, "system")].map(|(which, name)| {
        let folder = stage.folder(name);
        let shown = run(which, &folder);
        shown.replace(&*folder.to_string_lossy(), "FOLDER")
    });
    if ours != theirs {
        for (ours, theirs) in ours.lines().zip(theirs.lines()).filter(|(ours, theirs)| ours != theirs) {
            eprintln!("libtdb: {theirs}\n  ours: {ours}");
        }
        panic!("the libraries differ");
    }
    ours
}

/// T5, T6, T10: a C program that calls every function, most failures included, gets the same answers, error codes and
/// errno from both libraries.
#[test]
fn every_function_answers_as_libtdb_does() {
    let stage = Stage::new();
    let Some(program) = stage.compile("exercise") else {
        return testbed::skip("every_function_answers_as_libtdb_does", "no C compiler or no libtdb-dev");
    };
    let shown = same_on_both(&stage, |which, folder| {
        printed(stage.command(which, &program).arg(folder).output().expect("it starts"))
    });
    assert!(shown.ends_with("done\n"), "{shown}");
}

/// T10, T19: what libtdb allows inside a parser, a traverse, a check or a log function works here with the same result.
/// smbd locks, stores and deletes inside parsers, and its clients hang if that fails.
#[test]
fn callbacks_may_use_the_database_as_with_libtdb() {
    let stage = Stage::new();
    let Some(program) = stage.compile("callbacks") else {
        return testbed::skip(
            "callbacks_may_use_the_database_as_with_libtdb",
            "no C compiler or no libtdb-dev",
        );
    };
    let run = |which, folder: &str, stay: &[&str]| {
        let mut command = stage.command(which, &program);
        printed(command.arg(stage.folder(folder)).args(stay).output().expect("it starts"))
    };
    let theirs = run(Which::System, "system", &[]);
    let ours = run(Which::Ours, "ours", &["stay"]);
    assert!(!ours.contains("CHANGED"), "{ours}");
    let mut compared = 0;
    for (theirs, ours) in theirs.lines().zip(ours.lines()) {
        if !is_allowed_here_only(theirs) {
            assert_eq!(theirs, ours);
            compared += 1;
        }
    }
    assert!(compared > 820 && ours.ends_with("done\n"), "{compared} of {}", ours.lines().count());
}

/// Whether libtdb refuses this call of the program "callbacks" for reasons that do not hold here: its reading traverse
/// keeps the chain locked, and its check believes no database in memory.
fn is_allowed_here_only(line: &str) -> bool {
    let reads = line.contains(" traverse_read:") || line.contains(" traverse_chain:");
    let refused = |call: &str| line.contains(&format!("{call} -1"));
    (reads && ["lockall", "lockall_read", "wipe", "chain"].into_iter().any(refused))
        || (line.contains(" check:") && (refused("traverse") || line.contains("flags 2 ")))
        || (line.contains("parser in transaction:") && refused("lockall_read"))
}

/// T5, T10: Python's tdb module, as Debian built it for libtdb.
#[test]
fn the_python_binding_answers_as_with_libtdb() {
    if !works(PYTHON, &["-c", "import tdb"]) {
        return testbed::skip("the_python_binding_answers_as_with_libtdb", "no python3-tdb");
    }
    let stage = Stage::new();
    let shown = same_on_both(&stage, |which, folder| {
        let run = stage.command(which, PYTHON).arg(source("binding.py")).arg(folder).output();
        printed(run.expect("it starts"))
    });
    assert!(shown.lines().count() > 300, "{shown}");
}

/// T10: the library that a program has loaded is really ours.
#[test]
fn a_program_finds_our_library_first() {
    if !works(PYTHON, &["-c", "import tdb"]) {
        return testbed::skip("a_program_finds_our_library_first", "no python3-tdb");
    }
    let stage = Stage::new();
    let script = "import tdb; print([line for line in open('/proc/self/maps') if 'tdb' in line])";
    let maps = printed(stage.command(Which::Ours, PYTHON).args(["-c", script]).output().expect("it starts"));
    let ours = built().canonicalize().expect("it exists");
    assert!(maps.contains(&*ours.to_string_lossy()), "{maps}");
    assert!(!maps.contains("/libtdb.so.1"), "{maps}");
}

/// T7, T10: tdbtool, tdbdump, tdbrestore and tdbbackup.
#[test]
fn the_tdb_tools_say_what_they_say_with_libtdb() {
    if !works("tdbdump", &["-h"]) && !std::path::Path::new("/usr/bin/tdbdump").exists() {
        return testbed::skip("the_tdb_tools_say_what_they_say_with_libtdb", "no tdb-tools");
    }
    let stage = Stage::new();
    let shown = same_on_both(&stage, |which, folder| {
        let run = stage.command(which, "sh").arg(source("tools.sh")).arg(folder).output();
        printed(run.expect("it starts"))
    });
    assert!(shown.contains("verify: 0"), "{shown}");
}

/// T5, T10: LDB, a directory server's database over libtdb: create, add, index, modify, rename, delete, transactions.
/// Then each library checks the other's file.
#[test]
fn an_ldb_directory_works_as_with_libtdb() {
    if !works(PYTHON, &["-c", "import ldb"]) {
        return testbed::skip("an_ldb_directory_works_as_with_libtdb", "no python3-ldb");
    }
    let stage = Stage::new();
    let shown = same_on_both(&stage, |which, folder| {
        let file = folder.join("directory.ldb");
        let run = stage.command(which, PYTHON).arg(source("directory.py")).arg(&file).output();
        printed(run.expect("it starts"))
    });
    assert!(shown.contains("committed 50"), "{shown}");
    for (written_by, checked_by) in [("ours", Which::System), ("system", Which::Ours)] {
        let file = stage.path().join(written_by).join("directory.ldb");
        let checked = stage.command(checked_by, "tdbtool").arg(file).arg("check").output();
        assert!(printed(checked.expect("it starts")).contains("integrity is OK"));
    }
}

/// T5, T10: the command-line tools of LDB.
#[test]
fn ldb_tools_work_as_with_libtdb() {
    if !works("ldbsearch", &["--help"]) {
        return testbed::skip("ldb_tools_work_as_with_libtdb", "no ldb-tools");
    }
    let script = r#"cd "$1" || exit 1
U=tdb://$1/t.ldb
printf 'dn: cn=one,dc=x\ncn: one\nmail: a@b\n\ndn: cn=two,dc=x\ncn: two\n' > a.ldif
ldbadd -H $U a.ldif && ldbsearch -H $U '(cn=*)' | sort
printf 'dn: cn=one,dc=x\nchangetype: modify\nreplace: mail\nmail: c@d\n' | ldbmodify -H $U
ldbrename -H $U cn=two,dc=x cn=zwei,dc=x && ldbdel -H $U cn=zwei,dc=x
ldbsearch -H $U cn mail | sort"#;
    let stage = Stage::new();
    let shown = same_on_both(&stage, |which, folder| {
        let run = stage.command(which, "sh").args(["-c", script, "sh"]).arg(folder).output();
        printed(run.expect("it starts"))
    });
    assert!(shown.contains("mail: c@d"), "{shown}");
}

/// T10: our header and our library alone build a program.
#[test]
fn a_program_builds_with_our_header_and_library() {
    let stage = Stage::new();
    let include = source("../../include");
    let link = stage.path().join("library/libtdb.so");
    std::os::unix::fs::symlink(built(), link).expect("a link");
    let program = stage.path().join("exercise");
    let compiled = std::process::Command::new("cc")
        .args(["-Wall", "-Wextra", "-Werror", "-Wno-pointer-sign", "-I"])
        .arg(&include)
        .arg("-o")
        .arg(&program)
        .arg(source("exercise.c"))
        .arg("-L")
        .arg(stage.path().join("library"))
        .arg("-ltdb")
        .output();
    let Ok(compiled) = compiled else {
        return testbed::skip("a_program_builds_with_our_header_and_library", "no C compiler");
    };
    printed(compiled);
    let shown =
        printed(stage.command(Which::Ours, &program).arg(stage.folder("run")).output().expect("it starts"));
    assert!(shown.ends_with("done\n"), "{shown}");
}

/// T11: the library runs clean under valgrind: no wild read, no use of unset bytes, no leak, with every function called.
/// Takes a minute, so only in the long run.
#[test]
fn valgrind_finds_nothing_in_the_exercise() {
    let name = "valgrind_finds_nothing_in_the_exercise";
    if std::env::var_os("QUORATE_LONG").is_none() {
        return testbed::skip(name, "long; set QUORATE_LONG=1");
    }
    let stage = Stage::new();
    let (true, Some(program)) = (works("valgrind", &["--version"]), stage.compile("exercise")) else {
        return testbed::skip(name, "no valgrind, no C compiler or no libtdb-dev");
    };
    let run = stage
        .command(Which::Ours, "valgrind")
        .args([
            "--error-exitcode=9",
            "--leak-check=full",
            "--show-leak-kinds=definite",
            "--errors-for-leak-kinds=definite",
        ])
        .arg(&program)
        .arg(stage.folder("run"))
        .output();
    assert!(printed(run.expect("it starts")).ends_with("done\n"));
}

/// R4: a program that knows nothing of recording leaves a trace when the environment asks for one.
#[test]
fn a_program_is_recorded_when_the_environment_says_so() {
    if !works(PYTHON, &["-c", "import tdb"]) {
        return testbed::skip("a_program_is_recorded_when_the_environment_says_so", "no python3-tdb");
    }
    let stage = Stage::new();
    let folder = stage.folder("scratch");
    let traces = folder.join("traces");
    let mut command = stage.command(Which::Ours, PYTHON);
    command.arg(source("recorded.py")).arg(&folder).env("QUORATE_TDB_RECORD", &traces);
    printed(command.output().expect("it starts"));
    let found: Vec<_> = std::fs::read_dir(&traces).expect("it was made").collect();
    let [Ok(trace)] = found.as_slice() else { panic!("one trace: {found:?}") };
    let text = std::fs::read_to_string(trace.path()).expect("a trace is text");
    let lines: Vec<&str> = text.lines().filter_map(|line| line.split(" #").next()).collect();
    let expected = [
        "1 tdb_store 1:61 1:31 0x1 = 0",
        "2 tdb_append 1:61 1:31 = 1:32",
        "2 tdb_fetch 1:61 = 2:3132",
        "2 tdb_fetch 1:62 = NULL",
        "2 tdb_exists 1:61 = 1",
        "2 tdb_transaction_start",
        "3 tdb_store 1:62 1:33 0x1 = 0",
        "3 tdb_transaction_commit",
        "4 tdb_delete 1:61 = 0",
        "4 tdb_lockall",
        "4 tdb_unlockall",
        "4 tdb_firstkey = 1:62",
        "4 tdb_nextkey 1:62 = NULL",
        "4 tdb_close",
    ];
    assert!(lines[0].starts_with("0 tdb_open 7 0x"), "{}", lines[0]);
    assert_eq!(lines[1..], expected);
}
