//! P12, P16, P17, P18 (stock side): a cell with one of ours as sync site beside a cell of OpenAFS's servers alone, in one
//! run on one machine, each server in a network namespace of its own.
//!
//! Elections take minutes, so each cell's are measured once a run, side by side; `QUORATE_ROUNDS` repeats all of it.
//! `cargo bench --profile dist -p bench --bench ubik_cells -- transfer` measures one part: `transfer`, `writes`, `election` or `large`, which
//! is three servers of ours in `brisk` timing with as many entries as a database of the stock format can hold.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bench::rounds::{Figures, median, rounds};
use rx::rpc::{CallStream, Request};
use rx::security::NullSecurity;
use rx::{Connection, Port, PortConfig, ServiceId, Timeouts};
use testbed::lab::{self, Lab, Node};
use ubik::client::{Again, Client, ClientError, Patience};
use ubik::over_rx::DISK;
use ubik::phys::{HEADER_LEN, encode_label};
use ubik::registers::table;
use ubik_proto::messages::DiskCall;
use ubik_proto::version::Version;

/// The port of prdb.
const PORT: u16 = 7002;
/// Where the registers stand, beyond what ptserver looks at.
const REGISTERS_AT: &str = "1048576";
/// ptserver's service, and its call that sets the highest id: a write of a few bytes.
const PROTECTION: ServiceId = ServiceId(73);
const SET_MAX: u32 = 511;
/// Elections end sooner.
const PATIENCE: Duration = Duration::from_secs(400);
/// How long writes are counted.
const WRITING: Duration = Duration::from_secs(8);
/// Bytes of the database that is transferred.
const TRANSFER: usize = 64 << 20;

/// Who writes, and how.
#[derive(Clone, Copy)]
enum Application {
    /// ptserver, by its own call.
    Protection,
    /// Our table of registers.
    Registers,
}

/// A client of a cell.
struct Writer {
    client: Client,
    application: Application,
}

impl Writer {
    fn new(lab: &Lab, application: Application) -> Writer {
        let service = match application {
            Application::Protection => PROTECTION,
            Application::Registers => table::SERVICE,
        };
        let servers = lab.nodes.iter().map(address).collect();
        let silence = Duration::from_secs(3);
        let patience = Patience { in_all: PATIENCE, silence, pause: Duration::from_millis(20) };
        let client =
            Client::new(Arc::new(port(&lab.client)), servers, service, Arc::new(NullSecurity), patience);
        Writer { client, application }
    }

    /// One small write, acknowledged.
    fn write(&self, number: u32) {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            let written = match self.application {
                Application::Registers => self.client.write_register(number % 100, number.into()).map(drop),
                Application::Protection => self.client.write(Again::Safe, |connection| {
                    Request::<()>::new(SET_MAX, &(1_000_000 + number as i32, 0i32)).call(connection)
                }),
            };
            match written {
                Ok(()) => return,
                // A write of unknown fate is made again; ptserver may say that its database is not ready.
                Err(ClientError::Unknown(_) | ClientError::Refused(_)) => {}
                Err(error) => panic!("{error}"),
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("nothing was written within {PATIENCE:?}");
    }

    /// Writes for a while; how many a second, and the longest that one took.
    fn write_for(&self, length: Duration) -> (f64, Duration) {
        let (begun, mut count, mut longest) = (Instant::now(), 0, Duration::ZERO);
        while begun.elapsed() < length {
            let asked = Instant::now();
            self.write(count);
            longest = longest.max(asked.elapsed());
            count += 1;
        }
        (f64::from(count) / begun.elapsed().as_secs_f64(), longest)
    }
}

fn address(node: &Node) -> std::net::SocketAddr {
    format!("{}:{PORT}", node.address()).parse().expect("a lab's addresses are addresses")
}

/// A port on a node.
fn port(node: &Node) -> Port {
    let open = || {
        node.namespace().enter();
        let own = format!("{}:0", node.address()).parse().expect("a lab's addresses are addresses");
        Port::open(own, PortConfig::default()).expect("a free port")
    };
    std::thread::scope(|scope| scope.spawn(open).join()).expect("opening does not panic")
}

fn quorate() -> PathBuf {
    let target = std::env::current_exe().expect("a running program has a path");
    target.ancestors().nth(2).expect("cargo's folders").join("quorate")
}

fn start_ours(lab: &mut Lab, node: usize) {
    let arguments = [
        "afs",
        "serve",
        "--stand",
        "--database",
        "prdb",
        "--no-auth",
        "--registers-at",
        REGISTERS_AT,
        "--cache-pages",
        "1000",
    ];
    lab.nodes[node].start(&quorate(), &arguments);
}

fn start_openafs(lab: &mut Lab, nodes: &[usize]) {
    nodes.iter().for_each(|&node| lab.start_openafs(node, "ptserver"));
}

/// A small database that ptserver made.
fn seed() -> Vec<u8> {
    let mut lab = Lab::new(1, &[], false).expect("namespaces");
    start_openafs(&mut lab, &[0]);
    Writer::new(&lab, Application::Protection).write(0);
    lab.nodes[0].stop();
    lab.nodes[0].database("prdb.DB0")
}

fn put(lab: &Lab, bytes: &[u8]) {
    for node in &lab.nodes {
        std::fs::write(node.path("var/db/prdb.DB0"), bytes).expect("the folder is there");
    }
}

/// A cell whose sync site is the first server.
fn cell_with_first_as_sync_site(ours: bool, seed: &[u8]) -> (Lab, Writer) {
    let mut lab = Lab::new(3, &[], false).expect("namespaces");
    put(&lab, seed);
    if ours {
        start_ours(&mut lab, 0);
        // Whoever asks first is elected; OpenAFS asks every 15 s from its start.
        std::thread::sleep(Duration::from_secs(8));
        start_openafs(&mut lab, &[1, 2]);
    } else {
        start_openafs(&mut lab, &[0, 1, 2]);
    }
    let application = if ours { Application::Registers } else { Application::Protection };
    let writer = Writer::new(&lab, application);
    writer.write(0);
    (lab, writer)
}

/// P16 and the second half of P12: writes, and how long they stand still when a follower dies.
fn steady(ours: bool, seed: &[u8]) -> Figures {
    let (mut lab, writer) = cell_with_first_as_sync_site(ours, seed);
    // Until every server takes part.
    std::thread::sleep(Duration::from_secs(20));
    let (rate, _) = writer.write_for(WRITING);
    let idle_kib = lab.nodes[0].resident_kib().unwrap_or(0);
    let follower = if sync_site_is(&writer, &lab, 2) { 1 } else { 2 };
    lab.nodes[follower].kill();
    let (_, stall) = writer.write_for(Duration::from_secs(if ours { 20 } else { 90 }));
    vec![
        ("P16 small write (us)".into(), 1e6 / rate),
        ("P12 longest write after a follower was killed (ms)".into(), stall.as_secs_f64() * 1e3),
        ("P18 resident memory of the sync site (KiB)".into(), idle_kib as f64),
    ]
}

fn sync_site_is(writer: &Writer, lab: &Lab, node: usize) -> bool {
    writer.client.find_sync_site() == Some(address(&lab.nodes[node]))
}

/// The first half of P12: OpenAFS's sync site is killed; the others are one of each, or two of OpenAFS's.
fn replaced(ours: bool, seed: &[u8]) -> Figures {
    let mut lab = Lab::new(3, &[], false).expect("namespaces");
    put(&lab, seed);
    start_openafs(&mut lab, &[0, 2]);
    if ours {
        start_ours(&mut lab, 1);
    } else {
        start_openafs(&mut lab, &[1]);
    }
    let before = Writer::new(&lab, Application::Protection);
    before.write(0);
    // Two rounds more, so that everybody's vote is known.
    std::thread::sleep(Duration::from_secs(31));
    lab.nodes[0].kill();
    let killed = Instant::now();
    let gone = address(&lab.nodes[0]);
    while before.client.find_sync_site().is_none_or(|site| site == gone) {
        assert!(killed.elapsed() < PATIENCE, "nobody is elected");
        std::thread::sleep(Duration::from_millis(100));
    }
    let elected = killed.elapsed();
    let by_us = ours && sync_site_is(&before, &lab, 1);
    let application = if by_us { Application::Registers } else { Application::Protection };
    Writer::new(&lab, application).write(1);
    eprintln!(
        "replaced by {} after {elected:?}, wrote after {:?}",
        if by_us { "ours" } else { "OpenAFS" },
        killed.elapsed()
    );
    vec![
        ("P12 another sync site after a kill (ms)".into(), elected.as_secs_f64() * 1e3),
        ("P12 a write after that kill (ms)".into(), killed.elapsed().as_secs_f64() * 1e3),
    ]
}

/// P17: a database fetched by `GetFile`, from the address of another server that does not run.
fn transferred(ours: bool, seed: &[u8]) -> Figures {
    let mut lab = Lab::new(2, &[], false).expect("namespaces");
    let mut bytes = seed.to_vec();
    bytes.resize(64 + TRANSFER, 7);
    put(&lab, &bytes);
    if ours {
        start_ours(&mut lab, 0);
    } else {
        start_openafs(&mut lab, &[0]);
    }
    let port = port(&lab.nodes[1]);
    let connection = port.connect(address(&lab.nodes[0]), DISK, &NullSecurity, Timeouts::default());
    let begun = Instant::now();
    while fetch(&connection) < TRANSFER {
        assert!(begun.elapsed() < PATIENCE, "the server sends nothing");
    }
    let times: Vec<f64> = (0..5)
        .map(|_| {
            let begun = Instant::now();
            fetch(&connection);
            begun.elapsed().as_secs_f64()
        })
        .collect();
    vec![
        (
            "P17 a gigabit of a database fetched (ms)".into(),
            median(&times) * 1e3 / (TRANSFER as f64 * 8.0 / 1e9),
        ),
        ("P18 resident memory after it (KiB)".into(), lab.nodes[0].resident_kib().unwrap_or(0) as f64),
    ]
}

/// Entries of the large database, each as long as one of ptserver's: with more the format's 31 bits would not do.
const KEYS: usize = 10_000_000;
const ENTRY: usize = 192;

fn put_large(node: &Node) {
    let file = std::fs::File::create(node.path("var/db/prdb.DB0")).expect("the folder is there");
    let mut file = std::io::BufWriter::with_capacity(1 << 20, file);
    let mut write = |bytes: &[u8]| file.write_all(bytes).expect("the disk has room for three such databases");
    let mut header = [0; HEADER_LEN as usize];
    header[..16].copy_from_slice(&encode_label(Version::new(9, 2)));
    write(&header);
    for key in 0..KEYS {
        let mut entry = [0; ENTRY];
        entry[..8].copy_from_slice(&(key as u64).to_be_bytes());
        write(&entry);
    }
}

/// P17, P18: what ten million keys cost a server of ours, and what a transfer of them costs who writes meanwhile.
fn large() -> Figures {
    let mut lab = Lab::new(3, &[], false).expect("namespaces");
    put_large(&lab.nodes[0]);
    std::fs::copy(lab.nodes[0].path("var/db/prdb.DB0"), lab.nodes[1].path("var/db/prdb.DB0")).expect("room");
    let arguments =
        ["afs", "serve", "--stand", "--database", "prdb", "--no-auth", "--registers-at", REGISTERS_AT];
    let arguments =
        [&arguments[..], &["--cache-pages", "1000", "--ours", "all", "--timing", "brisk"]].concat();
    let begun = Instant::now();
    lab.nodes[0].start(&quorate(), &arguments);
    lab.nodes[1].start(&quorate(), &arguments);
    let writer = Writer::new(&lab, Application::Registers);
    writer.write(0);
    let serves = begun.elapsed();
    let (rate, _) = writer.write_for(WRITING);
    let idle = lab.nodes[0].resident_kib().unwrap_or(0);
    lab.nodes[2].start(&quorate(), &arguments);
    let begun = Instant::now();
    let file = lab.nodes[2].path("var/db/prdb.DB0");
    let whole = || std::fs::metadata(&file).is_ok_and(|found| found.len() > (KEYS * ENTRY) as u64);
    let mut times = Vec::new();
    while !whole() {
        assert!(begun.elapsed() < PATIENCE, "nothing is sent");
        let asked = Instant::now();
        writer.write(times.len() as u32);
        times.push(asked.elapsed().as_secs_f64());
    }
    let took = begun.elapsed();
    let (_, stall) = writer.write_for(Duration::from_secs(60));
    vec![
        ("P18 from the start to the first write, with the election (ms)".into(), serves.as_secs_f64() * 1e3),
        ("P18 resident memory, ten million keys (KiB)".into(), idle as f64),
        ("P18 the same after sending them (KiB)".into(), lab.nodes[0].resident_kib().unwrap_or(0) as f64),
        (
            "P18 of the server that received them (KiB)".into(),
            lab.nodes[2].resident_kib().unwrap_or(0) as f64,
        ),
        ("P17 a third server has them after (ms)".into(), took.as_secs_f64() * 1e3),
        ("P16 small write before (us)".into(), 1e6 / rate),
        ("P17 small write during the first transfer, median (us)".into(), median(&times) * 1e6),
        (
            "P17 small write during the first transfer, longest (ms)".into(),
            times.iter().fold(0.0, |a: f64, &b| a.max(b)) * 1e3,
        ),
        ("P17 longest write of the minute after (ms)".into(), stall.as_secs_f64() * 1e3),
    ]
}

/// Fetches the whole database; how many bytes came.
fn fetch(connection: &Connection) -> usize {
    let got = connection.start().and_then(|mut call| {
        call.write(&DiskCall::GetFile { file: 0 }.encode())?;
        let mut buffer = vec![0; 1 << 16];
        let mut got = 0;
        loop {
            match call.read(&mut buffer)? {
                0 => return Ok(got),
                count => got += count,
            }
        }
    });
    got.unwrap_or(0)
}

fn main() {
    if let Some(reason) = lab::openafs_is_missing().or_else(|| Lab::new(1, &[], false).err()) {
        return println!("not measured: {reason}");
    }
    assert!(Path::new(&quorate()).exists(), "build it first: cargo build --profile dist -p quorate");
    if is_wanted("large") {
        println!("three servers of ours, {KEYS} keys of {ENTRY} bytes");
        large().iter().for_each(|(name, value)| println!("| {name} | {value:.1} |"));
    }
    if !["transfer", "writes", "election"].into_iter().any(is_wanted) {
        return;
    }
    let seed = seed();
    let mut measured: [BTreeMap<String, Vec<f64>>; 2] = Default::default();
    for _ in 0..rounds() {
        for side in [0, 1] {
            if is_wanted("transfer") {
                collect(&mut measured[side], transferred(side == 0, &seed));
            }
            if is_wanted("writes") {
                collect(&mut measured[side], steady(side == 0, &seed));
            }
        }
        if !is_wanted("election") {
            continue;
        }
        // Both wait for promises to end nearly all the time.
        let (ours, peer) = std::thread::scope(|scope| {
            let ours = scope.spawn(|| replaced(true, &seed));
            let peer = scope.spawn(|| replaced(false, &seed));
            (ours.join(), peer.join())
        });
        for (side, figures) in [ours, peer].into_iter().enumerate() {
            collect(&mut measured[side], figures.expect("a side that fails says why"));
        }
    }
    print(&measured);
}

/// Whether this part was asked for: all are, if none is named.
fn is_wanted(part: &str) -> bool {
    let mut named = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).peekable();
    named.peek().is_none() || named.any(|name| name == part)
}

fn collect(into: &mut BTreeMap<String, Vec<f64>>, figures: Figures) {
    for (name, value) in figures {
        into.entry(name).or_default().push(value);
    }
}

fn print(measured: &[BTreeMap<String, Vec<f64>>; 2]) {
    println!("\n{} rounds, medians; ours: one of three servers is ours; peer: all are OpenAFS's", rounds());
    println!("| figure | ours | peer | ratio |\n| --- | ---: | ---: | ---: |");
    for (name, ours) in &measured[0] {
        let peer = measured[1].get(name).map_or(f64::NAN, |values| median(values));
        let ours = median(ours);
        println!("| {name} | {ours:.1} | {peer:.1} | {:.3} |", ours / peer);
    }
}
