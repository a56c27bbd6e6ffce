//! What the tests of this crate share: folders, and libtdb's own programs as peers.
#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// Test files in memory, so that syncs are cheap; the system's folder elsewhere.
pub fn folder() -> TempDir {
    match tempfile::tempdir_in("/dev/shm") {
        Ok(folder) => folder,
        Err(_) => tempfile::tempdir().expect("a temporary folder can be made"),
    }
}

/// The Python that has libtdb's module, if any here does.
pub fn python() -> Option<PathBuf> {
    ["/usr/bin/python3", "python3"].into_iter().map(PathBuf::from).find(|python| {
        let probe = Command::new(python).args(["-c", "import tdb"]).stderr(Stdio::null()).status();
        probe.is_ok_and(|status| status.success())
    })
}

/// Runs a Python script with `tdb`, `os` and `sys` imported and the file's path in `path`; returns what it printed.
pub fn run_python(python: &Path, path: &Path, script: &str) -> String {
    let output = python_command(python, path, script).output().expect("python starts");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "python failed:\n{script}\n{error}");
    String::from_utf8(output.stdout).expect("python prints text")
}

/// Starts such a script.
pub fn start_python(python: &Path, path: &Path, script: &str) -> Child {
    let mut command = python_command(python, path, script);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python starts")
}

fn python_command(python: &Path, path: &Path, script: &str) -> Command {
    let mut command = Command::new(python);
    command.arg("-c").arg(format!("import tdb, os, sys\npath = sys.argv[1]\n{script}")).arg(path);
    command
}

/// Whether a program is installed.
pub fn has(program: &str) -> bool {
    Command::new("sh")
        .args(["-c", &format!("command -v {program}")])
        .output()
        .is_ok_and(|out| out.status.success())
}

/// What `tdbtool FILE check` says; `None` where it is not installed.
pub fn peer_check(path: &Path) -> Option<String> {
    if !has("tdbtool") {
        return None;
    }
    let output = Command::new("tdbtool").arg(path).arg("check").output().expect("tdbtool starts");
    Some(String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
}

/// Fails unless our check passes, and libtdb's where it is installed; returns the number of records.
pub fn must_be_sound(database: &impl Opened) -> u64 {
    let used = database.used();
    if let Some(said) = peer_check(database.name()) {
        assert!(said.contains("integrity is OK"), "tdbtool check: {said}");
        assert!(said.contains(&format!("has {used} records")), "tdbtool check: {said}, ours: {used}");
    }
    used
}

/// What the tests ask of either kind of handle.
pub trait Opened {
    fn name(&self) -> &Path;
    fn used(&self) -> u64;
}

impl Opened for tdb::Database {
    fn name(&self) -> &Path {
        self.name()
    }

    fn used(&self) -> u64 {
        self.check(|_, _| true).expect("the database passes our check").used
    }
}

impl Opened for tdb::compat::Tdb {
    fn name(&self) -> &Path {
        self.name()
    }

    fn used(&self) -> u64 {
        self.check(|_, _| true).expect("the database passes our check").used
    }
}

/// Tdb what C's interface would open.
pub trait Dialect {
    fn open_in_dialect(&self, path: impl AsRef<Path>) -> Result<tdb::compat::Tdb, tdb::OpenError>;
    fn flags(&mut self, flags: tdb::Flags) -> &mut Self;
}

impl Dialect for tdb::OpenOptions {
    fn open_in_dialect(&self, path: impl AsRef<Path>) -> Result<tdb::compat::Tdb, tdb::OpenError> {
        tdb::compat::Tdb::open(self, path)
    }

    fn flags(&mut self, flags: tdb::Flags) -> &mut Self {
        tdb::compat::set_flags(self, flags)
    }
}
