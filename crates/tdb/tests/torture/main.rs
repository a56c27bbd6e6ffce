//! One file, processes of libtdb and of this engine at once; and either kind killed in the middle of commits.
//!
//! The short form takes some seconds; `QUORATE_LONG=1` (`cargo xtask interop`) is the full length. Our processes are
//! this test program again, told by [`WORKER`] what to do.

#[path = "../common/mod.rs"]
mod common;
mod killed;
mod ledger;
#[path = "../support/peer.rs"]
mod peer;
mod worker;

use common::Dialect;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use ledger::Ledger;
use peer::{CONVERT, INCOMPATIBLE_HASH, NOMMAP, NOSYNC, Peer};

/// Names the work of a process of ours: what, file, first id, threads, operations, seed, flags.
const WORKER: &str = "QUORATE_TORTURE_WORKER";

/// Whether the full length is asked for.
pub fn long() -> bool {
    std::env::var_os("QUORATE_LONG").is_some()
}

/// Starts this program again as a worker.
pub fn start_ours(what: &str, file: &Path, numbers: &[u64]) -> Child {
    let mut task = vec![what.to_owned(), file.to_str().expect("test files have plain names").to_owned()];
    task.extend(numbers.iter().map(u64::to_string));
    Command::new(std::env::current_exe().expect("this program has a path"))
        .args(["--exact", "worker_process", "--ignored", "--nocapture", "--test-threads=1"])
        .env(WORKER, task.join("\t"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("this program starts")
}

#[test]
#[ignore = "a process of the tests below, started by them"]
fn worker_process() {
    let Ok(task) = std::env::var(WORKER) else { return };
    let words: Vec<&str> = task.split('\t').collect();
    let numbers: Vec<u64> = words[2..].iter().map(|word| word.parse().expect("a number")).collect();
    let path = PathBuf::from(words[1]);
    // The test harness has begun a line.
    println!();
    match (words[0], &numbers[..]) {
        ("torture", [id, threads, operations, seed, flags]) => {
            let flags = *flags as u32;
            for ledger in
                worker::torture_in_threads(&path, flags, *id as u32, *threads as u32, *operations, *seed)
            {
                print!("{ledger}");
            }
        }
        ("commit", [flags]) => {
            let mut options = tdb::OpenOptions::new();
            let mut database = options.flags(tdb::Flags(*flags as u32)).open(&path).expect("the file opens");
            loop {
                println!("committed {}", worker::commit_one(&mut database));
            }
        }
        other => panic!("no such work: {other:?}"),
    }
}

/// What is varied from torture to torture.
struct Torture {
    name: &'static str,
    /// The flags that the file is made with, by libtdb or by us.
    made_with: u32,
    made_by_us: bool,
    chains: u64,
    /// libtdb's processes, with their flags.
    theirs: &'static [u32],
    /// Ours, with threads and flags.
    ours: &'static [(u64, u32)],
}

/// Runs one torture; returns operations done and refusals.
fn torture(peer: &Peer, torture: &Torture, operations: u64) -> (u64, u64) {
    let seed = testbed::seed(torture.name);
    let folder = common::folder();
    let path = folder.path().join("tortured.tdb");
    if torture.made_by_us {
        let order =
            if torture.made_with & CONVERT != 0 { tdb::ByteOrder::FOREIGN } else { tdb::ByteOrder::NATIVE };
        let flags = tdb::Flags(torture.made_with & !CONVERT);
        let chains = torture.chains as u32;
        tdb::OpenOptions::new()
            .create(true)
            .flags(flags)
            .byte_order(order)
            .hash_size(chains)
            .open_in_dialect(&path)
            .expect("a new database");
    } else {
        peer.run("create", &path, &[torture.chains], torture.made_with);
    }
    let workers = torture.theirs.len() as u64 + torture.ours.iter().map(|(threads, _)| threads).sum::<u64>();
    let each = operations.div_ceil(workers);
    let mut id = 1;
    let mut children = Vec::new();
    for flags in torture.theirs {
        children.push(peer.start("torture", &path, &[id, each, seed], *flags));
        id += 1;
    }
    for (threads, flags) in torture.ours {
        children.push(start_ours("torture", &path, &[id, *threads, each, seed, (*flags).into()]));
        id += threads;
    }
    let ledgers = collect(children);
    assert_eq!(ledgers.len() as u64, workers, "every worker has given its account");
    judge(peer, &path, &ledgers);
    (ledgers.iter().map(|ledger| ledger.operations).sum(), ledgers.iter().map(|ledger| ledger.refused).sum())
}

fn collect(children: Vec<Child>) -> Vec<Ledger> {
    let mut ledgers = Vec::new();
    for output in children.into_iter().map(Child::wait_with_output) {
        let output = output.expect("a worker can be waited for");
        let text = String::from_utf8_lossy(&output.stdout);
        ledgers.extend(Ledger::read_all(&text));
        assert!(output.status.success(), "a worker failed: {text}");
    }
    ledgers
}

/// Both checks pass, both read the same, and it is what the workers say.
fn judge(peer: &Peer, path: &Path, ledgers: &[Ledger]) {
    let database = worker::open(path, 0);
    database.check(|_, _| true).expect("our check passes");
    peer.run("check", path, &[], 0);
    let content = ledger::content(&database);
    assert!(content == peer.dump(path, 0), "libtdb reads something else");
    ledger::must_agree(content, ledgers);
}

const TORTURES: [Torture; 5] = [
    Torture {
        name: "mapped",
        made_with: 0,
        made_by_us: false,
        chains: 131,
        theirs: &[NOSYNC, NOSYNC],
        ours: &[(1, NOSYNC), (3, NOSYNC)],
    },
    Torture {
        name: "mapped and not",
        made_with: 0,
        made_by_us: true,
        chains: 131,
        theirs: &[NOSYNC, NOSYNC | NOMMAP],
        ours: &[(2, NOSYNC | NOMMAP), (2, NOSYNC)],
    },
    Torture {
        name: "foreign order, synced",
        made_with: CONVERT,
        made_by_us: false,
        chains: 31,
        theirs: &[0, NOSYNC],
        ours: &[(2, 0), (2, NOSYNC | NOMMAP)],
    },
    Torture {
        name: "the other hash, few chains",
        made_with: INCOMPATIBLE_HASH,
        made_by_us: true,
        chains: 7,
        theirs: &[NOSYNC | INCOMPATIBLE_HASH, NOSYNC | INCOMPATIBLE_HASH],
        ours: &[(1, NOSYNC), (2, NOSYNC)],
    },
    Torture {
        name: "foreign order and the other hash, not mapped",
        made_with: CONVERT | INCOMPATIBLE_HASH,
        made_by_us: true,
        chains: 131,
        theirs: &[NOSYNC | NOMMAP | INCOMPATIBLE_HASH, NOSYNC | NOMMAP | INCOMPATIBLE_HASH],
        ours: &[(2, NOSYNC | NOMMAP), (1, NOSYNC | NOMMAP)],
    },
];

/// T1, T2, T6, T8: stores, deletes, appends, traverses, chain locks, locks of everything and transactions by processes of
/// both kinds, threads included, on one file: nothing is lost, both checks pass. At least a million operations in full
/// length.
#[test]
fn processes_of_both_kinds_torture_one_file_and_nothing_is_lost() {
    let peer = match Peer::compile() {
        Ok(peer) => peer,
        Err(reason) => {
            return testbed::skip("processes_of_both_kinds_torture_one_file_and_nothing_is_lost", &reason);
        }
    };
    let mut total = (0, 0);
    for case in &TORTURES {
        let operations = if long() { 250_000 } else { 16_000 };
        let (done, refused) = torture(&peer, case, operations);
        let processes = case.theirs.len() + case.ours.len();
        println!(
            "torture: {}: {done} operations by {processes} processes, {refused} locks refused",
            case.name
        );
        total = (total.0 + done, total.1 + refused);
    }
    println!("torture: {} operations in all, {} locks refused", total.0, total.1);
    assert!(!long() || total.0 >= 1_000_000);
}
