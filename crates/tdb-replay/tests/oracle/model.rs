//! The sequential specification: what one operation needs and leaves, and which locks exclude which.
//!
//! Owns what is true of one database at one moment. Written from libtdb's documented behaviour, not from the solver.

use crate::history::{Flag, KEYS, Value};

/// What a key holds, as far as it is known. What was there before a history is bound by whoever looks first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cell {
    Unknown,
    /// Some value.
    Present,
    /// No value, or the empty word: the classic dialect's appends cannot tell.
    AbsentOrEmpty,
    Absent,
    Word(Value),
}

/// What an operation must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    Nothing,
    Present,
    Absent,
    AbsentOrEmpty,
    Word(Value),
}

impl Need {
    /// That of a result that shows a value, or that there is none.
    pub fn found(found: Option<Value>) -> Need {
        found.map_or(Need::Absent, Need::Word)
    }

    /// That of a result that shows whether there is a value.
    pub fn there(there: bool) -> Need {
        if there { Need::Present } else { Need::Absent }
    }
}

impl Cell {
    /// What is known after somebody found what they needed; none if they cannot have.
    pub fn meet(self, need: Need) -> Option<Cell> {
        let empty = Cell::Word(Value::EMPTY);
        match (need, self) {
            (Need::Nothing, cell) => Some(cell),
            (Need::Present, Cell::Unknown | Cell::Present) => Some(Cell::Present),
            (Need::Present, Cell::AbsentOrEmpty) => Some(empty),
            (Need::Present, Cell::Word(_)) => Some(self),
            (Need::Absent, Cell::Unknown | Cell::AbsentOrEmpty | Cell::Absent) => Some(Cell::Absent),
            (Need::AbsentOrEmpty, Cell::Unknown) => Some(Cell::AbsentOrEmpty),
            (Need::AbsentOrEmpty, Cell::Present) => Some(empty),
            (Need::AbsentOrEmpty, Cell::AbsentOrEmpty | Cell::Absent | Cell::Word(Value::EMPTY)) => {
                Some(self)
            }
            (Need::Word(value), Cell::Unknown | Cell::Present) => Some(Cell::Word(value)),
            (Need::Word(Value::EMPTY), Cell::AbsentOrEmpty) => Some(empty),
            (Need::Word(value), Cell::Word(there)) if value == there => Some(self),
            _ => None,
        }
    }

    /// Whether a database in which this key holds `value` at the end agrees.
    pub fn allows(self, value: Option<&[u8]>) -> bool {
        match self {
            Cell::Unknown => true,
            Cell::Present => value.is_some(),
            Cell::AbsentOrEmpty => value.is_none_or(<[u8]>::is_empty),
            Cell::Absent => value.is_none(),
            Cell::Word(word) => value == Some(word.bytes().as_slice()),
        }
    }
}

/// One way in which an operation can have gone: what it found, and what it left if it changed anything.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    pub need: Need,
    pub leaves: Option<Cell>,
}

/// What an operation on a key does: one of these ways.
#[derive(Clone, Copy, Debug)]
pub struct Ways(pub Way, pub Option<Way>);

impl Ways {
    /// It looks only.
    pub fn look(need: Need) -> Ways {
        Ways(Way { need, leaves: None }, None)
    }

    /// It changes.
    pub fn change(need: Need, leaves: Cell) -> Ways {
        Ways(Way { need, leaves: Some(leaves) }, None)
    }

    /// A store whose result is recorded.
    pub fn store(value: Value, flag: Flag, done: bool) -> Ways {
        match (flag, done) {
            (Flag::Replace, true) => Ways::change(Need::Nothing, Cell::Word(value)),
            (Flag::Insert, true) => Ways::change(Need::Absent, Cell::Word(value)),
            (Flag::Modify, true) => Ways::change(Need::Present, Cell::Word(value)),
            (Flag::Replace, false) => Ways::look(Need::Nothing),
            (Flag::Insert, false) => Ways::look(Need::Present),
            (Flag::Modify, false) => Ways::look(Need::Absent),
        }
    }

    /// A storev, whose result is not.
    pub fn storev(value: Value, flag: Flag) -> Ways {
        let done = Ways::store(value, flag, true).0;
        Ways(done, (flag != Flag::Replace).then(|| Ways::store(value, flag, false).0))
    }

    /// Both, the likely one first.
    pub fn each(self) -> impl Iterator<Item = Way> {
        [Some(self.0), self.1].into_iter().flatten()
    }
}

/// The locks that one process holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Held {
    /// How often it holds each chain, and whether for writing: a change under a lock for reading upgrades that.
    chain: [u8; KEYS],
    chain_write: [bool; KEYS],
    all: u8,
    all_write: bool,
    /// Traversals for writing, and in the classic dialect those for reading: the transaction lock.
    walks: [u8; 2],
    /// Somebody else holds these for it.
    marks: [u8; KEYS],
    marks_all: u8,
}

impl Held {
    fn keeps_out(&self, chain: usize, write: bool) -> bool {
        (self.chain[chain] > 0 && (write || self.chain_write[chain]))
            || (self.all > 0 && (write || self.all_write))
    }

    fn keeps_out_of_all(&self, write: bool) -> bool {
        (0..KEYS).any(|chain| self.chain[chain] > 0 && (write || self.chain_write[chain]))
            || (self.all > 0 && (write || self.all_write))
    }

    fn keeps_out_transactions(&self, write: bool) -> bool {
        self.walks[1] > 0 || (write && self.walks[0] > 0)
    }
}

/// Everybody's locks.
pub type Locks = [Held; 4];

fn nobody_else(locks: &Locks, me: usize, keeps_out: impl Fn(&Held) -> bool) -> bool {
    locks.iter().enumerate().all(|(other, held)| other == me || !keeps_out(held))
}

/// An operation's own lock, which it holds while it runs; whether it gets it.
pub fn touch(locks: &mut Locks, me: usize, chain: usize, write: bool) -> bool {
    let mine = locks[me];
    if mine.marks[chain] > 0 || mine.marks_all > 0 || (mine.all > 0 && (mine.all_write || !write)) {
        return true;
    }
    if mine.chain[chain] > 0 && (mine.chain_write[chain] || !write) {
        return true;
    }
    let free = nobody_else(locks, me, |held| held.keeps_out(chain, write));
    if free && mine.chain[chain] > 0 {
        locks[me].chain_write[chain] = true;
    }
    free
}

/// Whether a process has a lock of a chain that another one of it adds nothing to.
pub fn has_chain(locks: &Locks, me: usize, chain: usize, write: bool) -> bool {
    locks[me].chain[chain] > 0 && (locks[me].chain_write[chain] || !write)
}

/// Takes the lock of a chain; whether it can.
pub fn lock_chain(locks: &mut Locks, me: usize, chain: usize, write: bool) -> bool {
    let free = touch(locks, me, chain, write);
    locks[me].chain[chain] += 1;
    locks[me].chain_write[chain] |= write;
    free
}

/// Releases the lock of a chain; whether it was held.
pub fn unlock_chain(locks: &mut Locks, me: usize, chain: usize) -> bool {
    let mine = &mut locks[me];
    let Some(left) = mine.chain[chain].checked_sub(1) else { return false };
    mine.chain[chain] = left;
    mine.chain_write[chain] &= left > 0;
    true
}

/// Takes the lock of all chains; whether it can.
pub fn lock_all(locks: &mut Locks, me: usize, write: bool) -> bool {
    let mine = locks[me];
    let free = (mine.all > 0 && (mine.all_write || !write))
        || nobody_else(locks, me, |held| held.keeps_out_of_all(write));
    locks[me].all += 1;
    locks[me].all_write |= write;
    free
}

/// Releases the lock of all chains; whether it was held.
pub fn unlock_all(locks: &mut Locks, me: usize) -> bool {
    let mine = &mut locks[me];
    let Some(left) = mine.all.checked_sub(1) else { return false };
    mine.all = left;
    mine.all_write &= left > 0;
    true
}

/// Notes that somebody else holds a lock for this process, or no longer does.
pub fn mark(locks: &mut Locks, me: usize, chain: Option<usize>, set: bool) {
    let mine = &mut locks[me];
    let count = chain.map_or(&mut mine.marks_all, |chain| &mut mine.marks[chain]);
    *count = if set { *count + 1 } else { count.saturating_sub(1) };
}

/// Whether a wipe, which locks everything while it runs, can run.
pub fn may_wipe(locks: &Locks, me: usize) -> bool {
    nobody_else(locks, me, |held| held.keeps_out_of_all(true))
}

/// Whether a transaction can run from its start to its end; one that changes something locks everything at its commit.
pub fn may_transact(locks: &Locks, me: usize, changes: bool) -> bool {
    nobody_else(locks, me, |held| held.keeps_out_transactions(true) || held.keeps_out_of_all(changes))
}

/// Begins a traversal that takes the transaction lock; whether it can.
pub fn begin_walk(locks: &mut Locks, me: usize, write: bool) -> bool {
    let free = nobody_else(locks, me, |held| held.keeps_out_transactions(write));
    locks[me].walks[usize::from(write)] += 1;
    free
}

/// Ends such a traversal.
pub fn end_walk(locks: &mut Locks, me: usize, write: bool) {
    let count = &mut locks[me].walks[usize::from(write)];
    *count = count.saturating_sub(1);
}
