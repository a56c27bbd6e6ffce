//! Five real servers under every fault that can be done to a process here, with clients whose histories are checked.
//!
//! The normal run takes half a minute; `QUORATE_FAULT_SECS` sets its length, `cargo xtask faults` gives it an hour.
//! * `cluster`: the servers, and what can be done to them; `clients`: the load, its history, how long it stood still;
//! * `plan`: which fault when, from a seed.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod clients;
mod cluster;
mod plan;

use std::time::Duration;

use clients::Load;
use cluster::Cluster;
use history::linearizability::{Answer, Call, Check, check};
use history::register::{Effect, Need, ValueId};

/// How long faults are done.
fn length() -> Duration {
    let asked = std::env::var("QUORATE_FAULT_SECS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(asked.unwrap_or(30))
}

/// Keys whose history no order explains.
fn contradicted_keys(calls: &[Call]) -> Vec<u32> {
    let mut keys = Vec::new();
    check(calls, &Check::default(), |key, answer| {
        if !matches!(answer, Answer::Witness(_)) {
            eprintln!("key {key}: {answer:?}");
            keys.push(key);
        }
    });
    keys
}

/// U14, U19, U22, U25, U34, U35, U36: five servers of ours elect, write and recover through kills, partitions, one-way
/// loss, stops, slow and full disks and steps of the wall clock; no write that was acknowledged is lost, every history is
/// linearizable, and all five hold the same bytes at the end.
#[test]
fn five_servers_lose_nothing_under_faults() {
    let test = "five_servers_lose_nothing_under_faults";
    if let Err(reason) = testbed::lab::Lab::new(1, &[], false) {
        return testbed::skip(test, &reason);
    }
    let mut random = fastrand::Rng::with_seed(testbed::seed(test));
    let mut cluster = Cluster::start(5);
    cluster.wait_until_served();
    let load = Load::start(&cluster, 6);
    let recoveries = plan::run(&mut cluster, &load, &mut random, length());
    cluster.mend_everything();
    cluster.wait_until_served();
    let calls = load.end();
    cluster.wait_until_equal();
    plan::report(&recoveries);

    let (unknown, written) = (
        calls.iter().filter(|call| call.returned_at.is_none()).count(),
        calls.iter().filter(|call| call.effect != Effect::Keep && call.returned_at.is_some()).count(),
    );
    eprintln!("{} calls: {written} writes acknowledged, {unknown} of unknown fate", calls.len());
    assert!(written > 20, "the load was served");
    assert_eq!(contradicted_keys(&calls), [0; 0], "these keys' histories are not linearizable");
    assert_the_check_can_fail(calls);
}

/// A lost write is found: the last read of the history is made to see nothing.
fn assert_the_check_can_fail(mut calls: Vec<Call>) {
    let last = calls
        .iter_mut()
        .rev()
        .find(|call| matches!(call.need, Need::Exactly(value) if value != ValueId::ABSENT));
    last.unwrap().need = Need::Exactly(ValueId::ABSENT);
    let mut impossible = 0;
    check(&calls, &Check::default(), |_, answer| {
        impossible += u32::from(!matches!(answer, Answer::Witness(_)))
    });
    assert_eq!(impossible, 1, "a planted loss is found");
}
