//! The solver against every order of many small random histories.

mod oracle;
mod random;

use history::contradiction::Contradiction;
use history::register::{Effect, Need, Unit, ValueId, Window};
use history::solver::{Beginning, Failure, Rules, Solver, Windows};
use random::{Shape, drawing, random_units};

const HISTORIES: u64 = 12_000;

/// R6, R7, R8, R11: on small histories, valid and not, the solver's answer is that of trying every order, and
/// every order that it gives is one.
#[test]
fn the_solver_agrees_with_trying_every_order() {
    let mut random = fastrand::Rng::with_seed(testbed::seed("the_solver_agrees_with_trying_every_order"));
    let mut solver = Solver::new();
    let mut possible = 0;
    for round in 0..HISTORIES {
        let shape = Shape::random(&mut random);
        let units = random_units(&mut random, &shape);
        for rules in all_rules(&mut random) {
            let expected = oracle::is_possible(&units, &rules);
            match solver.solve(&units, &rules) {
                Ok(order) => {
                    oracle::check_order(&units, &order);
                    assert!(expected, "round {round}: an order where there is none: {units:#?}");
                    let in_windows = oracle::is_possible_in_windows(&units, rules.beginning);
                    if rules.windows != Windows::Ignore {
                        assert_eq!(
                            order.windows_obeyed,
                            in_windows,
                            "round {round}: {rules:?} {}",
                            drawing(&units)
                        );
                    }
                    possible += 1;
                }
                Err(Failure::Impossible(contradiction)) => {
                    check_contradiction(&units, &rules, &contradiction);
                    assert!(!expected, "round {round}: false impossible {rules:?}: {}", drawing(&units));
                }
                Err(Failure::GaveUp { .. }) => panic!("round {round}: gave up on {} units", units.len()),
            }
        }
    }
    assert!(possible > HISTORIES / 4, "only {possible} were possible: the random histories are no test");
}

/// R32: an order in which every unit that advances has a cell of its own is found where there is one, and nowhere else.
#[test]
fn orders_with_a_cell_for_each_agree_with_trying_every_order() {
    let test = "orders_with_a_cell_for_each_agree_with_trying_every_order";
    let mut random = fastrand::Rng::with_seed(testbed::seed(test));
    let mut solver = Solver::new();
    let (mut found, mut only_shared) = (0, 0);
    for round in 0..HISTORIES {
        let shape = Shape::random(&mut random);
        let units = random_units(&mut random, &shape);
        let rules = all_rules(&mut random)[0];
        let expected = oracle::is_possible_apart(&units, rules.beginning);
        let order = solver.order_apart(&units, &rules);
        assert_eq!(order.is_some(), expected, "round {round}: {rules:?} {}", drawing(&units));
        let Some(order) = order else {
            only_shared += u64::from(oracle::is_possible_in_windows(&units, rules.beginning));
            continue;
        };
        oracle::check_order(&units, &order);
        let advancing =
            order.sequence.iter().zip(order.cells).filter(|(unit, _)| units[**unit as usize].advances);
        let cells: Vec<u64> = advancing.map(|(_, cell)| *cell).collect();
        assert!(cells.is_sorted_by(|one, next| one < next), "round {round}: {cells:?} {}", drawing(&units));
        found += 1;
    }
    assert!(found > HISTORIES / 8 && only_shared > 5, "no test: {found}, {only_shared}");
}

/// R36: explaining is bounded: a ring in which each waits for the one before needs a test for each unit, and is named as a whole where
/// there is no patience for that.
#[test]
fn a_contradiction_that_takes_long_to_make_minimal_is_named_as_it_is() {
    const RING: u32 = 100;
    let unit = |nth: u32| Unit {
        process: nth,
        id: nth,
        need: Need::Exactly(ValueId(10 + nth)),
        effect: Effect::Put(ValueId(10 + (nth + 1) % RING)),
        window: Window::ANYWHERE,
        firm: true,
        advances: false,
        joined: false,
        uncertain: false,
    };
    let units: Vec<Unit> = (0..RING).map(unit).collect();
    let rules = Rules { beginning: Beginning::Absent, windows: Windows::Require, ..Rules::default() };
    let named = |mut solver: Solver| match solver.solve(&units, &rules) {
        Err(Failure::Impossible(contradiction)) => (contradiction.conflicts.len(), contradiction.minimal),
        other => panic!("{other:?}"),
    };
    assert_eq!(named(Solver::with_patience(u64::MAX)), (RING as usize, true));
    assert_eq!(named(Solver::with_patience(10_000)), (RING as usize, false));
    let few = &units[..2];
    let contradiction = match Solver::with_patience(10_000).solve(few, &rules) {
        Err(Failure::Impossible(contradiction)) => contradiction,
        other => panic!("{other:?}"),
    };
    assert!(contradiction.minimal && contradiction.conflicts.len() == 1, "{contradiction:?}");
}

/// R7: a contradiction is impossible by itself, and without any one of its units it is not.
fn check_contradiction(units: &[Unit], rules: &Rules, contradiction: &Contradiction) {
    let kept: Vec<u32> = contradiction.conflicts.iter().map(|conflict| conflict.unit).collect();
    assert!(contradiction.minimal, "{}", drawing(units));
    let possible = |kept: &[u32]| oracle::is_possible_when_forgetting(units, kept, rules);
    assert!(!possible(&kept), "{kept:?} is not a contradiction {rules:?}: {}", drawing(units));
    for nth in 0..kept.len() {
        let mut without = kept.clone();
        without.remove(nth);
        assert!(possible(&without), "{kept:?} is not minimal {rules:?}: {}", drawing(units));
    }
}

fn all_rules(random: &mut fastrand::Rng) -> Vec<Rules> {
    let beginning = match random.u8(0..4) {
        0 => Beginning::Absent,
        1 => Beginning::Value(ValueId(random.u32(0..4))),
        _ => Beginning::Unknown,
    };
    let windows = [Windows::Prefer, Windows::Require, Windows::Ignore];
    windows.into_iter().map(|windows| Rules { beginning, windows, ..Rules::default() }).collect()
}
