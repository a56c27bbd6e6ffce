//! Every subcommand, as `--help` lists them, in every kind of trouble that all of them can meet: standard output closed
//! or full, input missing, a directory, junk, empty or forbidden, and SIGINT. Whatever happens, there is a documented exit
//! code and a clear text: no panic, no escape sequence of the input or of its name on the terminal, nothing half-made.

use std::fs::{self, File, OpenOptions};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

const PROGRAM: &str = env!("CARGO_BIN_EXE_quorate");
/// The name of the input: a terminal that gets it as it is turns red.
const INPUT: &str = "in\u{1b}[31m.trace";

/// How a subcommand is called: `IN` stands for its input, `NEW` for what it makes.
struct Call {
    command: &'static str,
    arguments: &'static str,
    input: Input,
}

/// What the input of a subcommand is when nothing is wrong.
#[derive(Clone, Copy, PartialEq)]
enum Input {
    Database,
    Trace,
    History,
    /// It has none, or not a file.
    Nothing,
    /// It needs a cell to talk to; offline it fails, but it must fail well.
    Cell,
    /// It runs until it is told to end.
    Endless,
}

const fn call(command: &'static str, arguments: &'static str, input: Input) -> Call {
    Call { command, arguments, input }
}

const CALLS: &[Call] = &[
    call("demo", "--seconds 3 --directory NEW", Input::Nothing),
    call("replay", "NEW IN", Input::Trace),
    call("stat", "IN", Input::Trace),
    call("check", "IN", Input::Trace),
    call("export", "--to edn --form jsonl IN", Input::History),
    call("order", "IN", Input::Trace),
    call("reduce", "--output NEW IN", Input::Trace),
    call("slice", "--output NEW --key a IN", Input::Trace),
    call("generate", "--operations 200 NEW", Input::Nothing),
    call("serve", "--config IN", Input::Cell),
    call("get", "--server 127.0.0.1:1 a", Input::Nothing),
    call("set", "--server 127.0.0.1:1 a b", Input::Nothing),
    call("delete", "--server 127.0.0.1:1 a", Input::Nothing),
    call("list", "--server 127.0.0.1:1", Input::Nothing),
    call("lock", "--server 127.0.0.1:1 a -- true", Input::Nothing),
    call("hash-password", "", Input::Nothing),
    call("new-key", "NEW", Input::Nothing),
    call("afs serve", "--database prdb --config-dir IN --database-dir NEW", Input::Cell),
    call("status", "127.0.0.1:1 --timeout-secs 1", Input::Nothing),
    call("copy", "127.0.0.1 prdb NEW --timeout-secs 1 --config-dir IN", Input::Cell),
    call("completions", "bash", Input::Nothing),
    call("man", "NEW", Input::Nothing),
    call("tdb dump", "IN", Input::Database),
    call("tdb restore", "NEW", Input::Nothing),
    call("tdb backup", "IN", Input::Database),
    call("tdb check", "IN", Input::Database),
    call("tdb repack", "IN", Input::Database),
    call("tdb rescue", "IN NEW", Input::Database),
    call("tdb keys", "IN", Input::Database),
    call("tdb info", "IN", Input::Database),
    call("tdb shell", "IN keys", Input::Database),
    call("rx ping", "127.0.0.1:1 --timeout-secs 1 --count 1", Input::Nothing),
    call("rx version", "127.0.0.1:1 --timeout-secs 1", Input::Nothing),
    call("rx debug", "127.0.0.1:1 --timeout-secs 1", Input::Nothing),
    call("rx serve", "127.0.0.1:0", Input::Endless),
    call("rx call-timing", "--calls 10", Input::Nothing),
    call("rx transfer", "--bytes 10000", Input::Nothing),
];

/// What the subcommands are, from `--help` all the way down.
fn commands(prefix: &str) -> Vec<String> {
    let help = Command::new(PROGRAM).args(prefix.split_whitespace()).arg("--help").output().unwrap();
    assert!(help.status.success(), "{prefix} --help: {help:?}");
    let help = String::from_utf8(help.stdout).unwrap();
    // Only clap's own list; a help text may have a list of another kind below its options.
    let Some((_, list)) =
        help.split_once("\nCommands:\n").filter(|(before, _)| !before.contains("\nOptions:"))
    else {
        return vec![prefix.trim().to_owned()];
    };
    let names = list.lines().take_while(|line| !line.is_empty()).filter(|line| !line.starts_with("   "));
    let names = names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help");
    names.flat_map(|name| commands(&format!("{prefix} {name}"))).collect()
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Trouble {
    /// All is well; what is printed is looked at.
    Nothing,
    ClosedOutput,
    FullOutput,
    Missing,
    Folder,
    Junk,
    Empty,
    Forbidden,
}

const TROUBLES: [Trouble; 8] = [
    Trouble::Nothing,
    Trouble::ClosedOutput,
    Trouble::FullOutput,
    Trouble::Missing,
    Trouble::Folder,
    Trouble::Junk,
    Trouble::Empty,
    Trouble::Forbidden,
];

/// Makes the input of a call, with what is wrong with it.
fn make_input(call: &Call, trouble: Option<Trouble>, at: &Path) {
    match trouble {
        Some(Trouble::Missing) => {}
        Some(Trouble::Folder) => fs::create_dir(at).unwrap(),
        Some(Trouble::Empty) => drop(File::create(at).unwrap()),
        Some(Trouble::Junk) => {
            let bytes = (0..5000u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8);
            let escapes = b"\x1b[31m\x1b]0;title\x07\n".iter().copied();
            fs::write(at, escapes.chain(bytes).collect::<Vec<u8>>()).unwrap();
        }
        _ => match call.input {
            Input::Database => {
                tdb::Database::create_new(at).unwrap().store(b"a", b"b", tdb::StoreMode::Replace).unwrap();
            }
            Input::Trace => {
                let lines = "1 tdb_open IN 0x1 0x0 0x42\n1 tdb_store 1:61 1:62 0x0 = 0\n2 tdb_fetch 1:61 = 1:62\n2 tdb_close\n";
                fs::write(at, lines).unwrap();
            }
            Input::History => {
                fs::write(at, "{\"client\":0,\"op\":\"write\",\"value\":1,\"call\":1,\"return\":2}\n")
                    .unwrap();
            }
            Input::Cell | Input::Nothing | Input::Endless => {}
        },
    }
}

fn arguments(call: &Call) -> impl Iterator<Item = &'static str> {
    call.command.split_whitespace().chain(call.arguments.split_whitespace()).map(|word| match word {
        "IN" => INPUT,
        "NEW" => "new",
        word => word,
    })
}

/// Whether a terminal obeys nothing in what a run printed.
fn no_controls(said: &[u8]) -> Result<(), String> {
    match said.iter().any(|&byte| byte < b' ' && !b"\n\t\r".contains(&byte)) {
        true => Err("control characters of the input reached the terminal".to_owned()),
        false => Ok(()),
    }
}

/// Whether a run ended as documented: with what code, and what it said.
fn ended_well(status: ExitStatus, said: &[u8]) -> Result<(), String> {
    let text = String::from_utf8_lossy(said);
    let codes = [0, 1, 2, 3, 4, 5];
    if text.contains("panicked") {
        return Err("it panicked".to_owned());
    }
    no_controls(said)?;
    match status.code() {
        Some(code) if !codes.contains(&code) => Err(format!("exit code {code}")),
        Some(code) if code > 1 && !text.starts_with("quorate: ") => {
            Err(format!("exit code {code} without a reason"))
        }
        Some(_) => Ok(()),
        None => Err(format!("signal {:?}", status.signal())),
    }
}

/// A run of a call in a folder of its own, with `trouble`; `None` if that does not apply to it.
fn run_with(call: &Call, trouble: Trouble) -> Option<Result<(), String>> {
    let of_output = matches!(trouble, Trouble::Nothing | Trouble::ClosedOutput | Trouble::FullOutput);
    let has_input = !matches!(call.input, Input::Nothing | Input::Endless);
    if !of_output && !has_input || of_output && call.input == Input::Endless {
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join(INPUT);
    make_input(call, Some(trouble), &input);
    let mut command = match trouble {
        Trouble::Forbidden => as_nobody(folder.path(), &input)?,
        _ => Command::new(PROGRAM),
    };
    match trouble {
        Trouble::ClosedOutput => {
            let (reader, writer) = std::io::pipe().unwrap();
            drop(reader);
            command.stdout(writer);
        }
        Trouble::FullOutput => {
            command.stdout(OpenOptions::new().write(true).open("/dev/full").unwrap());
        }
        _ => {
            command.stdout(Stdio::piped());
        }
    }
    let output = command
        .args(arguments(call))
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let printed = no_controls(&output.stdout).and_then(|()| ended_well(output.status, &output.stderr));
    let ended = printed.and_then(|()| {
        // Of nothing useful nothing can come: only a scan for records, or a listing of none, may call it done.
        let useless =
            matches!(trouble, Trouble::Missing | Trouble::Folder | Trouble::Junk | Trouble::Forbidden);
        match output.status.code() {
            Some(0) if useless => Err("exit code 0, though its input is of no use".to_owned()),
            _ => Ok(()),
        }
    });
    Some(ended.map_err(|why| format!("{why}; it said: {}", String::from_utf8_lossy(&output.stderr))))
}

/// The program as a user who may not read `input`: another user if this one may read everything.
fn as_nobody(folder: &Path, input: &Path) -> Option<Command> {
    use std::os::unix::fs::PermissionsExt;
    if input.exists() {
        fs::set_permissions(input, fs::Permissions::from_mode(0o000)).unwrap();
    } else {
        return None;
    }
    if File::open(input).is_err() {
        return Some(Command::new(PROGRAM));
    }
    fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", PROGRAM]);
    Some(command)
}

/// Whether `as_nobody` can run the program at all: it may lie where only this user looks.
fn another_user_may_run_it() -> bool {
    let run = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups", PROGRAM, "--version"])
        .output();
    run.is_ok_and(|output| output.status.success())
}

/// S16: every subcommand that `--help` lists is in this file's table, and the table has no other.
#[test]
fn the_table_has_every_subcommand() {
    let mut listed = commands("");
    let mut tested: Vec<String> = CALLS.iter().map(|call| call.command.to_owned()).collect();
    listed.sort();
    tested.sort();
    assert_eq!(listed, tested);
}

/// S16: no trouble with input or output makes a subcommand panic, succeed without reason or leave its exit code undocumented.
#[test]
fn trouble_ends_every_subcommand_well() {
    let mut troubles = TROUBLES.to_vec();
    if !another_user_may_run_it() {
        testbed::skip(
            "trouble_ends_every_subcommand_well",
            "no other user may run the program here: forbidden input is not tried",
        );
        troubles.retain(|trouble| *trouble != Trouble::Forbidden);
    }
    let mut faults = Vec::new();
    for call in CALLS {
        for &trouble in &troubles {
            if let Some(Err(why)) = run_with(call, trouble) {
                faults.push(format!("{} with {trouble:?}: {why}", call.command));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// S16: the help of every subcommand can be cut off.
#[test]
fn every_help_can_be_cut_off() {
    for command in commands("") {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = Command::new(PROGRAM)
            .args(command.split_whitespace())
            .arg("--help")
            .stdout(writer)
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        assert_eq!(ended_well(output.status, &output.stderr), Ok(()), "{command}");
    }
}

/// S16: the help of every subcommand says what its exit codes mean.
#[test]
fn every_help_ends_with_exit_codes() {
    for command in commands("") {
        let help = Command::new(PROGRAM).args(command.split_whitespace()).arg("--help").output().unwrap();
        let help = String::from_utf8(help.stdout).unwrap();
        let codes = help.split_once("Exit codes:").map_or("", |(_, codes)| codes);
        assert!(codes.contains("2 "), "{command}: {help}");
    }
}

/// S16: a command that was asked for JSON and has no answer says why as JSON, too.
#[test]
fn every_json_says_why_there_is_no_answer() {
    let mut tried = 0;
    for call in CALLS {
        let words = || call.command.split_whitespace();
        let help = Command::new(PROGRAM).args(words()).arg("--help").output().unwrap();
        let fails =
            matches!(call.input, Input::Trace | Input::Database) || call.arguments.starts_with("127.0.0.1");
        if !fails || !String::from_utf8_lossy(&help.stdout).contains("--json") {
            continue;
        }
        let folder = tempfile::tempdir().unwrap();
        let output = Command::new(PROGRAM)
            .args(arguments(call))
            .arg("--json")
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(!output.status.success(), "{}: there is no input", call.command);
        let said: serde_json::Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{}: {error} in {:?}", call.command, output.stdout));
        assert!(said["error"].as_str().is_some_and(|why| !why.is_empty()), "{}: {said}", call.command);
        tried += 1;
    }
    assert!(tried >= 8, "{tried} commands print JSON");
}

/// S16, R38: names of clients and registers come from whoever recorded them; a terminal obeys none.
#[test]
fn names_in_a_history_are_not_obeyed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("h.jsonl");
    let write = r#"{"client":"a\u001b[31m","op":"write","key":"k\u001b[2J","value":1,"call":1,"return":2}"#;
    let read = r#"{"client":"b\u0007","op":"read","key":"k\u001b[2J","value":2,"call":3,"return":4}"#;
    fs::write(&path, format!("{write}\n{read}\n")).unwrap();
    let output = Command::new(PROGRAM).arg("check").arg(&path).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("\"k\\u001b[2J\""), "{said}");
    assert_eq!(no_controls(said.as_bytes()), Ok(()));
}

/// The page of all commands, as their `--help` says, 100 columns wide.
fn command_page() -> String {
    let mut page = "# Commands\n\nWhat `quorate COMMAND --help` prints, made from the program.\n".to_owned();
    for command in commands("") {
        let help = Command::new(PROGRAM)
            .args(command.split_whitespace())
            .arg("--help")
            .env("COLUMNS", "100")
            .output()
            .unwrap();
        let help = String::from_utf8(help.stdout).unwrap();
        let lines = help.lines().map(|line| format!("{}\n", line.trim_end()));
        page.push_str(&format!("\n## quorate {command}\n\n```text\n{}```\n", lines.collect::<String>()));
    }
    page
}

/// S16: the page of commands is what `--help` says. `QUORATE_WRITE=1` writes it.
#[test]
fn the_page_of_commands_is_true() {
    let path = testbed::repository().join("docs/commands.md");
    let page = command_page();
    if std::env::var_os("QUORATE_WRITE").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    let differs = kept.lines().zip(page.lines()).position(|(kept, made)| kept != made);
    assert!(
        kept == page,
        "{}: line {} is not what --help says; renew it with QUORATE_WRITE=1 cargo test -p quorate --test matrix",
        path.display(),
        differs.map_or(kept.lines().count().min(page.lines().count()) + 1, |at| at + 1)
    );
}

/// S16: a completion script and the man pages name every command.
#[test]
fn shells_and_manuals_know_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let script = Command::new(PROGRAM).args(["completions", "bash"]).output().unwrap().stdout;
    let script = String::from_utf8(script).unwrap();
    let made = Command::new(PROGRAM).arg("man").arg(folder.path()).status().unwrap();
    assert!(made.success());
    for command in commands("") {
        let name = format!("quorate {command}");
        let function = name.replace(['-', ' '], "__subcmd__");
        assert!(script.contains(&function), "{function}");
        let page = folder.path().join(format!("{}.1", name.replace(' ', "-")));
        assert!(fs::read_to_string(&page).is_ok_and(|page| page.starts_with(".")), "{}", page.display());
    }
}

/// Sends SIGINT and waits for the end.
fn interrupt(mut child: std::process::Child) -> std::process::Output {
    let sent = Command::new("kill").arg("-INT").arg(child.id().to_string()).status().unwrap();
    assert!(sent.success());
    drop(child.stdin.take());
    child.wait_with_output().unwrap()
}

/// R2: a pipe cannot be read twice, and the error says so.
#[test]
fn a_pipe_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    assert!(Command::new("mkfifo").arg(folder.path().join("in.trace")).status().unwrap().success());
    let input = OpenOptions::new().read(true).write(true).open(folder.path().join("in.trace")).unwrap();
    let output =
        Command::new(PROGRAM).args(["check", "in.trace"]).current_dir(folder.path()).output().unwrap();
    drop(input);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("not a regular file"), "{output:?}");
}

/// S16: an interrupted `generate` leaves no traces that look whole.
#[test]
fn an_interrupted_generate_leaves_no_traces() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(PROGRAM)
        .args(["generate", "--operations", "100000000", "new"])
        .current_dir(folder.path())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let written = || -> u64 {
        let inside = fs::read_dir(folder.path().join("new")).into_iter().flatten().flatten();
        let files = inside.flat_map(|entry| fs::read_dir(entry.path()).into_iter().flatten().flatten());
        files.filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum()
    };
    while written() == 0 {
        assert!(child.try_wait().unwrap().is_none(), "it ended");
        std::thread::yield_now();
    }
    assert_eq!(interrupt(child).status.signal(), Some(2));
    assert!(!folder.path().join("new").exists());
}
