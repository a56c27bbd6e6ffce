//! `sim SEED` runs one seed and tells its story; `sim --seeds FROM..TO` runs many and stops at the first violation.

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use sim::scenario::Scenario;
use sim::world::{Statistics, World};
use ubik_proto::plant::{Fault, plant};

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
    /// Plant this fault in the servers, as named in `ubik_proto::plant`.
    #[arg(long)]
    fault: Option<String>,
    /// Plant each fault in turn and say which seed finds it.
    #[arg(long)]
    faults: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(name) = &arguments.fault {
        let Some(fault) = Fault::ALL.into_iter().find(|fault| format!("{fault:?}") == *name) else {
            eprintln!("no fault is called {name}; there are {:?}", Fault::ALL);
            return ExitCode::from(2);
        };
        plant(Some(fault));
    }
    if arguments.faults {
        return find_faults(arguments.from, arguments.seeds);
    }
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
            println!("seed {seed}: at {:.3} s: {}", violation.at as f64 / 1e6, violation.what);
            ExitCode::FAILURE
        }
        None => ExitCode::SUCCESS,
    }
}

fn find_faults(from: u64, count: u64) -> ExitCode {
    let mut missed = false;
    for fault in Fault::ALL {
        plant(Some(fault));
        let found = (from..from + count).find_map(|seed| {
            let violation = World::new(Scenario::random(seed), seed).run()?;
            Some((seed, violation))
        });
        match found {
            Some((seed, violation)) => println!("{fault:?}: seed {seed}: {}", violation.what),
            None => {
                missed = true;
                println!("{fault:?}: NOT found in {count} seeds");
            }
        }
    }
    if missed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
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
            println!("seed {seed}: at {:.3} s: {}", violation.at as f64 / 1e6, violation.what);
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
    if found == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
