//! Three servers in network namespaces, what can be done to them.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use resp::Value;
use testbed::lab::{FAKETIME, Lab};

use crate::connection::Connection;

const NAMES: [&str; 3] = ["a", "b", "c"];
/// Nothing that can be recovered from takes longer.
const LONGEST: Duration = Duration::from_secs(90);
/// How long a reply may take: longer than any fault lasts.
const REPLY: Duration = Duration::from_secs(30);

/// A cell whose servers are processes on machines of their own, as far as the network is concerned.
pub struct Cell {
    pub lab: Lab,
    /// A fault that the servers are built to have.
    plant: Option<&'static str>,
}

impl Cell {
    /// Starts the cell; the calling thread, and those it starts, are clients' from then on.
    pub fn start(plant: Option<&'static str>) -> Result<Cell, String> {
        let mut cell = Cell { lab: Lab::new(NAMES.len(), &[], false)?, plant };
        cell.configure();
        for node in 0..NAMES.len() {
            cell.set_clock(node, 0);
            cell.start_server(node);
        }
        cell.lab.client.namespace().enter();
        cell.await_writes();
        Ok(cell)
    }

    fn configure(&self) {
        let key = self.lab.nodes[0].path("etc/cell.key");
        let made = Command::new(program()).arg("new-key").arg(&key).status().unwrap();
        assert!(made.success());
        let servers: Vec<String> = NAMES
            .iter()
            .zip(&self.lab.nodes)
            .map(|(name, node)| format!("{name} = \"{}:7100\"", node.address()))
            .collect();
        for (name, node) in NAMES.iter().zip(&self.lab.nodes) {
            let text = format!(
                "data = {:?}\n[clients]\nlisten = [\"{}:6379\"]\nwithout-authentication = true\nthreads = 2\n[page]\nlisten = \
                 []\n[cell]\nserver = \"{name}\"\nkey-file = {key:?}\nservers = {{ {} }}\n",
                node.path("var/db"),
                node.address(),
                servers.join(", ")
            );
            std::fs::write(node.path("etc/quorate.toml"), text).unwrap();
        }
    }

    /// Starts a server on what its disk has.
    pub fn start_server(&mut self, node: usize) {
        let node = &mut self.lab.nodes[node];
        let (clock, file) = (node.path("etc/clock"), node.path("etc/quorate.toml").display().to_string());
        let quorate = program().display().to_string();
        let mut settings = Vec::new();
        if Path::new(FAKETIME).exists() {
            settings.push(format!("LD_PRELOAD={FAKETIME}"));
            settings.push(format!("FAKETIME_TIMESTAMP_FILE={}", clock.display()));
            settings.push("FAKETIME_CACHE_DURATION=1".to_owned());
            settings.push("FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned());
        }
        settings.extend(self.plant.map(|fault| format!("QUORATE_PLANT={fault}")));
        let serve = [quorate.as_str(), "serve", "--config", &file];
        let arguments: Vec<&str> = settings.iter().map(String::as_str).chain(serve).collect();
        node.start(Path::new("/usr/bin/env"), &arguments);
    }

    /// Steps the wall clock of a server so far from the machine's, where that can be done.
    pub fn set_clock(&self, node: usize, seconds: i64) {
        std::fs::write(self.lab.nodes[node].path("etc/clock"), format!("{seconds:+}\n")).unwrap();
    }

    /// Where clients of a server connect.
    pub fn address(&self, node: usize) -> SocketAddr {
        format!("{}:6379", self.lab.nodes[node].address()).parse().unwrap()
    }

    /// The sync site by its own word.
    pub fn sync_site(&self) -> Option<usize> {
        (0..NAMES.len()).find(|&node| {
            let Ok(mut connection) = Connection::open(self.address(node), Duration::from_secs(1)) else {
                return false;
            };
            match connection.ask(&["INFO", "replication"]) {
                Ok(Value::Bytes(text) | Value::Verbatim(_, text)) => {
                    String::from_utf8_lossy(&text).contains("quorate_standing:sync site")
                }
                _ => false,
            }
        })
    }

    /// Waits until every server that runs carries writes out.
    pub fn await_writes(&mut self) {
        let begun = Instant::now();
        for node in 0..NAMES.len() {
            let address = self.address(node);
            while !Connection::open(address, REPLY)
                .is_ok_and(|mut connection| connection.ask(&["SET", "ready", "1"]).is_ok())
            {
                assert!(begun.elapsed() < LONGEST, "{address} writes nothing:\n{}", self.said());
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }

    /// Ends every fault; servers that are gone are started again.
    pub fn mend(&mut self) {
        self.lab.heal();
        for node in 0..NAMES.len() {
            self.lab.nodes[node].signal("CONT");
            if !self.lab.nodes[node].runs() {
                self.lab.nodes[node].kill();
                self.start_server(node);
            }
        }
    }

    /// The last lines of every server's log.
    pub fn said(&self) -> String {
        let last = |text: String| {
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(20)..].join("\n")
        };
        let of = |node: &testbed::lab::Node| format!("-- {}\n{}", node.address(), last(node.said()));
        self.lab.nodes.iter().map(of).collect::<Vec<_>>().join("\n")
    }
}

fn program() -> std::path::PathBuf {
    testbed::program(env!("CARGO_BIN_EXE_quorate"))
}
