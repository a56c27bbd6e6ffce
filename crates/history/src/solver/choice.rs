//! What a state of the search can do next.
//!
//! Owns the look-ahead (a step is not a choice if it makes another late, or a value unreadable that is still needed)
//! and the preference among choices. What the look-ahead refuses cannot lead to an order, so refusing it keeps the
//! search complete; preference only decides what is tried first.

use super::layer::State;
use super::problem::Problem;
use super::step::Step;
use super::uses::Guard;
use crate::action::{ANYTHING, KEEP, meet};

/// A step that a state can do next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice {
    rank: (u8, u64),
    pub process: u32,
    pub other_form: bool,
    /// It writes, in its main form.
    overwrites: bool,
    /// It needs exactly the present value.
    needs_just_this: bool,
}

/// The choices of one state.
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
    /// Where windows do not count: whose step lets that head go on in the end.
    goal: usize,
    /// The earliest deadline of a head that changes the value or needs one value.
    picky_deadline: u64,
    picky: usize,
    /// Whether the present value may be overwritten.
    guard: Guard,
    /// Until which cell it must not.
    until: u64,
    /// Nothing is left to do.
    finished: bool,
}

impl Choices {
    /// Lists what the state can do next.
    pub fn list(&mut self, problem: &Problem, state: &State, heads: &[u32]) {
        self.list.clear();
        let outlook = outlook(problem, state, heads);
        self.finished = outlook.finished;
        if outlook.picky_deadline < outlook.until
            && is_in_the_way(problem, heads, state.value, outlook.until, usize::MAX)
        {
            return;
        }
        for process in 0..heads.len() {
            let (head, end) = (heads[process], problem.processes[process + 1]);
            if head == end {
                continue;
            }
            let step = &problem.steps[head as usize];
            self.consider(problem, state, heads, process, step, false, &outlook);
            // Leaving out a process's very last step is not a choice: a state with only such steps is finished.
            if let Some(other) = problem.alternative(step)
                && !(head + 1 == end && problem.droppable(step))
            {
                self.consider(problem, state, heads, process, other, true, &outlook);
            }
        }
    }

    /// The `nth` choice in the order of preference; to be asked for in that order. Most often only the first is
    /// wanted, so they are not sorted before.
    pub fn next_best(&mut self, nth: usize) -> Option<Choice> {
        let left = self.list.get_mut(nth..)?;
        let key = |choice: &Choice| (choice.rank, choice.process, choice.other_form);
        let (mut at, mut best) = left.iter().enumerate().min_by_key(|(_, choice)| key(choice))?;
        // Before a write that does not care overwrites the present value, one that needs just this value comes: the
        // chance may not come again, and the other write is served as well after it.
        if nth == 0 && best.overwrites && !best.needs_just_this {
            let caring =
                left.iter().enumerate().filter(|(_, choice)| choice.overwrites && choice.needs_just_this);
            (at, best) = caring.min_by_key(|(_, choice)| key(choice)).unwrap_or((at, best));
        }
        let best = *best;
        left.swap(0, at);
        Some(best)
    }

    #[expect(clippy::too_many_arguments, reason = "the inner loop's context, not worth a type")]
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
        let others = if process == outlook.process { outlook.next_deadline } else { outlook.deadline };
        if state.cell > form.limit || form.after(state.cell) > others {
            return;
        }
        let after = if form.effect == KEEP { found } else { form.effect };
        if after != state.value
            && (!outlook.guard.allows(heads[process], form.need == state.value)
                || breaks_too_early(problem, heads, process, after, outlook))
        {
            return;
        }
        if let Some(chain) = problem.uses.chains.begun_by(heads[process], form)
            && problem.uses.chains.blocker(chain, heads).is_some()
        {
            return;
        }
        let rank = if problem.obeys || other_form {
            rank(state, process, form, other_form, outlook)
        } else {
            rank_without_windows(state, process, form, outlook)
        };
        self.list.push(Choice {
            rank,
            process: process as u32,
            other_form,
            overwrites: form.effect != KEEP && !other_form,
            needs_just_this: form.need < KEEP,
        });
    }
}

fn outlook(problem: &Problem, state: &State, heads: &[u32]) -> Outlook {
    let (guard, until) = problem.uses.guard(state.value, state.cell, heads, problem.obeys);
    let mut found = Outlook {
        deadline: u64::MAX,
        next_deadline: u64::MAX,
        process: usize::MAX,
        need: 0,
        wanted: usize::MAX,
        goal: usize::MAX,
        picky_deadline: u64::MAX,
        picky: usize::MAX,
        guard,
        until,
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
    if !problem.obeys && found.wanted != usize::MAX {
        found.goal = goal(problem, state, heads, found.wanted);
        found.need = head_need(problem, heads, found.goal);
    }
    found
}

/// What a process needs next.
fn head_need(problem: &Problem, heads: &[u32], process: usize) -> u32 {
    let head = heads[process];
    if head == problem.processes[process + 1] { ANYTHING } else { problem.steps[head as usize].need }
}

/// Whether a value to be written now must last until after a step that cannot be done while it lasts.
fn breaks_too_early(problem: &Problem, heads: &[u32], process: usize, value: u32, outlook: &Outlook) -> bool {
    if value >= KEEP {
        return false;
    }
    let until = problem.uses.lasts(value);
    outlook.picky_deadline < until && is_in_the_way(problem, heads, value, until, process)
}

/// Whether the next step of a process other than `besides` is due before `until` and cannot be done while the
/// register holds `value` or what goes on from it.
fn is_in_the_way(problem: &Problem, heads: &[u32], value: u32, until: u64, besides: usize) -> bool {
    heads.iter().zip(&problem.processes[1..]).enumerate().any(|(process, (&head, &end))| {
        if head == end || process == besides {
            return false;
        }
        let step = &problem.steps[head as usize];
        let changes = step.effect != KEEP && step.effect != value;
        step.deadline < until
            && (changes || step.need < KEEP && step.need != value)
            && !problem.uses.chains.is_same(step.need, value)
            && problem.alternative(step).is_none()
    })
}

/// The place of a choice among those of a state: what the most urgent head asks for, then the most urgent.
fn rank(state: &State, process: usize, form: &Step, other_form: bool, outlook: &Outlook) -> (u8, u64) {
    let class = if other_form {
        5
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

/// The same where nothing is ever due: what waits for no one else and lets the process that is farthest behind go on.
fn rank_without_windows(state: &State, process: usize, form: &Step, outlook: &Outlook) -> (u8, u64) {
    let serves = form.effect != KEEP
        && meet(outlook.need, state.value).is_none()
        && meet(outlook.need, form.effect).is_some();
    let class = match () {
        () if form.effect == KEEP => 0,
        () if serves => 1,
        () if process == outlook.goal => 2,
        () if process == outlook.wanted => 3,
        () => 4,
    };
    (class, form.hint)
}

/// The process that must go on so that `wanted` can: it waits for a value, whose chain waits for a process, which
/// waits for a value, and so on. Ends at a process that waits for none of these.
fn goal(problem: &Problem, state: &State, heads: &[u32], wanted: usize) -> usize {
    let chains = &problem.uses.chains;
    let mut process = wanted;
    for _ in 0..heads.len() {
        if heads[process] == problem.processes[process + 1] {
            return process;
        }
        let step = &problem.steps[heads[process] as usize];
        let needed = chains.of_need(step.need).filter(|_| step.need != state.value);
        let Some(chain) = needed.or_else(|| chains.begun_by(heads[process], step)) else {
            return process;
        };
        let blocking = chains.blocker(chain, heads).map(|blocker| blocker.process as usize);
        let begins = chains.beginning(chain).map(|begin| problem.uses.process_of(begin));
        match blocking.or(begins) {
            Some(next) if next != process => process = next,
            _ => return process,
        }
    }
    process
}
