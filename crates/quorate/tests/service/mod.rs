//! Three servers of the service on loopback addresses, as processes with configuration files, for tests of whole programs.
#![allow(dead_code, reason = "each test program uses some")]

pub mod connection;

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use connection::Connection;
use tempfile::TempDir;

/// How long a reply may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The servers' names.
pub const NAMES: [&str; 3] = ["a", "b", "c"];

/// A cell of three, which is killed when dropped.
pub struct Service {
    folder: TempDir,
    processes: [Option<Child>; 3],
    /// Where clients connect, once the servers have said so.
    pub clients: [String; 3],
}

impl Service {
    /// Starts three servers on empty disks; `more` is put before the tables of each configuration file.
    pub fn start(more: &str) -> Service {
        Service::start_on(more, |_| {})
    }

    /// The same; `prepare` gets each server's folder before the server is started.
    pub fn start_on(more: &str, prepare: impl Fn(&Path)) -> Service {
        let folder = tempfile::tempdir().unwrap();
        let block = addresses();
        let listed: Vec<String> = NAMES
            .iter()
            .zip(1..)
            .map(|(name, nth)| format!("{name} = \"{}:7300\"", Ipv4Addr::from(block + nth)))
            .collect();
        for name in NAMES {
            let text = format!(
                "data = \"{name}\"\n{more}\n[clients]\nlisten = [\"127.0.0.1:0\"]\n[page]\nlisten = []\n[cell]\nserver = \
                 \"{name}\"\nservers = {{ {} }}\n",
                listed.join(", ")
            );
            fs::write(folder.path().join(format!("{name}.toml")), text).unwrap();
            fs::create_dir(folder.path().join(name)).unwrap();
            prepare(&folder.path().join(name));
        }
        let mut service = Service { folder, processes: [None, None, None], clients: Default::default() };
        (0..3).for_each(|nth| service.launch(nth));
        (0..3).for_each(|nth| service.await_address(nth));
        service
    }

    /// Starts server `nth` again, and waits until clients can connect; they have to at another port.
    pub fn restart(&mut self, nth: usize) {
        self.launch(nth);
        self.await_address(nth);
    }

    fn launch(&mut self, nth: usize) {
        let log = File::create(self.log_path(nth)).unwrap();
        let mut command = Command::new(testbed::program(env!("CARGO_BIN_EXE_quorate")));
        command.args(["serve", "--config"]).arg(self.folder.path().join(format!("{}.toml", NAMES[nth])));
        self.processes[nth] =
            Some(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap());
    }

    fn await_address(&mut self, nth: usize) {
        self.clients[nth] = loop {
            let log = self.log(nth);
            if let Some((_, rest)) = log.split_once("clients connect to ")
                && let Some((address, _)) = rest.split_once('\n')
            {
                break address.to_owned();
            }
            let ended = self.processes[nth].as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "server {} has ended: {log}", NAMES[nth]);
            std::thread::yield_now();
        };
    }

    /// What server `nth` has said since it was started last.
    pub fn log(&self, nth: usize) -> String {
        fs::read_to_string(self.log_path(nth)).unwrap()
    }

    fn log_path(&self, nth: usize) -> PathBuf {
        self.folder.path().join(format!("{}.log", NAMES[nth]))
    }

    /// The folder of the configuration files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The process of server `nth`, which runs.
    pub fn process(&self, nth: usize) -> u32 {
        self.processes[nth].as_ref().unwrap().id()
    }

    /// Where server `nth` keeps its data.
    pub fn data(&self, nth: usize) -> PathBuf {
        self.folder.path().join(NAMES[nth])
    }

    /// A connection to server `nth`.
    pub fn connect(&self, nth: usize) -> Connection {
        Connection::open(self.clients[nth].parse().unwrap(), PATIENCE).unwrap()
    }

    /// Waits for a sync site.
    pub fn sync_site(&self) -> usize {
        let stands = |nth: &usize| {
            let found = self.connect(*nth).ask(&["INFO", "replication"]).unwrap();
            String::from_utf8_lossy(found.as_bytes().unwrap()).contains("quorate_standing:sync site")
        };
        loop {
            if let Some(nth) = (0..NAMES.len()).find(stands) {
                return nth;
            }
        }
    }

    /// Sends server `nth` a signal by its name.
    pub fn signal(&self, nth: usize, signal: &str) {
        let sent = Command::new("kill").args(["-s", signal, &self.process(nth).to_string()]).status();
        assert!(sent.unwrap().success());
    }

    /// Waits until server `nth` has ended.
    pub fn wait(&mut self, nth: usize) -> ExitStatus {
        self.processes[nth].take().unwrap().wait().unwrap()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        for process in self.processes.iter_mut().flatten() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// Four addresses of the loopback network that no other cell of this or another test process has.
fn addresses() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let of_process = (std::process::id() % (1 << 14)) << 5;
    u32::from(Ipv4Addr::new(127, 128, 0, 0)) + of_process + ((NEXT.fetch_add(1, Ordering::Relaxed) % 8) << 2)
}
