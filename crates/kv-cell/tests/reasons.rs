//! What a server's log says of elections and recovery.
#![allow(clippy::unwrap_used)]

mod shared;

use kv::Store;
use shared::{Three, ask};

/// How a line names its reason.
const REASONS: [&str; 4] = [": ", ", since ", ", with ", ", which "];

/// S11: from the first election over the end of a sync site to the return of its server, every line says why it is so; the ways
/// through an election are all told.
#[test]
fn every_line_about_elections_and_recovery_says_why() {
    let mut three = Three::start();
    ask(three.cell(0), "set k 1").unwrap();
    let first = three.sync_site();
    let before = three.cell(first).status().events;
    three.stop(first);
    let second = three.sync_site();
    ask(three.cell(second), "set k 2").unwrap();
    three.restart(first);
    let follower = three.cell(first);
    while ask(follower, "get k").is_err() || follower.status().events.len() < 2 {
        std::thread::yield_now();
    }
    let lines = (0..3).flat_map(|nth| three.cell(nth).status().events);
    let lines: Vec<String> = before.into_iter().chain(lines).map(|event| event.what).collect();
    // That a peer answers is a reason, and has none.
    let is_told = |line: &&String| !line.ends_with(" answers again");
    for line in lines.iter().filter(is_told) {
        assert!(REASONS.iter().any(|words| line.contains(words)), "{line:?} says nothing of why");
    }
    for told in [
        "asks for votes in epoch",
        "was elected sync site in epoch",
        "follows 127.",
        "recovery: waits for the versions of all voters",
        "recovery: labelled",
        "recovery: serves",
    ] {
        assert!(lines.iter().any(|line| line.contains(told)), "nothing of {told:?}: {lines:#?}");
    }
    let last = three.sync_site();
    three.cell(last).stop();
    let stopped = three.cell(last).status().events;
    let why = "it gave its mandate up, since it is stopping";
    assert!(stopped.iter().any(|event| event.what.ends_with(why)), "{stopped:#?}");
}
