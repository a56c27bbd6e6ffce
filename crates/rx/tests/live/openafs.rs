//! A `ptserver` of OpenAFS in a namespace of its own, with its files in a temporary folder.

use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Its address.
pub const ADDRESS: &str = "10.77.0.11";
/// The address of a server that does not run. Not in the network of the loopback device, all of which is ours.
const ABSENT: &str = "10.99.0.9";
/// Its port.
pub const PORT: u16 = 7002;
/// The key of its cell.
pub const KEY: [u8; 32] = *b"a key of the test cell, 32 bytes";

/// Its folders.
pub struct Folders {
    folder: tempfile::TempDir,
}

impl Folders {
    /// Empty folders of a server; with a key, calls must be authenticated.
    pub fn new(with_key: bool) -> Folders {
        let folders = Folders { folder: tempfile::tempdir().unwrap() };
        for name in ["etc/server", "var/db", "var/local", "log"] {
            std::fs::create_dir_all(folders.path(name)).unwrap();
        }
        for etc in ["etc", "etc/server"] {
            std::fs::write(folders.path(etc).join("ThisCell"), "test.ubik\n").unwrap();
            let servers = format!(">test.ubik\t#test\n{ADDRESS}\t#one\n");
            std::fs::write(folders.path(etc).join("CellServDB"), servers).unwrap();
        }
        if with_key {
            std::fs::write(folders.key_file(), key_file_bytes()).unwrap();
            let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            std::fs::set_permissions(folders.key_file(), private).unwrap();
        } else {
            std::fs::write(folders.path("var/local/NoAuth"), "").unwrap();
        }
        folders
    }

    /// Names a second server, which is not there: the next start has no quorum, and so no sync site.
    pub fn add_absent_server(&self) {
        for etc in ["etc", "etc/server"] {
            let servers = format!(">test.ubik\t#test\n{ADDRESS}\t#one\n{ABSENT}\t#two\n");
            std::fs::write(self.path(etc).join("CellServDB"), servers).unwrap();
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn key_file(&self) -> PathBuf {
        self.path("etc/server/KeyFileExt")
    }

    pub fn database(&self) -> PathBuf {
        self.path("var/db/prdb.DB0")
    }

    /// A command of OpenAFS that sees these folders as its own.
    pub fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let script = testbed::lab::in_openafs_folders(self.folder.path());
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", &script, "_", program]).args(arguments);
        command
    }

    /// Starts the server and waits until it answers.
    pub fn start(&self) -> Server {
        let mut command = self.command("/usr/lib/openafs/ptserver", &[]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let server = Server { child };
        let mut asker = rx::question::Asker::new(address(), Duration::from_secs(4)).unwrap();
        let started = Instant::now();
        while asker.version().is_err() {
            assert!(started.elapsed() < Duration::from_secs(60), "ptserver does not answer");
        }
        server
    }
}

/// A server that runs; stopped when dropped.
pub struct Server {
    child: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn address() -> SocketAddr {
    format!("{ADDRESS}:{PORT}").parse().unwrap()
}

/// Gives the namespace that we are in the server's address, and another for us.
pub fn take_addresses() {
    for address in ["10.77.0.11/24", "10.77.0.12/24"] {
        assert!(testbed::namespace::run("ip", &["addr", "add", address, "dev", "lo"]));
    }
    assert!(UdpSocket::bind("10.77.0.12:0").is_ok());
}

fn key_file_bytes() -> Vec<u8> {
    let words: [u32; 6] = [1, 16, 2, 1, 18, 32];
    let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
    bytes.extend_from_slice(&KEY);
    bytes
}

/// Makes the database several megabytes long, by pages that `ptserver` does not look at.
pub fn grow(database: &Path) -> Vec<u8> {
    let mut bytes = std::fs::read(database).unwrap();
    let mut random = fastrand::Rng::with_seed(5);
    bytes.resize_with(64 + (4 << 20), || random.u8(..));
    std::fs::write(database, &bytes).unwrap();
    bytes[64..].to_vec()
}
