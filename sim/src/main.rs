//! `sim SEED` runs one seed and tells its story; `sim` alone runs many; `sim --planted` proves that faults are found.

mod sweep;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use sim::planted;
use sim::scenario::{Course, Scenario, Wish};
use sim::world::World;
use ubik_proto::plant::{Fault, plant};

/// Runs whole cells of the shipped server in one thread, each from one seed.
///
/// A run is an hour of C's timing, or three minutes of one twenty times as quick, of crashes, partitions, bad clocks and bad disks;
/// the properties in `sim/src/invariants` are looked at all the time, and what clients saw is checked at the end.
#[derive(Parser)]
#[command(after_help = "\
Examples:
  sim                                        a thousand seeds
  sim 17                                     the story of seed 17
  sim --voters 5 --timing openafs --seeds 2000 --keep sweep5.txt
                                             an hour each; stopped and called again, it goes on
  sim --planted                              which seed finds each planted fault

Exit code: 0 if nothing was found (with --planted: if every fault was), 1 otherwise, 2 for wrong arguments.")]
struct Arguments {
    /// One seed: run it and tell what happened.
    seed: Option<u64>,
    /// Run this many seeds instead, and say only what was found.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Cells of this many voters, instead of 1 to 5 as the seed has it.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=20))]
    voters: Option<u8>,
    /// One timing for all, instead of either.
    #[arg(long)]
    timing: Option<Timing>,
    /// What the runs are about, instead of any.
    #[arg(long)]
    course: Option<Course>,
    /// Keep the sums in this file, and go on from them if it is there.
    #[arg(long)]
    keep: Option<PathBuf>,
    /// Plant this fault in the servers, as named in `ubik_proto::plant`.
    #[arg(long)]
    fault: Option<String>,
    /// Plant each fault in turn and say which seed finds it.
    #[arg(long)]
    planted: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Timing {
    /// An hour of OpenAFS's timing.
    Openafs,
    /// Three minutes of a twentieth of it.
    Brisk,
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
    let wish = Wish {
        voters: arguments.voters.map(usize::from),
        brisk: arguments.timing.map(|timing| matches!(timing, Timing::Brisk)),
        course: arguments.course,
    };
    if arguments.planted {
        return find_planted();
    }
    match (arguments.seed, arguments.keep) {
        (Some(seed), _) => tell(seed, wish),
        (None, keep) => sweep::run(arguments.from, arguments.seeds, wish, keep),
    }
}

/// Runs one seed and tells its story.
fn tell(seed: u64, wish: Wish) -> ExitCode {
    let scenario = Scenario::drawn(seed, wish);
    println!("seed {seed}: {scenario}");
    let mut world = World::new(scenario, seed);
    world.story = Some(Vec::new());
    let violation = world.run();
    for line in world.story.iter().flatten() {
        println!("{line}");
    }
    println!("{}", world.statistics);
    match violation {
        Some(violation) => {
            println!("seed {seed}: {violation}");
            ExitCode::FAILURE
        }
        None => {
            println!("seed {seed}: nothing was wrong");
            ExitCode::SUCCESS
        }
    }
}

/// Plants each fault in turn and says which seed finds it.
fn find_planted() -> ExitCode {
    println!("{:<21} {:<12} {:>6} {:>6}  what was seen", "planted", "course", "within", "seed");
    let mut missed = 0;
    for planted in planted::ALL {
        let course = planted.course.map_or("any".to_owned(), |course| format!("{course:?}"));
        let (seed, seen) = match planted.find() {
            Some((seed, violation)) => (seed.to_string(), violation.what),
            None => {
                missed += 1;
                ("-".to_owned(), "NOT FOUND".to_owned())
            }
        };
        println!(
            "{:<21} {course:<12} {:>6} {seed:>6}  {seen}",
            format!("{:?}", planted.fault),
            planted.within
        );
    }
    println!("{} of {} found", planted::ALL.len() - missed, planted::ALL.len());
    if missed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
