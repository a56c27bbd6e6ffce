//! The search for an order where windows leave a choice.
//!
//! Owns the layers: layer n holds states reached by n choices. It goes forward greedily (one state a layer); at a
//! dead end it goes back some layers and comes again wider, ever farther and wider until the dead end is passed. A
//! run from a layer known to be complete in which nothing was left out and which dies proves that no order exists.
//! No recursion; states are bounded by [`Limits`].

use super::Limits;
use super::layer::{Layer, State, head_hash};
use super::problem::{KEEP, Problem, Step, UNKNOWN_PRESENT, meet};
use crate::register::Unit;

/// Layers between two checkpoints.
const SPACING: usize = 32;
/// The width of the first wide pass.
const FIRST_WIDTH: usize = 16;
/// Marks a node whose step was done in its other form.
const OTHER_FORM: u32 = 1 << 31;
/// No node: the beginning.
const ROOT: u32 = u32::MAX;

/// What a search came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Found,
    Impossible,
    GaveUp,
}

/// One step on a path.
#[derive(Clone, Copy)]
struct Node {
    before: u32,
    step: u32,
}

/// A layer to come back to.
#[derive(Clone, Copy)]
struct Checkpoint {
    layer: usize,
    nodes: usize,
    states: usize,
    complete: bool,
}

/// A step that a state can do next.
#[derive(Clone, Copy)]
struct Choice {
    rank: (u8, u64),
    process: u32,
    other_form: bool,
}

/// The search and its buffers.
#[derive(Default)]
pub(super) struct Search {
    current: Layer,
    next: Layer,
    nodes: Vec<Node>,
    checkpoints: Vec<Checkpoint>,
    saved: Layer,
    choices: Vec<Choice>,
    heads: Vec<u32>,
    ranking: Vec<(u32, u32, u32)>,
    progress: Progress,
}

/// Where one run stands.
#[derive(Clone, Copy, Default)]
struct Progress {
    layer: usize,
    /// States kept in a layer.
    width: usize,
    /// Until this layer the search stays wide.
    wide_until: usize,
    /// The current layer holds every state that can be reached.
    complete: bool,
    /// The farthest dead end, and how often it was met.
    dead_end: usize,
    escalation: u32,
    states: u64,
    steps_back: u64,
    last: u32,
}

impl Search {
    /// States visited by the last run.
    pub fn states(&self) -> u64 {
        self.progress.states
    }

    /// Dead ends met by the last run.
    pub fn steps_back(&self) -> u64 {
        self.progress.steps_back
    }

    /// Searches for an order of the problem's steps from state `start`.
    pub fn run(&mut self, problem: &Problem, start: u32, limits: &Limits) -> Outcome {
        if !self.begin(problem, start) {
            return Outcome::Impossible;
        }
        let bound = limits.states + 2 * problem.steps.len() as u64;
        loop {
            if let Some(last) = self.finished(problem) {
                self.progress.last = last;
                return Outcome::Found;
            }
            self.progress.states += self.current.states.len() as u64;
            if self.progress.states > bound {
                return Outcome::GaveUp;
            }
            self.expand(problem);
            if !self.next.states.is_empty() {
                self.advance();
            } else if self.progress.complete {
                return Outcome::Impossible;
            } else {
                self.go_back();
            }
        }
    }

    /// Writes the order found: unit indexes.
    pub fn write_sequence(&self, problem: &Problem, units: &[Unit], sequence: &mut Vec<u32>) {
        sequence.clear();
        let mut at = self.progress.last;
        while at != ROOT {
            let node = self.nodes[at as usize];
            let step = &problem.steps[(node.step & !OTHER_FORM) as usize];
            let whole = node.step & OTHER_FORM == 0;
            let happened = |&index: &u32| whole || !units[index as usize].uncertain;
            sequence.extend((step.first..step.end).rev().filter(happened));
            at = node.before;
        }
        sequence.reverse();
    }

    /// Sets up the first layer; false if its state is already late.
    fn begin(&mut self, problem: &Problem, start: u32) -> bool {
        let processes = problem.process_count();
        self.current.reset(processes);
        self.next.reset(processes);
        self.saved.reset(processes);
        self.nodes.clear();
        self.checkpoints.clear();
        self.progress = Progress {
            width: 1,
            complete: true,
            ..Progress::default()
        };
        self.heads.clear();
        self.heads.extend_from_slice(&problem.processes[..processes]);
        let hash = self
            .heads
            .iter()
            .fold(0u64, |sum, &head| sum.wrapping_add(head_hash(head)));
        let value = problem.start(start);
        let mut state = State {
            value,
            node: ROOT,
            cell: 0,
            hash,
            done: 0,
            strays: 0,
        };
        if !settle(problem, &mut state, &mut self.heads, &mut self.nodes) {
            return false;
        }
        self.current.push(state, &self.heads);
        self.save();
        true
    }

    /// The last node of a state to which nothing is left to do.
    fn finished(&self, problem: &Problem) -> Option<u32> {
        let is_finished = |&at: &usize| {
            let state = &self.current.states[at];
            let left = problem.steps.len() - state.done as usize;
            left <= problem.process_count()
                && self.current.heads(at).iter().enumerate().all(|(process, &head)| {
                    let end = problem.processes[process + 1];
                    head == end || head + 1 == end && problem.droppable(&problem.steps[head as usize])
                })
        };
        (0..self.current.states.len())
            .find(is_finished)
            .map(|at| self.current.states[at].node)
    }

    /// Fills the next layer.
    fn expand(&mut self, problem: &Problem) {
        self.next.clear();
        for at in 0..self.current.states.len() {
            self.expand_state(problem, at);
        }
        if self.next.states.len() > self.progress.width {
            self.next.narrow(self.progress.width, &mut self.ranking);
            self.progress.complete = false;
        }
    }

    fn expand_state(&mut self, problem: &Problem, at: usize) {
        let state = self.current.states[at];
        choices(problem, &state, self.current.heads(at), &mut self.choices);
        self.choices
            .sort_unstable_by_key(|choice| (choice.rank, choice.process, choice.other_form));
        for nth in 0..self.choices.len() {
            let choice = self.choices[nth];
            let kept = self.nodes.len();
            self.heads.clear();
            self.heads.extend_from_slice(self.current.heads(at));
            let mut child = state;
            child.strays += u32::from(nth > 0);
            do_choice(problem, choice, &mut child, &mut self.heads, &mut self.nodes);
            if settle(problem, &mut child, &mut self.heads, &mut self.nodes)
                && has_choice(problem, &child, &self.heads)
            {
                self.next.insert(child, &self.heads);
                if self.progress.width == 1 && nth + 1 < self.choices.len() {
                    self.progress.complete = false;
                    return;
                }
            } else {
                self.nodes.truncate(kept);
            }
        }
    }

    /// Takes the next layer as the current one.
    fn advance(&mut self) {
        std::mem::swap(&mut self.current, &mut self.next);
        self.progress.layer += 1;
        if self.progress.width > 1 && self.progress.layer >= self.progress.wide_until {
            self.progress.width = 1;
            if self.current.states.len() > 1 {
                self.current.narrow(1, &mut self.ranking);
                self.progress.complete = false;
            }
        }
        if self.progress.layer.is_multiple_of(SPACING) {
            self.save();
        }
    }

    fn save(&mut self) {
        let checkpoint = Checkpoint {
            layer: self.progress.layer,
            nodes: self.nodes.len(),
            states: self.current.states.len(),
            complete: self.progress.complete,
        };
        self.checkpoints.push(checkpoint);
        for at in 0..self.current.states.len() {
            self.saved.push(self.current.states[at], self.current.heads(at));
        }
    }

    /// Goes back to a checkpoint, farther the more often this dead end was met, to come again wider.
    fn go_back(&mut self) {
        let progress = &mut self.progress;
        progress.steps_back += 1;
        if progress.layer > progress.dead_end + SPACING || progress.steps_back == 1 {
            progress.escalation = 0;
        } else {
            progress.escalation += 1;
        }
        progress.dead_end = progress.dead_end.max(progress.layer);
        let distance = SPACING << progress.escalation.min(40);
        let target = progress.layer.saturating_sub(distance);
        while self.checkpoints.len() > 1 && self.checkpoints[self.checkpoints.len() - 1].layer > target {
            self.drop_checkpoint();
        }
        let checkpoint = self.checkpoints[self.checkpoints.len() - 1];
        let progress = &mut self.progress;
        progress.width = FIRST_WIDTH << (2 * progress.escalation.min(13));
        progress.wide_until = progress.dead_end + 2 * SPACING;
        progress.layer = checkpoint.layer;
        progress.complete = checkpoint.complete;
        self.nodes.truncate(checkpoint.nodes);
        self.current.clear();
        let saved = self.saved.states.len();
        for at in saved - checkpoint.states..saved {
            self.current.push(self.saved.states[at], self.saved.heads(at));
        }
    }

    fn drop_checkpoint(&mut self) {
        let checkpoint = self.checkpoints.pop().expect("the caller saw one");
        self.saved.truncate(self.saved.states.len() - checkpoint.states);
    }
}

/// Does a step in the form chosen.
fn do_choice(problem: &Problem, choice: Choice, state: &mut State, heads: &mut [u32], nodes: &mut Vec<Node>) {
    let head = heads[choice.process as usize];
    let whole = &problem.steps[head as usize];
    let form = if choice.other_form {
        problem.alternative(whole).unwrap_or(whole)
    } else {
        whole
    };
    let found = meet(form.need, state.value).expect("choices are steps whose needs are met");
    state.value = if form.effect == KEEP { found } else { form.effect };
    state.cell = form.after(state.cell);
    let mark = if choice.other_form { OTHER_FORM } else { 0 };
    pass_head(state, &mut heads[choice.process as usize], mark, nodes);
}

/// Moves one process past its head.
#[inline]
fn pass_head(state: &mut State, head: &mut u32, mark: u32, nodes: &mut Vec<Node>) {
    nodes.push(Node {
        before: state.node,
        step: *head | mark,
    });
    state.node = nodes.len() as u32 - 1;
    state.hash = state
        .hash
        .wrapping_sub(head_hash(*head))
        .wrapping_add(head_hash(*head + 1));
    state.done += 1;
    *head += 1;
}

/// Waits as long as waiting costs nothing and does every read that can be done at once; false if a head is late.
///
/// Both lose nothing. Waiting: every head can still be entered at the cell waited for, and so can what follows it
/// (deadlines are tightened), so any order from here can be shifted. Reading: a read whose need holds now and that
/// moves no cell can be brought forward in any order from here.
fn settle(problem: &Problem, state: &mut State, heads: &mut [u32], nodes: &mut Vec<Node>) -> bool {
    loop {
        let (mut deadline, mut patience) = (u64::MAX, u64::MAX);
        for (process, &head) in heads.iter().enumerate() {
            if head < problem.processes[process + 1] {
                let step = &problem.steps[head as usize];
                deadline = deadline.min(step.deadline);
                patience = patience.min(step.patience);
            }
        }
        if state.cell > deadline {
            return false;
        }
        // Something else may need the odd cell before an even limit.
        let wait = if patience.is_multiple_of(2) {
            patience.saturating_sub(1)
        } else {
            patience
        };
        state.cell = state.cell.max(wait);
        if !read_all(problem, state, heads, nodes) {
            return true;
        }
    }
}

/// Does every read that can be done at once; whether there was one.
fn read_all(problem: &Problem, state: &mut State, heads: &mut [u32], nodes: &mut Vec<Node>) -> bool {
    let mut any = false;
    for (process, head) in heads.iter_mut().enumerate() {
        let end = problem.processes[process + 1];
        while *head < end {
            let step = &problem.steps[*head as usize];
            let free = step.only_reads() && step.earliest <= state.cell && state.cell <= step.limit;
            if !free || meet(step.need, state.value) != Some(state.value) {
                break;
            }
            pass_head(state, head, 0, nodes);
            any = true;
        }
    }
    any
}

/// What must be known of all heads to judge one of them.
struct Urgency {
    /// The two earliest deadlines, and whose the first is.
    deadline: u64,
    next_deadline: u64,
    process: usize,
    /// What the head that should be done first needs.
    need: u32,
    wanted: usize,
}

fn urgency(problem: &Problem, heads: &[u32]) -> Urgency {
    let mut found = Urgency {
        deadline: u64::MAX,
        next_deadline: u64::MAX,
        process: usize::MAX,
        need: 0,
        wanted: usize::MAX,
    };
    let mut hint = u64::MAX;
    for (process, &head) in heads.iter().enumerate() {
        if head == problem.processes[process + 1] {
            continue;
        }
        let step = &problem.steps[head as usize];
        if step.deadline < found.deadline {
            found.next_deadline = found.deadline;
            found.deadline = step.deadline;
            found.process = process;
        } else {
            found.next_deadline = found.next_deadline.min(step.deadline);
        }
        if step.hint < hint || found.wanted == usize::MAX {
            hint = step.hint;
            found.need = step.need;
            found.wanted = process;
        }
    }
    found
}

/// Lists what the state can do next.
fn choices(problem: &Problem, state: &State, heads: &[u32], choices: &mut Vec<Choice>) {
    choices.clear();
    let urgency = urgency(problem, heads);
    for process in 0..heads.len() {
        each_form(problem, heads, process, |form, other_form| {
            if is_possible(problem, state, heads, process, form, &urgency) {
                let rank = rank(state, process, form, other_form, &urgency);
                choices.push(Choice {
                    rank,
                    process: process as u32,
                    other_form,
                });
            }
        });
    }
}

/// Whether the state can do anything, or has nothing left to do.
fn has_choice(problem: &Problem, state: &State, heads: &[u32]) -> bool {
    let urgency = urgency(problem, heads);
    let mut any = false;
    let mut left = false;
    for process in 0..heads.len() {
        let (head, end) = (heads[process], problem.processes[process + 1]);
        left |= head < end && (head + 1 < end || !problem.droppable(&problem.steps[head as usize]));
        each_form(problem, heads, process, |form, _| {
            any = any || is_possible(problem, state, heads, process, form, &urgency);
        });
        if any {
            return true;
        }
    }
    !left
}

/// Visits the forms of a process's next step. Leaving out its very last step is no choice: a state with only such
/// steps is finished.
fn each_form(problem: &Problem, heads: &[u32], process: usize, mut visit: impl FnMut(&Step, bool)) {
    let (head, end) = (heads[process], problem.processes[process + 1]);
    if head == end {
        return;
    }
    let step = &problem.steps[head as usize];
    visit(step, false);
    if let Some(other) = problem.alternative(step)
        && !(head + 1 == end && problem.droppable(step))
    {
        visit(other, true);
    }
}

/// Whether a step can be done now without making another late or a value unreadable that is still needed.
fn is_possible(
    problem: &Problem,
    state: &State,
    heads: &[u32],
    process: usize,
    form: &Step,
    urgency: &Urgency,
) -> bool {
    let Some(found) = meet(form.need, state.value) else {
        return false;
    };
    if state.cell > form.limit {
        return false;
    }
    let others = if process == urgency.process {
        urgency.next_deadline
    } else {
        urgency.deadline
    };
    if form.after(state.cell) > others {
        return false;
    }
    let after = if form.effect == KEEP { found } else { form.effect };
    after == state.value
        || state.value == UNKNOWN_PRESENT
        || !is_last_chance(problem, state.value, heads, process)
}

/// Whether `value` is still needed by a step other than the next one of `process`, and written by none.
fn is_last_chance(problem: &Problem, value: u32, heads: &[u32], process: usize) -> bool {
    let remains = |last: &super::problem::LastUse| {
        let at = last.process as usize;
        last.step >= heads[at] + u32::from(at == process)
    };
    problem.needs_of(value).iter().any(remains) && !problem.writes_of(value).iter().any(remains)
}

/// The place of a choice among those of a state: what the most urgent head asks for, then the most urgent.
fn rank(state: &State, process: usize, form: &Step, other_form: bool, urgency: &Urgency) -> (u8, u64) {
    let class = if other_form {
        3
    } else if process == urgency.wanted {
        0
    } else if form.effect != KEEP
        && meet(urgency.need, state.value).is_none()
        && meet(urgency.need, form.effect).is_some()
    {
        1
    } else {
        2
    };
    (class, form.hint)
}
