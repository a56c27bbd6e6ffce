//! Network namespaces for tests that need peers or a faulty network: made, entered by running the test program again
//! inside, and removed.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// Set for a test program that runs inside a namespace.
const INSIDE: &str = "QUORATE_RX_INSIDE";

/// Whether this test program was started inside a namespace, and in which part.
pub fn inside() -> Option<String> {
    std::env::var(INSIDE).ok()
}

/// A network namespace; removed when dropped.
pub struct Namespace {
    pub name: String,
}

impl Namespace {
    pub fn create() -> Option<Namespace> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("qrx{}x{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        if !run("ip", &["netns", "add", &name]) {
            return None;
        }
        let namespace = Namespace { name };
        namespace.run("ip", &["link", "set", "lo", "up"]).then_some(namespace)
    }

    /// Runs a command inside.
    pub fn run(&self, program: &str, arguments: &[&str]) -> bool {
        run("ip", &[&["netns", "exec", &self.name, program], arguments].concat())
    }

    /// This test program, running only `test`, as `part`, inside.
    pub fn test(&self, test: &str, part: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(std::env::current_exe().unwrap());
        command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(INSIDE, part);
        command
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        run("ip", &["netns", "del", &self.name]);
    }
}

/// Two namespaces with a wire between them, or why there are none.
pub fn pair(addresses: [&str; 2]) -> Result<[Namespace; 2], String> {
    let namespaces = [Namespace::create(), Namespace::create()];
    let [Some(a), Some(b)] = namespaces else {
        return Err("network namespaces cannot be made here".into());
    };
    let made = run(
        "ip",
        &["link", "add", "e0", "netns", &a.name, "type", "veth", "peer", "name", "e0", "netns", &b.name],
    );
    if !made {
        return Err("virtual Ethernet cannot be made here".into());
    }
    for (namespace, address) in [(&a, addresses[0]), (&b, addresses[1])] {
        namespace.run("ip", &["addr", "add", address, "dev", "e0"]);
        namespace.run("ip", &["link", "set", "e0", "up"]);
    }
    Ok([a, b])
}

pub fn run(program: &str, arguments: &[&str]) -> bool {
    let status = Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Why OpenAFS's servers and programs cannot be used here, if they cannot.
pub fn openafs_is_missing() -> Option<String> {
    let needed = ["/usr/lib/openafs/ptserver", "/usr/bin/udebug", "/usr/bin/rxdebug", "/usr/bin/pts"];
    let missing: Vec<_> = needed.iter().filter(|path| !Path::new(path).exists()).collect();
    (!missing.is_empty())
        .then(|| format!("{missing:?} not there; install openafs-dbserver and openafs-client"))
}
