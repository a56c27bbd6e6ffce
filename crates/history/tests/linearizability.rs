//! Histories with times against the definition of linearizability.

use history::linearizability::{Answer, Call, Check, Promise, check};
use history::register::{Effect, Need, ValueId};
use std::collections::BTreeMap;

const HISTORIES: u32 = 10_000;

/// R27: on small histories of several keys with pending calls, the answer for each key is that of the definition:
/// a legal order that keeps who returned before whom was invoked, pending calls taking effect or not.
#[test]
fn the_check_agrees_with_the_definition() {
    let mut random = fastrand::Rng::with_seed(testbed::seed("the_check_agrees_with_the_definition"));
    let (mut linearizable, mut contradicted) = (0, 0);
    for round in 0..HISTORIES {
        let calls = random_calls(&mut random);
        let mut answers = BTreeMap::new();
        check(&calls, &Check::default(), |key, answer| assert!(answers.insert(key, answer).is_none()));
        for (key, answer) in answers {
            let of_key: Vec<usize> = (0..calls.len()).filter(|&at| calls[at].key == key).collect();
            let expected = is_linearizable(&calls, &of_key, &mut vec![], 0);
            match answer {
                Answer::Witness(order) => {
                    assert!(expected, "round {round}: a witness where there is none: {calls:#?}");
                    check_witness(&calls, &of_key, &order);
                    linearizable += 1;
                }
                Answer::Contradicted(found) => {
                    assert!(!expected, "round {round}: false alarm {calls:#?}");
                    assert!(
                        found.conflicts.iter().all(|conflict| of_key.contains(&(conflict.unit as usize)))
                    );
                    contradicted += 1;
                }
                Answer::GaveUp { .. } => panic!("gave up on {calls:#?}"),
            }
        }
    }
    assert!(linearizable > HISTORIES / 4 && contradicted > HISTORIES / 20, "{linearizable}, {contradicted}");
}

/// R27: without regard to times, an old value may be read late, but not after its own process saw a newer one.
#[test]
fn sequential_consistency_allows_what_linearizability_does_not() {
    let put = |process, value, at| Call {
        process,
        key: 1,
        need: Need::Anything,
        effect: Effect::Put(ValueId(value)),
        invoked_at: at,
        returned_at: Some(at + 1),
    };
    let found = |process, value, at| Call {
        need: Need::Exactly(ValueId(value)),
        effect: Effect::Keep,
        ..put(process, 0, at)
    };
    let stale = [put(0, 5, 0), put(0, 6, 10), found(1, 5, 20)];
    let backwards = [put(0, 5, 0), put(0, 6, 10), found(1, 6, 20), found(1, 5, 30)];
    let verdict = |calls: &[Call], promise| {
        let mut fine = true;
        check(calls, &Check { promise, ..Check::default() }, |_, answer| {
            fine &= matches!(answer, Answer::Witness(_))
        });
        fine
    };
    assert!(!verdict(&stale, Promise::Linearizable));
    assert!(verdict(&stale, Promise::SequentialPerKey));
    assert!(!verdict(&backwards, Promise::SequentialPerKey));
}

/// Sequential clients calling at random; results come from a run, and some are then changed.
fn random_calls(random: &mut fastrand::Rng) -> Vec<Call> {
    let processes = random.u32(1..=3);
    let mut free_at = vec![0u64; processes as usize];
    let mut calls = vec![];
    let mut held = [0u32; 2];
    let mut now = 0;
    for _ in 0..random.u32(1..=9) {
        let process = random.u32(0..processes);
        let Some(invoked_at) = Some(free_at[process as usize].max(random.u64(now / 2..=now))) else {
            continue;
        };
        if free_at[process as usize] == u64::MAX {
            continue;
        }
        let key = random.u32(0..2);
        let value = random.u32(0..3);
        let answered = random.u8(0..6) != 0;
        let takes_effect = answered || random.bool();
        let seen = if random.u8(0..8) == 0 { random.u32(0..3) } else { held[key as usize] };
        let (mut need, effect) = match random.u8(0..4) {
            0 => (Need::Anything, Effect::Put(ValueId(value))),
            1 => (Need::Exactly(ValueId(seen)), Effect::Put(ValueId(value))),
            _ => (Need::Exactly(ValueId(seen)), Effect::Keep),
        };
        if !answered && random.bool() {
            need = Need::Anything;
        }
        now = now.max(invoked_at) + 1;
        if let (Effect::Put(written), true) = (effect, takes_effect) {
            held[key as usize] = written.0;
        }
        let returned_at = answered.then(|| now + random.u64(0..6));
        free_at[process as usize] = returned_at.map_or(u64::MAX, |at| at + 1);
        calls.push(Call { process, key, need, effect, invoked_at, returned_at });
    }
    calls
}

fn precedes(a: &Call, b: &Call) -> bool {
    a.returned_at.is_some_and(|returned| returned < b.invoked_at)
}

/// Tries every order of the calls that keeps precedence; `done` holds those that took effect or were left out.
fn is_linearizable(calls: &[Call], of_key: &[usize], done: &mut Vec<usize>, value: u32) -> bool {
    let left: Vec<usize> = of_key.iter().copied().filter(|at| !done.contains(at)).collect();
    if left.iter().all(|&at| calls[at].returned_at.is_none()) {
        return true;
    }
    for &next in &left {
        if left.iter().any(|&other| precedes(&calls[other], &calls[next]))
            || !calls[next].need.is_met_by(ValueId(value))
        {
            continue;
        }
        let after = match calls[next].effect {
            Effect::Put(written) => written.0,
            Effect::Keep => value,
        };
        done.push(next);
        let found = is_linearizable(calls, of_key, done, after);
        done.pop();
        if found {
            return true;
        }
    }
    false
}

fn check_witness(calls: &[Call], of_key: &[usize], order: &[(u32, u64)]) {
    let mut value = ValueId::ABSENT;
    let mut before = 0;
    for &(index, time) in order {
        let call = &calls[index as usize];
        assert!(of_key.contains(&(index as usize)) && call.need.is_met_by(value));
        assert!(before <= time && call.invoked_at <= time && call.returned_at.is_none_or(|end| time <= end));
        before = time;
        if let Effect::Put(written) = call.effect {
            value = written;
        }
    }
    let answered = of_key.iter().filter(|&&at| calls[at].returned_at.is_some());
    assert!(answered.into_iter().all(|&at| order.iter().any(|entry| entry.0 as usize == at)));
}
