//! Which earlier rows a row must wait for on account of locks.
//!
//! Owns, for each kind of lock user and each trace, the last row that has finished. A row that takes a lock, or needs
//! one for a moment, must come after every earlier row that excludes it; since rows of a trace finish in order, the
//! last one of each trace is enough. Both directions are here: a scope's end before a later user, and earlier users
//! before a scope's start. The deadlock argument of docs/ordering.md rests on this list being complete.

use hashbrown::HashMap;

use super::clock::{Clocks, Mark};
use super::locks::{Access, Momentary, Scope};

/// Kinds of lock users.
#[derive(Clone, Copy)]
enum Class {
    ReadOp,
    WriteOp,
    ReadStep,
    WriteStep,
    AllRead,
    AllWrite,
    ChainRead,
    ChainWrite,
    Transaction,
    Commit,
    TraverseRead,
    TraverseWrite,
}

const CLASSES: usize = 12;

/// Per class, for each trace, its last row of that class.
struct Table {
    last: Vec<Mark>,
    /// How often each class changed.
    changes: [u64; CLASSES],
    /// How many traces have a row of each class.
    traces_with: [u32; CLASSES],
    traces: usize,
}

impl Table {
    fn new(traces: usize) -> Table {
        Table {
            last: vec![Mark::default(); CLASSES * traces],
            changes: [0; CLASSES],
            traces_with: [0; CLASSES],
            traces,
        }
    }

    fn set(&mut self, class: Class, trace: usize, mark: Mark, clocks: &mut Clocks) {
        let last = &mut self.last[class as usize * self.traces + trace];
        self.traces_with[class as usize] += u32::from(last.finished == 0);
        clocks.replace(last, mark);
        self.changes[class as usize] += 1;
    }

    /// Names the last rows of these classes; `known` is the clock of the trace `own`.
    fn collect(&self, classes: &[Class], needs: &mut Needs, own: usize, known: &[u32]) {
        for &class in classes {
            if self.changes[class as usize] == 0 {
                continue;
            }
            let last = &self.last[class as usize * self.traces..][..self.traces];
            needs.named += u64::from(self.traces_with[class as usize] - u32::from(last[own].finished > 0));
            for (other, (mark, &known)) in last.iter().zip(known).enumerate() {
                if mark.finished > known {
                    needs.raise(other, *mark);
                }
            }
        }
    }

    fn version(&self, classes: &[Class]) -> u64 {
        classes.iter().map(|&class| self.changes[class as usize]).sum()
    }
}

/// What a row must wait for: for each trace, how far it must have got. What is known already is left out.
pub struct Needs {
    marks: Vec<Mark>,
    touched: Vec<u16>,
    /// How many dependencies were named, before any was found to be implied.
    pub named: u64,
}

impl Needs {
    /// Nothing is needed.
    pub fn new(traces: usize) -> Needs {
        Needs { marks: vec![Mark::default(); traces], touched: Vec::new(), named: 0 }
    }

    /// `mark`, a row of `trace`, must have finished; `known` is the clock of whoever needs it.
    pub fn add(&mut self, trace: usize, mark: Mark, known: &[u32]) {
        self.named += 1;
        if mark.finished > known[trace] {
            self.raise(trace, mark);
        }
    }

    fn raise(&mut self, trace: usize, mark: Mark) {
        let needed = &mut self.marks[trace];
        if needed.finished == 0 {
            self.touched.push(trace as u16);
        }
        if mark.finished > needed.finished {
            *needed = mark;
        }
    }

    /// Moves what is needed to `out`, as trace and row.
    pub fn take(&mut self, out: &mut Vec<(u16, Mark)>) {
        out.clear();
        for trace in self.touched.drain(..) {
            out.push((trace, std::mem::take(&mut self.marks[trace as usize])));
        }
    }
}

/// The last users of every lock.
pub struct Conflicts {
    database: Table,
    /// Chains that some trace locks at some time.
    chains: HashMap<u32, Table>,
    /// For each trace and kind of momentary user: the version of the table when it was last looked at.
    seen: Vec<[u64; 4]>,
}

use Class::{
    AllRead, AllWrite, ChainRead, ChainWrite, Commit, ReadOp, ReadStep, Transaction, TraverseRead,
    TraverseWrite, WriteOp, WriteStep,
};

impl Conflicts {
    /// Nothing has happened yet. `locked` are the chains that any trace ever locks.
    pub fn new(traces: usize, locked: impl Iterator<Item = u32>) -> Conflicts {
        Conflicts {
            database: Table::new(traces),
            chains: locked.map(|chain| (chain, Table::new(traces))).collect(),
            seen: vec![[u64::MAX; 4]; traces],
        }
    }

    /// Whether any trace ever locks a chain. If none does, no chain needs to be named.
    pub fn know_chains(&self) -> bool {
        !self.chains.is_empty()
    }

    /// The last commit of changes, and its trace. Whoever comes after it comes after all others too: transactions exclude
    /// each other.
    pub fn last_commit(&self) -> Option<(u16, Mark)> {
        let last = &self.database.last[Commit as usize * self.database.traces..][..self.database.traces];
        (0..)
            .zip(last.iter().copied())
            .filter(|(_, mark)| mark.finished > 0)
            .max_by_key(|(_, mark)| mark.rank)
    }

    /// What must be finished before `trace` takes `scope`, or makes a lock that it holds one for writing.
    pub fn before_scope(&self, trace: usize, scope: Scope, needs: &mut Needs, known: &[u32]) {
        let database: &[Class] = match scope {
            Scope::Transaction { write: true } => &[Transaction, TraverseWrite, TraverseRead],
            Scope::Transaction { write: false } => &[Transaction, TraverseWrite],
            Scope::All { write: true } => EVERYTHING,
            Scope::All { write: false } => &[AllWrite, ChainWrite, Commit, WriteOp, WriteStep],
            Scope::Chain { access: Access::Write, .. } => {
                &[AllWrite, AllRead, Transaction, ReadStep, WriteStep]
            }
            Scope::Chain { .. } => &[AllWrite, Commit, WriteStep],
        };
        self.database.collect(database, needs, trace, known);
        if let Scope::Chain { chain, access } = scope {
            let own: &[Class] = match access {
                Access::Write => &[ChainRead, ChainWrite, ReadOp, WriteOp],
                Access::Read | Access::Update => &[ChainWrite, WriteOp],
            };
            self.chains[&chain].collect(own, needs, trace, known);
        }
    }

    /// What must be finished before `trace` does `what`, on account of locks alone.
    pub fn before_moment(&mut self, trace: usize, what: Momentary, needs: &mut Needs, known: &[u32]) {
        let (kind, classes): (usize, &[Class]) = match what {
            Momentary::Chain { write: false, .. } => (0, &[AllWrite]),
            Momentary::Chain { write: true, .. } => (1, &[AllWrite, AllRead, Transaction]),
            Momentary::Step { write: false } => (2, &[AllWrite, ChainWrite]),
            Momentary::Step { write: true } => (3, &[AllWrite, AllRead, ChainWrite, ChainRead]),
            Momentary::Wipe => return self.database.collect(EVERYTHING, needs, trace, known),
            Momentary::Transaction { changes } => {
                self.database.collect(BEFORE_TRANSACTION, needs, trace, known);
                if changes {
                    self.database.collect(&[AllRead, ChainRead], needs, trace, known);
                }
                return;
            }
        };
        let version = self.database.version(classes);
        if self.seen[trace][kind] != version {
            self.seen[trace][kind] = version;
            self.database.collect(classes, needs, trace, known);
        }
        if let Momentary::Chain { chain, write } = what
            && let Some(table) = self.chains.get(&chain)
        {
            let own: &[Class] = if write { &[ChainWrite, ChainRead] } else { &[ChainWrite] };
            table.collect(own, needs, trace, known);
        }
    }

    /// `trace` released `scope` with the row `mark`.
    pub fn after_scope(&mut self, trace: usize, scope: Scope, mark: Mark, clocks: &mut Clocks) {
        let class = match scope {
            Scope::Transaction { write } => {
                if write {
                    TraverseWrite
                } else {
                    TraverseRead
                }
            }
            Scope::All { write } => {
                if write {
                    AllWrite
                } else {
                    AllRead
                }
            }
            Scope::Chain { chain, access } => {
                // One that was to be upgraded kept out others like it, which are among those that ask for these.
                let class = if access == Access::Read { ChainRead } else { ChainWrite };
                self.chains
                    .get_mut(&chain)
                    .expect("every chain that is locked was named")
                    .set(class, trace, mark, clocks);
                class
            }
        };
        self.database.set(class, trace, mark, clocks);
    }

    /// `trace` did `what` at the row `mark`.
    pub fn after_moment(&mut self, trace: usize, what: Momentary, mark: Mark, clocks: &mut Clocks) {
        match what {
            Momentary::Chain { chain, write } => {
                let class = if write { WriteOp } else { ReadOp };
                self.database.set(class, trace, mark, clocks);
                if let Some(table) = self.chains.get_mut(&chain) {
                    table.set(class, trace, mark, clocks);
                }
            }
            Momentary::Step { write } => {
                self.database.set(if write { WriteStep } else { ReadStep }, trace, mark, clocks)
            }
            Momentary::Wipe => self.database.set(AllWrite, trace, mark, clocks),
            Momentary::Transaction { changes } => {
                self.database.set(Transaction, trace, mark, clocks);
                if changes {
                    self.database.set(Commit, trace, mark, clocks);
                }
            }
        }
    }
}

const EVERYTHING: &[Class] =
    &[ReadOp, WriteOp, ReadStep, WriteStep, AllRead, AllWrite, ChainRead, ChainWrite, Transaction];
const BEFORE_TRANSACTION: &[Class] =
    &[Transaction, TraverseWrite, TraverseRead, AllWrite, ChainWrite, WriteOp, WriteStep];
