//! Histories made up by simulated processes that obey the database's locks, written as their tracer would have
//! written them: late lines, numbers read before a lock was held, equal values. Each has an order, so one must be found,
//! and however workers are delayed its replay ends with the recorded results.

mod processes;

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;

use processes::{Simulation, Style};
use tdb_replay::engine::Engine;
use tdb_replay::engine::memory::Memory;
use tdb_replay::engine::tdb::{Settings, TdbFile};
use tdb_replay::order::explain::explain;
use tdb_replay::order::merge::Merged;
use tdb_replay::order::waits::Wait;
use tdb_replay::replay::worker::Point;
use tdb_replay::replay::{Options, run};
use tdb_replay::schedule::Schedule;
use tdb_replay::trace::chain::Hashing;
use tdb_replay::trace::op::Op;
use tdb_replay::trace::structure::GroupKind;
use tdb_replay::trace::{History, Tolerance};

/// How many splits and locks given up a round had.
#[derive(Default)]
struct Seen {
    splits: usize,
    given_up: usize,
    waits: usize,
}

fn round(style: Style, seed: u64, seen: &mut Seen) {
    let texts = Simulation::new(style, seed).run();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let paths: Vec<PathBuf> =
        (0..texts.len()).map(|number| folder.path().join(format!("p{number}.trace"))).collect();
    for (path, text) in paths.iter().zip(&texts) {
        std::fs::write(path, text).expect("a small file can be written");
    }
    let history = History::read(&paths, Tolerance::default(), |_| {})
        .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    let hashing = Hashing::recorded(&history);
    let mut explained = explain(&history, hashing, Default::default()).unwrap_or_else(|failure| {
        panic!("seed {seed}, {style:?}: {}", tdb_replay::report::explain_failure(&history, &failure))
    });
    assert_eq!(
        explained.effort.without_windows, 0,
        "seed {seed}, {style:?}: an order within the windows exists"
    );
    let schedule = Schedule::new(&history, &mut explained);
    seen.splits += explained.merged.splits.len();
    seen.given_up += explained.merged.given_up.len();
    seen.waits += schedule.traces.iter().map(|plan| plan.waits.len()).sum::<usize>();
    let pause = |trace: usize, row: u32, point: Point| {
        let mut hasher = DefaultHasher::new();
        (seed, trace, row, point as u8).hash(&mut hasher);
        if hasher.finish().is_multiple_of(20) {
            // The delay is the purpose; yielding instead would starve on a busy machine.
            std::thread::sleep(std::time::Duration::from_micros(20));
        }
    };
    let options = Options { pause: Some(&pause), latency: false, ..Options::default() };
    let file = TdbFile::create(&folder.path().join("scratch.tdb"), Settings { hashing, sync: false })
        .unwrap_or_else(|error| panic!("{error}"));
    let engines: [&dyn Engine; 2] = [&Memory::new(&history), &file];
    for engine in engines {
        let run =
            run(&history, &schedule, engine, &options).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert_eq!(
            run.tally.mismatches,
            0,
            "seed {seed}, {style:?}, {}: {:?}",
            engine.name(),
            run.tally.kept
        );
    }
}

fn rounds(test: &str, style: Style) {
    let seed = testbed::seed(test);
    let mut seen = Seen::default();
    let count =
        std::env::var("QUORATE_ROUNDS").map_or(6, |text| text.parse().expect("QUORATE_ROUNDS is a number"));
    for number in 0..count {
        round(style, seed.wrapping_add(number), &mut seen);
    }
    assert!(seen.waits > 0, "nobody ever waited");
    eprintln!("{test}: {} waits, {} splits, {} locks given up", seen.waits, seen.splits, seen.given_up);
}

/// R6, R9, R12, R16: single operations, chain locks, locks of everything, transactions, traversals; today's dialect.
#[test]
fn made_up_histories_of_today_replay_under_delays() {
    rounds("made_up_histories_of_today_replay_under_delays", Style { classic: false, values: 200 });
}

/// R6, R8, R16: the same with three values only, so that many orders look alike.
#[test]
fn made_up_histories_with_equal_values_replay_under_delays() {
    rounds("made_up_histories_with_equal_values_replay_under_delays", Style { classic: false, values: 3 });
}

/// R6, R9, R12, R16: the classic dialect, whose read traversals keep transactions out.
#[test]
fn made_up_classic_histories_replay_under_delays() {
    rounds("made_up_classic_histories_replay_under_delays", Style { classic: true, values: 200 });
}

/// Which rows come before which, found by following every wait and every trace, one bit for each pair of rows.
struct Before {
    /// Where each trace's rows begin.
    starts: Vec<usize>,
    /// By row: the rows that come before it, and itself.
    sets: Vec<Vec<u64>>,
    /// Waits that others imply.
    implied: Vec<(usize, Wait)>,
}

impl Before {
    fn of(merged: &Merged) -> Before {
        let mut starts = vec![0];
        merged.ranks.iter().for_each(|rows| starts.push(starts[starts.len() - 1] + rows.len()));
        let count = starts[starts.len() - 1];
        let mut order: Vec<(u32, usize, usize)> = Vec::new();
        for (trace, ranks) in merged.ranks.iter().enumerate() {
            order.extend(ranks.iter().enumerate().map(|(row, &rank)| (rank, trace, row)));
        }
        order.sort_unstable();
        let mut before =
            Before { starts, sets: vec![vec![0; count.div_ceil(64)]; count], implied: Vec::new() };
        for (_, trace, row) in order {
            before.visit(merged, trace, row);
        }
        before
    }

    fn visit(&mut self, merged: &Merged, trace: usize, row: usize) {
        let node = self.starts[trace] + row;
        let waits: Vec<Wait> =
            merged.waits[trace].iter().filter(|wait| wait.row as usize == row).copied().collect();
        let sources: Vec<usize> = (row > 0)
            .then(|| node - 1)
            .into_iter()
            .chain(waits.iter().map(|wait| self.starts[usize::from(wait.on)] + wait.rows as usize - 1))
            .collect();
        for (nth, &wait) in waits.iter().enumerate() {
            let own = sources[sources.len() - waits.len() + nth];
            if sources.iter().any(|&other| other != own && self.has(other, own)) {
                self.implied.push((trace, wait));
            }
        }
        let mut set = std::mem::take(&mut self.sets[node]);
        for source in sources {
            set.iter_mut().zip(&self.sets[source]).for_each(|(mine, theirs)| *mine |= theirs);
        }
        set[node / 64] |= 1 << (node % 64);
        self.sets[node] = set;
    }

    /// Whether row `earlier` comes before row `later`, or is it.
    fn has(&self, later: usize, earlier: usize) -> bool {
        self.sets[later][earlier / 64] >> (earlier % 64) & 1 == 1
    }
}

/// A use of a key: trace, first and last row of its event, its rank, whether it changes anything.
type Use = (usize, usize, usize, u32, bool);

/// The uses of each key.
fn uses(history: &History, merged: &Merged) -> HashMap<u32, Vec<Use>> {
    let mut uses: HashMap<u32, Vec<Use>> = HashMap::new();
    for (number, trace) in history.traces.iter().enumerate() {
        for index in 0..trace.rows.len() {
            let row = trace.rows.row(index);
            let changes = match row.op {
                Op::Fetch | Op::Exists | Op::ParseRecord => false,
                Op::Store | Op::Append | Op::Delete => !row.failed(),
                _ => continue,
            };
            let inside = trace.groups.iter().find(|group| {
                group.is_transaction() && (group.start as usize..=group.end as usize).contains(&index)
            });
            let (first, last, committed) = inside.map_or((index, index, true), |group| {
                let committed = group.kind == GroupKind::Transaction { committed: true };
                (group.start as usize, group.end as usize, committed)
            });
            let of_key = uses.entry(row.key).or_default();
            of_key.push((number, first, last, merged.ranks[number][index], changes && committed));
        }
    }
    uses
}

/// R13: hardly any wait is implied by others, and none is missing: what used a key in a way that excludes another use comes
/// before it. Found by following all waits, not by the clocks that the order was reduced with, which miss a few.
#[test]
fn waits_are_what_is_needed_and_no_more() {
    let seed = testbed::seed("waits_are_what_is_needed_and_no_more");
    let (mut waits, mut implied) = (0, 0);
    for number in 0..12 {
        let seed = seed.wrapping_add(number);
        let texts = Simulation::new(Style { classic: number % 3 == 0, values: 200 }, seed).run();
        let texts: Vec<&[u8]> = texts.iter().map(String::as_bytes).collect();
        let history =
            History::read_texts(&texts, Tolerance::default()).unwrap_or_else(|error| panic!("{error}"));
        let explained = explain(&history, Hashing::recorded(&history), Default::default())
            .unwrap_or_else(|_| panic!("seed {seed} has an order"));
        let merged = &explained.merged;
        let before = Before::of(merged);
        implied += before.implied.len();
        waits += merged.waits.iter().map(Vec::len).sum::<usize>();
        for (key, uses) in uses(&history, merged) {
            for &(trace, _, end, rank, changes) in &uses {
                let later = uses.iter().filter(|other| other.3 > rank && other.0 != trace);
                for &(other, start, _, _, changes_too) in later.filter(|other| changes || other.4) {
                    let (earlier, later) = (before.starts[trace] + end, before.starts[other] + start);
                    assert!(
                        before.has(later, earlier),
                        "seed {seed}, key {key}: row {start} of {other} ({changes_too}) does not wait for row {end} of {trace}"
                    );
                }
            }
        }
    }
    eprintln!("{implied} of {waits} waits are implied by others");
    assert!(waits > 100, "{waits} waits show nothing");
    assert!(implied * 100 <= waits, "{implied} of {waits} waits are implied by others");
}
