//! `quorate afs serve` and `quorate status` as processes: what they refuse and why, one server that serves, a clean end.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rx::security::NullSecurity;
use rx::{Port, PortConfig};
use tempfile::TempDir;
use ubik::client::{Client, Patience};
use ubik::over_rx::Services;

const ADDRESS: &str = "127.0.77.201";

/// A configuration directory with these files, in a folder that is also the databases'.
fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        fs::write(folder.path().join(name), content).unwrap();
    }
    folder
}

fn one_server() -> TempDir {
    folder(&[("ThisCell", b"one.cell\n"), ("CellServDB", format!(">one.cell\n{ADDRESS}\n").as_bytes())])
}

fn serve(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
    let folder = folder.display().to_string();
    command.args(["afs", "serve", "--config-dir", &folder, "--database-dir", &folder]).args(arguments);
    command
}

fn refused(folder: &TempDir, arguments: &[&str]) -> (i32, String) {
    let Output { status, stderr, .. } = serve(folder.path(), arguments).output().unwrap();
    (status.code().unwrap(), String::from_utf8(stderr).unwrap())
}

/// S14: every bad file and argument is refused with what, where and what to do, before anything is started.
#[test]
fn what_is_wrong_is_said_with_its_place_and_remedy() {
    let plain = &["--database", "prdb", "--no-auth"];
    let list = |text: &str| folder(&[("ThisCell", b"one.cell\n"), ("CellServDB", text.as_bytes())]);
    let cases: [(TempDir, &[&str], i32, &str); 12] = [
        (folder(&[]), plain, 2, "ThisCell: No such file"),
        (folder(&[("ThisCell", b"one.cell\n")]), plain, 2, "CellServDB: No such file"),
        (list(">one.cell\n127.0.0\n"), plain, 2, "CellServDB:2: \"127.0.0\" is not a server"),
        (list(">other\n127.0.0.1\n"), plain, 2, "add a line `>one.cell`"),
        (list(">one.cell\n10.99.0.9\n"), plain, 2, "is this machine's; add it there"),
        (list(">one.cell\n127.0.77.1\n127.0.77.2\n"), plain, 2, "say which with --address"),
        (
            list(&format!(">one.cell\n{ADDRESS}\n{ADDRESS}\n")),
            &["--database", "prdb", "--no-auth", "--address", ADDRESS],
            2,
            "is listed twice",
        ),
        (one_server(), &["--database", "prdb"], 2, "serve without keys by --no-auth"),
        (one_server(), &["--database", "nothing", "--no-auth"], 2, "give prdb, vldb, budb, or NAME:PORT"),
        (
            one_server(),
            &["--database", "prdb", "--no-auth", "--ours", "10.0.0.1"],
            2,
            "CellServDB lists no server of that address",
        ),
        (
            list(&format!(">one.cell\n{ADDRESS}\n10.99.0.9\n")),
            &["--database", "prdb", "--no-auth", "--timing", "brisk"],
            2,
            "10.99.0.9 is OpenAFS's",
        ),
        (
            list(&format!(">one.cell\n{ADDRESS}\n10.99.0.9\n")),
            &["--database", "prdb", "--database", "more:7002", "--no-auth"],
            2,
            "where OpenAFS's servers cannot find it",
        ),
    ];
    for (folder, arguments, code, words) in cases {
        let (found, message) = refused(&folder, arguments);
        assert!(found == code && message.contains(words), "{found} {message:?}, not {code} {words:?}");
    }
    let torn = one_server();
    let keys = torn.path().join("KeyFileExt");
    fs::write(&keys, [0, 0, 0, 1, 0]).unwrap();
    fs::set_permissions(&keys, fs::Permissions::from_mode(0o644)).unwrap();
    let (code, message) = refused(&torn, &["--database", "prdb"]);
    assert!(code == 2 && message.contains("any user can read"), "{message}");
    fs::set_permissions(&keys, fs::Permissions::from_mode(0o600)).unwrap();
    let (code, message) = refused(&torn, &["--database", "prdb"]);
    assert!(code == 2 && message.contains("ends within key 1"), "{message}");
    let other = one_server();
    fs::write(other.path().join("prdb.DB0"), "no database at all, but some text").unwrap();
    let (code, message) = refused(&other, plain);
    assert!(code == 3 && message.contains("prdb.DB0"), "{message}");
    let taken = UdpSocket::bind((ADDRESS, 0)).unwrap();
    let database = format!("table:{}", taken.local_addr().unwrap().port());
    let (code, message) = refused(&one_server(), &["--database", &database, "--no-auth"]);
    assert!(code == 3 && message.contains("is another server running there?"), "{message}");
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn status(port: u16, nth: u16) -> Output {
    status_with(port, &["--json", "--nth", &nth.to_string()])
}

fn status_with(port: u16, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
    command.args(["status", &format!("{ADDRESS}:{port}"), "--timeout-secs", "1"]);
    command.args(more).output().unwrap()
}

/// S9, U24, U40, U57: three databases in one process, two of them on one port; the only server of a cell serves at once, tells all
/// its addresses, says how it is, and ends at SIGTERM with everything written.
#[test]
fn a_single_server_serves_says_so_and_ends_cleanly() {
    let folder = one_server();
    let free = || UdpSocket::bind((ADDRESS, 0)).unwrap().local_addr().unwrap().port();
    let ports = [free(), free()];
    let served = [(ports[0], 0, "one"), (ports[1], 0, "two"), (ports[1], 1, "three")];
    let mut arguments = vec!["--no-auth", "--registers-at", "0", "--address", ADDRESS];
    arguments.extend(["--other-address", "127.0.77.202"]);
    let databases = served.map(|(port, _, name)| format!("{name}:{port}"));
    databases.iter().for_each(|database| arguments.extend(["--database", database]));
    let silent = status(ports[0], 0);
    assert_eq!(silent.status.code(), Some(4), "nobody is there yet");
    let mut running = Running(serve(folder.path(), &arguments).stderr(Stdio::piped()).spawn().unwrap());
    for (index, (port, nth, _)) in served.into_iter().enumerate() {
        let local = Arc::new(Port::open("127.0.0.1:0".parse().unwrap(), PortConfig::default()).unwrap());
        let server: SocketAddr = format!("{ADDRESS}:{port}").parse().unwrap();
        let patience = Patience { silence: Duration::from_secs(1), ..Patience::default() };
        let Services { vote, application, .. } = Services::nth(nth);
        let client =
            Client::new(local, vec![server], application, Arc::new(NullSecurity), patience).with_votes(vote);
        client.write_register(3, 33 + index as u64).unwrap();
        let told = status(port, nth);
        let json: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
        assert!(told.status.success() && json["is_sync_site"] == true, "{json:#}");
        assert!(json["stands"] == true, "{json:#}");
    }
    let told = String::from_utf8(status_with(ports[0], &[]).stdout).unwrap();
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines[0], format!("OK: {ADDRESS} is sync site of 1 servers"), "{told}");
    assert!(lines[1].starts_with("server ") && lines[2].starts_with(ADDRESS), "{told}");
    assert!(lines[2].contains("sync site") && !told.contains("only votes"), "{told}");
    let copied = folder.path().join("copy");
    let copy = |nth: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
        let database = format!("any:{}", ports[1]);
        command.args(["copy", ADDRESS, &database, "--nth", nth, "--no-auth", "--from", ADDRESS]);
        command.arg(&copied).output().unwrap()
    };
    let Output { status, stdout, stderr } = copy("1");
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    assert!(String::from_utf8_lossy(&stdout).contains(": version "));
    let again = copy("1");
    assert!(again.status.code() == Some(2) && String::from_utf8_lossy(&again.stderr).contains("exists"));
    let id = running.0.id().to_string();
    assert!(Command::new("kill").args(["-s", "TERM", &id]).status().unwrap().success());
    assert_eq!(running.0.wait().unwrap().code(), Some(0));
    for (index, (.., name)) in served.into_iter().enumerate() {
        let bytes = fs::read(folder.path().join(format!("{name}.DB0"))).unwrap();
        assert_eq!(bytes[64 + 24..64 + 32], (33 + index as u64).to_be_bytes());
        if name == "three" {
            assert_eq!(fs::read(&copied).unwrap(), bytes, "the copy is the database, label and all");
        }
    }
}

/// A key file with one AES-128 key of this version, that only its owner can read.
fn write_keys(path: &Path, version: u32) {
    let words = [1, 16, 2, version, 17, 16];
    let mut bytes: Vec<u8> = words.iter().flat_map(|word: &u32| word.to_be_bytes()).collect();
    bytes.extend([7; 16]);
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// Waits until the log holds these words.
fn await_log(running: &mut Running, log: &Path, words: &str) {
    loop {
        let said = fs::read_to_string(log).unwrap_or_default();
        if said.contains(words) {
            return;
        }
        assert!(running.0.try_wait().unwrap().is_none(), "the server ended: {said}");
        // Nothing tells when another process writes.
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn signal(running: &Running, name: &str) {
    let id = running.0.id().to_string();
    assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
}

/// S9, U54, U56, X12: SIGHUP reads keys and the list of servers again and opens the log file anew; bad files change nothing, and
/// the server goes on. A server of OpenAFS's databases says that it never stands, in its log and to `quorate status`. (SIGHUP killed it once.)
#[test]
fn a_server_rereads_its_files_and_says_what_it_is() {
    let folder = one_server();
    let file = |name: &str| folder.path().join(name);
    let (keys, log) = (file("KeyFileExt"), file("log"));
    write_keys(&keys, 1);
    let port = UdpSocket::bind((ADDRESS, 0)).unwrap().local_addr().unwrap().port();
    let database = format!("prdb:{port}");
    let log_argument = log.display().to_string();
    let mut command = serve(folder.path(), &["--database", &database, "--log-file", &log_argument]);
    let mut running = Running(command.spawn().unwrap());
    await_log(&mut running, &log, "it never stands for sync site");
    let told = status_with(port, &[]);
    assert_eq!(told.status.code(), Some(1));
    let told = String::from_utf8(told.stdout).unwrap();
    assert!(
        told.starts_with("DEGRADED: no sync site is known to it") && told.contains("only votes"),
        "{told}"
    );
    write_keys(&keys, 2);
    fs::write(file("CellServDB"), format!(">one.cell\n{ADDRESS}\n10.0.0.9\n")).unwrap();
    fs::rename(&log, file("log.old")).unwrap();
    signal(&running, "HUP");
    await_log(&mut running, &log, "this server presents key version 2");
    await_log(&mut running, &log, "CellServDB lists 10.0.0.9, 127.0.77.201 now; this server keeps the list");
    let year = fs::read_to_string(&log).unwrap().split('-').next().unwrap().parse::<u32>().unwrap();
    assert!(year >= 2026, "times are readable");
    fs::write(&keys, [0, 0, 0, 1, 0]).unwrap();
    fs::write(file("CellServDB"), ">other\n").unwrap();
    signal(&running, "HUP");
    await_log(
        &mut running,
        &log,
        "ends within key 1; it may be damaged, or no KeyFileExt at all; the keys that were read before stay in use",
    );
    await_log(&mut running, &log, "the list that was read before stays in use");
    signal(&running, "TERM");
    assert_eq!(running.0.wait().unwrap().code(), Some(0));
}
