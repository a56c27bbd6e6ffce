//! The lock table of the merge: which locks of the target database would be held, and by whom.
//!
//! Owns the conflict rules. They are those of today's TDB: a transaction holds the transaction lock and reads
//! everything; its commit needs every chain; a traversal for writing holds the transaction lock; one for reading holds
//! nothing between its callbacks (in the classic library it kept transactions out, and a classic history obeys that). A
//! database counts how often a process locks a chain: if it did so for reading and then changes something there, or
//! locks it for writing, the lock is one for writing from then on, until all of that is released.

use hashbrown::HashMap;

/// What a chain is locked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// Others may read.
    Read,
    /// For reading, but it will be for writing before it is released. Two of these exclude each other from the start: each
    /// would have to wait for the other's release before its own.
    Update,
    /// Nobody else may do anything.
    Write,
}

impl Access {
    /// For reading or for writing.
    pub fn of(write: bool) -> Access {
        if write { Access::Write } else { Access::Read }
    }
}

/// A lock that is held for more than one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The transaction lock.
    Transaction {
        /// Exclusively.
        write: bool,
    },
    /// All chains.
    All {
        /// Exclusively.
        write: bool,
    },
    /// One chain.
    Chain {
        /// Which.
        chain: u32,
        /// What for.
        access: Access,
    },
}

/// What a row needs for the moment that it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Momentary {
    /// One chain.
    Chain {
        /// Which.
        chain: u32,
        /// Exclusively.
        write: bool,
    },
    /// One chain after the other, nobody knows which.
    Step {
        /// Exclusively.
        write: bool,
    },
    /// Every chain at once.
    Wipe,
    /// A whole transaction.
    Transaction {
        /// It commits changes, for which it needs every chain.
        changes: bool,
    },
}

/// Who holds one lock in one way: how often each trace does.
#[derive(Default)]
struct Holders {
    by_trace: Vec<u32>,
    total: u32,
}

impl Holders {
    fn new(traces: usize) -> Holders {
        Holders { by_trace: vec![0; traces], total: 0 }
    }

    fn others(&self, trace: usize) -> bool {
        self.total > self.by_trace[trace]
    }

    fn add(&mut self, trace: usize) {
        self.by_trace[trace] += 1;
        self.total += 1;
    }

    fn remove(&mut self, trace: usize) {
        self.by_trace[trace] -= 1;
        self.total -= 1;
    }
}

/// Who holds one lock.
struct Lock {
    read: Holders,
    update: Holders,
    write: Holders,
}

impl Lock {
    fn new(traces: usize) -> Lock {
        let holders = || Holders::new(traces);
        Lock { read: holders(), update: holders(), write: holders() }
    }

    fn holders(&mut self, access: Access) -> &mut Holders {
        match access {
            Access::Read => &mut self.read,
            Access::Update => &mut self.update,
            Access::Write => &mut self.write,
        }
    }

    /// Whether `trace` may take it without waiting.
    fn free(&self, trace: usize, access: Access) -> bool {
        !(self.write.others(trace)
            || access >= Access::Update && self.update.others(trace)
            || access == Access::Write && self.read.others(trace))
    }
}

/// Every lock of the database.
pub struct Table {
    traces: usize,
    transaction: Lock,
    all: Lock,
    /// Of any chain, counted together.
    chains: Lock,
    chain: HashMap<u32, Lock>,
}

impl Table {
    /// No lock is held.
    pub fn new(traces: usize) -> Table {
        Table {
            traces,
            transaction: Lock::new(traces),
            all: Lock::new(traces),
            chains: Lock::new(traces),
            chain: HashMap::new(),
        }
    }

    /// Whether `trace` may take `scope` now.
    pub fn scope_free(&self, trace: usize, scope: Scope) -> bool {
        match scope {
            Scope::Transaction { write } => self.transaction.free(trace, Access::of(write)),
            Scope::All { write } => self.everything_free(trace, write),
            Scope::Chain { chain, access } => self.chain_free(trace, chain, access),
        }
    }

    /// Whether `trace` may do this now.
    pub fn moment_free(&self, trace: usize, what: Momentary) -> bool {
        match what {
            Momentary::Chain { chain, write } => self.chain_free(trace, chain, Access::of(write)),
            Momentary::Step { write } => self.everything_free(trace, write),
            Momentary::Wipe => self.everything_free(trace, true),
            Momentary::Transaction { changes } => {
                self.transaction.free(trace, Access::Write) && self.everything_free(trace, changes)
            }
        }
    }

    /// `trace` has `scope` once more.
    pub fn add(&mut self, trace: usize, scope: Scope) {
        self.change(trace, scope, Holders::add);
    }

    /// `trace` has `scope` once less.
    pub fn remove(&mut self, trace: usize, scope: Scope) {
        self.change(trace, scope, Holders::remove);
    }

    fn change(&mut self, trace: usize, scope: Scope, how: fn(&mut Holders, usize)) {
        match scope {
            Scope::Transaction { write } => how(self.transaction.holders(Access::of(write)), trace),
            Scope::All { write } => how(self.all.holders(Access::of(write)), trace),
            Scope::Chain { chain, access } => {
                how(self.chains.holders(access), trace);
                let traces = self.traces;
                how(self.chain.entry(chain).or_insert_with(|| Lock::new(traces)).holders(access), trace);
            }
        }
    }

    fn everything_free(&self, trace: usize, write: bool) -> bool {
        let access = Access::of(write);
        self.all.free(trace, access) && self.chains.free(trace, access)
    }

    fn chain_free(&self, trace: usize, chain: u32, access: Access) -> bool {
        let all = Access::of(access == Access::Write);
        self.all.free(trace, all) && self.chain.get(&chain).is_none_or(|lock| lock.free(trace, access))
    }
}
