//! The servers, and what can be done to them.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rx::security::NullSecurity;
use rx::{Port, PortConfig};
use serde_json::Value;
use testbed::lab::{FAKETIME, Lab, Node};
use testbed::namespace::run;
use ubik::client::{Client, Patience};
use ubik::registers::table;

/// The port of the database.
const PORT: u16 = 7100;
/// Room for one server's files, in MiB: small, so that it can be filled.
const DISK_MIB: u32 = 4;
/// Nothing that can be recovered from takes longer.
const LONGEST: Duration = Duration::from_secs(120);

fn quorate() -> String {
    testbed::program(env!("CARGO_BIN_EXE_quorate")).display().to_string()
}

/// Five servers of one database.
pub struct Cluster {
    pub lab: Lab,
    slowed: Vec<Option<Child>>,
}

impl Cluster {
    pub fn start(servers: usize) -> Cluster {
        let lab = Lab::new(servers, &[], false).unwrap();
        let slowed = (0..servers).map(|_| None).collect();
        let mut cluster = Cluster { lab, slowed };
        for node in 0..servers {
            let folder = cluster.lab.nodes[node].path("var/db");
            let size = format!("size={DISK_MIB}m");
            assert!(run("mount", &["-t", "tmpfs", "-o", &size, "tmpfs", &folder.display().to_string()]));
            cluster.set_clock(node, 0);
            cluster.start_server(node);
        }
        cluster
    }

    pub fn servers(&self) -> usize {
        self.lab.nodes.len()
    }

    fn clock_file(node: &Node) -> std::path::PathBuf {
        node.path("etc/clock")
    }

    /// Steps the wall clock of a server so far from the machine's.
    pub fn set_clock(&self, node: usize, seconds: i64) {
        std::fs::write(Self::clock_file(&self.lab.nodes[node]), format!("{seconds:+}\n")).unwrap();
    }

    pub fn can_step_clocks(&self) -> bool {
        Path::new(FAKETIME).exists()
    }

    pub fn start_server(&mut self, node: usize) {
        let clock = Self::clock_file(&self.lab.nodes[node]);
        let node = &mut self.lab.nodes[node];
        let folder = node.path("var/db").display().to_string();
        let settings = [
            format!("LD_PRELOAD={FAKETIME}"),
            format!("FAKETIME_TIMESTAMP_FILE={}", clock.display()),
            "FAKETIME_CACHE_DURATION=1".to_owned(),
            "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
        ];
        let quorate = quorate();
        let quorate = quorate.as_str();
        let serve = [
            quorate,
            "afs",
            "serve",
            "--database-dir",
            &folder,
            "--database",
            "table:7100",
            "--ours",
            "all",
            "--timing",
            "brisk",
            "--no-auth",
            "--registers-at",
            "0",
        ];
        if Path::new(FAKETIME).exists() {
            let arguments: Vec<&str> = settings.iter().map(String::as_str).chain(serve).collect();
            node.start(Path::new("/usr/bin/env"), &arguments);
        } else {
            node.start(Path::new(quorate), &serve[1..]);
        }
    }

    /// A client on the client's node; a call gives up after `patience`.
    pub fn client(&self, patience: Duration) -> Client {
        let namespace = self.lab.client.namespace();
        let open = || {
            namespace.enter();
            Port::open("10.77.0.100:0".parse().unwrap(), PortConfig::default()).unwrap()
        };
        let port = std::thread::scope(|scope| scope.spawn(open).join().unwrap());
        let servers = self.lab.nodes.iter().map(|node| format!("{}:{PORT}", node.address()).parse().unwrap());
        let patience =
            Patience { in_all: patience, silence: Duration::from_secs(2), pause: Duration::from_millis(50) };
        Client::new(Arc::new(port), servers.collect(), table::SERVICE, Arc::new(NullSecurity), patience)
    }

    fn status(&self, node: usize) -> Option<(Value, bool)> {
        let server = format!("{}:{PORT}", self.lab.nodes[node].address());
        let arguments = ["status", &server, "--json", "--timeout-secs", "1"];
        let mut command = self.lab.client.command(&quorate(), &arguments);
        let output = command.output().unwrap();
        Some((serde_json::from_slice(&output.stdout).ok()?, output.status.success()))
    }

    /// Which server is sync site by its own word, the newest if two say so.
    pub fn sync_site(&self) -> Option<usize> {
        let says = |node: usize| {
            let (status, _) = self.status(node)?;
            let until = status["sync_site_until"].as_i64()?;
            (status["is_sync_site"] == true).then_some((until, node))
        };
        (0..self.servers()).filter_map(says).max().map(|(_, node)| node)
    }

    /// Waits until the sync site is content with every server.
    pub fn wait_until_served(&self) {
        let begun = Instant::now();
        loop {
            let content =
                self.sync_site().and_then(|node| self.status(node)).is_some_and(|(_, content)| content);
            if content {
                return;
            }
            if begun.elapsed() > LONGEST {
                self.tell_all();
                panic!("no sync site is content with every server");
            }
        }
    }

    /// Waits until all hold the same bytes.
    pub fn wait_until_equal(&self) {
        let begun = Instant::now();
        loop {
            let files: Vec<Vec<u8>> = self.lab.nodes.iter().map(|node| node.database("table.DB0")).collect();
            if files.iter().all(|file| *file == files[0]) && files[0].len() > 64 {
                return;
            }
            if begun.elapsed() > LONGEST {
                self.tell_all();
                for (file, node) in files.iter().zip(&self.lab.nodes) {
                    let differs = file.iter().zip(&files[0]).position(|(a, b)| a != b);
                    let label = file.get(8..16);
                    eprintln!(
                        "{}: {} bytes, label {label:?}, differs at {differs:?}",
                        node.address(),
                        file.len()
                    );
                }
                panic!("the servers' files differ");
            }
        }
    }

    /// The last that every server said.
    pub fn tell_all(&self) {
        for node in &self.lab.nodes {
            let said = node.said();
            let lines: Vec<&str> = said.lines().collect();
            eprintln!("-- {}\n{}", node.address(), lines[lines.len().saturating_sub(25)..].join("\n"));
        }
    }

    /// Makes every write and sync of a server's files take so much longer; `false` if that cannot be done here.
    pub fn slow_disk(&mut self, node: usize, micros: u32) -> bool {
        let Some(id) = self.lab.nodes[node].id() else { return false };
        let inject = format!("inject=fsync,fdatasync:delay_enter={micros}");
        let strace = Command::new("strace")
            .args([
                "-f",
                "-q",
                "-p",
                &id.to_string(),
                "-e",
                "trace=fsync,fdatasync",
                "-e",
                &inject,
                "-o",
                "/dev/null",
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.slowed[node] = strace.ok();
        self.slowed[node].is_some()
    }

    /// The disk is as fast as it was.
    pub fn restore_disk(&mut self, node: usize) {
        if let Some(mut strace) = self.slowed[node].take() {
            // It lets go of the server when it is interrupted.
            run("kill", &["-s", "INT", &strace.id().to_string()]);
            let _ = strace.wait();
        }
    }

    /// Leaves no room on a server's disk.
    pub fn fill_disk(&self, node: usize) {
        let path = self.lab.nodes[node].path("var/db/ballast");
        let _ = std::fs::write(path, vec![0; (DISK_MIB as usize) << 20]);
    }

    pub fn empty_disk(&self, node: usize) {
        let _ = std::fs::remove_file(self.lab.nodes[node].path("var/db/ballast"));
    }

    /// Kills a server and starts it again.
    pub fn restart(&mut self, node: usize) {
        self.lab.nodes[node].kill();
        self.start_server(node);
    }

    /// Takes back everything that is still done.
    pub fn mend_everything(&mut self) {
        for node in 0..self.servers() {
            self.restore_disk(node);
            self.empty_disk(node);
            self.set_clock(node, 0);
        }
        self.mend_network_and_processes();
    }

    /// Heals the network; servers that are stopped go on, and those that are gone are started again.
    pub fn mend_network_and_processes(&mut self) {
        self.lab.heal();
        for node in 0..self.servers() {
            self.lab.nodes[node].signal("CONT");
            if !self.lab.nodes[node].runs() {
                self.restart(node);
            }
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in 0..self.servers() {
            self.restore_disk(node);
            self.lab.nodes[node].kill();
            run("umount", &["-l", &self.lab.nodes[node].path("var/db").display().to_string()]);
        }
    }
}
