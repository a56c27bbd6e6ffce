//! Three daemons of ctdb on the loopback addresses of one network namespace, with a folder each.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use testbed::namespace::Namespace;

use crate::library::{Stage, Which, built, printed};
use crate::smbd::mapped_library;

const NODES: usize = 3;
const VOLATILE: &str = "volatile.tdb";
const PERSISTENT: &str = "persistent.tdb";
const REPLICATED: &str = "replicated.tdb";
/// Records of the volatile database, each moved to every node.
const RECORDS: usize = 12;
/// Records of one persistent transaction.
const BATCH: usize = 5;
/// Transactions that are committed while a node dies, at least.
const BATCHES_AROUND_A_DEATH: usize = 8;

/// The whole life of a cluster. The error says why there can be none here.
pub fn live_and_die(stage: &Stage, which: Which) -> Result<(), String> {
    let begun = Instant::now();
    let done = |what: &str| eprintln!("{which:?}, {:.1} s: {what}", begun.elapsed().as_secs_f64());
    let mut cluster = Cluster::start(stage, which)?;
    done("three nodes are well");
    cluster.attach();
    cluster.move_records();
    done("records moved between nodes");
    let mut written = BTreeMap::new();
    cluster.commit_on_all_nodes(&mut written);
    done("persistent transactions on all nodes");
    cluster.kill_and_rejoin(cluster.coordinator(), "leader", &mut written);
    done("the leader died and came back");
    if std::env::var_os("QUORATE_LONG").is_some() {
        cluster.kill_and_rejoin((cluster.coordinator() + 1) % NODES, "other", &mut written);
        done("another node died and came back");
    }
    cluster.recover_by_hand(&written);
    done("recovery by hand");
    cluster.vacuum();
    done("deleted records are vacuumed");
    cluster.end();
    cluster.check_files();
    Ok(())
}

struct Cluster<'a> {
    stage: &'a Stage,
    which: Which,
    namespace: Namespace,
    folder: PathBuf,
    daemons: [Option<Child>; NODES],
}

impl<'a> Cluster<'a> {
    fn start(stage: &'a Stage, which: Which) -> Result<Cluster<'a>, String> {
        let namespace =
            Namespace::create().ok_or("network namespaces cannot be made here (root, iproute2)")?;
        let folder = stage.folder(&format!("ctdb-{which:?}"));
        for node in 0..NODES {
            configure(&folder, node).expect("the scratch folder is writable");
        }
        let mut cluster = Cluster { stage, which, namespace, folder, daemons: [const { None }; NODES] };
        for node in 0..NODES {
            cluster.start_node(node);
        }
        cluster.wait_until_whole();
        for daemon in cluster.daemons.iter().flatten() {
            let library = mapped_library(daemon.id());
            let is_ours = Path::new(&library) == built().canonicalize().expect("it exists");
            assert_eq!(is_ours, which == Which::Ours, "ctdbd runs on {library}");
        }
        Ok(cluster)
    }

    fn start_node(&mut self, node: usize) {
        let log =
            File::options().create(true).append(true).open(self.base(node).join("log")).expect("writable");
        let daemon = self
            .command(node, "ctdbd", &["-i"])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("an open file can be had twice"))
            .stderr(log)
            .spawn();
        self.daemons[node] = Some(daemon.expect("it starts"));
    }

    fn base(&self, node: usize) -> PathBuf {
        self.folder.join(node.to_string())
    }

    /// A command that belongs to a node. ctdb looks for all its files below one folder in its own test mode.
    fn command(&self, node: usize, program: &str, arguments: &[&str]) -> Command {
        let mut command = self.stage.inside(self.which, &self.namespace, program, arguments);
        command.env("CTDB_TEST_MODE", "yes").env("CTDB_BASE", self.base(node));
        command
    }

    fn has_processes(&self, node: usize) -> bool {
        let base = format!("CTDB_BASE={}", self.base(node).display());
        self.namespace.processes().iter().any(|id| {
            let environment = fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
            environment.split(|&byte| byte == 0).any(|variable| variable == base.as_bytes())
        })
    }

    fn ctdb(&self, node: usize, arguments: &[&str]) -> Output {
        self.command(node, "ctdb", arguments).stdin(Stdio::null()).output().expect("it starts")
    }

    fn said(&self, node: usize, arguments: &[&str]) -> String {
        printed(self.ctdb(node, arguments))
    }

    /// Waits for something that the daemons do by themselves; fails if one of them has ended.
    fn wait_until(&mut self, what: &str, condition: impl Fn(&Cluster) -> bool) {
        while !condition(self) {
            for node in 0..NODES {
                let ended = self.daemons[node].as_mut().and_then(|daemon| daemon.try_wait().ok().flatten());
                if let Some(status) = ended {
                    let log = fs::read_to_string(self.base(node).join("log")).unwrap_or_default();
                    panic!("node {node} ended with {status} while waiting until {what}:\n{log}");
                }
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn wait_until_whole(&mut self) {
        self.wait_until("all nodes are well", |cluster| {
            (0..NODES).all(|node| {
                let status = String::from_utf8_lossy(&cluster.ctdb(node, &["status"]).stdout).into_owned();
                let well =
                    status.lines().filter(|line| line.starts_with("pnn:") && line.contains(" OK")).count();
                well == NODES && status.contains("Recovery mode:NORMAL")
            })
        });
    }

    /// The node that leads recoveries.
    fn coordinator(&self) -> usize {
        self.said(0, &["leader"]).trim().parse().expect("the number of a node")
    }

    /// Databases of each kind are seen by every node.
    fn attach(&self) {
        self.said(0, &["attach", VOLATILE]);
        self.said(1, &["attach", PERSISTENT, "persistent"]);
        self.said(2, &["attach", REPLICATED, "replicated"]);
        for node in 0..NODES {
            let map = self.said(node, &["getdbmap"]);
            for name in [VOLATILE, PERSISTENT, REPLICATED] {
                assert!(map.contains(&format!("name:{name} ")), "{map}");
            }
        }
    }

    /// Every record is written and read by each node in turn, and so moves from one to the next.
    fn move_records(&self) {
        std::thread::scope(|scope| {
            for first in 0..NODES {
                scope.spawn(move || {
                    for record in (first..RECORDS).step_by(NODES) {
                        self.move_record(&format!("key {record}"), first);
                    }
                });
            }
        });
        let all = records(&self.said(1, &["catdb", VOLATILE]));
        assert_eq!(all.len(), RECORDS, "{all:?}");
        assert!(all.values().all(|value| value.starts_with("written by")), "{all:?}");
    }

    fn move_record(&self, key: &str, first: usize) {
        for writer in (first..first + NODES).map(|node| node % NODES) {
            let value = format!("written by {writer}");
            self.said(writer, &["writekey", VOLATILE, key, &value]);
            let read = self.said((writer + 1) % NODES, &["readkey", VOLATILE, key]);
            assert!(read.contains(&format!("ptr:[{value}]")), "{key}: {read}");
        }
    }

    /// All nodes commit at once, and then all have everything.
    fn commit_on_all_nodes(&self, written: &mut BTreeMap<String, String>) {
        let batches: Vec<_> = std::thread::scope(|scope| {
            let commit = |node: usize| {
                move || {
                    let names = (0..6).map(move |nth| format!("node {node} batch {nth}"));
                    let batches: Vec<_> = names.map(|name| batch(&name)).collect();
                    batches.iter().for_each(|batch| assert!(self.commit(node, batch), "{batch:?}"));
                    batches
                }
            };
            let nodes: Vec<_> = (0..NODES).map(|node| scope.spawn(commit(node))).collect();
            nodes.into_iter().flat_map(|node| node.join().expect("it commits")).collect()
        });
        written.extend(batches.into_iter().flatten());
        self.check_persistent(written, &[]);
    }

    /// One transaction on one node; whether it was committed.
    fn commit(&self, node: usize, batch: &[(String, String)]) -> bool {
        let lines: String = batch.iter().map(|(key, value)| format!("\"{key}\" \"{value}\"\n")).collect();
        let mut command = self.command(node, "ctdb", &["ptrans", PERSISTENT]);
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut child = spawned.expect("it starts");
        // A client whose daemon has died ends without reading.
        let _ = child.stdin.take().expect("piped").write_all(lines.as_bytes());
        child.wait().expect("it is a child of ours").success()
    }

    /// Each node's own file holds what was committed, and nothing else but whole batches of which nobody knows.
    fn check_persistent(&self, written: &BTreeMap<String, String>, unknown: &[Vec<(String, String)>]) {
        let mut contents = (0..NODES).map(|node| records(&self.said(node, &["cattdb", PERSISTENT])));
        let first = contents.next().expect("there is a node");
        assert!(contents.all(|other| other == first), "the nodes differ in {PERSISTENT}");
        assert!(
            written.iter().all(|(key, value)| first.get(key) == Some(value)),
            "a committed record is missing"
        );
        let mut others =
            first.keys().filter(|key| !written.contains_key(*key) && !key.starts_with("__db")).count();
        for batch in unknown {
            let found = batch.iter().filter(|(key, _)| first.contains_key(key)).count();
            assert!(found == 0 || found == BATCH, "half of a transaction: {batch:?}");
            others -= found;
        }
        assert_eq!(others, 0, "records that nobody wrote");
    }

    /// A node is killed while the others commit. It misses what follows, is started again, and then has it.
    fn kill_and_rejoin(&mut self, victim: usize, name: &str, written: &mut BTreeMap<String, String>) {
        let survivors: Vec<usize> = (0..NODES).filter(|&node| node != victim).collect();
        let (stop, committed) = (AtomicBool::new(false), AtomicUsize::new(0));
        let mut daemon = self.daemons[victim].take().expect("it runs");
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let (cluster, stop, committed) = (&*self, &stop, &committed);
            let write = |node: usize| {
                move || {
                    let mut outcomes = Vec::new();
                    while !stop.load(Ordering::Relaxed) {
                        let batch = batch(&format!("{name} {victim} node {node} batch {}", outcomes.len()));
                        let done = cluster.commit(node, &batch);
                        committed.fetch_add(usize::from(done), Ordering::Relaxed);
                        outcomes.push((batch, done));
                    }
                    outcomes
                }
            };
            let writers: Vec<_> = survivors.iter().map(|&node| scope.spawn(write(node))).collect();
            let wait_for_commits = |count: usize| {
                let goal = committed.load(Ordering::Relaxed) + count;
                while committed.load(Ordering::Relaxed) < goal {
                    std::thread::sleep(Duration::from_millis(5));
                }
            };
            wait_for_commits(BATCHES_AROUND_A_DEATH / 2);
            daemon.kill().expect("it is a child of ours");
            daemon.wait().expect("it is a child of ours");
            // They go on only when they have noticed the death and recovered.
            wait_for_commits(BATCHES_AROUND_A_DEATH);
            stop.store(true, Ordering::Relaxed);
            writers.into_iter().flat_map(|writer| writer.join().expect("it commits")).collect()
        });
        // Its helpers notice the death by themselves; a new daemon cannot begin before they have ended.
        self.wait_until("the dead node's helpers have ended", |cluster| !cluster.has_processes(victim));
        self.start_node(victim);
        self.wait_until_whole();
        let mut unknown = Vec::new();
        for (batch, done) in outcomes {
            if done { written.extend(batch) } else { unknown.push(batch) }
        }
        self.check_persistent(written, &unknown);
        // What nobody knew is known by now.
        written.extend(
            records(&self.said(0, &["cattdb", PERSISTENT]))
                .into_iter()
                .filter(|(key, _)| !key.starts_with("__db")),
        );
    }

    /// A recovery collects and redistributes every database.
    fn recover_by_hand(&mut self, written: &BTreeMap<String, String>) {
        let generation = |status: &str| {
            status.lines().find_map(|line| line.strip_prefix("Generation:")).map(str::to_owned)
        };
        let before = generation(&self.said(0, &["status"]));
        self.said(1, &["recover"]);
        self.wait_until_whole();
        assert_ne!(generation(&self.said(0, &["status"])), before, "no recovery has happened");
        self.check_persistent(written, &[]);
    }

    /// Deleted records stay as empty ones until vacuuming removes them on every node.
    fn vacuum(&mut self) {
        for record in 0..RECORDS {
            self.said(record % NODES, &["deletekey", VOLATILE, &format!("key {record}")]);
        }
        self.wait_until("all deleted records are vacuumed", |cluster| {
            (0..NODES).all(|node| records(&cluster.said(node, &["cattdb", VOLATILE])).is_empty())
        });
    }

    fn end(&mut self) {
        for node in 0..NODES {
            self.said(node, &["shutdown"]);
            let ended = self.daemons[node].take().expect("it runs").wait().expect("it is a child of ours");
            assert!(ended.success(), "node {node}: {ended}");
        }
    }

    /// Both libraries find every file sound that the daemons have left.
    fn check_files(&self) {
        let mut checked = 0;
        for kind in ["persistent", "state"] {
            for node in 0..NODES {
                for file in fs::read_dir(self.base(node).join("db").join(kind)).expect("it was made") {
                    let file = file.expect("readable").path();
                    for which in [Which::Ours, Which::System] {
                        let said = printed(
                            self.stage
                                .command(which, "tdbtool")
                                .arg(&file)
                                .arg("check")
                                .output()
                                .expect("it starts"),
                        );
                        assert!(said.contains("integrity is OK"), "{}: {said}", file.display());
                    }
                    checked += 1;
                }
            }
        }
        assert!(checked >= 2 * NODES, "{checked} files");
    }
}

impl Drop for Cluster<'_> {
    fn drop(&mut self) {
        self.namespace.kill_processes();
        for daemon in self.daemons.iter_mut().flatten() {
            let _ = daemon.wait();
        }
    }
}

/// The records of one transaction.
fn batch(name: &str) -> Vec<(String, String)> {
    (0..BATCH).map(|nth| (format!("{name} record {nth}"), format!("value of {name}"))).collect()
}

/// The keys and values of what `catdb` and `cattdb` print; an empty value is a deleted record's.
fn records(text: &str) -> BTreeMap<String, String> {
    let mut key = None;
    let mut records = BTreeMap::new();
    for line in text.lines() {
        let quoted =
            line.split_once(" = \"").map(|(name, rest)| (name, rest.trim_end_matches('"').to_owned()));
        match quoted {
            Some((name, value)) if name.starts_with("key(") => key = Some(value),
            Some((name, value)) if name.starts_with("data(") => {
                records.insert(key.take().expect("a key comes first"), value);
            }
            _ => {}
        }
    }
    records
}

/// Lets a node ask for an election after two seconds of silence.
const NOTICE_SOON: &str = "leader timeout = 2";

/// A node's folder: short intervals, no event scripts, no addresses to take over.
fn configure(folder: &Path, node: usize) -> std::io::Result<()> {
    let base = folder.join(node.to_string());
    for name in
        ["run", "var", "db/volatile", "db/persistent", "db/state", "events/legacy", "events/notification"]
    {
        fs::create_dir_all(base.join(name))?;
    }
    let addresses: String = (1..=NODES).map(|nth| format!("127.0.0.{nth}\n")).collect();
    fs::write(base.join("nodes"), addresses)?;
    let (lock, at) = (folder.join("cluster.lock"), base.display());
    let text = format!(
        "[logging]
location = file:{at}/log
[cluster]
cluster lock = {}
node address = 127.0.0.{}
{NOTICE_SOON}
[database]
volatile database directory = {at}/db/volatile
persistent database directory = {at}/db/persistent
state database directory = {at}/db/state
[failover]
disabled = true
[legacy]
realtime scheduling = false
",
        lock.display(),
        node + 1
    );
    fs::write(base.join("ctdb.conf"), text)?;
    fs::write(
        base.join("ctdb.tunables"),
        "ElectionTimeout=1\nRerecoveryTimeout=1\nKeepaliveInterval=1\nKeepaliveLimit=2\nVacuumInterval=1\n",
    )
}
