//! A client and a server in one thread, on a wire with faults, all from one seed.
//!
//! `QUORATE_RX_SEEDS=5000` runs so many seeds; the default is a short form.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod network;
mod world;

use std::time::Duration;

use fastrand::Rng;
use network::Faults;
use rx_proto::rxkad::Level;
use world::{Outcome, Plan, World};

fn seeds() -> u64 {
    std::env::var("QUORATE_RX_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(300)
}

/// Loss from 0 to 30 %, and everything else at random.
fn plan(random: &mut Rng) -> Plan {
    let mtus = [1500, 1500, 1400, 1200, 600];
    let delay_us = *random.choice(&[10, 200, 5_000, 50_000]).unwrap();
    let windows = [16, 32, 128, 255];
    let restart =
        |random: &mut Rng| (random.u32(0..8) == 0).then(|| Duration::from_millis(random.u64(0..3000)));
    Plan {
        faults: Faults {
            loss: if random.bool() { random.u32(0..=300) } else { 0 },
            duplication: if random.bool() { random.u32(0..100) } else { 0 },
            corruption: if random.u32(0..4) == 0 { random.u32(0..20) } else { 0 },
            delay_us,
            jitter_us: if random.bool() { random.u64(0..=4 * delay_us) } else { 0 },
            mtu: *random.choice(&mtus).unwrap(),
            other_mtu: *random.choice(&mtus).unwrap(),
        },
        level: *random
            .choice(&[None, None, Some(Level::Clear), Some(Level::Auth), Some(Level::Crypt)])
            .unwrap(),
        calls: random.usize(1..24),
        connections: random.usize(1..4),
        largest: *random.choice(&[2_000, 20_000, 120_000]).unwrap(),
        server_restart: restart(random),
        client_restart: restart(random),
        receive_windows: [*random.choice(&windows).unwrap(), *random.choice(&windows).unwrap()],
        send_window: *random.choice(&[16, 32, 255]).unwrap(),
        reads_late: random.bool(),
    }
}

/// X1 to X5: whatever the network does, a call's reply arrives whole after exactly one execution, or the call fails with
/// a code that fits; nothing hangs.
#[test]
fn every_call_completes_exactly_once_or_fails_with_the_right_code() {
    let base = testbed::seed("every_call_completes_exactly_once_or_fails_with_the_right_code");
    let (mut replied, mut failed, mut lost, mut carried) = (0, 0, 0, 0);
    for seed in base..base + seeds() {
        let plan = plan(&mut Rng::with_seed(seed));
        let shown = plan.clone();
        let run = std::panic::catch_unwind(|| {
            let mut world = World::new(plan, seed);
            let (outcomes, _) = world.run();
            for (number, outcome) in outcomes.iter().enumerate() {
                if let Outcome::Failed(code) = outcome {
                    assert!(world.may_fail_with(number, *code), "call {number} failed with {code}");
                }
            }
            (outcomes, world.carried())
        });
        let (outcomes, datagrams) = run.unwrap_or_else(|_| panic!("seed {seed}: {shown:?}"));
        carried += datagrams;
        for outcome in outcomes {
            match outcome {
                Outcome::Replied => replied += 1,
                Outcome::Failed(_) => failed += 1,
                Outcome::Lost | Outcome::Running => lost += 1,
            }
        }
    }
    eprintln!(
        "{} seeds: {replied} replies, {failed} refused or failed, {lost} lost with their client, {carried} datagrams",
        seeds()
    );
}

fn perfect() -> Plan {
    Plan {
        faults: Faults {
            loss: 0,
            duplication: 0,
            corruption: 0,
            delay_us: 100,
            jitter_us: 0,
            mtu: 1500,
            other_mtu: 1500,
        },
        level: None,
        calls: 12,
        connections: 1,
        largest: 300_000,
        server_restart: None,
        client_restart: None,
        receive_windows: [128, 128],
        send_window: 255,
        reads_late: false,
    }
}

/// X3: on a wire without faults nothing is sent twice.
#[test]
fn nothing_is_sent_again_on_a_perfect_wire() {
    for seed in 0..20 {
        let mut world = World::new(perfect(), seed);
        world.run();
        let [client, server] = world.counters();
        assert_eq!((client.data_packets_resent, server.data_packets_resent), (0, 0), "seed {seed}");
    }
}

/// X1: the same seed gives the same run, to the microsecond.
#[test]
fn a_seed_gives_the_same_run_each_time() {
    let run = |seed| {
        let mut world = World::new(plan(&mut Rng::with_seed(seed)), seed);
        let (outcomes, took) = world.run();
        (outcomes, took, world.carried())
    };
    for seed in 1000..1010 {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
}

/// X4: megabytes arrive whole under a fifth of all datagrams lost.
#[test]
fn bulk_arrives_whole_under_twenty_percent_loss() {
    let faults = Faults { loss: 200, duplication: 20, jitter_us: 300, ..perfect().faults };
    let plan = Plan { faults, calls: 4, largest: 4_000_000, ..perfect() };
    let mut world = World::new(plan, 7);
    let (outcomes, took) = world.run();
    eprintln!("{outcomes:?} in {took:?}");
}

/// X2, X4: OpenAFS sends at most 32 packets beyond what the reader has taken, whatever window we offer. When all of them
/// have arrived before the application reads, the sender must be told of the reading at once: in its place, a
/// transfer once went on only with each ping.
#[test]
fn a_sender_with_a_smaller_window_than_ours_is_never_stalled() {
    for send_window in [16, 32] {
        let plan = Plan { calls: 1, largest: 4_000_000, send_window, reads_late: true, ..perfect() };
        let quickest = (0..10)
            .map(|seed| {
                let mut world = World::new(plan.clone(), seed);
                let (_, took) = world.run();
                (took, world.counters()[0].data_packets_read + world.counters()[1].data_packets_read)
            })
            .filter(|(_, packets)| *packets > 500);
        let slowest = quickest.map(|(took, _)| took).filter(|took| *took < Duration::from_secs(100)).max();
        assert!(slowest.is_some_and(|took| took < Duration::from_secs(2)), "{send_window}: {slowest:?}");
    }
}
