//! Makes histories of a stated shape, for tests, benches and trying things out.
//!
//! Owns the run that is written down: operations are performed one after another on a map, so that what a
//! generated history says is true, and each is noted with the sequence number and times at which its process came
//! to write it down, which is later than it happened when the process was held up. [`plant`](fn@plant) then makes one lie.

mod plant;
mod random;

pub use plant::{Planted, Violation, plant};
pub use random::Random;

use crate::register::{Effect, Need, Unit, ValueId, Window};
use std::convert::Infallible;

/// The shape of a history.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    /// How many processes take part.
    pub processes: u32,
    /// How many operations they do together.
    pub operations: u32,
    /// How many keys there are.
    pub keys: u32,
    /// How uneven the keys' use is: the exponent of a Zipf distribution; 0 uses all alike.
    pub skew: f64,
    /// Which values are written.
    pub values: Values,
    /// Of 1000 operations, how many are noted late, so that others come between.
    pub late_per_mille: u32,
    /// Of 1000 late ones, how many come later by thousands of operations.
    pub very_late_per_mille: u32,
    /// Which operations are done.
    pub mix: Mix,
    /// Two runs with one seed are equal.
    pub seed: u64,
}

/// Which values are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// Each write writes a value of its own.
    Distinct,
    /// Writes choose among this many.
    Few(u32),
}

/// How many parts of each kind of operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mix {
    /// Reads of the value.
    pub fetch: u32,
    /// Questions whether the key exists.
    pub exists: u32,
    /// Writes whatever was there.
    pub store: u32,
    /// Writes where the key is absent; fail elsewhere.
    pub insert: u32,
    /// Deletes; fail where the key is absent.
    pub delete: u32,
    /// Writes that extend what was there.
    pub append: u32,
    /// Stores in a transaction that was cancelled.
    pub cancelled: u32,
}

impl Mix {
    /// What a busy session store does: reads, stores, some of everything else.
    pub const MIXED: Mix =
        Mix { fetch: 50, exists: 5, store: 25, insert: 5, delete: 8, append: 6, cancelled: 1 };
    /// Reads and blind writes only.
    pub const READS_AND_STORES: Mix =
        Mix { fetch: 60, exists: 0, store: 40, insert: 0, delete: 0, append: 0, cancelled: 0 };

    fn parts(&self) -> [(Kind, u32); 7] {
        [
            (Kind::Fetch, self.fetch),
            (Kind::Exists, self.exists),
            (Kind::Store, self.store),
            (Kind::Insert, self.insert),
            (Kind::Delete, self.delete),
            (Kind::Append, self.append),
            (Kind::CancelledStore, self.cancelled),
        ]
    }
}

impl Default for Shape {
    fn default() -> Self {
        Shape {
            processes: 4,
            operations: 1000,
            keys: 10,
            skew: 0.0,
            values: Values::Distinct,
            late_per_mille: 150,
            very_late_per_mille: 1,
            mix: Mix::MIXED,
            seed: 1,
        }
    }
}

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Reads the value: `found`.
    Fetch,
    /// Asks whether the key exists: `found` is absent or not.
    Exists,
    /// Writes `written`, whatever `found` was.
    Store,
    /// Writes `written` if `found` is absent, otherwise fails.
    Insert,
    /// Deletes; fails if `found` is absent.
    Delete,
    /// Turns `found` into `written`, whose bytes begin with those of `found`.
    Append,
    /// Writes `written` in a transaction that is then cancelled.
    CancelledStore,
}

/// One operation of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Who did it.
    pub process: u32,
    /// On which key.
    pub key: u32,
    /// What was done.
    pub kind: Kind,
    /// What the key held, as far as the operation says it.
    pub found: ValueId,
    /// What it wrote or tried to write; absent for a delete and a read.
    pub written: ValueId,
    /// The sequence number at which its process noted it.
    pub sequence: u64,
    /// The sequence number right after it happened, before its process was held up.
    pub version: u64,
    /// When it was called; times are ticks, all different.
    pub invoked_at: u64,
    /// When it was answered.
    pub returned_at: u64,
}

impl Operation {
    /// It succeeded (a failed one changes nothing).
    pub fn succeeded(&self) -> bool {
        match self.kind {
            Kind::Insert => self.found == ValueId::ABSENT,
            Kind::Delete => self.found != ValueId::ABSENT,
            _ => true,
        }
    }

    /// It changes the key and advances the sequence number.
    pub fn modifies(&self) -> bool {
        matches!(self.kind, Kind::Store | Kind::Insert | Kind::Delete | Kind::Append) && self.succeeded()
    }

    /// What it needs and what it leaves.
    pub fn need_and_effect(&self) -> (Need, Effect) {
        let existence = if self.found == ValueId::ABSENT { Need::Exactly(self.found) } else { Need::Present };
        let effect = if self.modifies() { Effect::Put(self.written) } else { Effect::Keep };
        let need = match self.kind {
            Kind::Fetch | Kind::Append => Need::Exactly(self.found),
            Kind::Exists | Kind::Insert | Kind::Delete => existence,
            Kind::Store | Kind::CancelledStore => Need::Anything,
        };
        (need, effect)
    }
}

/// A generated history.
#[derive(Clone, Debug)]
pub struct History {
    /// All operations, in the order in which they truly happened; each process's own order is among them.
    pub operations: Vec<Operation>,
    /// How many processes.
    pub processes: u32,
    /// How many keys.
    pub keys: u32,
    /// For each value, the value whose bytes its own begin with, and the number of what follows.
    values: Vec<(ValueId, u32)>,
}

impl History {
    /// Performs a run of this shape.
    pub fn new(shape: &Shape) -> History {
        let mut operations = Vec::with_capacity(shape.operations as usize);
        let keep = |index: usize, operation: &Operation, _: &History| {
            // What is still to be noted gets its place now: later ones are noted before it.
            operations.resize(operations.len().max(index + 1), *operation);
            operations[index] = *operation;
            Ok::<(), Infallible>(())
        };
        let Ok(history) = Run::new(shape).perform(keep);
        History { operations, ..history }
    }

    /// Performs a run of this shape without keeping its operations: `each` is given every one when its process notes
    /// it, so each process's in its own order, and the history so far, which knows the bytes of values.
    ///
    /// # Errors
    /// The first error of `each`, which ends the run.
    pub fn stream<E>(
        shape: &Shape,
        mut each: impl FnMut(&Operation, &History) -> Result<(), E>,
    ) -> Result<(), E> {
        Run::new(shape).perform(|_, operation, history| each(operation, history))?;
        Ok(())
    }

    /// The bytes of a value, for writing the history as trace files. Absent has none.
    pub fn bytes_of(&self, value: ValueId) -> Vec<u8> {
        let mut pieces = vec![];
        let mut at = value;
        while at > ValueId::EMPTY {
            let (begin, piece) = self.values[at.0 as usize];
            pieces.push(piece);
            at = begin;
        }
        pieces.iter().rev().flat_map(|piece| format!("{piece:08x}").into_bytes()).collect()
    }

    /// The units of each key, process by process, with windows from sequence numbers. A unit's id is the index of
    /// its operation.
    pub fn units_by_key(&self) -> Vec<Vec<Unit>> {
        let mut before = vec![0; self.processes as usize];
        self.units(|operation| {
            let earliest = std::mem::replace(&mut before[operation.process as usize], operation.sequence);
            let window = Window { earliest: 2 * earliest, latest: 2 * operation.sequence };
            (window, operation.modifies())
        })
    }

    /// The same with windows from times: whoever returned before another was invoked comes first.
    pub fn timed_units_by_key(&self) -> Vec<Vec<Unit>> {
        self.units(|operation| {
            (Window { earliest: 2 * operation.invoked_at, latest: 2 * operation.returned_at }, false)
        })
    }

    fn units(&self, mut place: impl FnMut(&Operation) -> (Window, bool)) -> Vec<Vec<Unit>> {
        let mut keys = vec![vec![]; self.keys as usize];
        for (id, operation) in self.operations.iter().enumerate() {
            let (need, effect) = operation.need_and_effect();
            let (window, advances) = place(operation);
            keys[operation.key as usize].push(Unit {
                process: operation.process,
                id: id as u32,
                need,
                effect,
                window,
                firm: false,
                advances,
                joined: false,
                uncertain: false,
            });
        }
        for units in &mut keys {
            units.sort_by_key(|unit| unit.process);
        }
        keys
    }

    /// A value never seen before, whose bytes begin with those of `begin`.
    fn new_value(&mut self, begin: ValueId) -> ValueId {
        let number = self.values.len() as u32;
        self.values.push((begin, number));
        ValueId(number)
    }
}

/// Appends stop at this many pieces, so that values stay short.
const MOST_PIECES: u32 = 8;

/// A run while it is performed.
struct Run<'a> {
    shape: &'a Shape,
    random: Random,
    history: History,
    held: Vec<ValueId>,
    pieces: Vec<u32>,
    sequence: u64,
    tick: u64,
    /// How many operations were done.
    done: usize,
    /// Each process's operation that was done and is not yet noted, with its number.
    pending: Vec<Option<(usize, Operation)>>,
    returned: Vec<u64>,
    sleeps_until: Vec<u64>,
    few: Vec<ValueId>,
    key_shares: Vec<f64>,
}

impl<'a> Run<'a> {
    fn new(shape: &'a Shape) -> Run<'a> {
        let processes = shape.processes.max(1);
        let keys = shape.keys.max(1);
        let values = vec![(ValueId::ABSENT, 0); 2];
        let mut run = Run {
            shape,
            random: Random::new(shape.seed),
            history: History { operations: vec![], processes, keys, values },
            held: vec![ValueId::ABSENT; keys as usize],
            pieces: vec![0; 2],
            sequence: 0,
            tick: 0,
            done: 0,
            pending: vec![None; processes as usize],
            returned: vec![0; processes as usize],
            sleeps_until: vec![0; processes as usize],
            few: vec![],
            key_shares: shares(keys, shape.skew),
        };
        if let Values::Few(count) = shape.values {
            run.few = (0..count.max(1)).map(|_| run.fresh(ValueId::ABSENT)).collect();
        }
        run
    }

    fn perform<E>(
        mut self,
        mut each: impl FnMut(usize, &Operation, &History) -> Result<(), E>,
    ) -> Result<History, E> {
        let operations = self.shape.operations as usize;
        while self.done < operations {
            let process = self.random.below(self.history.processes) as usize;
            if self.sleeps_until[process] > self.tick {
                self.tick += 1;
                continue;
            }
            if self.pending[process].is_none() {
                self.operate(process);
                if self.random.below(1000) < self.shape.late_per_mille {
                    self.hold_up(process);
                    continue;
                }
            }
            if let Some((index, operation)) = self.note(process) {
                each(index, &operation, &self.history)?;
            }
        }
        for process in 0..self.pending.len() {
            if let Some((index, operation)) = self.note(process) {
                each(index, &operation, &self.history)?;
            }
        }
        Ok(self.history)
    }

    /// Does one operation, which is then pending.
    fn operate(&mut self, process: usize) {
        let key = self.choose_key();
        let kind = self.choose_kind();
        let found = self.held[key as usize];
        let (kind, written) = self.written_by(kind, found);
        self.tick += 1;
        let called = if self.random.below(2) == 0 { self.tick } else { self.returned[process] + 1 };
        let mut operation = Operation {
            process: process as u32,
            key,
            kind,
            found,
            written,
            sequence: 0,
            version: 0,
            invoked_at: called,
            returned_at: 0,
        };
        if operation.modifies() {
            self.held[key as usize] = written;
            // A record that grows is deleted and stored: two steps of the counter.
            self.sequence += 1 + u64::from(self.random.below(8) == 0);
        }
        operation.version = self.sequence;
        self.pending[process] = Some((self.done, operation));
        self.done += 1;
    }

    /// Sometimes a process is held up for long.
    fn hold_up(&mut self, process: usize) {
        if self.random.below(1000) < self.shape.very_late_per_mille {
            let longest = 1 + 750 * self.history.processes;
            self.sleeps_until[process] = self.tick + u64::from(self.random.below(longest));
        }
    }

    /// A process notes what it did, if it did anything.
    fn note(&mut self, process: usize) -> Option<(usize, Operation)> {
        let (index, mut operation) = self.pending[process].take()?;
        self.tick += 1;
        operation.sequence = self.sequence;
        operation.returned_at = self.tick;
        self.returned[process] = self.tick;
        Some((index, operation))
    }

    fn choose_key(&mut self) -> u32 {
        let share = self.random.share();
        self.key_shares.partition_point(|&upto| upto < share).min(self.key_shares.len() - 1) as u32
    }

    fn choose_kind(&mut self) -> Kind {
        let parts = self.shape.mix.parts();
        let all: u32 = parts.iter().map(|part| part.1).sum();
        let mut at = self.random.below(all.max(1));
        for (kind, part) in parts {
            if at < part {
                return kind;
            }
            at -= part;
        }
        Kind::Fetch
    }

    /// What an operation writes; an append to a value that is long enough becomes a store.
    fn written_by(&mut self, kind: Kind, found: ValueId) -> (Kind, ValueId) {
        match kind {
            Kind::Fetch | Kind::Exists | Kind::Delete => (kind, ValueId::ABSENT),
            Kind::CancelledStore => (kind, self.fresh(ValueId::ABSENT)),
            Kind::Append if self.pieces[found.0 as usize] < MOST_PIECES => (kind, self.fresh(found)),
            Kind::Append => (Kind::Store, self.stored()),
            Kind::Store | Kind::Insert => (kind, self.stored()),
        }
    }

    fn stored(&mut self) -> ValueId {
        match self.few.len() as u32 {
            0 => self.fresh(ValueId::ABSENT),
            count => self.few[self.random.below(count) as usize],
        }
    }

    fn fresh(&mut self, begin: ValueId) -> ValueId {
        let value = self.history.new_value(begin);
        self.pieces.push(self.pieces[begin.0 as usize] + 1);
        value
    }
}

/// The running sum of each key's share of the operations.
fn shares(keys: u32, skew: f64) -> Vec<f64> {
    let mut sum = 0.0;
    let mut sums: Vec<f64> = (1..=keys)
        .map(|rank| {
            sum += f64::from(rank).powf(-skew);
            sum
        })
        .collect();
    sums.iter_mut().for_each(|upto| *upto /= sum);
    sums
}
