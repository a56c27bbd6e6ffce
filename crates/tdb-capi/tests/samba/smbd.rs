//! A file server: smbd in a network namespace of its own, on either library, and smbtorture as its client.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use testbed::namespace::Namespace;

use crate::library::{Stage, Which, printed};

/// Root's password on the server.
const PASSWORD: &str = "pw";

/// After so many seconds smbtorture gives a test up: a client that waits for an answer forever is the fault to be found.
/// The longest test takes three minutes on a busy machine.
const TIME_LIMIT_SECS: u32 = 600;

/// A running smbd; killed when dropped, with every process that it or a test has started.
pub struct Smbd<'a> {
    stage: &'a Stage,
    which: Which,
    namespace: Namespace,
    configuration: PathBuf,
    scratch: PathBuf,
    daemon: Child,
}

impl<'a> Smbd<'a> {
    /// Starts one with its files in `folder` and waits until it serves. The error says why this machine cannot have one.
    pub fn start(stage: &'a Stage, which: Which, folder: &Path) -> Result<Smbd<'a>, String> {
        let namespace =
            Namespace::create().ok_or("network namespaces cannot be made here (root, iproute2)")?;
        let configuration = configure(folder).expect("the scratch folder is writable");
        let log = folder.join("log").display().to_string();
        let file = configuration.display().to_string();
        let set_password = format!("printf '{PASSWORD}\\n{PASSWORD}\\n' | smbpasswd -c {file} -s -a root");
        printed(stage.inside(which, &namespace, "sh", &["-c", &set_password]).output().expect("it starts"));
        let daemon = stage
            .inside(which, &namespace, "smbd", &["-s", &file, "-F", "--no-process-group", "-l", &log])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let scratch = folder.join("scratch");
        let mut smbd = Smbd { stage, which, namespace, configuration, scratch, daemon };
        smbd.wait_until_it_serves();
        Ok(smbd)
    }

    fn wait_until_it_serves(&mut self) {
        loop {
            let asked = self.command("smbclient", &["//127.0.0.1/share", "-c", "quit"]).output();
            if asked.expect("it starts").status.success() {
                return;
            }
            let ended = self.daemon.try_wait().expect("it is a child of ours");
            assert!(ended.is_none(), "smbd ended with {ended:?}: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A client of this server, which knows its configuration and password.
    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = self.stage.inside(self.which, &self.namespace, program, arguments);
        command.arg("-s").arg(&self.configuration).arg(format!("-Uroot%{PASSWORD}"));
        command.current_dir(&self.scratch).stdin(Stdio::null());
        command
    }

    /// Runs one test of smbtorture, or one group of them, and returns what it says: `success: NAME` and the like. A test
    /// that crashed or ran out of time says nothing.
    pub fn torture(&self, test: &str) -> Vec<String> {
        let limit = format!("--timelimit={TIME_LIMIT_SECS}");
        let run = self
            .command("smbtorture", &["--target=samba3", "--seed=1", &limit, "//127.0.0.1/share", test])
            .output()
            .expect("the packages are there");
        results(&String::from_utf8_lossy(&run.stdout))
    }

    /// The file that smbd has mapped as `libtdb.so.1`.
    pub fn library(&self) -> String {
        mapped_library(self.daemon.id())
    }

    fn log(&self) -> String {
        let path = self.configuration.with_file_name("log").join("log.smbd");
        std::fs::read_to_string(path).unwrap_or_default()
    }
}

impl Drop for Smbd<'_> {
    fn drop(&mut self) {
        self.namespace.kill_processes();
        let _ = self.daemon.wait();
    }
}

/// The TDB library in a process's memory.
pub fn mapped_library(process: u32) -> String {
    let maps = std::fs::read_to_string(format!("/proc/{process}/maps")).unwrap_or_default();
    let names = maps.lines().filter_map(|line| line.split_whitespace().nth(5));
    names.filter(|name| name.contains("libtdb.so") || name.contains("libtdb_capi")).take(1).collect()
}

/// The results among smbtorture's lines: `success: NAME`, or `failure: NAME [`, the reason, `]`. The reason's first word
/// names a line of smbtorture's source, and what follows has times and numbers of one run.
fn results(text: &str) -> Vec<String> {
    let mut lines = text.lines();
    let mut results = Vec::new();
    while let Some(line) = lines.next() {
        let is_result =
            ["success: ", "failure: ", "skip: ", "error: "].iter().any(|word| line.starts_with(word));
        if let Some(line) = line.strip_suffix(" [").filter(|_| is_result) {
            let place = lines.next().and_then(|reason| reason.split(' ').next()).unwrap_or_default();
            results.push(format!("{line} at {place}"));
        } else if is_result {
            results.push(line.to_owned());
        }
    }
    results
}

/// Folders, a share, and an smb.conf that allows what the tests ask for.
fn configure(folder: &Path) -> std::io::Result<PathBuf> {
    for name in ["lock", "state", "cache", "pid", "private", "ncalrpc", "share", "log", "scratch"] {
        std::fs::create_dir_all(folder.join(name))?;
    }
    let at = folder.display();
    let text = format!(
        "[global]
netbios name = QUORATE
workgroup = QUORATE
server role = standalone
lock directory = {at}/lock
state directory = {at}/state
cache directory = {at}/cache
pid directory = {at}/pid
private dir = {at}/private
ncalrpc dir = {at}/ncalrpc
log file = {at}/log/log.smbd
max log size = 0
passdb backend = tdbsam
bind interfaces only = yes
interfaces = 127.0.0.1/8
server min protocol = NT1
client min protocol = NT1
load printers = no
disable spoolss = yes
printcap name = /dev/null
ea support = yes
store dos attributes = yes
kernel oplocks = no
kernel share modes = no
posix locking = no
server multi channel support = yes
[share]
path = {at}/share
read only = no
vfs objects = streams_xattr acl_xattr
"
    );
    let file = folder.join("smb.conf");
    std::fs::write(&file, text)?;
    Ok(file)
}
