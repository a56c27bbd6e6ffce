//! Measures a cell of three servers in this process: writes acknowledged and reads answered a second, with 1, 8 and 64
//! clients that each wait for one answer at a time. `cargo run --release -p quorate-kv-cell --example rates`
#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "../tests/shared/mod.rs"]
mod shared;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use shared::{Three, ask};

const SPAN: Duration = Duration::from_secs(3);

fn main() {
    let three = Three::start();
    ask(three.cell(0), "set warm up").unwrap();
    let sync_site = three.sync_site();
    let follower = (sync_site + 1) % 3;
    for (what, command, server) in [
        ("writes at the sync site", "set", sync_site),
        ("writes at a follower", "set", follower),
        ("reads at the sync site", "get", sync_site),
        ("reads at a follower", "get", follower),
    ] {
        for clients in [1, 8, 64] {
            let (count, latencies) = run(&three, command, server, clients);
            let at = |permille: usize| latencies[(latencies.len() - 1) * permille / 1000].as_micros();
            let rate = count as f64 / SPAN.as_secs_f64();
            println!(
                "{what}, {clients:2} clients: {rate:7.0} a second, p50 {} us, p99 {} us",
                at(500),
                at(990)
            );
        }
    }
}

fn run(three: &Three, command: &str, server: usize, clients: usize) -> (u64, Vec<Duration>) {
    let (ends, count) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut latencies: Vec<Duration> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..clients)
            .map(|client| {
                let (ends, count) = (&ends, &count);
                scope.spawn(move || {
                    let mut mine = Vec::new();
                    let value = if command == "set" { " 0123456789abcdef0123456789abcdef" } else { "" };
                    for nth in 0.. {
                        if ends.load(Ordering::Relaxed) {
                            break;
                        }
                        let begun = Instant::now();
                        ask(three.cell(server), &format!("{command} key{}:{}{value}", client, nth % 100))
                            .unwrap();
                        mine.push(begun.elapsed());
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                    mine
                })
            })
            .collect();
        std::thread::sleep(SPAN);
        ends.store(true, Ordering::Relaxed);
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    latencies.sort_unstable();
    (count.into_inner(), latencies)
}
