//! All keys at once: results, numbers, times and locks in one search.
//!
//! Owns the last word on small histories. Keys are solved one by one, which is quick and enough as long as windows keep the keys' orders
//! together. Where that leaves a doubt, this search tries orders of everything, step by step ([`steps`]), depth first, with what was
//! seen before remembered. It is complete: "impossible" is a proof. It visits a bounded number of states, fewer the larger they
//! are, so it settles small histories and gives up on large ones.
//!
//! A state is how far each trace has come, what is known of each key, which locks are held, and the number reached. The number is kept
//! as low as it can be: it may rise at any moment, since not everything that counts is traced, and whatever is possible after a
//! higher one is possible after a lower one.
//!
//! * [`steps`]: lines as steps. [`transactions`]: a transaction's ways.
//! * [`locks`]: who holds what. [`state`]: what a step makes of a state.
//! * [`follow`]: the proof of an order that was found without this search.

pub mod follow;
pub mod locks;
pub mod state;
pub mod steps;
pub mod transactions;

use hashbrown::HashMap;

use state::{Choice, State, World};
use steps::{Act, Steps};

/// Which numbers count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Believed {
    /// All of them.
    All,
    /// Those that are exact.
    Exact,
    /// None: a history without numbers.
    None,
}

/// What one order has to satisfy besides results and locks, and how hard it is looked for.
#[derive(Clone, Copy, Debug)]
pub struct Demands {
    /// The numbers.
    pub believed: Believed,
    /// No key existed before.
    pub empty: bool,
    /// States that may be visited at most.
    pub states: u64,
}

/// A step that was taken, as its row shows it.
#[derive(Clone, Debug)]
pub struct Taken {
    /// The trace.
    pub trace: u16,
    /// The row; of a transaction, its first.
    pub row: u32,
    /// How it went.
    pub choice: Choice,
    /// It did nothing at that moment.
    pub aside: bool,
}

/// One order of everything.
pub struct Order {
    /// What touched keys, or was refused, in order. What did not happen is in it, too, with [`Choice::Skipped`].
    pub taken: Vec<Taken>,
    /// What each key was before.
    pub initial: Vec<u32>,
}

/// What the search came to.
pub enum Outcome {
    /// An order.
    Found(Order),
    /// There is none.
    Impossible {
        /// The rows that no order gets past, a trace and a row each, in one of those that get furthest.
        stuck: Vec<(u16, u32)>,
    },
    /// The bound was reached.
    GaveUp {
        /// The bound, in states.
        bound: u64,
    },
}

/// Words that all remembered states may take together.
const MOST_WORDS: u64 = 1 << 25;

/// Looks for one order of all steps.
pub fn search(steps: &Steps, demands: Demands) -> Outcome {
    Search::new(steps, demands).run()
}

const NONE: u32 = u32::MAX;

/// A step taken, and the one before it.
struct Node {
    before: u32,
    trace: u16,
    choice: Choice,
}

struct Search<'a> {
    world: World<'a>,
    bound: u64,
    nodes: Vec<Node>,
    /// The least number with which each state was visited.
    seen: HashMap<Box<[u64]>, u32>,
    key: Vec<u64>,
    /// The furthest that any order came, and where the traces were then.
    furthest: (u64, Vec<u32>),
}

impl<'a> Search<'a> {
    fn new(steps: &'a Steps, demands: Demands) -> Search<'a> {
        let world = World::new(steps, demands);
        let words = world.words() as u64;
        let bound = demands.states.min(MOST_WORDS / words);
        let (nodes, seen, key) = Default::default();
        Search { world, bound, nodes, seen, key, furthest: (0, Vec::new()) }
    }

    fn run(mut self) -> Outcome {
        if self.world.steps.count() as u64 > self.bound {
            return Outcome::GaveUp { bound: self.bound };
        }
        let mut stack = vec![(self.world.start(), NONE)];
        let mut visited = 0;
        let (mut next, mut choices) = (Vec::new(), Vec::new());
        while let Some((mut state, mut node)) = stack.pop() {
            visited += 1;
            if visited > self.bound {
                return Outcome::GaveUp { bound: self.bound };
            }
            self.take_free_steps(&mut state, &mut node);
            if self.world.is_done(&state) {
                return Outcome::Found(self.order(node));
            }
            if !self.is_new(&state) {
                continue;
            }
            self.note_furthest(&state);
            next.clear();
            next.extend((0..state.heads.len()).filter_map(|trace| Some((self.due(&state, trace)?, trace))));
            // What is due first is tried first: it goes onto the stack last.
            next.sort_unstable_by(|a, b| b.cmp(a));
            for &(_, trace) in &next {
                choices.clear();
                self.world.choices(&state, trace, &mut choices);
                for (choice, after) in choices.drain(..).rev() {
                    self.nodes.push(Node { before: node, trace: trace as u16, choice });
                    stack.push((after, self.nodes.len() as u32 - 1));
                }
            }
        }
        let heads = self.furthest.1.iter().enumerate();
        let at = |(trace, &head): (usize, &u32)| {
            let step = self.world.steps.lanes[trace].steps.get(head as usize)?;
            (!matches!(step.act, Act::End)).then_some((trace as u16, step.row))
        };
        Outcome::Impossible { stuck: heads.filter_map(at).collect() }
    }

    /// Takes every step that does not get better by waiting.
    fn take_free_steps(&mut self, state: &mut State, node: &mut u32) {
        while let Some(trace) = (0..state.heads.len()).find(|&trace| self.world.is_free(state, trace)) {
            let choice = Choice::Done(0);
            self.world.take_free(state, trace);
            self.nodes.push(Node { before: *node, trace: trace as u16, choice });
            *node = self.nodes.len() as u32 - 1;
        }
    }

    /// When the next step of a trace must be over; none if it cannot be taken now.
    fn due(&self, state: &State, trace: usize) -> Option<u64> {
        let step = self.world.step(state, trace)?;
        self.world.may_start(state, step).then(|| self.world.due(step))
    }

    fn is_new(&mut self, state: &State) -> bool {
        self.key.clear();
        state.write_to(&mut self.key);
        let least = match self.seen.get_mut(self.key.as_slice()) {
            Some(least) => least,
            None => self.seen.entry(self.key.as_slice().into()).or_insert(u32::MAX),
        };
        let is_new = state.reached < *least;
        *least = state.reached.min(*least);
        is_new
    }

    fn note_furthest(&mut self, state: &State) {
        let sum = state.heads.iter().map(|&head| u64::from(head)).sum();
        if sum >= self.furthest.0 {
            self.furthest = (sum, state.heads.to_vec());
        }
    }

    /// What was taken on the way to a node.
    fn order(&self, mut node: u32) -> Order {
        let mut path = Vec::new();
        while node != NONE {
            path.push(node);
            node = self.nodes[node as usize].before;
        }
        let mut heads = vec![0; self.world.steps.lanes.len()];
        let (mut taken, mut known) = (Vec::new(), self.world.unknown());
        for &Node { trace, choice, .. } in path.iter().rev().map(|&node| &self.nodes[node as usize]) {
            let head: &mut usize = &mut heads[usize::from(trace)];
            let step = &self.world.steps.lanes[usize::from(trace)].steps[*head];
            *head += 1;
            if matches!(step.act, Act::Touch { .. } | Act::Wipe { .. } | Act::Transaction(_) | Act::Nothing) {
                let aside = matches!(step.act, Act::Nothing);
                taken.push(Taken { trace, row: step.row, choice, aside });
                known.note(&step.act, choice);
            }
        }
        Order { taken, initial: known.beginning() }
    }
}
