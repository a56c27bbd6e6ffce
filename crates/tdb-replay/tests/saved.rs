//! Orders in files: saved, loaded, refused.

use std::path::{Path, PathBuf};

use history::generate::Shape;
use tdb_replay::engine::memory::Memory;
use tdb_replay::generate::{Order, generate};
use tdb_replay::order::explain::{Explained, explain};
use tdb_replay::order::saved::{SavedError, load, save};
use tdb_replay::replay::{Options, run};
use tdb_replay::schedule::Schedule;
use tdb_replay::trace::chain::Hashing;
use tdb_replay::trace::{History, Tolerance, source};

struct Place {
    folder: tempfile::TempDir,
    history: History,
    target: Hashing,
}

impl Place {
    fn new(seed: u64) -> Place {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let history = history(&folder.path().join("traces"), seed);
        let target = Hashing::recorded(&history);
        Place { folder, history, target }
    }

    fn saved(&self) -> (PathBuf, Explained) {
        let explained = explain(&self.history, self.target, Default::default()).expect("a true history");
        let path = self.folder.path().join("order");
        save(&path, &self.history, self.target, &explained).expect("the order is written");
        (path, explained)
    }

    fn load(&self, path: &Path) -> Result<Explained, SavedError> {
        load(path, &self.history, self.target)
    }
}

fn history(folder: &Path, seed: u64) -> History {
    let shape = Shape { processes: 3, operations: 2000, keys: 40, seed, ..Shape::default() };
    let order = Order { shape, violation: None, extended: false, zstd: false };
    generate(&order, folder).expect("a history is written");
    let paths = source::expand(folder).expect("a folder of traces");
    History::read(&paths, Tolerance::default(), |_| {}).unwrap_or_else(|error| panic!("{error}"))
}

/// R21: a loaded order is the saved one, and a replay by it gives every recorded result.
#[test]
fn a_loaded_order_replays_like_the_found_one() {
    let place = Place::new(testbed::seed("saved_order"));
    let (path, explained) = place.saved();
    let mut loaded = place.load(&path).expect("the order was saved for these traces");
    assert_eq!(loaded.merged.ranks, explained.merged.ranks);
    assert_eq!(loaded.merged.waits, explained.merged.waits);
    assert_eq!(loaded.merged.last_values, explained.merged.last_values);
    assert_eq!((&loaded.planted, &loaded.dead), (&explained.planted, &explained.dead));
    assert_eq!((loaded.effort, &loaded.notes), (explained.effort, &explained.notes));
    assert!(loaded.merged.waits.iter().any(|waits| !waits.is_empty()));
    let schedule = Schedule::new(&place.history, &mut loaded);
    let run = run(&place.history, &schedule, &Memory::new(&place.history), &Options::default())
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(run.tally.mismatches, 0);
}

/// R21: an order of other traces, or for another database, is refused with what differs.
#[test]
fn an_order_of_something_else_is_refused() {
    let seed = testbed::seed("other_order");
    let (place, other) = (Place::new(seed), Place::new(seed + 1));
    let (path, _) = place.saved();
    let error = other.load(&path).err().expect("other traces");
    assert!(matches!(error, SavedError::Other { .. }), "{error}");
    let target = Hashing { hash_size: place.target.hash_size + 1, ..place.target };
    let error = load(&path, &place.history, target).err().expect("another target");
    assert!(error.to_string().contains("chains"), "{error}");
}

/// R21: a file that is cut short anywhere, or has a changed byte, is refused; so is what is no order at all.
#[test]
fn a_damaged_order_is_refused() {
    let place = Place::new(testbed::seed("damaged_order"));
    let (path, _) = place.saved();
    let good = std::fs::read(&path).expect("it was just written");
    for length in (0..good.len()).step_by(97) {
        std::fs::write(&path, &good[..length]).expect("a small file can be written");
        place.load(&path).err().expect("it was cut short");
    }
    for at in (0..good.len()).step_by(101) {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        std::fs::write(&path, &bad).expect("a small file can be written");
        place.load(&path).err().expect("a byte was changed");
    }
    std::fs::write(&path, "TDB file\n").expect("a small file can be written");
    let error = place.load(&path).err().expect("it is no order");
    assert!(matches!(error, SavedError::NotAnOrder { .. }), "{error}");
}

/// R16, R21: an order whose waits form a circle is refused, though its hash is right.
#[test]
fn a_forged_circle_is_refused() {
    let place = Place::new(testbed::seed("forged_order"));
    let (path, mut explained) = place.saved();
    let wait = explained
        .merged
        .waits
        .iter_mut()
        .find_map(|waits| waits.first_mut())
        .expect("three processes on forty keys wait for each other");
    wait.rows = explained.merged.ranks[usize::from(wait.on)].len() as u32;
    save(&path, &place.history, place.target, &explained).expect("the order is written");
    let error = place.load(&path).err().expect("it waits for the end");
    assert!(error.to_string().contains("later"), "{error}");
}
