//! Generated histories: what is true is explained, what is planted is found.

mod oracle;

use history::generate::{History, Mix, Random, Shape, Values, Violation, plant};
use history::register::{Unit, Window};
use history::solver::{Failure, Rules, Solver, Windows};

const HISTORIES: u64 = 10_000;

fn random_shape(random: &mut Random, operations: u32) -> Shape {
    Shape {
        processes: 1 + random.below(8),
        operations,
        keys: 1 + random.below(3),
        skew: f64::from(random.below(3)) / 2.0,
        values: if random.below(2) == 0 { Values::Distinct } else { Values::Few(1 + random.below(3)) },
        late_per_mille: random.below(600),
        very_late_per_mille: random.below(200),
        mix: if random.below(4) == 0 { Mix::READS_AND_STORES } else { Mix::MIXED },
        seed: random.number(),
    }
}

fn forget_windows(keys: &mut [Vec<Unit>]) {
    keys.iter_mut().flatten().for_each(|unit| unit.window = Window::ANYWHERE);
}

/// R28: no false alarm on ten thousand true histories, with sequence numbers, with times and with neither.
#[test]
fn true_histories_are_explained() {
    let mut random = Random::new(testbed::seed("true_histories_are_explained"));
    let mut solver = Solver::new();
    for round in 0..HISTORIES {
        let length = 1 + random.below(60);
        let shape = random_shape(&mut random, length);
        let history = History::new(&shape);
        let mut without = history.units_by_key();
        forget_windows(&mut without);
        for (seen, keys) in [history.units_by_key(), history.timed_units_by_key(), without].iter().enumerate()
        {
            for units in keys {
                let rules = Rules { windows: Windows::Require, ..Rules::default() };
                match solver.solve(units, &rules) {
                    Ok(order) => oracle::check_order(units, &order),
                    Err(failure) => panic!("round {round}, form {seen}, {shape:?}: {failure:?}"),
                }
            }
        }
    }
}

/// R28: larger true histories on one key, too, where choices are many.
#[test]
fn true_histories_on_one_crowded_key_are_explained() {
    let mut random = Random::new(testbed::seed("true_histories_on_one_crowded_key_are_explained"));
    let mut solver = Solver::new();
    for round in 0..60 {
        let shape = Shape { keys: 1, processes: 2 + random.below(20), ..random_shape(&mut random, 2000) };
        let history = History::new(&shape);
        for units in &history.units_by_key() {
            let rules = Rules { windows: Windows::Require, ..Rules::default() };
            match solver.solve(units, &rules) {
                Ok(order) => oracle::check_order(units, &order),
                Err(failure) => panic!("round {round}, {shape:?}: {failure:?}"),
            }
        }
    }
}

/// R28: each kind of violation is found wherever it is planted, whatever was there before the history, and the
/// contradiction lies on the key where it was planted.
#[test]
fn planted_violations_are_found() {
    let mut random = Random::new(testbed::seed("planted_violations_are_found"));
    let mut solver = Solver::new();
    for violation in Violation::ALL {
        let mut planted = 0;
        while planted < 300 {
            let length = 40 + random.below(400);
            let shape =
                Shape { values: Values::Distinct, mix: Mix::MIXED, ..random_shape(&mut random, length) };
            let mut history = History::new(&shape);
            let Some(site) = plant(&mut history, violation, &mut random) else {
                continue;
            };
            planted += 1;
            let keys = history.units_by_key();
            for (key, units) in keys.iter().enumerate() {
                let answer = solver.solve(units, &Rules::default());
                match answer {
                    Ok(_) => assert_ne!(key as u32, site.key, "{violation:?} not found: {site:?} {shape:?}"),
                    Err(Failure::Impossible(found)) => {
                        assert_eq!(key as u32, site.key, "{violation:?}: an alarm on another key {shape:?}");
                        assert!(found.conflicts.len() <= 8, "{violation:?}: {found:#?}");
                    }
                    Err(failure) => panic!("{violation:?} {site:?} {shape:?}: {failure:?}"),
                }
            }
        }
    }
}

/// R28: what is planted in histories small enough to try every order is a violation by that measure.
#[test]
fn what_is_planted_is_a_violation() {
    let mut random = Random::new(testbed::seed("what_is_planted_is_a_violation"));
    for violation in Violation::ALL {
        let mut planted = 0;
        for _ in 0..200_000 {
            let shape = Shape { keys: 1, processes: 2, ..random_shape(&mut random, 9) };
            let shape = Shape { values: Values::Distinct, mix: Mix::MIXED, ..shape };
            let mut history = History::new(&shape);
            let Some(site) = plant(&mut history, violation, &mut random) else {
                continue;
            };
            planted += 1;
            let units = &history.units_by_key()[0];
            assert!(!oracle::is_possible(units, &Rules::default()), "{site:?} {:#?}", history.operations);
            if planted == 100 {
                break;
            }
        }
        assert!(planted > 20, "{violation:?}: only {planted} sites");
    }
}
