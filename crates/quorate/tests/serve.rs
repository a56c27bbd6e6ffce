//! `quorate serve` as a process, with the tools that speak to it: what it refuses, what it keeps, how it ends.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Output, Stdio};

use tempfile::TempDir;

fn quorate(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
    command.args(arguments);
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A running server, which is killed when the test ends.
struct Running {
    child: Child,
    log: BufReader<ChildStderr>,
    address: String,
}

impl Running {
    fn start(arguments: &[&str]) -> Running {
        let mut child = quorate(arguments).stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let mut running = Running { child, log, address: String::new() };
        let line = running.wait_for("clients connect to ");
        running.address = line.split(' ').next_back().unwrap().trim_matches('"').to_owned();
        running
    }

    fn alone(data: &Path) -> Running {
        let data = data.display().to_string();
        Running::start(&["serve", "--data", &data, "--listen", "127.0.0.1:0", "--page", "127.0.0.1:0"])
    }

    /// The next line of the log with these words.
    fn wait_for(&mut self, words: &str) -> String {
        let mut seen = String::new();
        loop {
            let mut line = String::new();
            assert!(self.log.read_line(&mut line).unwrap() > 0, "the log ended without {words:?}:\n{seen}");
            if line.contains(words) {
                return line.trim_end().to_owned();
            }
            seen.push_str(&line);
        }
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    /// Runs a tool of ours against it.
    fn tool(&self, arguments: &[&str]) -> Output {
        quorate(arguments).env("QUORATE_SERVER", &self.address).output().unwrap()
    }

    fn answers(&self, arguments: &[&str]) -> String {
        let output = self.tool(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// S2, S14: every bad configuration is refused before anything is started, with the line or key, what is wrong, and what to do.
#[test]
fn bad_configurations_are_refused_with_place_and_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("quorate.toml");
    let cases = [
        ("", ":1: missing field `data`"),
        ("data = \"d\"\n[clients]\nlisen = []\n", ":3: unknown key `lisen`; did you mean `listen`?"),
        ("data = \"d\"\nfrobnicate = 1\n", ":2: unknown key `frobnicate`, expected one of"),
        ("data = \"d\"\ndatabases = \"two\"\n", ":2: invalid type"),
        ("data = \"d\"\n[clients\n", ":2: "),
        ("data = \"d\"\ndatabases = 0\n", "databases = 0 is out of range"),
        ("data = \"d\"\n[clients]\nlisten = []\n", "nobody could connect"),
        ("data = \"d\"\n[clients]\nlisten = [\"localhost\"]\n", ":3: "),
        ("data = \"d\"\n[clients]\nlisten-tls = [\"127.0.0.1:0\"]\n", "add tls.certificate"),
        (
            "data = \"d\"\n[limits]\nrequest-bytes = 1\n",
            "limits.request-bytes = 1 is out of range: at least 1024",
        ),
        ("data = \"d\"\n[limits]\nidle-timeout-secs = 999999999999\n", "out of range"),
        ("data = \"d\"\n[log]\nlevel = \"inof\"\n", ":3: unknown value `inof`; did you mean `info`?"),
        ("data = \"d\"\n[users.alice]\npassword = \"x\"\n", ":4: "),
        (
            "data = \"d\"\n[cell]\nserver = \"x\"\nservers = { a = \"127.0.0.1:7000\" }\n",
            "is not among cell.servers (a)",
        ),
        (
            "data = \"d\"\n[cell]\nserver = \"a\"\nservers = { a = \"127.0.0.1:7000\", b = \"127.0.0.1:7001\" }\n",
            "a and b have the same address",
        ),
        ("data = \"d\"\n[cell]\nserver = \"a\"\nservers = { a = \"10.0.0.1:7000\" }\n", "give cell.key-file"),
    ];
    for (config, words) in cases {
        fs::write(&path, config).unwrap();
        let output = quorate(&["serve", "--check", "--config"]).arg(&path).output().unwrap();
        let said = text(&output.stderr);
        let place = format!("{}:", path.display());
        let is_placed = said.contains(&place) && said.contains(words) && said.lines().count() == 1;
        // A missing field is said of the table, not of a line.
        let is_placed =
            is_placed || (words.contains("missing field") && said.contains("missing field `data`"));
        let named = config.contains("password")
            && said.contains("unknown key `password`; did you mean `password-hash`?");
        assert!(output.status.code() == Some(2) && (is_placed || named), "{config:?}: {said}");
    }
    let missing = quorate(&["serve", "--config", "/nowhere/quorate.toml"]).output().unwrap();
    assert!(
        missing.status.code() == Some(2)
            && text(&missing.stderr).contains("/nowhere/quorate.toml: No such file")
    );
    for arguments in [&["serve"][..], &["serve", "--config", "a", "--data", "b"]] {
        assert_eq!(quorate(arguments).output().unwrap().status.code(), Some(2), "{arguments:?}");
    }
}

/// S2: docs/configuration.md has every key: those that the program itself lists when it meets an unknown one.
#[test]
fn every_key_is_documented() {
    let page = fs::read_to_string(testbed::repository().join("docs/configuration.md")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("quorate.toml");
    for table in ["", "clients", "tls", "users.NAME", "limits", "page", "log", "cell"] {
        let (head, prefix) = if table.is_empty() {
            (String::new(), String::new())
        } else {
            (format!("[{table}]"), format!("{table}."))
        };
        fs::write(&path, format!("{head}\nzzzzzzzzzz = 1\n")).unwrap();
        let output = quorate(&["serve", "--check", "--config"]).arg(&path).output().unwrap();
        let said = text(&output.stderr);
        let (_, list) = said.split_once("expected ").unwrap();
        for key in list.split('`').skip(1).step_by(2) {
            let has_table = table.is_empty() && page.contains(&format!("| `{key}."));
            assert!(
                has_table || page.contains(&format!("| `{prefix}{key}` |")),
                "{prefix}{key} is not documented"
            );
        }
    }
}

/// S2, S15: what other files or the system say of a configuration is refused, too: users without a hash, the open network, keys that
/// are not there, before anything is touched; addresses that are taken.
#[test]
fn what_cannot_be_started_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("quorate.toml");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let holder = std::net::TcpListener::bind(taken).unwrap();
    let listen =
        |address: &str| format!("data = \"d\"\n[page]\nlisten = []\n[clients]\nlisten = [\"{address}\"]\n");
    let cell = |address: &str, key: &str| {
        format!("[cell]\nserver = \"a\"\nkey-file = \"{key}\"\nservers = {{ a = \"{address}\" }}\n")
    };
    let cases = [
        (3, listen(&taken.to_string()), "is another server running there?"),
        (2, listen("0.0.0.0:0"), "without-authentication = true"),
        (2, listen("127.0.0.1:0") + "[users.alice]\npassword-hash = \"secret\"\n", "quorate hash-password"),
        (2, listen("127.0.0.1:0") + "[tls]\ncertificate = \"c.pem\"\nkey = \"k.pem\"\n", "c.pem"),
        (2, listen("127.0.0.1:7\", \"127.0.0.1:7"), "listened on twice"),
        (2, listen("127.0.0.1:0").replace("\"d\"", "\"\""), "names no directory"),
        (2, listen("127.0.0.1:0") + "threads = 100000\n", "clients.threads = 100000 is out of range"),
        (2, format!("quota-bytes = 0\n{}", listen("127.0.0.1:0")), "quota-bytes = 0 is out of range"),
        (2, listen("127.0.0.1:0") + &cell("10.0.0.1:7100", "none.key"), "none.key"),
        (2, listen("127.0.0.1:0") + &cell("127.0.0.1:0", "none.key"), "not the address of one server"),
        (2, listen("127.0.0.1:0") + &cell("224.0.0.1:7100", "none.key"), "not the address of one server"),
        (
            3,
            "data = \"quorate.toml/inside\"\n[clients]\nlisten = [\"127.0.0.1:0\"]\n".to_owned(),
            "data directory",
        ),
    ];
    for (code, config, words) in cases {
        fs::write(&path, &config).unwrap();
        let _ = fs::remove_dir_all(folder.path().join("d"));
        // What is wrong with the file is found by --check too, and nothing is touched.
        let ways: &[&[&str]] = if code == 2 { &[&["serve", "--check"], &["serve"]] } else { &[&["serve"]] };
        for way in ways {
            let output = quorate(way).arg("--config").arg(&path).output().unwrap();
            let said = text(&output.stderr);
            assert!(output.status.code() == Some(code) && said.contains(words), "{way:?}, {config}: {said}");
            assert!(code == 3 || !folder.path().join("d").exists(), "{config} touched the disk");
        }
    }
    let endless = quorate(&["serve", "--check", "--config", "/dev/zero"]).output().unwrap();
    assert_eq!(endless.status.code(), Some(2));
    drop(holder);
}

/// S3, S7: a server without configuration keeps what it was told, through SIGTERM and SIGKILL; the tools say what is there.
#[test]
fn one_server_keeps_its_keys() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Running::alone(folder.path());
    assert_eq!(server.answers(&["set", "greeting", "hello"]), "");
    assert_eq!(server.answers(&["get", "greeting"]), "hello\n");
    assert_eq!(server.tool(&["set", "greeting", "again", "--if-absent"]).status.code(), Some(1));
    server.answers(&["set", "other", "1", "--expires-secs", "1000"]);
    let missing = server.tool(&["get", "greeting", "nothing"]);
    assert!(missing.status.code() == Some(1) && text(&missing.stdout) == "hello\n");
    server.signal("TERM");
    server.wait_for("stopped");
    assert!(server.child.wait().unwrap().success());
    let server = Running::alone(folder.path());
    assert_eq!(server.answers(&["list", "g*"]), "greeting\n");
    server.answers(&["set", "late", "written"]);
    server.signal("KILL");
    drop(server);
    let server = Running::alone(folder.path());
    assert_eq!(server.answers(&["get", "late"]), "written\n");
    assert_eq!(server.answers(&["delete", "late", "greeting", "nothing"]), "2\n");
}

/// S7, U49: a second server on a data directory in use is refused and changes nothing there. (It was not, and two servers on one
/// directory destroyed each other's data.)
#[test]
fn a_data_directory_in_use_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let server = Running::alone(folder.path());
    server.answers(&["set", "greeting", "hello"]);
    let second = quorate(&["serve", "--listen", "127.0.0.1:0", "--page", "127.0.0.1:0", "--data"])
        .arg(folder.path())
        .output()
        .unwrap();
    let said = text(&second.stderr);
    assert!(second.status.code() == Some(3) && said.contains("another server uses these files"), "{said}");
    assert_eq!(server.answers(&["get", "greeting"]), "hello\n");
}

/// S2, S26: SIGHUP reads users and the log level again and says so; what needs a restart is named; a bad file changes nothing.
#[test]
fn a_server_rereads_its_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("quorate.toml");
    let hash = hash("secret");
    let config = |user: &str, more: &str| {
        format!(
            "data = \"data\"\n{more}\n[clients]\nlisten = [\"127.0.0.1:0\"]\n[page]\nlisten = []\n[log]\nformat = \
             \"json\"\n[users.{user}]\npassword-hash = \"{hash}\"\n"
        )
    };
    fs::write(&path, config("alice", "")).unwrap();
    let mut server = Running::start(&["serve", "--config", &path.display().to_string()]);
    server.address = server.address.trim_end_matches(['"', '}']).split('"').next().unwrap().to_owned();
    let get = |server: &Running, user: &str| {
        let mut tool = quorate(&["get", "a", "--user", user]);
        tool.env("QUORATE_SERVER", &server.address).env("QUORATE_PASSWORD", "secret").output().unwrap()
    };
    assert!(text(&server.tool(&["get", "a"]).stderr).contains("NOAUTH"));
    assert_eq!(get(&server, "alice").status.code(), Some(1), "it may look, and the key is not there");
    fs::write(&path, config("bob", "databases = 2")).unwrap();
    server.signal("HUP");
    server.wait_for("SIGHUP: 1 users");
    server.wait_for("they need a restart");
    assert!(text(&get(&server, "alice").stderr).contains("WRONGPASS"));
    assert_eq!(get(&server, "bob").status.code(), Some(1));
    fs::write(&path, "nonsense").unwrap();
    server.signal("HUP");
    server.wait_for("nothing has changed");
    assert_eq!(get(&server, "bob").status.code(), Some(1));
}

fn hash(password: &str) -> String {
    let mut tool = quorate(&["hash-password"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    tool.stdin.take().unwrap().write_all(password.as_bytes()).unwrap();
    text(&tool.wait_with_output().unwrap().stdout).trim_end().to_owned()
}

/// S7, S18: a command runs under a lock that others respect, with a token that grows; its exit code is passed on.
#[test]
fn a_command_runs_under_a_lock() {
    let folder = tempfile::tempdir().unwrap();
    let server = Running::alone(folder.path());
    let print =
        ["lock", "backup", "--", "sh", "-c", "echo $QUORATE_LOCK_NAME $QUORATE_LOCK_REVISION; exit 7"];
    let token = || {
        let output = server.tool(&print);
        assert_eq!(output.status.code(), Some(7), "{}", text(&output.stderr));
        text(&output.stdout).trim_end().strip_prefix("backup ").unwrap().parse::<u64>().unwrap()
    };
    let (first, second) = (token(), token());
    assert!(second > first, "{second} is not greater than {first}");
    assert_eq!(server.tool(&["get", "backup"]).status.code(), Some(1), "it was released");
    server.answers(&["set", "backup", "somebody else"]);
    let refused = server.tool(&print);
    assert!(refused.status.code() == Some(1) && text(&refused.stderr).contains("held by others"));
    assert_eq!(server.answers(&["get", "backup"]), "somebody else\n");
    let absent = server.tool(&["lock", "free", "--", "/nowhere/program"]);
    assert_eq!(absent.status.code(), Some(2));
    assert_eq!(server.tool(&["get", "free"]).status.code(), Some(1), "it was released");
}

/// S7: a command whose lock is taken away is stopped, and the exit code says so.
#[test]
fn a_command_whose_lock_is_lost_is_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let server = Running::alone(folder.path());
    let started = folder.path().join("started");
    // The command's own child must not go on with what it thinks is locked, not even in a session of its own.
    let script = format!(
        "setsid sleep 1000 & echo $! > {0}.new; mv {0}.new {0}; sleep 1000; exit 0",
        started.display()
    );
    let mut lock = quorate(&["lock", "job", "--ttl-secs", "1", "--", "sh", "-c", &script]);
    let lock = lock.env("QUORATE_SERVER", &server.address).stderr(Stdio::piped()).spawn().unwrap();
    while !started.exists() {
        std::thread::yield_now();
    }
    server.answers(&["set", "job", "thief"]);
    let output = lock.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
    assert_eq!(server.answers(&["get", "job"]), "thief\n");
    let grandchild = fs::read_to_string(&started).unwrap();
    let stat = fs::read_to_string(format!("/proc/{}/stat", grandchild.trim())).unwrap_or_default();
    assert!(stat.is_empty() || stat.contains(") Z "), "it runs on: {stat}");
}

/// S9: the first line of the status is OK and why, or DEGRADED; then each server has a line.
#[test]
fn the_status_says_whether_all_is_well() {
    let folder = tempfile::tempdir().unwrap();
    let server = Running::alone(folder.path());
    while !server.tool(&["set", "a", "1"]).status.success() {}
    let said = server.answers(&["status"]);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], "OK: alone is the only server");
    assert!(lines[1].starts_with("server") && lines[2].starts_with("alone   sync site"), "{said}");
    assert!(server.answers(&["status", "--json"]).contains("\"state\": \"OK\""));
    drop(server);
    let nobody = quorate(&["status", "--server", "127.0.0.1:1"]).output().unwrap();
    assert_eq!(nobody.status.code(), Some(3));
}

/// The form from before the service still works, and says what it is called now.
#[test]
fn the_old_spelling_of_afs_serve_works_with_a_notice() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().display().to_string();
    let output = quorate(&["serve", "--config-dir", &data, "--database", "prdb"]).output().unwrap();
    let said = text(&output.stderr);
    assert!(said.contains("is now `quorate afs serve") && said.contains("ThisCell"), "{said}");
    assert_eq!(output.status.code(), Some(2));
}
