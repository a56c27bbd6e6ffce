//! P19: many seeds, one after the other: what was found, the sums, and how many times as fast as the clock that was. A sweep that
//! is stopped goes on from its file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};
use sim::scenario::{Scenario, Wish};
use sim::world::{Statistics, World};

/// So many seeds are lost at most when a sweep is stopped.
const KEPT_EVERY: u64 = 50;

/// What a sweep has come to.
#[derive(Debug, Default)]
struct Sums {
    seeds: u64,
    violations: u64,
    simulated_us: u64,
    statistics: Statistics,
}

impl Sums {
    fn line(&self) -> String {
        let numbers =
            [self.seeds, self.violations, self.simulated_us].into_iter().chain(self.statistics.numbers());
        numbers.map(|number| number.to_string()).collect::<Vec<_>>().join(" ")
    }

    fn parse(line: &str) -> Option<Self> {
        let numbers: Vec<u64> = line.split(' ').map(|word| word.parse().ok()).collect::<Option<_>>()?;
        let [seeds, violations, simulated_us, statistics @ ..] = numbers.as_slice() else {
            return None;
        };
        let statistics = Statistics::from_numbers(statistics)?;
        Some(Sums { seeds: *seeds, violations: *violations, simulated_us: *simulated_us, statistics })
    }
}

/// Runs `count` seeds from `from` on; `keep` is where the sums are kept.
pub fn run(from: u64, count: u64, wish: Wish, keep: Option<PathBuf>) -> ExitCode {
    match sweep(from, count, wish, keep.as_deref()) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::from(2)
        }
    }
}

fn sweep(from: u64, count: u64, wish: Wish, keep: Option<&Path>) -> Result<u64> {
    let start = Instant::now();
    let mut sums = keep.map_or_else(|| Ok(Sums::default()), load)?;
    let before = sums.simulated_us;
    while sums.seeds < count {
        let seed = from + sums.seeds;
        let mut world = World::new(Scenario::drawn(seed, wish), seed);
        let violation = world.run();
        sums.statistics.add(&world.statistics);
        sums.simulated_us += world.now;
        sums.seeds += 1;
        if let Some(violation) = violation {
            println!("seed {seed}: {violation}");
            sums.violations += 1;
        }
        if let (Some(keep), true) = (keep, sums.seeds.is_multiple_of(KEPT_EVERY) || sums.seeds == count) {
            fs::write(keep, sums.line())
                .with_context(|| format!("cannot keep the sums in {}", keep.display()))?;
        }
    }
    let seconds = start.elapsed().as_secs_f64().max(1e-3);
    println!(
        "{} seeds from {from}, {:.0} hours simulated, {} violations; {}",
        sums.seeds,
        sums.simulated_us as f64 / 3.6e9,
        sums.violations,
        sums.statistics
    );
    let times = (sums.simulated_us - before) as f64 / 1e6 / seconds;
    println!("{seconds:.1} s, {times:.0} times as fast as the clock");
    Ok(sums.violations)
}

fn load(keep: &Path) -> Result<Sums> {
    if !keep.exists() {
        return Ok(Sums::default());
    }
    let text =
        fs::read_to_string(keep).with_context(|| format!("cannot read the sums in {}", keep.display()))?;
    Sums::parse(text.trim())
        .with_context(|| format!("{} holds no sums of a sweep; remove it", keep.display()))
}
