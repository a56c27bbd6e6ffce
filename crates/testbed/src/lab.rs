//! A cell of database servers in network namespaces: OpenAFS's servers and ours side by side, each with its own address and
//! its own folders, and every fault that can be done to them.
//!
//! Server `i` has address 10.77.0.(11 + i); one more node, the client, has 10.77.0.100.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::namespace::{self, Namespace, run};

/// The cell's name.
pub const CELL: &str = "test.ubik";
/// The key of a cell with keys.
const KEY: &[u8; 32] = b"a key of the test cell, 32 bytes";

/// Where a node's servers' output goes, whatever the program's file is called.
const SAID: &str = "log/server.out";

/// Where Debian puts OpenAFS's servers.
pub const OPENAFS_SERVERS: &str = "/usr/lib/openafs";

/// Where Debian puts faketime's library for programs with threads.
pub const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

/// Why OpenAFS's servers and programs cannot be used here, if they cannot.
pub fn openafs_is_missing() -> Option<String> {
    let needed = [
        "/usr/lib/openafs/ptserver",
        "/usr/lib/openafs/vlserver",
        "/usr/bin/udebug",
        "/usr/bin/rxdebug",
        "/usr/bin/pts",
        "/usr/bin/vos",
    ];
    let missing: Vec<_> = needed.iter().filter(|path| !Path::new(path).exists()).collect();
    (!missing.is_empty())
        .then(|| format!("{missing:?} not there; install openafs-dbserver and openafs-client"))
}

/// One node: a namespace, its folders, and the server that runs there.
pub struct Node {
    namespace: Namespace,
    folder: PathBuf,
    address: String,
    server: Option<Child>,
}

impl Node {
    /// Its address.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its namespace.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// A path in its folders: `etc`, `var` or `log` and what is below.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The bytes of a file of its databases, for instance `prdb.DB0`.
    pub fn database(&self, file: &str) -> Vec<u8> {
        fs::read(self.path("var/db").join(file)).unwrap_or_default()
    }

    /// A command that runs on this node and sees its folders as OpenAFS's own.
    pub fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let script = in_openafs_folders(&self.folder);
        let mut command = self.namespace.command("unshare", &["-m", "sh", "-c", &script, "_", program]);
        command.args(arguments);
        command
    }

    /// Starts a server here; [`Node::said`] is what it says.
    ///
    /// # Panics
    /// If one runs already, or it cannot be started.
    pub fn start(&mut self, program: &Path, arguments: &[&str]) {
        assert!(self.server.is_none(), "a server runs on {} already", self.address);
        let log = self.path(SAID);
        let log = File::options().append(true).create(true).open(log).expect("the folder is there");
        let other = log.try_clone().expect("an open file can be had twice");
        let mut command = self.command(&program.display().to_string(), arguments);
        let child = command.stdin(Stdio::null()).stdout(log).stderr(other).spawn();
        self.server = Some(child.expect("the system can start one more process"));
    }

    /// Whether a server runs here.
    pub fn runs(&mut self) -> bool {
        self.server.as_mut().is_some_and(|server| server.try_wait().is_ok_and(|status| status.is_none()))
    }

    /// The server's process id.
    pub fn id(&self) -> Option<u32> {
        self.server.as_ref().map(Child::id)
    }

    /// Sends the server a signal, by its name.
    pub fn signal(&self, signal: &str) {
        if let Some(server) = &self.server {
            run("kill", &["-s", signal, &server.id().to_string()]);
        }
    }

    /// Kills the server, as a crash would.
    pub fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
    }

    /// Ends the server by SIGTERM and waits for it; its exit code, if it ended by itself.
    pub fn stop(&mut self) -> Option<i32> {
        self.signal("TERM");
        self.server.take().and_then(|mut server| server.wait().ok()?.code())
    }

    /// Resident memory of the server, in KiB.
    pub fn resident_kib(&self) -> Option<u64> {
        let server = self.server.as_ref()?;
        let status = fs::read_to_string(format!("/proc/{}/status", server.id())).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
        line.split_whitespace().nth(1)?.parse().ok()
    }

    /// What the servers that ran here have said so far.
    pub fn said(&self) -> String {
        fs::read_to_string(self.path(SAID)).unwrap_or_default()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A cell.
pub struct Lab {
    /// The servers.
    pub nodes: Vec<Node>,
    /// Where clients run.
    pub client: Node,
    _switch: Namespace,
    _folder: TempDir,
}

impl Lab {
    /// A network and the configuration of a cell: `clones` do not vote; with keys every call is authenticated.
    ///
    /// # Errors
    /// Why there can be none here.
    pub fn new(servers: usize, clones: &[usize], keys: bool) -> Result<Lab, String> {
        let mut addresses: Vec<String> = (0..servers).map(|nth| format!("10.77.0.{}", 11 + nth)).collect();
        addresses.push("10.77.0.100".to_owned());
        let (switch, namespaces) = namespace::network(&addresses)?;
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let mut nodes: Vec<Node> = namespaces
            .into_iter()
            .zip(&addresses)
            .map(|(namespace, address)| {
                let folder = folder.path().join(address);
                Node { namespace, folder, address: address.clone(), server: None }
            })
            .collect();
        let mut list = format!(">{CELL}\t#a cell under test\n");
        for (nth, address) in addresses[..servers].iter().enumerate() {
            let address = if clones.contains(&nth) { format!("[{address}]") } else { address.clone() };
            list.push_str(&format!("{address}\t#server {nth}\n"));
        }
        for node in &nodes {
            configure(node, &list, keys).map_err(|error| error.to_string())?;
        }
        let client = nodes.pop().ok_or("the client was made above")?;
        Ok(Lab { nodes, client, _switch: switch, _folder: folder })
    }

    /// Starts a server of OpenAFS, for instance `ptserver`.
    pub fn start_openafs(&mut self, node: usize, program: &str) {
        self.nodes[node].start(&Path::new(OPENAFS_SERVERS).join(program), &[]);
    }

    /// Drops everything that travels from any of `from` to any of `to`, in silence or with an ICMP refusal.
    pub fn cut(&self, from: &[usize], to: &[usize], refuse: bool) {
        let verdict = if refuse { "reject" } else { "drop" };
        for &receiver in to {
            let namespace = &self.nodes[receiver].namespace;
            namespace.run("nft", &["add", "table", "inet", "lab"]);
            let chain = "add chain inet lab in { type filter hook input priority 0; }";
            namespace.run("nft", &[chain]);
            for &sender in from.iter().filter(|&&sender| sender != receiver) {
                let address = &self.nodes[sender].address;
                namespace.run("nft", &["add", "rule", "inet", "lab", "in", "ip", "saddr", address, verdict]);
            }
        }
    }

    /// Cuts the network in two, both ways.
    pub fn split(&self, one: &[usize], other: &[usize], refuse: bool) {
        self.cut(one, other, refuse);
        self.cut(other, one, refuse);
    }

    /// Loses so many of a hundred datagrams that arrive at a node.
    pub fn lose(&self, node: usize, percent: u32) {
        let namespace = &self.nodes[node].namespace;
        namespace.run("nft", &["add", "table", "inet", "lab"]);
        namespace.run("nft", &["add chain inet lab in { type filter hook input priority 0; }"]);
        let rule = format!("add rule inet lab in meta l4proto udp numgen random mod 100 < {percent} drop");
        namespace.run("nft", &[&rule]);
    }

    /// Lets a node send no more than so many megabits a second; whether it can be done here.
    pub fn slow_line(&self, node: usize, megabits: u32) -> bool {
        let rate = format!("{megabits}mbit");
        let shape =
            ["qdisc", "add", "dev", "e0", "root", "tbf", "rate", &rate, "burst", "32kb", "latency", "200ms"];
        self.nodes[node].namespace.run("tc", &shape)
    }

    /// Takes back every cut and loss.
    pub fn heal(&self) {
        for node in &self.nodes {
            node.namespace.run("nft", &["delete", "table", "inet", "lab"]);
        }
    }

    /// What a command on the client's node prints, both streams, and whether it succeeded.
    pub fn on_client(&self, program: &str, arguments: &[&str]) -> (bool, String) {
        let output = self.client.command(program, arguments).stdin(Stdio::null()).output();
        match output {
            Ok(output) => {
                let text = [output.stdout, output.stderr].concat();
                (output.status.success(), String::from_utf8_lossy(&text).into_owned())
            }
            Err(error) => (false, error.to_string()),
        }
    }
}

fn configure(node: &Node, list: &str, keys: bool) -> std::io::Result<()> {
    for name in ["etc/server", "var/db", "var/local", "log"] {
        fs::create_dir_all(node.path(name))?;
    }
    for etc in ["etc", "etc/server"] {
        fs::write(node.path(etc).join("ThisCell"), format!("{CELL}\n"))?;
        fs::write(node.path(etc).join("CellServDB"), list)?;
    }
    if keys {
        let path = node.path("etc/server/KeyFileExt");
        fs::write(&path, key_file())?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))
    } else {
        fs::write(node.path("var/local/NoAuth"), "")
    }
}

/// One key: version 1, AES-256.
fn key_file() -> Vec<u8> {
    let words: [u32; 6] = [1, 16, 2, 1, 18, KEY.len() as u32];
    let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
    bytes.extend_from_slice(KEY);
    bytes
}

/// A shell script that runs its arguments with `etc`, `var` and `log` of a folder in the places of OpenAFS's own
/// folders; it needs a mount namespace.
pub fn in_openafs_folders(folder: &Path) -> String {
    let at = |name: &str| folder.join(name).display().to_string();
    format!(
        "mount --make-rprivate / && mount --bind {} /etc/openafs && mount --bind {} /var/lib/openafs && \
         mount --bind {} /var/log/openafs && exec \"$@\"",
        at("etc"),
        at("var"),
        at("log")
    )
}
