//! `sim SEED` runs one seed and tells its story; `sim --seeds FROM..TO` runs many and stops at the first violation.

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use sim::scenario::Scenario;
use sim::world::{Statistics, World};

/// Runs whole cells of the shipped server in one thread, each from one seed.
#[derive(Parser)]
struct Arguments {
    /// One seed: run it and tell what happened.
    seed: Option<u64>,
    /// Run this many seeds instead, and say only what was found.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    from: u64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.seed {
        Some(seed) => tell(seed),
        None => sweep(arguments.from, arguments.seeds),
    }
}

fn tell(seed: u64) -> ExitCode {
    let mut world = World::new(Scenario::random(seed), seed);
    world.story = Some(Vec::new());
    let violation = world.run();
    for line in world.story.iter().flatten() {
        println!("{line}");
    }
    println!("{:?}", world.statistics);
    match violation {
        Some(violation) => {
            println!(
                "seed {seed}: at {:.3} s: {}",
                violation.at as f64 / 1e6,
                violation.what
            );
            ExitCode::FAILURE
        }
        None => ExitCode::SUCCESS,
    }
}

fn sweep(from: u64, count: u64) -> ExitCode {
    let start = Instant::now();
    let mut total = Statistics::default();
    let mut simulated = 0;
    let mut found = 0;
    for seed in from..from + count {
        let mut world = World::new(Scenario::random(seed), seed);
        let violation = world.run();
        total.add(&world.statistics);
        simulated += world.now;
        if let Some(violation) = violation {
            println!(
                "seed {seed}: at {:.3} s: {}",
                violation.at as f64 / 1e6,
                violation.what
            );
            found += 1;
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    println!("{count} seeds, {found} violations, {total:?}");
    println!(
        "{:.0} simulated hours in {seconds:.1} s: {:.0} times as fast as the clock",
        simulated as f64 / 3.6e9,
        simulated as f64 / 1e6 / seconds
    );
    if found == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
