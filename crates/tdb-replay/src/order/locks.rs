//! The lock table of the merge: which locks of the target database would be held, and by whom.
//!
//! Owns the conflict rules. They are those of today's TDB: a transaction holds the transaction lock and reads
//! everything; its commit needs every chain; a traversal for writing holds the transaction lock; one for reading holds
//! nothing between its callbacks (in the classic library it kept transactions out, and a classic history obeys that).

use hashbrown::HashMap;

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
        /// Exclusively.
        write: bool,
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

/// Readers or writers of one lock, by trace.
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

/// Readers and writers of one lock.
struct Lock {
    read: Holders,
    write: Holders,
}

impl Lock {
    fn new(traces: usize) -> Lock {
        Lock { read: Holders::new(traces), write: Holders::new(traces) }
    }

    fn holders(&mut self, write: bool) -> &mut Holders {
        if write { &mut self.write } else { &mut self.read }
    }

    /// Whether `trace` may take it without waiting.
    fn free(&self, trace: usize, write: bool) -> bool {
        !(self.write.others(trace) || write && self.read.others(trace))
    }
}

/// Every lock of the database.
pub struct Locks {
    traces: usize,
    transaction: Lock,
    all: Lock,
    /// Of any chain, counted together.
    chains: Lock,
    chain: HashMap<u32, Lock>,
}

impl Locks {
    /// No lock is held.
    pub fn new(traces: usize) -> Locks {
        Locks {
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
            Scope::Transaction { write } => self.transaction.free(trace, write),
            Scope::All { write } => self.all.free(trace, write) && self.chains.free(trace, write),
            Scope::Chain { chain, write } => self.chain_free(trace, chain, write),
        }
    }

    /// Whether `trace` may do this now.
    pub fn moment_free(&self, trace: usize, what: Momentary) -> bool {
        match what {
            Momentary::Chain { chain, write } => self.chain_free(trace, chain, write),
            Momentary::Step { write } => self.all.free(trace, write) && self.chains.free(trace, write),
            Momentary::Wipe => self.all.free(trace, true) && self.chains.free(trace, true),
            Momentary::Transaction { changes } => {
                self.transaction.free(trace, true)
                    && self.all.free(trace, changes)
                    && self.chains.free(trace, changes)
            }
        }
    }

    /// Takes `scope`.
    pub fn take(&mut self, trace: usize, scope: Scope) {
        self.change(trace, scope, Holders::add);
    }

    /// Releases `scope`.
    pub fn release(&mut self, trace: usize, scope: Scope) {
        self.change(trace, scope, Holders::remove);
    }

    fn change(&mut self, trace: usize, scope: Scope, how: fn(&mut Holders, usize)) {
        match scope {
            Scope::Transaction { write } => how(self.transaction.holders(write), trace),
            Scope::All { write } => how(self.all.holders(write), trace),
            Scope::Chain { chain, write } => {
                how(self.chains.holders(write), trace);
                let traces = self.traces;
                how(self.chain.entry(chain).or_insert_with(|| Lock::new(traces)).holders(write), trace);
            }
        }
    }

    fn chain_free(&self, trace: usize, chain: u32, write: bool) -> bool {
        self.all.free(trace, write) && self.chain.get(&chain).is_none_or(|lock| lock.free(trace, write))
    }
}
