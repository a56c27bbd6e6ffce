//! What a state of the search can do next.
//!
//! Owns the look-ahead (a step is no choice if it makes another late, or a value unreadable that is still needed)
//! and the preference among choices. What the look-ahead refuses cannot lead to an order, so refusing it keeps the
//! search complete; preference only decides what is tried first.

use super::layer::State;
use super::problem::{KEEP, Problem, Step, meet};
use super::uses::Guard;

/// A step that a state can do next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice {
    rank: (u8, u64),
    pub process: u32,
    pub other_form: bool,
}

/// The choices of one state, best first.
#[derive(Default)]
pub(super) struct Choices {
    pub list: Vec<Choice>,
    /// Nothing is left to do.
    pub finished: bool,
}

/// What must be known of all heads to judge one of them.
struct Outlook {
    /// The two earliest deadlines, and whose the first is.
    deadline: u64,
    next_deadline: u64,
    process: usize,
    /// What the head that should be done first needs, and whose it is.
    need: u32,
    wanted: usize,
    /// The earliest deadline of a head that changes the value or needs one value.
    picky_deadline: u64,
    picky: usize,
    /// Whether the present value may be overwritten.
    guard: Guard,
    /// Nothing is left to do.
    finished: bool,
}

impl Choices {
    /// Lists what the state can do next.
    pub fn list(&mut self, problem: &Problem, state: &State, heads: &[u32]) {
        self.list.clear();
        let outlook = outlook(problem, state, heads);
        self.finished = outlook.finished;
        for process in 0..heads.len() {
            let (head, end) = (heads[process], problem.processes[process + 1]);
            if head == end {
                continue;
            }
            let step = &problem.steps[head as usize];
            self.consider(problem, state, heads, process, step, false, &outlook);
            // Leaving out a process's very last step is no choice: a state with only such steps is finished.
            if let Some(other) = problem.alternative(step)
                && !(head + 1 == end && problem.droppable(step))
            {
                self.consider(problem, state, heads, process, other, true, &outlook);
            }
        }
        self.list
            .sort_unstable_by_key(|choice| (choice.rank, choice.process, choice.other_form));
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the inner loop's context, not worth a type"
    )]
    fn consider(
        &mut self,
        problem: &Problem,
        state: &State,
        heads: &[u32],
        process: usize,
        form: &Step,
        other_form: bool,
        outlook: &Outlook,
    ) {
        let Some(found) = meet(form.need, state.value) else {
            return;
        };
        let others = if process == outlook.process {
            outlook.next_deadline
        } else {
            outlook.deadline
        };
        if state.cell > form.limit || form.after(state.cell) > others {
            return;
        }
        let after = if form.effect == KEEP { found } else { form.effect };
        if after != state.value
            && (!outlook.guard.allows(heads[process])
                || breaks_too_early(problem, heads, process, after, outlook))
        {
            return;
        }
        let rank = rank(state, process, form, other_form, outlook);
        self.list.push(Choice {
            rank,
            process: process as u32,
            other_form,
        });
    }
}

fn outlook(problem: &Problem, state: &State, heads: &[u32]) -> Outlook {
    let mut found = Outlook {
        deadline: u64::MAX,
        next_deadline: u64::MAX,
        process: usize::MAX,
        need: 0,
        wanted: usize::MAX,
        picky_deadline: u64::MAX,
        picky: usize::MAX,
        guard: problem.uses.guard(state.value, state.cell, heads, problem.obeys),
        finished: true,
    };
    let mut hint = u64::MAX;
    for (process, (&head, &end)) in heads.iter().zip(&problem.processes[1..]).enumerate() {
        if head == end {
            continue;
        }
        let step = &problem.steps[head as usize];
        found.finished &= head + 1 == end && problem.droppable(step);
        if step.deadline < found.deadline {
            found.next_deadline = found.deadline;
            found.deadline = step.deadline;
            found.process = process;
        } else {
            found.next_deadline = found.next_deadline.min(step.deadline);
        }
        if step.deadline < found.picky_deadline && (step.effect != KEEP || step.need < KEEP) {
            found.picky_deadline = step.deadline;
            found.picky = process;
        }
        if step.hint < hint || found.wanted == usize::MAX {
            hint = step.hint;
            found.need = step.need;
            found.wanted = process;
        }
    }
    found
}

/// Whether a value to be written now must last until after a step that cannot be done while it lasts.
fn breaks_too_early(problem: &Problem, heads: &[u32], process: usize, value: u32, outlook: &Outlook) -> bool {
    if value >= KEEP || outlook.picky == process || outlook.picky_deadline >= problem.uses.lasts(value) {
        return false;
    }
    let step = &problem.steps[heads[outlook.picky] as usize];
    let changes = step.effect != KEEP && step.effect != value;
    problem.alternative(step).is_none() && (changes || meet(step.need, value).is_none())
}

/// The place of a choice among those of a state: what the most urgent head asks for, then the most urgent.
fn rank(state: &State, process: usize, form: &Step, other_form: bool, outlook: &Outlook) -> (u8, u64) {
    let class = if other_form {
        3
    } else if process == outlook.wanted {
        0
    } else if form.effect != KEEP
        && meet(outlook.need, state.value).is_none()
        && meet(outlook.need, form.effect).is_some()
    {
        1
    } else {
        2
    };
    (class, form.hint)
}
