//! Prints what reading, ordering and replaying a set of traces in memory comes to.
use std::path::PathBuf;
use std::time::Instant;

use tdb_replay::engine::memory::Memory;
use tdb_replay::order::{chain::Hashing, explain::explain};
use tdb_replay::replay::{Options, run};
use tdb_replay::schedule::Schedule;
use tdb_replay::trace::{History, Tolerance, source};

fn main() {
    let paths: Vec<PathBuf> = std::env::args()
        .skip(1)
        .flat_map(|path| source::expand(path.as_ref()).expect("readable"))
        .collect();
    let start = Instant::now();
    let history =
        History::read(&paths, Tolerance::default(), |_| {}).unwrap_or_else(|error| panic!("{error}"));
    let read = start.elapsed();
    println!(
        "{} traces, {} lines, {:.1} MB, memory {:.2}, {:?}, {:?}",
        paths.len(),
        history.lines(),
        history.text_bytes as f64 / 1e6,
        history.memory() as f64 / history.text_bytes as f64,
        history.dialect,
        history.warnings
    );
    let start = Instant::now();
    let mut explained = match explain(&history, Hashing::recorded(&history), Default::default()) {
        Ok(explained) => explained,
        Err(error) => {
            println!("{error:?}");
            return;
        }
    };
    let ordered = start.elapsed();
    let m = &explained.merged;
    println!(
        "{:?} planted {} events {} named {} waits {} splits {} given up {} critical {} notes {:?}",
        explained.effort,
        explained.planted.len(),
        m.events,
        m.dependencies,
        m.waits.iter().map(Vec::len).sum::<usize>(),
        m.splits.len(),
        m.given_up.len(),
        m.critical_path,
        explained.notes
    );
    let schedule = Schedule::new(&history, &mut explained);
    println!("read {read:?} order {ordered:?}");
    for latency in [true, false, false] {
        let engine = Memory::new(&history);
        let run = run(
            &history,
            &schedule,
            &engine,
            &Options {
                latency,
                ..Options::default()
            },
        )
        .unwrap_or_else(|error| panic!("{error}"));
        let t = &run.tally;
        println!(
            "replay {:?} compared {} mismatches {} waits {} parked {} waited {:?} not run {} other length {}",
            run.time, t.compared, t.mismatches, t.waits, t.parked, t.waited, t.not_run, t.other_length
        );
        for mismatch in t.kept.iter().take(3) {
            println!("   {mismatch:?}");
        }
    }
}
