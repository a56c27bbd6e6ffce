//! Network namespaces for tests that need peers or a faulty network: made, entered, and removed when dropped.
//!
//! A test enters one by running its own program again inside ([`Namespace::test`]), with a thread
//! ([`Namespace::enter`]), or with any other program ([`Namespace::command`]).

use std::fs::File;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Set for a test program that runs inside a namespace.
const INSIDE: &str = "QUORATE_INSIDE_NAMESPACE";

/// Whether this test program was started inside a namespace, and in which part.
pub fn inside() -> Option<String> {
    std::env::var(INSIDE).ok()
}

/// A network namespace; removed when dropped.
#[derive(Debug)]
pub struct Namespace {
    /// Its name for `ip netns`.
    pub name: String,
}

impl Namespace {
    /// A namespace with its loopback device up, if one can be made here (root and iproute2).
    pub fn create() -> Option<Namespace> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("qns{}x{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        if !run("ip", &["netns", "add", &name]) {
            return None;
        }
        let namespace = Namespace { name };
        namespace.run("ip", &["link", "set", "lo", "up"]).then_some(namespace)
    }

    /// A command that runs inside; its process id is the program's own.
    pub fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]).args(arguments);
        command
    }

    /// Runs a command inside, in silence; whether it succeeded.
    pub fn run(&self, program: &str, arguments: &[&str]) -> bool {
        run("ip", &[&["netns", "exec", &self.name, program], arguments].concat())
    }

    /// The ids of all processes inside.
    pub fn processes(&self) -> Vec<u32> {
        let listed = Command::new("ip").args(["netns", "pids", &self.name]).output();
        let listed = listed.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        listed.unwrap_or_default().split_whitespace().filter_map(|id| id.parse().ok()).collect()
    }

    /// Kills every process inside, also those whose parents have left them.
    pub fn kill_processes(&self) {
        for process in self.processes() {
            run("kill", &["-s", "KILL", &process.to_string()]);
        }
    }

    /// This test program, running only `test`, as `part`, inside.
    ///
    /// # Panics
    /// If the program's own path is not known.
    pub fn test(&self, test: &str, part: &str) -> Command {
        let own = std::env::current_exe().expect("a running program has a path");
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(own);
        command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(INSIDE, part);
        command
    }

    /// Moves the calling thread inside: its sockets, and the threads it starts, belong there.
    ///
    /// # Panics
    /// If that is not allowed, though the namespace could be made.
    pub fn enter(&self) {
        let path = format!("/run/netns/{}", self.name);
        let file = File::open(path).expect("the namespace is there as long as this value");
        let moved = move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network));
        moved.expect("whoever may make a namespace may enter it");
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        run("ip", &["netns", "del", &self.name]);
    }
}

/// Two namespaces with a wire between them, or why there are none.
///
/// # Errors
/// What is missing here.
pub fn pair(addresses: [&str; 2]) -> Result<[Namespace; 2], String> {
    let namespaces = [Namespace::create(), Namespace::create()];
    let [Some(a), Some(b)] = namespaces else {
        return Err("network namespaces cannot be made here".into());
    };
    wire((&a, "e0"), (&b, "e0"))?;
    for (namespace, address) in [(&a, addresses[0]), (&b, addresses[1])] {
        namespace.run("ip", &["addr", "add", address, "dev", "e0"]);
    }
    Ok([a, b])
}

/// Puts a wire between two namespaces, up at both ends.
fn wire(a: (&Namespace, &str), b: (&Namespace, &str)) -> Result<(), String> {
    let made = run(
        "ip",
        &["link", "add", a.1, "netns", &a.0.name, "type", "veth", "peer", "name", b.1, "netns", &b.0.name],
    );
    for (namespace, device) in [a, b] {
        namespace.run("ip", &["link", "set", device, "up"]);
    }
    if made { Ok(()) } else { Err("virtual Ethernet cannot be made here".into()) }
}

/// A network: as many namespaces as addresses, each with one of them on device `e0`, all on one switch.
///
/// # Errors
/// What is missing here.
pub fn network(addresses: &[String]) -> Result<(Namespace, Vec<Namespace>), String> {
    let missing = || "network namespaces cannot be made here (root, iproute2)".to_owned();
    let switch = Namespace::create().ok_or_else(missing)?;
    if !switch.run("ip", &["link", "add", "br0", "type", "bridge"]) {
        return Err("a bridge cannot be made here".into());
    }
    switch.run("ip", &["link", "set", "br0", "up"]);
    let mut nodes = Vec::new();
    for (nth, address) in addresses.iter().enumerate() {
        let node = Namespace::create().ok_or_else(missing)?;
        let port = format!("p{nth}");
        wire((&node, "e0"), (&switch, &port))?;
        switch.run("ip", &["link", "set", &port, "master", "br0"]);
        node.run("ip", &["addr", "add", &format!("{address}/24"), "dev", "e0"]);
        nodes.push(node);
    }
    Ok((switch, nodes))
}

/// Runs a command in silence; whether it succeeded.
pub fn run(program: &str, arguments: &[&str]) -> bool {
    let status = Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}
