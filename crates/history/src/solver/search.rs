//! The search for an order where windows leave a choice.
//!
//! Owns the layers: layer n holds states reached by n choices. It goes forward greedily (one state a layer); at a
//! dead end it goes back some layers and comes again wider, ever farther and wider until the dead end is passed. A
//! run from a layer known to be complete in which nothing was left out and which dies proves that no order exists.
//! No recursion; states are bounded by [`Limits`].

use super::Limits;
use super::choice::{Choice, Choices};
use super::layer::{Layer, State, head_hash};
use super::problem::Problem;
use super::step::NONE;
use crate::action::{KEEP, meet};
use crate::register::Unit;

/// Layers between two checkpoints.
const SPACING: usize = 8;
/// States that a whole run may make for each step; a history where every tenth step is a dead end stays below.
const STATES_PER_STEP: u64 = 16;
/// Beyond so many heads (64 MiB) older checkpoints are thinned out, but for the most recent ones.
const MOST_SAVED_HEADS: usize = 1 << 24;
const RECENT: usize = 64;
/// The width of the first wide pass.
const FIRST_WIDTH: usize = 8;
/// So many choices of a state are followed in the first wide pass.
const FIRST_BREADTH: usize = 4;
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

/// The search and its buffers.
#[derive(Default)]
pub(super) struct Search {
    current: Layer,
    next: Layer,
    nodes: Vec<Node>,
    checkpoints: Vec<Checkpoint>,
    saved: Layer,
    choices: Choices,
    /// The choices of the single state of the current layer, if they are known already.
    prepared: Choices,
    is_prepared: bool,
    heads: Vec<u32>,
    /// When and for how many cells heads are due, while that is looked at.
    due: Vec<(u64, u64)>,
    ranking: Vec<(u64, u32, u32)>,
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
    /// States made when that dead end was first met.
    stuck_since: u64,
    /// The latest cell of the states that were last.
    stuck_at: u64,
    states: u64,
    steps_back: u64,
    last: u32,
}

impl Search {
    /// States visited by the last run.
    pub fn states(&self) -> u64 {
        self.progress.states
    }

    /// The cell of the last dead end.
    pub fn stuck_at(&self) -> u64 {
        self.progress.stuck_at
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
        let bound = limits.states + STATES_PER_STEP * problem.steps.len() as u64;
        loop {
            if let Some(last) = self.finished(problem) {
                self.progress.last = last;
                return Outcome::Found;
            }
            let stuck_for = self.progress.states - self.progress.stuck_since;
            let is_stuck = self.progress.width > 1 && stuck_for > limits.states;
            if self.progress.states > bound || is_stuck {
                return Outcome::GaveUp;
            }
            self.expand(problem);
            if self.next.states.is_empty() {
                self.progress.stuck_at =
                    self.current.states.iter().map(|state| state.cell).max().unwrap_or(0);
            }
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
        self.is_prepared = false;
        self.progress = Progress { width: 1, complete: true, ..Progress::default() };
        self.heads.clear();
        self.heads.extend_from_slice(&problem.processes[..processes]);
        let hash = self.heads.iter().fold(0u64, |sum, &head| sum.wrapping_add(head_hash(head)));
        let value = problem.start(start);
        let mut state = State { value, node: ROOT, cell: 0, hash, done: 0, strays: 0 };
        if !settle(problem, &mut state, &mut self.heads, &mut self.nodes, &mut self.due) {
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
        (0..self.current.states.len()).find(is_finished).map(|at| self.current.states[at].node)
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
        if std::mem::take(&mut self.is_prepared) {
            std::mem::swap(&mut self.choices, &mut self.prepared);
        } else {
            self.choices.list(problem, &state, self.current.heads(at));
        }
        let mut nth = 0;
        while let Some(choice) = self.choices.next_best(nth) {
            if nth >= FIRST_BREADTH << self.progress.escalation.min(26) {
                self.progress.complete = false;
                return;
            }
            nth += 1;
            let kept = self.nodes.len();
            self.heads.clear();
            self.heads.extend_from_slice(self.current.heads(at));
            let mut child = state;
            self.progress.states += 1;
            child.strays += u32::from(nth > 1);
            take_choice(problem, choice, &mut child, &mut self.heads, &mut self.nodes);
            if !settle(problem, &mut child, &mut self.heads, &mut self.nodes, &mut self.due)
                || !self.can_go_on(problem, &child)
            {
                self.nodes.truncate(kept);
                continue;
            }
            self.next.insert(child, &self.heads);
            if self.progress.width == 1 {
                self.is_prepared = true;
                self.progress.complete &= nth == self.choices.list.len();
                return;
            }
        }
    }

    /// Whether the state in `self.heads` has a choice or is finished. Its choices are kept.
    fn can_go_on(&mut self, problem: &Problem, state: &State) -> bool {
        self.prepared.list(problem, state, &self.heads);
        !self.prepared.list.is_empty() || self.prepared.finished
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
        if self.saved.head_count() > MOST_SAVED_HEADS && self.checkpoints.len() > 2 * RECENT {
            self.thin_out();
        }
    }

    /// Forgets every second of the older checkpoints: going back far need not be exact.
    fn thin_out(&mut self) {
        let old = self.checkpoints.len() - RECENT;
        let (mut kept, mut from, mut to) = (0, 0, 0);
        for at in 0..self.checkpoints.len() {
            let checkpoint = self.checkpoints[at];
            if at >= old || at.is_multiple_of(2) {
                self.saved.shift(from, to, checkpoint.states);
                to += checkpoint.states;
                self.checkpoints[kept] = checkpoint;
                kept += 1;
            }
            from += checkpoint.states;
        }
        self.checkpoints.truncate(kept);
        self.saved.truncate(to);
    }

    /// Goes back to a checkpoint, farther the more often this dead end was met, to come again wider.
    fn go_back(&mut self) {
        self.is_prepared = false;
        let progress = &mut self.progress;
        progress.steps_back += 1;
        if progress.layer > progress.dead_end + SPACING || progress.steps_back == 1 {
            progress.escalation = 0;
            progress.stuck_since = progress.states;
        } else {
            progress.escalation += 1;
        }
        progress.dead_end = progress.dead_end.max(progress.layer);
        let distance = SPACING << (2 * progress.escalation.min(20));
        let target = progress.layer.saturating_sub(distance);
        while self.checkpoints.len() > 1 && self.checkpoints[self.checkpoints.len() - 1].layer > target {
            self.drop_checkpoint();
        }
        let checkpoint = self.checkpoints[self.checkpoints.len() - 1];
        let progress = &mut self.progress;
        progress.width = FIRST_WIDTH << progress.escalation.min(26);
        progress.wide_until = progress.dead_end + ((2 * SPACING) << progress.escalation.min(40));
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
fn take_choice(
    problem: &Problem,
    choice: Choice,
    state: &mut State,
    heads: &mut [u32],
    nodes: &mut Vec<Node>,
) {
    let head = heads[choice.process as usize];
    let whole = &problem.steps[head as usize];
    let form = if choice.other_form { problem.alternative(whole).unwrap_or(whole) } else { whole };
    let found = meet(form.need, state.value).expect("choices are steps whose needs are met");
    state.value = if form.effect == KEEP { found } else { form.effect };
    state.cell = form.after(state.cell);
    let mark = if choice.other_form { OTHER_FORM } else { 0 };
    pass_head(state, &mut heads[choice.process as usize], mark, nodes);
}

/// Moves one process past its head.
#[inline]
fn pass_head(state: &mut State, head: &mut u32, mark: u32, nodes: &mut Vec<Node>) {
    nodes.push(Node { before: state.node, step: *head | mark });
    state.node = nodes.len() as u32 - 1;
    state.hash = state.hash.wrapping_sub(head_hash(*head)).wrapping_add(head_hash(*head + 1));
    state.done += 1;
    *head += 1;
}

/// Waits as long as waiting costs nothing and does every read that can be done at once; false if a head is late.
///
/// Both lose nothing. Waiting: every head can still be entered at the cell waited for, and so can what follows it
/// (deadlines are tightened), so any order from here can be shifted. Reading: a read whose need holds now and that
/// moves no cell can be brought forward in any order from here.
fn settle(
    problem: &Problem,
    state: &mut State,
    heads: &mut [u32],
    nodes: &mut Vec<Node>,
    due: &mut Vec<(u64, u64)>,
) -> bool {
    loop {
        let (deadline, patience) = read_all(problem, state, heads, nodes);
        if state.cell > deadline {
            return false;
        }
        if problem.apart {
            return have_cells(problem, state.cell, heads, due);
        }
        // Something else may need the odd cell before an even limit.
        let wait = if patience.is_multiple_of(2) { patience.saturating_sub(1) } else { patience };
        if wait <= state.cell {
            return true;
        }
        state.cell = wait;
    }
}

/// Whether heads that take cells of their own find them before they must be over, the first one due first.
fn have_cells(problem: &Problem, cell: u64, heads: &[u32], due: &mut Vec<(u64, u64)>) -> bool {
    let advancing = heads.iter().zip(&problem.processes[1..]).filter(|&(head, end)| head < end);
    due.clear();
    due.extend(
        advancing
            .map(|(&head, _)| &problem.steps[head as usize])
            .filter(|step| step.beyond > 0 && step.alternative == NONE)
            .map(|step| ((step.deadline | 1).saturating_add(step.beyond), step.beyond)),
    );
    due.sort_unstable();
    let mut reached = cell;
    due.iter().all(|&(end, beyond)| {
        reached = (reached | 1) + beyond;
        reached <= end
    })
}

/// Does every read that can be done at once; the least deadline and patience of the heads after that.
fn read_all(problem: &Problem, state: &mut State, heads: &mut [u32], nodes: &mut Vec<Node>) -> (u64, u64) {
    let (mut deadline, mut patience) = (u64::MAX, u64::MAX);
    for (head, &end) in heads.iter_mut().zip(&problem.processes[1..]) {
        while *head < end {
            let step = &problem.steps[*head as usize];
            let free = step.only_reads() && step.earliest <= state.cell && state.cell <= step.limit;
            if !free || meet(step.need, state.value) != Some(state.value) {
                deadline = deadline.min(step.deadline);
                patience = patience.min(step.patience);
                break;
            }
            pass_head(state, head, 0, nodes);
        }
    }
    (deadline, patience)
}
