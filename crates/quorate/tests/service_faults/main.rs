//! The service as real processes in network namespaces under kills, partitions, pauses and clock steps, with clients at every
//! server whose history is checked.
//!
//! The normal run is one short one; `cargo xtask service-faults --runs N` does many.
//! * `cell`: the servers, and what can be done to them
//! * `clients`: the load, and what it saw; `checks`: whether that can have happened
//! * `plan`: which fault when, from a seed
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cell;
mod checks;
mod clients;
#[path = "../service/connection.rs"]
mod connection;
mod plan;

use std::time::{Duration, Instant};

use cell::Cell;
use clients::{Seen, Work};
use connection::Connection;
use fastrand::Rng;
use plan::Gaps;
use resp::Value;

const CLIENTS_OF_EACH: usize = 2;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// One run on a fresh cell: what the clients saw.
fn run(seed: u64, length: Duration, plant: Option<&'static str>, gaps: &mut Gaps) -> Result<Seen, String> {
    let mut rng = Rng::with_seed(seed);
    let mut cell = Cell::start(plant)?;
    let work = Work::new();
    let reach = [0, 1, 2].map(|node| cell.address(node));
    std::thread::scope(|scope| {
        for client in 0..3 * CLIENTS_OF_EACH {
            let (work, rng, address) = (&work, rng.fork(), reach[client % 3]);
            scope.spawn(move || work.run(address, rng));
        }
        plan::run(&mut cell, &work, &mut rng, length, gaps);
        cell.mend();
        cell.await_writes();
        work.end();
    });
    work.read_all(&reach);
    Ok(work.into_seen())
}

/// S5, S6, S14, S17, S18: clients at all three servers do registers, counters, lists, transfers and locks while servers are killed,
/// ended, paused and cut off and wall clocks are stepped by an hour: one order explains every answer, no lock is given away early, and
/// tokens only grow.
#[test]
fn clients_of_the_service_see_one_order_under_faults() {
    let test = "clients_of_the_service_see_one_order_under_faults";
    let first = testbed::seed(test);
    let length = Duration::from_secs(setting("QUORATE_RUN_SECS", 8));
    let mut gaps = Gaps::new();
    let (mut wrong, mut unknown, mut all, mut late) = (0, 0, 0, 0);
    let runs = setting("QUORATE_RUNS", 1);
    for nth in 0..runs {
        let seed = first + nth;
        let seen = match run_apart(seed, length, None, &mut gaps) {
            Ok(seen) => seen,
            Err(why) => return testbed::skip(test, &why),
        };
        let found = checks::contradictions(&seen);
        let count = seen.operations();
        let latest = checks::latest_expiry(&seen.held);
        eprintln!(
            "seed {seed}: {count} operations, {} unknown, {} refused, {} locks held, latest expiry {} ms: {}",
            seen.unknown,
            seen.refused,
            seen.held.len(),
            latest / 1000,
            if found.is_empty() { "explained" } else { "CONTRADICTED" }
        );
        found.iter().take(5).for_each(|what| eprintln!("  {}", &what[..what.len().min(2000)]));
        wrong += u64::from(!found.is_empty());
        unknown += seen.unknown;
        all += count;
        late = late.max(latest);
    }
    eprintln!(
        "{runs} runs, {wrong} contradicted; {all} operations, {unknown} unknown; latest expiry {} ms",
        late / 1000
    );
    eprintln!("from a fault to the next acknowledged write (times, median, worst):");
    for (fault, times) in &mut gaps {
        times.sort();
        let (median, worst) = (times[(times.len() - 1) / 2], times[times.len() - 1]);
        eprintln!(
            "  {fault:16} {:4} {:7.2} s {:7.2} s",
            times.len(),
            median.as_secs_f64(),
            worst.as_secs_f64()
        );
    }
    assert_eq!(wrong, 0, "histories that cannot have happened");
}

/// A run in a thread of its own, which belongs to the clients' network.
fn run_apart(
    seed: u64,
    length: Duration,
    plant: Option<&'static str>,
    gaps: &mut Gaps,
) -> Result<Seen, String> {
    std::thread::scope(|scope| scope.spawn(|| run(seed, length, plant, gaps)).join().unwrap())
}

/// S17: a key lives out its time on the cell's clock while the sync site is killed again and again and every wall clock is stepped by
/// an hour, on or back, each time; how late it ends is printed.
#[test]
fn a_key_never_ends_early_through_failovers_and_clock_steps() {
    let test = "a_key_never_ends_early_through_failovers_and_clock_steps";
    let failovers = setting("QUORATE_FAILOVERS", 1);
    let body = || -> Result<(), String> {
        let mut cell = Cell::start(None)?;
        // More than the failovers take: each is an election of a few seconds.
        let lasts = Duration::from_secs(9 * failovers + 6);
        let begun = Instant::now();
        let ask = |cell: &Cell, node: usize, words: &[&str]| {
            let mut connection = Connection::open(cell.address(node), Duration::from_secs(20)).ok()?;
            connection.ask(words).ok()
        };
        let millis = lasts.as_millis().to_string();
        while ask(&cell, 0, &["SET", "k", "v", "PX", &millis]).is_none() {}
        let mut standstill = Duration::ZERO;
        for nth in 0..failovers {
            let Some(sync_site) = cell.sync_site() else { continue };
            (0..3).for_each(|node| cell.set_clock(node, if nth % 2 == 0 { 3600 } else { -3600 }));
            cell.lab.nodes[sync_site].kill();
            let killed = Instant::now();
            while ask(&cell, (sync_site + 1) % 3, &["INCR", "n"]).is_none() {}
            standstill += killed.elapsed();
            cell.mend();
            let left = ask(&cell, (sync_site + 2) % 3, &["PTTL", "k"]);
            assert!(begun.elapsed() > lasts || matches!(left, Some(Value::Integer(1..))), "{left:?}");
        }
        let mut node = 0;
        while ask(&cell, node % 3, &["GET", "k"]) != Some(Value::Null) {
            node += 1;
        }
        let took = begun.elapsed();
        assert!(took >= lasts, "it ended {:?} early", lasts - took);
        eprintln!("{failovers} failovers, {standstill:?} without a sync site: {:?} late", took - lasts);
        Ok(())
    };
    if let Err(why) = std::thread::scope(|scope| scope.spawn(body).join().unwrap()) {
        testbed::skip(test, &why);
    }
}

/// S6: the suite is worth something: of servers that read without a lease, that show a commit before a quorum has it, or that lose a
/// write, it says so within some runs. Only in a build with the feature `plant`.
#[cfg(feature = "plant")]
#[test]
fn planted_faults_are_found() {
    let first = testbed::seed("planted_faults_are_found");
    let length = Duration::from_secs(setting("QUORATE_RUN_SECS", 8));
    for fault in ["WriteLost", "LeaseNotChecked", "ShownBeforeQuorum"] {
        let found = (first..first + 60).find_map(|seed| {
            let seen =
                run_apart(seed, length, Some(fault), &mut Gaps::new()).expect("namespaces can be made here");
            let found = checks::contradictions(&seen);
            eprintln!("{fault}, seed {seed}: {} contradictions", found.len());
            found.into_iter().next()
        });
        let found = found.unwrap_or_else(|| panic!("{fault} was not found"));
        eprintln!("{fault} was found: {}", &found[..found.len().min(500)]);
    }
}
