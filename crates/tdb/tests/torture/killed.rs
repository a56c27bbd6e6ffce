//! A process killed in the middle of a commit; whoever comes next, of either kind, finds all of it or nothing.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Child;

use fastrand::Rng;
use tdb::format::{HEADER_SIZE, Header, RECOVERY_VALID};

use crate::peer::{CONVERT, NOMMAP, Peer};
use crate::{common, long, start_ours, worker};

/// Whether a commit was under way when the file was left: its recovery area is valid.
fn is_half_done(path: &Path) -> bool {
    let bytes = std::fs::read(path).expect("the file can be read");
    let header: &[u8; HEADER_SIZE] = bytes[..HEADER_SIZE].try_into().expect("a header");
    let header = Header::from_bytes(header).expect("the header is a database's");
    let at = header.recovery_start as usize;
    let magic =
        bytes.get(at + 20..at + 24).map(|bytes| header.order.word([bytes[0], bytes[1], bytes[2], bytes[3]]));
    at != 0 && magic == Some(RECOVERY_VALID)
}

/// Lets a worker commit some times, kills it, and returns the last number that it has seen committed.
fn kill_while_committing(mut child: Child, rng: &mut Rng) -> u64 {
    let mut lines = BufReader::new(child.stdout.take().expect("the output is a pipe")).lines();
    let mut acknowledged = 0;
    let mut read = |acknowledged: &mut u64| {
        let Some(Ok(line)) = lines.next() else {
            return false;
        };
        assert!(!line.starts_with("fail "), "{line}");
        if let Some(number) = line.strip_prefix("committed ") {
            // The last line may be cut short by the kill only if it has no end of line; numbers grow.
            *acknowledged = number.parse::<u64>().map_or(*acknowledged, |number| number.max(*acknowledged));
        }
        true
    };
    let wanted = rng.u64(3..12);
    let mut seen = 0;
    while seen < wanted {
        let last = acknowledged;
        assert!(read(&mut acknowledged), "the worker ended by itself");
        seen += u64::from(acknowledged > last);
    }
    // From nothing to some milliseconds: no moment of a commit is spared.
    let most = 1 << rng.u32(8..22);
    for _ in 0..rng.u32(..most) {
        std::hint::spin_loop();
    }
    child.kill().expect("the worker can be killed");
    while read(&mut acknowledged) {}
    child.wait().expect("the worker can be waited for");
    acknowledged
}

/// T4, T13: killed at random moments, again and again on one file, recovered by the other kind and by the same.
#[test]
fn a_killed_process_of_either_kind_leaves_whole_transactions() {
    const NAME: &str = "a_killed_process_of_either_kind_leaves_whole_transactions";
    let peer = match Peer::compile() {
        Ok(peer) => peer,
        Err(reason) => return testbed::skip(NAME, &reason),
    };
    let mut rng = Rng::with_seed(testbed::seed(NAME));
    let folder = common::folder();
    let mut half_done = [0; 2];
    let mut with_lost_space = 0;
    let rounds = if long() { 500 } else { 30 };
    // Without syncs libtdb writes no recovery area, and a kill leaves what it leaves.
    for (made_with, flags) in [(0, 0), (CONVERT, NOMMAP)] {
        let path = folder.path().join(format!("killed-{made_with}.tdb"));
        peer.run("create", &path, &[7], made_with);
        let mut number = 0;
        for round in 0..rounds {
            let ours = round % 2 == 0;
            let child = if ours {
                start_ours("commit", &path, &[flags.into()])
            } else {
                peer.start("commit", &path, &[1], flags)
            };
            let acknowledged = kill_while_committing(child, &mut rng);
            assert!(acknowledged > number, "the worker was killed before it did anything");
            half_done[usize::from(ours)] += u32::from(is_half_done(&path));
            if rng.bool() {
                // libtdb is the one that recovers.
                peer.run("dump", &path, &[], flags);
                assert!(!is_half_done(&path));
                peer.run("check", &path, &[], flags);
            }
            let database = worker::open(&path, flags);
            let found = worker::balances(&database);
            let report = database.check(|_, _| true).expect("our check passes after a kill");
            assert!(
                found == acknowledged.max(number) || found == acknowledged.max(number) + 1,
                "{found}, {acknowledged}"
            );
            with_lost_space += u32::from(report.lost_bytes > 0);
            number = found;
            drop(database);
            // See `die_everywhere`: behind lost space libtdb's check sees nothing.
            if report.lost_bytes == 0 {
                peer.run("check", &path, &[], flags);
            }
        }
        println!("killed: {rounds} kills, {number} commits survive");
    }
    println!(
        "killed: half-done commits found: {} of libtdb, {} of ours; lost space after {with_lost_space} kills",
        half_done[0], half_done[1]
    );
}

/// T4: libtdb dies at each single write, truncation and sync of a commit; we find all of it or nothing.
#[test]
fn a_commit_of_libtdb_that_dies_anywhere_is_recovered_by_us() {
    let peer = match Peer::compile() {
        Ok(peer) => peer,
        Err(reason) => {
            return testbed::skip("a_commit_of_libtdb_that_dies_anywhere_is_recovered_by_us", &reason);
        }
    };
    let folder = common::folder();
    let mut deaths = 0;
    let mut recoveries = 0;
    let mut leftovers = 0;
    // Each death is a process or four; the short form has fewer.
    let (orders, most): (&[u32], u64) = if long() { (&[0, CONVERT], 6) } else { (&[0], 2) };
    for made_with in orders.iter().copied() {
        let path = folder.path().join("base.tdb");
        let _ = std::fs::remove_file(&path);
        peer.run("create", &path, &[7], made_with);
        for commits in 0..most {
            let found = die_everywhere(&peer, &path, commits);
            deaths += found.deaths;
            recoveries += found.half_done;
            leftovers += found.leftovers;
            worker::commit_one(&mut tdb::Database::open(&path).expect("it opens"));
        }
    }
    println!("dying: libtdb died at {deaths} places in commits, {recoveries} of them needed recovery");
    println!("dying: libtdb's check stumbles over {leftovers} old recovery areas that it left behind");
    assert!(recoveries > 0, "no death fell between the recovery area's validity and its end");
}

#[derive(Default)]
struct Deaths {
    deaths: u32,
    half_done: u32,
    /// States where libtdb's check stumbles: its header points at a new recovery area before the old one is freed.
    leftovers: u32,
}

fn die_everywhere(peer: &Peer, base: &Path, before: u64) -> Deaths {
    let path = base.with_file_name("dying.tdb");
    let untouched = base.with_file_name("untouched.tdb");
    let mut deaths = Deaths::default();
    for nth in 1.. {
        std::fs::copy(base, &path).expect("the base can be copied");
        let ended = peer.command("dying", &path, &[nth], NOMMAP).output().expect("the peer starts");
        std::fs::copy(&path, &untouched).expect("the result can be copied");
        deaths.half_done += u32::from(is_half_done(&path));
        let database = worker::open(&path, 0);
        let found = worker::balances(&database);
        let our_check = database.check(|_, _| true);
        drop(database);
        let passes =
            |file| peer.command("check", file, &[], 0).output().is_ok_and(|output| output.status.success());
        if passes(&untouched) {
            let report = our_check.expect("our check passes where libtdb's does");
            // libtdb's check takes everything behind lost space for lost, too, and then misses what is there: with an
            // old recovery area left over it passes only because its own recovery cuts the file off behind it.
            let stumbles = report.lost_bytes > 0 && !passes(&path);
            deaths.leftovers += u32::from(stumbles);
            assert!(
                stumbles || passes(&path),
                "libtdb's check passes without our recovery and fails after it"
            );
        } else {
            deaths.leftovers += 1;
        }
        if ended.status.success() {
            assert_eq!(found, before + 1);
            deaths.deaths = nth as u32 - 1;
            return deaths;
        }
        assert!(found == before || found == before + 1, "{found} after {before}");
    }
    unreachable!("the loop ends with a commit that nothing disturbs");
}
