//! Finds an order of one key's units, or says why there is none.
//!
//! Owns the attempts (which initial state, with or without windows) and the buffers that are reused from key to key.
//!
//! * [`step`]: what is done at one moment. [`problem`]: units compiled to steps: groups composed, windows tightened, values renumbered.
//! * [`forced`]: the keys without a choice, which are most of them.
//! * [`uses`]: who needs and who writes each value, and what follows from it.
//! * [`choice`]: what a state can do next, best first.
//! * [`chains`]: values that follow each other without a break.
//! * [`layer`]: the states of one layer.
//! * [`search`]: the rest: states in layers, greedy at first, wider where that fails.
//! * [`shrink`]: from an impossible set of units to a smallest one.

mod chains;
mod choice;
mod forced;
mod layer;
mod problem;
mod search;
mod shrink;
mod step;
mod uses;

use crate::action::UNKNOWN_PRESENT;
use crate::contradiction::{Contradiction, suspects};
use crate::register::{Effect, Initial, Need, Unit, ValueId, Window};
use problem::{Problem, WindowUse};
use search::{Outcome, Search};
use shrink::Shrinker;

/// How far a search may go before it gives up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// States that one key's search may make in one attempt to get past one dead end; and in the whole attempt,
    /// besides sixteen for each unit.
    pub states: u64,
}

impl Default for Limits {
    /// Half a million states: seconds of work on a key with many processes.
    fn default() -> Self {
        Limits { states: 500_000 }
    }
}

/// What is known of the key before the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// Absent if that explains the history, otherwise present with whatever value the first need asks for.
    Unknown,
    /// Absent, for certain.
    Absent,
    /// This value, for certain.
    Value(ValueId),
}

/// Whether windows must be obeyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Windows {
    /// An order inside the windows if there is one, otherwise one without regard to those that are not firm.
    Prefer,
    /// Only an order inside the windows counts (linearizability).
    Require,
    /// Process order alone counts (sequential consistency).
    Ignore,
}

/// What counts as an explanation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The state before the first unit.
    pub beginning: Beginning,
    /// The part that windows play.
    pub windows: Windows,
    /// When to give up.
    pub limits: Limits,
}

impl Default for Rules {
    /// The rules for traces: unknown beginning, windows preferred.
    fn default() -> Self {
        Rules { beginning: Beginning::Unknown, windows: Windows::Prefer, limits: Limits::default() }
    }
}

/// How an order was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// The windows left no choice.
    Forced,
    /// Choices were made and none had to be taken back.
    Greedy,
    /// Choices were taken back.
    Search,
}

/// What finding an order took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    /// How it was found.
    pub method: Method,
    /// States visited, over all attempts.
    pub states: u64,
    /// Times that the search ran into a dead end and went back.
    pub steps_back: u64,
}

/// An order in which every need holds. Borrowed from the [`Solver`] until its next call.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// Indexes of the units, in order. Uncertain units that were left out do not occur.
    pub sequence: &'a [u32],
    /// The cell in which each unit of `sequence` takes effect; never decreasing.
    ///
    /// With `windows_obeyed` each lies in its unit's window. Otherwise cells may lie beyond it, and an order over
    /// several keys made from them need not keep the order of processes.
    pub cells: &'a [u64],
    /// The state before the first unit.
    pub initial: Initial,
    /// Every unit lies in its window.
    pub windows_obeyed: bool,
    /// They do not, and whether they can was not settled within the bound.
    pub windows_gave_up: bool,
    /// What it took.
    pub effort: Effort,
}

/// Why there is no order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No order exists under the rules; the smallest explanation found.
    Impossible(Contradiction),
    /// The bound was reached before the answer was known.
    GaveUp {
        /// The bound, in states.
        bound: u64,
    },
}

/// That no order was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No order exists under the rules.
    Impossible,
    /// The bound was reached before the answer was known.
    GaveUp {
        /// The bound, in states.
        bound: u64,
    },
}

/// What one attempt came to.
enum Attempt {
    Found(Effort),
    Impossible,
    GaveUp,
}

/// Solves one key after another with the same buffers.
#[derive(Default)]
pub struct Solver {
    problem: Problem,
    search: Search,
    forced: Vec<u32>,
    sequence: Vec<u32>,
    cells: Vec<u64>,
    /// The units with only their firm windows.
    firm: Vec<Unit>,
    /// The cell at which the first attempt failed.
    stuck_at: Option<u64>,
    /// Units looked at by all attempts, and processes' next units by all states of their searches.
    work: u64,
    /// Of such work, what is left for explaining why keys have no order.
    patience: u64,
}

/// The patience of a solver: some seconds.
const PATIENCE: u64 = 100_000_000;

impl Solver {
    /// A solver with empty buffers.
    ///
    /// All explanations that one solver gives are bounded together, by some seconds of work: when it is used up a
    /// [`Contradiction`] has more units than it needs and says that it may not be minimal.
    pub fn new() -> Self {
        Solver { patience: PATIENCE, ..Self::default() }
    }

    /// A solver whose explanations are bounded by so much work, in units that are looked at.
    pub fn with_patience(patience: u64) -> Self {
        Solver { patience, ..Self::default() }
    }

    /// Finds an order for the units of one key.
    ///
    /// `units` stand process by process in ascending process number, each process's units in its own order.
    ///
    /// # Panics
    /// If the units are not sorted by process, or a value id is above [`ValueId::LARGEST`].
    pub fn solve(&mut self, units: &[Unit], rules: &Rules) -> Result<Order<'_>, Failure> {
        match self.look(units, rules) {
            (Verdict::Found { effort, windows_obeyed, windows_gave_up }, _) => {
                Ok(self.found(units, rules, effort, windows_obeyed, windows_gave_up))
            }
            (_, Some(kept)) => Err(self.shrink(units, rules, kept)),
            (verdict, None) => Err(self.explain(units, rules, verdict)),
        }
    }

    /// As [`Solver::solve`], but does not look for the units that contradict each other.
    ///
    /// # Panics
    /// As [`Solver::solve`].
    pub fn decide(&mut self, units: &[Unit], rules: &Rules) -> Result<Order<'_>, Refusal> {
        match self.look(units, rules).0 {
            Verdict::Found { effort, windows_obeyed, windows_gave_up } => {
                Ok(self.found(units, rules, effort, windows_obeyed, windows_gave_up))
            }
            Verdict::Impossible => Err(Refusal::Impossible),
            Verdict::GaveUp => Err(Refusal::GaveUp { bound: rules.limits.states }),
        }
    }

    fn found(
        &mut self,
        units: &[Unit],
        rules: &Rules,
        effort: Effort,
        windows_obeyed: bool,
        windows_gave_up: bool,
    ) -> Order<'_> {
        let initial = self.lay_out(units, rules, windows_obeyed, false);
        let (sequence, cells) = (self.sequence.as_slice(), self.cells.as_slice());
        Order { sequence, cells, initial, windows_obeyed, windows_gave_up, effort }
    }

    /// What all attempts come to, and the units of a pattern that settles it before any attempt.
    fn look(&mut self, units: &[Unit], rules: &Rules) -> (Verdict, Option<Vec<u32>>) {
        assert!(units.is_sorted_by_key(|unit| unit.process), "units must stand process by process");
        let forced = forced::order(units, &mut self.forced);
        if units.len() >= SUSPECT_FROM
            && !forced
            && let Some(kept) = self.suspect(units, rules)
        {
            return (Verdict::Impossible, Some(kept));
        }
        (self.attempt_all(units, rules, forced), None)
    }

    /// An order inside the windows in which every unit that advances takes an odd cell of its own, if one is found within the bound. In
    /// the orders of [`Solver::solve`] units that follow each other may share one.
    ///
    /// # Panics
    /// As [`Solver::solve`].
    pub fn order_apart(&mut self, units: &[Unit], rules: &Rules) -> Option<Order<'_>> {
        assert!(units.is_sorted_by_key(|unit| unit.process), "units must stand process by process");
        let forced = forced::order(units, &mut self.forced);
        match self.attempt_with(units, rules, WindowUse::Apart, forced) {
            Verdict::Found { effort, .. } => {
                let initial = self.lay_out(units, rules, true, true);
                let (sequence, cells) = (self.sequence.as_slice(), self.cells.as_slice());
                Some(Order { sequence, cells, initial, windows_obeyed: true, windows_gave_up: false, effort })
            }
            Verdict::Impossible | Verdict::GaveUp => None,
        }
    }

    /// Only whether there is an order, and the work that it took.
    fn settle(&mut self, units: &[Unit], rules: &Rules) -> (Settled, u64) {
        let before = self.work;
        let forced = forced::order(units, &mut self.forced);
        let settled = match self.attempt_all(units, rules, forced) {
            Verdict::Found { .. } => Settled::Possible,
            Verdict::Impossible => Settled::Impossible,
            Verdict::GaveUp => Settled::Unknown,
        };
        (settled, units.len() as u64 + (self.work - before))
    }

    /// Looks for a small contradiction around the place where the search was stuck. Finding one settles also what
    /// the search gave up on.
    fn explain(&mut self, units: &[Unit], rules: &Rules, verdict: Verdict) -> Failure {
        let cell = self.stuck_at.unwrap_or(0);
        // A pattern first: a window can hold several contradictions, and not the smallest is found.
        let pattern = self.suspect(units, rules);
        match (pattern.or_else(|| Shrinker::new(units, rules, self).around(cell)), verdict) {
            (Some(kept), _) => self.shrink(units, rules, kept),
            (None, Verdict::GaveUp) => Failure::GaveUp { bound: rules.limits.states },
            // Proven by the whole search, but no part of it within the smaller bound.
            (None, _) => self.shrink(units, rules, (0..units.len() as u32).collect()),
        }
    }

    /// A small pattern of units that is impossible by itself, if there is one.
    fn suspect(&mut self, units: &[Unit], rules: &Rules) -> Option<Vec<u32>> {
        // Few sets of few units: they decide keys that a search would take long for, and do not count as explaining.
        let patience = std::mem::replace(&mut self.patience, u64::MAX);
        let mut shrinker = Shrinker::new(units, rules, self);
        let found = suspects(units).into_iter().find(|kept| shrinker.is_impossible(kept));
        self.patience = patience;
        found
    }

    fn shrink(&mut self, units: &[Unit], rules: &Rules, kept: Vec<u32>) -> Failure {
        let (kept, minimal) = Shrinker::new(units, rules, self).shrink(kept);
        Failure::Impossible(Contradiction::of(units, &kept, minimal))
    }

    /// Runs the attempts that `rules` allow until one succeeds; the sequence of a success is in `self.sequence`. If
    /// windows leave no choice (`forced`), the order that they force is in `self.forced`.
    fn attempt_all(&mut self, units: &[Unit], rules: &Rules, forced: bool) -> Verdict {
        self.stuck_at = None;
        let (first, second) = match rules.windows {
            Windows::Prefer => (WindowUse::Obey, Some(WindowUse::Ignore)),
            Windows::Require => (WindowUse::Obey, None),
            Windows::Ignore => (WindowUse::Ignore, None),
        };
        let verdict = self.attempt_with(units, rules, first, forced);
        let (Some(second), Verdict::Impossible | Verdict::GaveUp) = (second, &verdict) else {
            return verdict;
        };
        let windows_gave_up = matches!(verdict, Verdict::GaveUp);
        let some_firm = units.iter().any(|unit| unit.firm);
        if some_firm && units.iter().all(|unit| unit.firm) {
            return verdict;
        }
        let second = if some_firm {
            let mut firm = std::mem::take(&mut self.firm);
            firm.clear();
            firm.extend(units.iter().map(only_if_firm));
            let forced = forced::order(&firm, &mut self.forced);
            let verdict = self.attempt_with(&firm, rules, WindowUse::Obey, forced);
            self.firm = firm;
            verdict
        } else {
            self.attempt_with(units, rules, second, false)
        };
        match second {
            Verdict::Found { effort, .. } => {
                Verdict::Found { effort, windows_obeyed: false, windows_gave_up }
            }
            verdict => verdict,
        }
    }

    /// Tries each beginning that `rules` allow, the windows used in one way.
    fn attempt_with(&mut self, units: &[Unit], rules: &Rules, windows: WindowUse, forced: bool) -> Verdict {
        let mut gave_up = false;
        for value in beginnings(rules.beginning) {
            match self.attempt(units, value, windows, forced, &rules.limits) {
                Attempt::Found(effort) => {
                    let windows_obeyed = windows != WindowUse::Ignore;
                    return Verdict::Found { effort, windows_obeyed, windows_gave_up: false };
                }
                Attempt::GaveUp => gave_up = true,
                Attempt::Impossible => {}
            }
        }
        if gave_up { Verdict::GaveUp } else { Verdict::Impossible }
    }

    fn attempt(
        &mut self,
        units: &[Unit],
        start: u32,
        windows: WindowUse,
        forced: bool,
        limits: &Limits,
    ) -> Attempt {
        if windows != WindowUse::Ignore && forced {
            return match forced::first_unmet(units, &self.forced, start) {
                None => {
                    self.sequence.clone_from(&self.forced);
                    Attempt::Found(Effort { method: Method::Forced, states: 0, steps_back: 0 })
                }
                Some(unit) => {
                    self.stuck_at.get_or_insert(units[unit as usize].window.latest);
                    Attempt::Impossible
                }
            };
        }
        self.problem.compile(units, start, windows);
        let start = match (self.problem.orphans(), start) {
            ([], _) => start,
            // What nobody writes must have been there at the beginning.
            (&[value], UNKNOWN_PRESENT) if value != ValueId::ABSENT => {
                self.problem.compile(units, value.0, windows);
                value.0
            }
            (&[value, ..], _) => {
                let needs_it = |unit: &&Unit| unit.need == Need::Exactly(value) && !unit.uncertain;
                let cell = units.iter().find(needs_it).map_or(0, |unit| unit.window.latest);
                self.stuck_at.get_or_insert(cell);
                return Attempt::Impossible;
            }
        };
        let outcome = self.search.run(&self.problem, start, limits);
        // A state looks at what each process does next.
        self.work += (units.len() + self.search.states() as usize * self.problem.process_count()) as u64;
        if outcome != Outcome::Found {
            self.stuck_at.get_or_insert(self.search.stuck_at());
        }
        match outcome {
            Outcome::Impossible => Attempt::Impossible,
            Outcome::GaveUp => Attempt::GaveUp,
            Outcome::Found => {
                self.search.write_sequence(&self.problem, units, &mut self.sequence);
                let steps_back = self.search.steps_back();
                let method = if steps_back == 0 { Method::Greedy } else { Method::Search };
                Attempt::Found(Effort { method, states: self.search.states(), steps_back })
            }
        }
    }

    /// Computes the cells of the sequence found, and the initial state that it implies.
    fn lay_out(&mut self, units: &[Unit], rules: &Rules, windows_obeyed: bool, apart: bool) -> Initial {
        self.cells.clear();
        let mut cell = 0;
        for &index in &self.sequence {
            let unit = &units[index as usize];
            cell = cell.max(unit.window.earliest) | u64::from(unit.advances);
            debug_assert!(!windows_obeyed || cell <= unit.window.latest, "unit {index} outside its window");
            self.cells.push(cell);
            cell += u64::from(apart && unit.advances);
        }
        match rules.beginning {
            Beginning::Absent | Beginning::Value(ValueId::ABSENT) => Initial::Absent,
            Beginning::Value(value) => Initial::Planted(value),
            Beginning::Unknown => implied_beginning(units, &self.sequence),
        }
    }
}

/// Whether there is an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Settled {
    Possible,
    Impossible,
    Unknown,
}

/// Keys with so many units are looked over for suspects before a search, which could be long.
const SUSPECT_FROM: usize = 32;

/// What all attempts together came to.
enum Verdict {
    Found { effort: Effort, windows_obeyed: bool, windows_gave_up: bool },
    Impossible,
    GaveUp,
}

/// A unit whose window counts only if it is firm.
fn only_if_firm(unit: &Unit) -> Unit {
    if unit.firm { *unit } else { Unit { window: Window::ANYWHERE, advances: false, ..*unit } }
}

/// The initial values to try, best first, in the solver's code. "Absent" is tried before "unknown", which needs to cover what is
/// present only.
fn beginnings(beginning: Beginning) -> impl Iterator<Item = u32> {
    let (first, second) = match beginning {
        Beginning::Absent => (ValueId::ABSENT.0, None),
        Beginning::Unknown => (ValueId::ABSENT.0, Some(UNKNOWN_PRESENT)),
        Beginning::Value(value) => (value.0, None),
    };
    std::iter::once(first).chain(second)
}

/// The initial state that an order of a key with unknown beginning implies: what its first needs ask for.
fn implied_beginning(units: &[Unit], sequence: &[u32]) -> Initial {
    let mut present = false;
    let mut absent = false;
    for &index in sequence {
        let unit = &units[index as usize];
        match unit.need {
            Need::Exactly(ValueId::ABSENT) => return Initial::Absent,
            Need::Exactly(value) => return Initial::Planted(value),
            Need::Present => present = true,
            Need::AbsentOrEmpty => absent = true,
            Need::Anything | Need::Never => {}
        }
        if present && absent {
            return Initial::Planted(ValueId::EMPTY);
        }
        if unit.effect != Effect::Keep {
            break;
        }
    }
    if present { Initial::Present } else { Initial::Absent }
}
