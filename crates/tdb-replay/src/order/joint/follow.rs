//! Whether everything can happen in the orders that the keys were given one by one.
//!
//! Owns the proof of an order that was found the quick way: the steps are taken one after the other, no step before its turn on its key, and
//! nothing is taken back. Of the steps whose turn it is, that comes first which need not wait for the number to rise and is due first. If all get
//! through, everything is proved: results, numbers, times and locks. If not, another order of the same turns may.

use super::state::{Choice, State, World};
use super::steps::{Act, Step, Steps};
use super::{Demands, steps::Lane};
use crate::order::solve::{LEFT_OUT, Solution};
use crate::order::units::{UnitRow, Units};

/// Whether the steps get through in the turns of `solution`, whose windows are those of `units`.
pub fn holds(steps: &Steps, demands: Demands, units: &Units, solution: &Solution) -> bool {
    let mut narrowed = Steps { lanes: Vec::with_capacity(steps.lanes.len()), ..*steps };
    let turns = steps.lanes.iter().enumerate().map(|(trace, lane)| {
        let (lane, turns) = narrow(lane, units, solution, trace);
        narrowed.lanes.push(lane);
        turns
    });
    let turns = turns.collect();
    let world = World::new(&narrowed, demands);
    let done = vec![0; steps.keys];
    Follow { state: world.start(), world, turns, done }.run()
}

/// The turns of one step: on each key that it touches, how many units must have been done before.
type Turns = Vec<(u32, u32)>;

struct Follow<'a> {
    world: World<'a>,
    state: State,
    turns: Vec<Vec<Turns>>,
    /// By key: units done.
    done: Vec<u32>,
}

impl Follow<'_> {
    fn run(mut self) -> bool {
        let mut next: Vec<(u32, u64, usize)> = Vec::new();
        loop {
            while let Some(trace) = (0..self.turns.len())
                .find(|&trace| self.has_turn(trace) && self.world.is_free(&self.state, trace))
            {
                self.finish(trace);
                self.world.take_free(&mut self.state, trace);
            }
            if self.world.is_done(&self.state) {
                return true;
            }
            next.clear();
            next.extend((0..self.turns.len()).filter_map(|trace| {
                let step = self.world.step(&self.state, trace)?;
                (self.has_turn(trace) && self.world.may_start(&self.state, step))
                    .then(|| (self.world.reaches(&self.state, step), self.world.due(step), trace))
            }));
            next.sort_unstable();
            if !next.iter().any(|&(_, _, trace)| self.take(trace)) {
                return false;
            }
        }
    }

    fn turns_of(&self, trace: usize) -> &[(u32, u32)] {
        let head = self.state.heads[trace] as usize;
        self.turns[trace].get(head).map_or(&[], Vec::as_slice)
    }

    fn has_turn(&self, trace: usize) -> bool {
        self.turns_of(trace).iter().all(|&(key, turn)| turn == LEFT_OUT || self.done[key as usize] >= turn)
    }

    fn finish(&mut self, trace: usize) {
        let head = self.state.heads[trace] as usize;
        let Some(turns) = self.turns[trace].get(head) else { return };
        for &(key, turn) in turns {
            self.done[key as usize] += u32::from(turn != LEFT_OUT);
        }
    }

    /// Takes the next step of a trace, if it can be taken.
    fn take(&mut self, trace: usize) -> bool {
        let left_out = self.turns_of(trace).iter().any(|&(_, turn)| turn == LEFT_OUT);
        let mut choices = Vec::new();
        self.world.choices(&self.state, trace, &mut choices);
        // What did not take effect by the solution does not.
        let fits = |choice: &Choice| left_out == !matches!(choice, Choice::Done(0));
        let is_touch =
            self.world.step(&self.state, trace).is_some_and(|step| matches!(step.act, Act::Touch { .. }));
        let Some((_, state)) = choices.into_iter().find(|(choice, _)| !is_touch || fits(choice)) else {
            return false;
        };
        self.finish(trace);
        self.state = state;
        true
    }
}

/// A lane with the windows of its units, and the turns of its steps.
fn narrow(lane: &Lane, units: &Units, solution: &Solution, trace: usize) -> (Lane, Vec<Turns>) {
    let own = units.starts[trace] as usize..units.starts[trace + 1] as usize;
    let mut next = own.start;
    let mut turns = Vec::with_capacity(lane.steps.len());
    let mut steps = lane.steps.clone();
    for step in &mut steps {
        let mut of_step = Turns::new();
        if matches!(step.act, Act::Touch { .. } | Act::Wipe { .. } | Act::Transaction(_)) {
            while next < own.end && units.rows[next].row < step.row {
                next += 1;
            }
            let row = step.row;
            let of_row = (next..own.end).take_while(|&id| units.rows[id].row == row);
            for id in of_row {
                of_step.push((units.rows[id].key, solution.turns[id]));
                narrow_step(step, &units.rows[id], solution.turns[id]);
            }
        }
        turns.push(of_step);
    }
    (Lane { steps, over: lane.over.clone(), ..*lane }, turns)
}

fn narrow_step(step: &mut Step, unit: &UnitRow, turn: u32) {
    if matches!(step.act, Act::Touch { .. }) && turn != LEFT_OUT && !step.perhaps {
        step.low = step.low.max(unit.low);
        step.high = step.high.min(unit.high);
    }
}
