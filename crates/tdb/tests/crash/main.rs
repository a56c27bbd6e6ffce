//! Crashes: every state within a bound that a killed process or a loss of power can leave of a run of transactions is
//! opened and judged; so is every state that a crash of the recovery itself can leave, and of the recovery after it.
//!
//! `QUORATE_LONG=1` (`cargo xtask crash`) has the larger bound. What is enumerated is told in `states.rs`.

#[path = "../common/mod.rs"]
mod common;
#[path = "../support/peer.rs"]
mod peer;
#[path = "../support/recording.rs"]
mod recording;
mod states;
mod workload;

use std::ops::ControlFlow;

use fastrand::Rng;
use peer::Peer;
use recording::{Event, Recording};
use states::{Bound, enumerate};
use tdb::{ByteOrder, Database, HashFunction, OpenOptions, StoreMode};
use workload::{Content, Run, Shape};

fn long() -> bool {
    std::env::var_os("QUORATE_LONG").is_some()
}

/// What was tried.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    states: u64,
    /// Those that needed recovery.
    recoveries: u64,
    /// States of a crashed recovery, and of a recovery crashed after that.
    second: u64,
    third: u64,
}

/// Opens a state; returns its content and the events of the recovery. The first thing done is the traverse, so
/// that it is what recovers.
fn open_state(image: &[u8]) -> Result<(Content, Vec<Event>), String> {
    let recording = Recording::new(image.to_vec());
    let database = OpenOptions::new()
        .open_storage("state", Box::new(recording.clone()))
        .map_err(|error| format!("open: {error}"))?;
    let content = content(&database)?;
    let recovery = recording.events();
    database.check(|_, _| true).map_err(|error| format!("check: {error}"))?;
    Ok((content, recovery))
}

fn content(database: &Database) -> Result<Content, String> {
    let mut content = Content::new();
    let shown = database.traverse_read(|key, value| {
        content.insert(key.to_vec(), value.to_vec());
        ControlFlow::Continue(())
    });
    shown.map_err(|error| format!("traverse: {error}"))?;
    Ok(content)
}

/// Judges every state of a run.
fn crash(run: &Run, bound: Bound, rng: &mut Rng) -> Tally {
    let mut tally = Tally::default();
    let mut deeper = rng.fork();
    let nested = Bound { cuts: 3, combinations: bound.combinations / 16, random: bound.random / 8 + 1 };
    enumerate(&run.base, &run.events, bound, rng, &mut |at, image| {
        tally.states += 1;
        let allowed = run.allowed(at);
        let (content, recovery) = match open_state(&image) {
            Ok(found) => found,
            Err(error) => {
                panic!("{}: crash after {at} events ({:?}): {error}", run.name, around(&run.events, at))
            }
        };
        assert!(
            allowed.contains(&&content),
            "{}: crash after {at} events: {} records, not one of {:?} contents",
            run.name,
            content.len(),
            allowed.iter().map(|content| content.len()).collect::<Vec<_>>()
        );
        if !recovery.is_empty() {
            tally.recoveries += 1;
            // Each recovery writes the same few things; some of them are crashed in turn.
            if deeper.u64(..tally.recoveries) < 16 {
                let (second, third) =
                    crash_recovery(&run.name, &image, &recovery, &content, nested, &mut deeper, true);
                tally.second += second;
                tally.third += third;
            }
        }
    });
    tally
}

fn around(events: &[Event], at: usize) -> Vec<String> {
    let describe = |event: &Event| match event {
        Event::Write { at, bytes } => format!("write {} at {at}", bytes.len()),
        other => format!("{other:?}"),
    };
    events[at.saturating_sub(3)..events.len().min(at + 2)].iter().map(describe).collect()
}

/// A crash of a recovery changes nothing about what is found in the end; nor does a crash of the recovery after it.
fn crash_recovery(
    name: &str,
    image: &[u8],
    recovery: &[Event],
    expected: &Content,
    bound: Bound,
    rng: &mut Rng,
    again: bool,
) -> (u64, u64) {
    let (mut states, mut nested) = (0, 0);
    let mut deeper = rng.fork();
    enumerate(image, recovery, bound, rng, &mut |at, image| {
        states += 1;
        let (content, recovery) = open_state(&image).unwrap_or_else(|error| {
            panic!("{name}: recovery crashed after {at} events ({:?}): {error}", around(recovery, at))
        });
        assert!(content == *expected, "{name}: recovery crashed after {at} events");
        if again && !recovery.is_empty() && deeper.u8(..) < 6 {
            let few = Bound { cuts: 2, combinations: 16, random: 4 };
            nested += crash_recovery(name, &image, &recovery, expected, few, &mut deeper, false).0;
        }
    });
    (states, nested)
}

const SHAPES: [Shape; 17] = [
    Shape::Store(6, 200),
    Shape::Store(1, 40),
    Shape::Change,
    Shape::Append,
    Shape::Cancelled,
    Shape::Store(3, 3000),
    Shape::DeleteMost,
    Shape::Nested,
    Shape::Store(12, 900),
    Shape::CancelledPrepared,
    Shape::Prepared,
    Shape::Change,
    Shape::Wipe,
    Shape::Store(8, 400),
    Shape::Repack,
    Shape::Store(2, 12_000),
    Shape::DeleteMost,
];

fn variants() -> Vec<(&'static str, OpenOptions)> {
    let options = |chains, order, hash| {
        let mut options = OpenOptions::new();
        options.hash_size(chains).byte_order(order).hash(hash);
        options
    };
    vec![
        ("native", options(5, ByteOrder::NATIVE, HashFunction::Old)),
        ("foreign", options(1, ByteOrder::FOREIGN, HashFunction::Old)),
        ("jenkins", options(13, ByteOrder::NATIVE, HashFunction::Jenkins)),
    ]
}

/// T13: after a crash anywhere, committed transactions are there, uncommitted ones are not, and the check passes; a
/// crash of the recovery, twice in a row, changes nothing about that.
#[test]
fn every_crash_leaves_whole_transactions_and_a_sound_file() {
    let mut rng = Rng::with_seed(testbed::seed("every_crash_leaves_whole_transactions_and_a_sound_file"));
    let (bound, rounds) = if long() {
        (Bound { cuts: 64, combinations: 4096, random: 500 }, 4)
    } else {
        (Bound { cuts: 4, combinations: 64, random: 12 }, 1)
    };
    let mut total = Tally::default();
    for (name, options) in variants() {
        for round in 0..rounds {
            let mut shapes = SHAPES;
            if round > 0 {
                rng.shuffle(&mut shapes[1..]);
            }
            let run = Run::record(name, &options, &shapes, &mut rng);
            let tally = crash(&run, bound, &mut rng);
            println!("crash: {name} {round}: {} events, {tally:?}", run.events.len());
            total.states += tally.states;
            total.recoveries += tally.recoveries;
            total.second += tally.second;
            total.third += tally.third;
        }
    }
    println!("crash: {total:?}");
    assert!(total.recoveries > 0 && total.second > 0 && total.third > 0, "some crash fell into each phase");
}

/// T4, T13: what our commit leaves when killed at any write, libtdb recovers to the same content, and its check passes.
#[test]
fn libtdb_recovers_what_our_killed_commits_leave() {
    let peer = match Peer::compile() {
        Ok(peer) => peer,
        Err(reason) => return testbed::skip("libtdb_recovers_what_our_killed_commits_leave", &reason),
    };
    let mut rng = Rng::with_seed(testbed::seed("libtdb_recovers_what_our_killed_commits_leave"));
    let folder = common::folder();
    let (mut states, mut recoveries) = (0, 0);
    for (name, options) in variants() {
        let run = Run::record(name, &options, &SHAPES, &mut rng);
        let flags = if name == "jenkins" { peer::INCOMPATIBLE_HASH } else { 0 };
        let mut image = run.base.clone();
        for (nth, event) in run.events.iter().enumerate() {
            recording::apply(&mut image, event);
            if !long() && rng.u8(..8) > 0 {
                continue;
            }
            let path = folder.path().join("state.tdb");
            std::fs::write(&path, &image).expect("the state can be written");
            let (ours, recovery) = open_state(&image).expect("we open the state");
            assert!(peer.dump(&path, flags) == ours, "{name}: libtdb and we disagree after {nth} events");
            peer.run("check", &path, &[], flags);
            states += 1;
            recoveries += u32::from(!recovery.is_empty());
        }
    }
    println!("crash: libtdb agrees on {states} states, {recoveries} of which it recovered");
    assert!(recoveries > 0);
}

/// R4: who dies in a wipe has counted it. The other way round others could see a wiped database at a number that the next change
/// uses as well, and no recorded history could say which came first.
#[test]
fn a_wipe_is_counted_before_anything_is_gone() {
    let recording = Recording::default();
    let database = OpenOptions::new()
        .seqnum(true)
        .hash_size(7)
        .create(true)
        .open_storage("wiped", Box::new(recording.clone()))
        .expect("it opens");
    database.store(b"a", b"1", StoreMode::Insert).expect("store");
    let before = recording.len();

    database.wipe_all().expect("wipe");

    let events = recording.events();
    let first = events[before..].iter().find(|event| matches!(event, Event::Write { .. }));
    // The sequence number of docs/tdb-format.md.
    assert_eq!(first, Some(&Event::Write { at: 48, bytes: 2u32.to_ne_bytes().to_vec() }));
}
