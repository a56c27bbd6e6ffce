//! Histories with times: is there an order in which every operation took effect between its call and its answer?
//!
//! Owns the translation from calls and answers to units, key by key. Linearizability is local: a history is
//! linearizable exactly if its part on each key is, so keys are solved one by one, whatever their number.

use crate::register::{Effect, Need, Unit, Window};
use crate::solver::{Beginning, Failure, Limits, Order, Rules, Solver, Windows};

/// One operation on one key, as a client saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// The client. A client calls one operation after another.
    pub process: u32,
    /// The key, numbered by the caller.
    pub key: u32,
    /// What it must have found; [`Need::Anything`] if it was not answered.
    pub need: Need,
    /// What it left, or would have left.
    pub effect: Effect,
    /// When it was called, on a clock that all clients share.
    pub invoked_at: u64,
    /// When it was answered; none if it never was: it may have taken effect at any time after its call, or never.
    pub returned_at: Option<u64>,
}

/// Which promise is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// Every operation takes effect at one moment between call and answer.
    Linearizable,
    /// Every client's own order is kept, on each key by itself; times do not matter.
    ///
    /// Unlike linearizability this is not local: keys that are all right one by one may still contradict each other.
    SequentialPerKey,
}

/// What is to be checked, and how hard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Check {
    /// The promise.
    pub promise: Promise,
    /// The state of every key before the first call.
    pub beginning: Beginning,
    /// When to give up on a key.
    pub limits: Limits,
}

impl Default for Check {
    /// Linearizability of keys that were absent.
    fn default() -> Self {
        Check { promise: Promise::Linearizable, beginning: Beginning::Absent, limits: Limits::default() }
    }
}

/// The answer for one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// An order that explains all results: indexes into the calls, and the time at which each took effect.
    Witness(Vec<(u32, u64)>),
    /// There is no such order. Unit indexes and ids of the contradiction are indexes into the calls.
    Contradicted(crate::contradiction::Contradiction),
    /// The bound was reached first.
    GaveUp {
        /// The bound, in states.
        bound: u64,
    },
}

/// Checks every key of a history; `answer` gets each key with its answer, in ascending order of keys.
///
/// Two operations of which one returned at the same tick at which the other was invoked count as concurrent.
///
/// # Panics
/// If a time is above `u64::MAX / 2`.
pub fn check(calls: &[Call], check: &Check, mut answer: impl FnMut(u32, Answer)) {
    let mut order: Vec<u32> = (0..calls.len() as u32).collect();
    // A client's own order on a key is that of its calls; equal times keep the order of the input.
    order.sort_by_key(|&index| {
        let call = &calls[index as usize];
        (call.key, call.process, call.invoked_at)
    });
    let mut solver = Solver::new();
    let mut units = vec![];
    for same_key in order.chunk_by(|&a, &b| calls[a as usize].key == calls[b as usize].key) {
        units.clear();
        units.extend(same_key.iter().map(|&index| unit(&calls[index as usize], index)));
        let found = solve(&mut solver, &units, check);
        answer(calls[same_key[0] as usize].key, found);
    }
}

fn solve(solver: &mut Solver, units: &[Unit], check: &Check) -> Answer {
    let windows = match check.promise {
        Promise::Linearizable => Windows::Require,
        Promise::SequentialPerKey => Windows::Ignore,
    };
    let rules = Rules { beginning: check.beginning, windows, limits: check.limits };
    match solver.solve(units, &rules) {
        Ok(order) => Answer::Witness(witness(units, &order)),
        Err(Failure::GaveUp { bound }) => Answer::GaveUp { bound },
        Err(Failure::Impossible(mut contradiction)) => {
            let to_call = |unit: &mut u32| *unit = units[*unit as usize].id;
            for conflict in &mut contradiction.conflicts {
                to_call(&mut conflict.unit);
                conflict.served_by.iter_mut().for_each(to_call);
                conflict.spoiled_by.iter_mut().for_each(to_call);
            }
            Answer::Contradicted(contradiction)
        }
    }
}

fn witness(units: &[Unit], order: &Order<'_>) -> Vec<(u32, u64)> {
    let called = order.sequence.iter().map(|&unit| units[unit as usize].id);
    called.zip(order.cells.iter().map(|cell| cell / 2)).collect()
}

fn unit(call: &Call, index: u32) -> Unit {
    let cell = |time: u64| time.checked_mul(2).expect("times are at most u64::MAX / 2, as documented");
    let latest = call.returned_at.map_or(u64::MAX, cell);
    Unit {
        process: call.process,
        id: index,
        need: call.need,
        effect: call.effect,
        window: Window { earliest: cell(call.invoked_at), latest },
        firm: true,
        advances: false,
        joined: false,
        uncertain: call.returned_at.is_none(),
    }
}
