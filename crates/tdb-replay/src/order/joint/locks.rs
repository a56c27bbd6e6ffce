//! The locks that processes hold at one moment of a search, and whom they keep out.
//!
//! Owns the table of `tdb_lockall`, `tdb_chainlock`, traversals for writing and transactions as libtdb has it: who may go on beside whom.
//! Chains that nobody locks have no slot; only locks of all chains matter to them.

use smallvec::SmallVec;

/// The slot of a chain that nobody locks.
pub const NO_SLOT: u32 = u32::MAX;

/// How often a lock is held, and whether for writing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Count {
    times: u16,
    write: bool,
}

impl Count {
    fn add(&mut self, write: bool) {
        self.times = self.times.saturating_add(1);
        self.write |= write;
    }

    fn remove(&mut self) {
        self.times = self.times.saturating_sub(1);
        self.write &= self.times > 0;
    }

    fn keeps_out(self, write: bool) -> bool {
        self.times > 0 && (write || self.write)
    }

    /// Whether it is enough for its own process.
    fn suffices(self, write: bool) -> bool {
        self.times > 0 && (self.write || !write)
    }
}

/// What one process holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Held {
    /// By slot.
    chains: SmallVec<[Count; 4]>,
    all: Count,
    /// Traversals for reading that take the transaction lock, and those for writing.
    walks: [u16; 2],
    /// What another process holds for this one: by slot, and all.
    marks: SmallVec<[u16; 4]>,
    all_marks: u16,
}

impl Held {
    /// Nothing, of so many slots.
    pub fn nothing(slots: usize) -> Held {
        Held {
            chains: SmallVec::from_elem(Count::default(), slots),
            marks: SmallVec::from_elem(0, slots),
            ..Held::default()
        }
    }

    /// Lets go of everything.
    pub fn clear(&mut self) {
        *self = Held::nothing(self.chains.len());
    }

    /// This as numbers, the same for the same locks.
    pub fn write_to(&self, out: &mut Vec<u64>) {
        let count = |count: &Count| u64::from(count.times) << 1 | u64::from(count.write);
        out.extend(self.chains.iter().map(count));
        out.extend(self.marks.iter().copied().map(u64::from));
        out.push(count(&self.all) << 16 | u64::from(self.all_marks));
        out.push(u64::from(self.walks[0]) << 16 | u64::from(self.walks[1]));
    }

    fn keeps_out_of(&self, slot: u32, write: bool) -> bool {
        self.all.keeps_out(write) || self.chains.get(slot as usize).is_some_and(|held| held.keeps_out(write))
    }

    fn keeps_out_of_all(&self, write: bool) -> bool {
        self.all.keeps_out(write) || self.chains.iter().any(|held| held.keeps_out(write))
    }

    fn keeps_out_transactions(&self, write: bool) -> bool {
        self.walks[1] > 0 || (write && self.walks[0] > 0)
    }
}

/// What all processes hold. Nothing is kept for histories in which nobody locks anything.
pub type Locks = SmallVec<[Held; 4]>;

fn nobody_else(locks: &Locks, me: usize, keeps_out: impl Fn(&Held) -> bool) -> bool {
    locks.iter().enumerate().all(|(other, held)| other == me || !keeps_out(held))
}

/// Takes the lock that an operation on a chain holds while it runs; whether it can. Under a lock for reading of its own, one that writes
/// makes that one for writing.
pub fn touch(locks: &mut Locks, me: usize, slot: u32, write: bool) -> bool {
    let Some(mine) = locks.get(me) else { return true };
    let own = mine.chains.get(slot as usize).copied().unwrap_or_default();
    let marked = mine.all_marks > 0 || mine.marks.get(slot as usize).is_some_and(|&marks| marks > 0);
    if marked || mine.all.suffices(write) || own.suffices(write) {
        return true;
    }
    let free = nobody_else(locks, me, |held| held.keeps_out_of(slot, write));
    if free && own.times > 0 {
        locks[me].chains[slot as usize].write = true;
    }
    free
}

/// Takes the lock of a chain; whether it can.
pub fn lock_chain(locks: &mut Locks, me: usize, slot: u32, write: bool) -> bool {
    let free = touch(locks, me, slot, write);
    locks[me].chains[slot as usize].add(write);
    free
}

/// Releases the lock of a chain.
pub fn unlock_chain(locks: &mut Locks, me: usize, slot: u32) {
    locks[me].chains[slot as usize].remove();
}

/// Takes the lock of all chains; whether it can.
pub fn lock_all(locks: &mut Locks, me: usize, write: bool) -> bool {
    let free = locks[me].all.suffices(write) || nobody_else(locks, me, |held| held.keeps_out_of_all(write));
    locks[me].all.add(write);
    free
}

/// Releases the lock of all chains.
pub fn unlock_all(locks: &mut Locks, me: usize) {
    locks[me].all.remove();
}

/// Another process begins or ceases to hold a lock for this one: that of a chain, or all.
pub fn mark(locks: &mut Locks, me: usize, slot: Option<u32>, set: bool) {
    let mine = &mut locks[me];
    let marks = match slot {
        Some(slot) => &mut mine.marks[slot as usize],
        None => &mut mine.all_marks,
    };
    *marks = if set { marks.saturating_add(1) } else { marks.saturating_sub(1) };
}

/// Begins a traversal that takes the transaction lock; whether it can.
pub fn begin_walk(locks: &mut Locks, me: usize, write: bool) -> bool {
    locks[me].walks[usize::from(write)] += 1;
    nobody_else(locks, me, |held| held.keeps_out_transactions(write))
}

/// Ends it.
pub fn end_walk(locks: &mut Locks, me: usize, write: bool) {
    let walks = &mut locks[me].walks[usize::from(write)];
    *walks = walks.saturating_sub(1);
}

/// Whether a wipe, which locks everything while it runs, can run.
pub fn may_wipe(locks: &Locks, me: usize) -> bool {
    nobody_else(locks, me, |held| held.keeps_out_of_all(true))
}

/// Whether a transaction can run from its start to its end; one that `changes` something locks everything for its commit.
pub fn may_transact(locks: &Locks, me: usize, changes: bool) -> bool {
    nobody_else(locks, me, |held| held.keeps_out_transactions(true) || held.keeps_out_of_all(changes))
}
