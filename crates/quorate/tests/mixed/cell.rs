//! What every scenario does with a mixed cell: waiting, writing by OpenAFS's commands or ours, asking what is true.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rx::rxkad::Level;
use rx::security::{NullSecurity, SecurityClass};
use rx::{Port, PortConfig};
use serde_json::Value;
use testbed::lab::{self, CELL, Lab};
use ubik::client::{Client, Patience};
use ubik::registers::table;

/// One of OpenAFS's database services.
#[derive(Clone, Copy)]
pub struct Service {
    pub name: &'static str,
    pub program: &'static str,
    pub database: &'static str,
    pub port: u16,
    pub keys: bool,
}

pub const PRDB: Service =
    Service { name: "prdb", program: "ptserver", database: "prdb", port: 7002, keys: false };
pub const PRDB_KEYS: Service = Service { name: "prdb with keys", keys: true, ..PRDB };
pub const VLDB: Service =
    Service { name: "vldb", program: "vlserver", database: "vldb", port: 7003, keys: false };
pub const VLDB_KEYS: Service = Service { name: "vldb with keys", keys: true, ..VLDB };

/// Where the registers stand in a database: beyond all that ptserver and vlserver look at in these tests.
const REGISTERS_AT: &str = "1048576";
/// No election takes longer, C's double ones included.
pub const ELECTION: Duration = Duration::from_secs(240);

/// Why nothing of this can run here, if it cannot.
pub fn missing() -> Option<String> {
    lab::openafs_is_missing()
        .or_else(|| Lab::new(1, &[], false).err())
        .or_else(|| (!testbed::namespace::run("nft", &["--version"])).then(|| "nft is not there".to_owned()))
}

fn quorate() -> PathBuf {
    testbed::program(env!("CARGO_BIN_EXE_quorate"))
}

/// Asks until there is an answer.
pub fn wait_for<T>(what: &str, patience: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask() {
            eprintln!("{what}: after {:.1} s", begun.elapsed().as_secs_f64());
            return answer;
        }
        assert!(begun.elapsed() < patience, "{what}: not within {patience:?}");
        // The answers come from other programs, which tell nobody when they change.
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// A mixed cell.
pub struct Cell {
    pub lab: Lab,
    pub service: Service,
}

impl Drop for Cell {
    /// A scenario that failed shows what the servers said.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for node in &self.lab.nodes {
            eprintln!("-- {}\n{}", node.address(), node.said());
            for log in ["PtLog", "VLLog"] {
                eprint!("{}", std::fs::read_to_string(node.path("log").join(log)).unwrap_or_default());
            }
        }
    }
}

impl Cell {
    pub fn new(service: Service, servers: usize, clones: &[usize]) -> Cell {
        Cell { lab: Lab::new(servers, clones, service.keys).unwrap(), service }
    }

    pub fn start_openafs(&mut self, nodes: &[usize]) {
        nodes.iter().for_each(|&node| self.lab.start_openafs(node, self.service.program));
    }

    /// Ours, which may become sync site: the tests' application writes through it.
    pub fn start_ours(&mut self, node: usize) {
        self.start_ours_with(node, &["--stand", "--registers-at", REGISTERS_AT]);
    }

    /// Ours as it is by default: beside OpenAFS's servers it only votes.
    pub fn start_ours_voting(&mut self, node: usize) {
        self.start_ours_with(node, &[]);
    }

    fn start_ours_with(&mut self, node: usize, more: &[&str]) {
        let mut arguments = [&["afs", "serve", "--database", self.service.database], more].concat();
        if !self.service.keys {
            arguments.push("--no-auth");
        }
        self.lab.nodes[node].start(&quorate(), &arguments);
    }

    /// A database that OpenAFS alone has made, with one entry, put onto these nodes.
    pub fn seed(&mut self, nodes: &[usize]) {
        let mut alone = Cell::new(self.service, 1, &[]);
        alone.start_openafs(&[0]);
        wait_for("a single server of OpenAFS writes", ELECTION, || alone.write(0).then_some(()));
        alone.lab.nodes[0].stop();
        let file = format!("{}.DB0", self.service.database);
        let bytes = alone.lab.nodes[0].database(&file);
        for &node in nodes {
            std::fs::write(self.lab.nodes[node].path("var/db").join(&file), &bytes).unwrap();
        }
    }

    fn authentication(&self) -> &'static str {
        if self.service.keys { "-localauth" } else { "-noauth" }
    }

    /// Makes the `nth` entry by OpenAFS's own command; whether it succeeded.
    pub fn write(&self, nth: u32) -> bool {
        let auth = self.authentication();
        let (name, uuid) = (format!("user{nth}"), format!("00000000-0000-0000-00-00-0000000000{nth:02x}"));
        let address = format!("10.9.0.{}", nth + 1);
        let (done, text) = match self.service.program {
            "ptserver" => self.lab.on_client("pts", &["createuser", &name, "-cell", CELL, auth]),
            _ => self
                .lab
                .on_client("vos", &["setaddrs", "-uuid", &uuid, "-host", &address, "-cell", CELL, auth]),
        };
        if !done && !text.contains("no quorum") && !text.contains("not synchronization site") {
            eprintln!("write {nth}: {text}");
        }
        done
    }

    /// Whether OpenAFS's command finds the `nth` entry.
    pub fn finds(&self, nth: u32) -> bool {
        let auth = self.authentication();
        let name = format!("user{nth}");
        let (done, text) = match self.service.program {
            "ptserver" => self.lab.on_client("pts", &["examine", &name, "-cell", CELL, auth]),
            _ => self.lab.on_client("vos", &["listaddrs", "-noresolve", "-cell", CELL, auth]),
        };
        let expected = match self.service.program {
            "ptserver" => format!("Name: {name},"),
            _ => format!("10.9.0.{}", nth + 1),
        };
        done && text.lines().any(|line| line.starts_with(&expected))
    }

    /// What `quorate status` says of a server, and whether it is content.
    pub fn status(&self, node: usize) -> Option<(Value, bool)> {
        let server = format!("{}:{}", self.lab.nodes[node].address(), self.service.port);
        let arguments = ["status", &server, "--json", "--timeout-secs", "3"];
        let quorate = quorate().display().to_string();
        let output = self.lab.client.command(&quorate, &arguments).output().unwrap();
        Some((serde_json::from_slice(&output.stdout).ok()?, output.status.success()))
    }

    /// What `quorate copy` makes of a server's database, from a machine that is not in the cell.
    pub fn copy(&self, node: usize) -> Vec<u8> {
        let path = self.lab.client.path(&format!("copy{node}"));
        let [file, keys] =
            [path.clone(), self.lab.client.path("etc/server")].map(|path| path.display().to_string());
        let mut arguments = vec!["copy", self.lab.nodes[node].address(), self.service.database, &file];
        arguments.extend(["--config-dir", &keys]);
        if !self.service.keys {
            arguments.push("--no-auth");
        }
        let quorate = quorate().display().to_string();
        let output = self.lab.client.command(&quorate, &arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        std::fs::read(path).unwrap()
    }

    /// What `udebug` says of a server.
    pub fn udebug(&self, node: usize) -> String {
        let port = self.service.port.to_string();
        self.lab.on_client("udebug", &[self.lab.nodes[node].address(), &port, "-long"]).1
    }

    /// Waits until these servers hold the same bytes, and are left alone long enough to say so.
    pub fn wait_until_equal(&self, nodes: &[usize]) -> Vec<u8> {
        let file = format!("{}.DB0", self.service.database);
        wait_for("the databases are equal", ELECTION, || {
            let first = self.lab.nodes[nodes[0]].database(&file);
            let equal = nodes.iter().all(|&node| self.lab.nodes[node].database(&file) == first);
            (equal && first.len() > 64).then_some(first)
        })
    }

    /// A client of ours on the client's node.
    pub fn client(&self) -> Client {
        let namespace = self.lab.client.namespace();
        let open = || {
            namespace.enter();
            Port::open("10.77.0.100:0".parse().unwrap(), PortConfig::default()).unwrap()
        };
        // A thread of its own: the test's threads stay where they are.
        let port = std::thread::scope(|scope| scope.spawn(open).join().unwrap());
        let servers = self
            .lab
            .nodes
            .iter()
            .map(|node| format!("{}:{}", node.address(), self.service.port).parse().unwrap());
        let patience = Patience { in_all: ELECTION, ..Patience::default() };
        Client::new(Arc::new(port), servers.collect(), table::SERVICE, self.security(), patience)
    }

    /// How a member of the cell calls.
    pub fn security(&self) -> Arc<dyn SecurityClass> {
        if !self.service.keys {
            return Arc::new(NullSecurity);
        }
        let keys = rx::keys::read(&self.lab.client.path("etc/server/KeyFileExt")).unwrap();
        Arc::new(rx::keys::client(&keys, Level::Clear).unwrap())
    }
}
