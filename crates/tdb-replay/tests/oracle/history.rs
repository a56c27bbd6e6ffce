//! Small abstract histories: what the generators make, the brute force searches, and the printer writes as trace files.
//!
//! Keys are `a`, `b`, `c`; values are words of the letters `x` and `y`. A history has one dialect. In one of `one_chain`
//! all keys share a hash chain, else each has its own.

/// A key: 0, 1 or 2.
pub type Key = usize;

/// How many keys there are.
pub const KEYS: usize = 3;

/// A word of the letters `x` (1) and `y` (2), as digits to the base three; the empty word is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value(pub u32);

impl Value {
    /// The word without letters.
    pub const EMPTY: Value = Value(0);

    /// This word and `more` behind it.
    pub fn then(self, more: Value) -> Value {
        let (mut shift, mut rest) = (1, more.0);
        while rest > 0 {
            (shift, rest) = (shift * 3, rest / 3);
        }
        Value(self.0 * shift + more.0)
    }

    /// Its letters.
    pub fn bytes(self) -> Vec<u8> {
        let (mut letters, mut rest) = (Vec::new(), self.0);
        while rest > 0 {
            letters.push(b"_xy"[rest as usize % 3]);
            rest /= 3;
        }
        letters.reverse();
        letters
    }
}

/// How a store treats what is there: the flag of its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flag {
    Replace,
    Insert,
    Modify,
}

/// What a line says beside its number and times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Fetch {
        key: Key,
        found: Option<Value>,
    },
    Exists {
        key: Key,
        there: bool,
    },
    Parse {
        key: Key,
        there: bool,
    },
    Store {
        key: Key,
        value: Value,
        flag: Flag,
        done: bool,
    },
    Storev {
        key: Key,
        value: Value,
        flag: Flag,
    },
    /// `before` none: absent. The classic dialect cannot tell that from the empty word.
    Append {
        key: Key,
        before: Option<Value>,
        more: Value,
    },
    Delete {
        key: Key,
        done: bool,
    },
    Wipe,
    GetSeqnum(u32),
    Firstkey(Option<Key>),
    Nextkey(Key, Option<Key>),
    TraverseStart {
        write: bool,
    },
    Callback {
        key: Key,
        found: Value,
    },
    Callbackfn,
    TraverseEnd(Option<u32>),
    Start,
    Prepare,
    Commit,
    Cancel,
    Lockall {
        write: bool,
    },
    LockallTry {
        write: bool,
        done: bool,
    },
    Unlockall {
        write: bool,
    },
    LockallMark {
        set: bool,
    },
    Chainlock {
        key: Key,
        write: bool,
    },
    ChainlockTry {
        key: Key,
        write: bool,
        done: bool,
    },
    Chainunlock {
        key: Key,
        write: bool,
    },
    ChainMark {
        key: Key,
        set: bool,
    },
    Repack,
    Close,
}

impl Op {
    /// Whether its line has a version, outside of a transaction.
    pub fn has_version(self) -> bool {
        matches!(
            self,
            Op::Fetch { .. }
                | Op::Exists { .. }
                | Op::Parse { .. }
                | Op::Store { .. }
                | Op::Storev { .. }
                | Op::Append { .. }
                | Op::Delete { .. }
                | Op::Callback { .. }
                | Op::Firstkey(Some(_))
                | Op::Nextkey(_, Some(_))
        )
    }

    /// Whether it is written where no lock is held.
    pub fn is_without_a_lock(self, classic: bool) -> bool {
        // The library of 2009 takes the transaction lock for traversals for reading, too.
        !classic && self == Op::TraverseStart { write: false }
            || matches!(
                self,
                Op::TraverseEnd(_)
                    | Op::LockallTry { done: false, .. }
                    | Op::ChainlockTry { done: false, .. }
                    | Op::LockallMark { .. }
                    | Op::ChainMark { .. }
                    | Op::Firstkey(None)
                    | Op::Nextkey(_, None)
                    | Op::Repack
                    | Op::Close
            )
    }

    /// Whether its line says that it changed something.
    pub fn changes(self) -> bool {
        match self {
            Op::Store { done, .. } | Op::Delete { done, .. } => done,
            Op::Append { .. } | Op::Wipe | Op::Storev { flag: Flag::Replace, .. } => true,
            _ => false,
        }
    }
}

/// One line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// The sequence number at its beginning.
    pub number: u32,
    /// What it says.
    pub op: Op,
    /// When it was called and when it was answered.
    pub time: Option<(u64, u64)>,
    /// The number read under the lock; only with times.
    pub version: Option<u32>,
}

/// One process's lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// The number when it opened the database.
    pub opened: u32,
    /// When it opened it.
    pub opened_time: Option<(u64, u64)>,
    /// Its first line ends with `#v`.
    pub exact: bool,
    /// Its lines, without `tdb_open`, with `tdb_close` if it has one.
    pub lines: Vec<Line>,
    /// What was under way when its process died.
    pub under_way: Option<Op>,
}

/// How the history says what was there before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// Any value of any key, but one.
    Unknown,
    /// Nothing: the caller says so (`--empty`).
    Declared,
    /// Nothing: the first trace opened with `O_TRUNC`.
    Truncated,
    /// Nothing: the database is `TDB_INTERNAL`, which one process has.
    Internal,
    /// Nothing, if one of them was the first: all opened with `TDB_CLEAR_IF_FIRST`.
    ClearIfFirst,
}

/// All traces of one database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    pub traces: Vec<Trace>,
    pub beginning: Beginning,
    /// Written by the tracer of 2009.
    pub classic: bool,
    /// All keys share one chain.
    pub one_chain: bool,
}

impl Trace {
    /// Whether the engine's own recorder wrote it, which writes lines of successful calls only, and afterwards.
    pub fn is_recorded(&self) -> bool {
        self.exact
            || self.opened_time.is_some()
            || self.under_way.is_some()
            || self.lines.iter().any(|line| line.time.is_some())
    }

    /// Whether it says that its numbers are versions, and a line has one.
    fn has_exact_numbers(&self) -> bool {
        let mut depth = 0;
        self.exact
            && self.lines.iter().any(|line| {
                match line.op {
                    Op::Start => depth += 1,
                    Op::Commit | Op::Cancel => depth -= 1,
                    _ => {}
                }
                depth == 0 && line.op.has_version()
            })
    }

    /// Whether its process may have died in a commit, and took back numbers that others had seen.
    pub fn died_in_a_commit(&self) -> bool {
        let (mut depth, mut last) = (0, None);
        for line in &self.lines {
            match line.op {
                Op::Start => depth += 1,
                Op::Commit | Op::Cancel => depth -= i32::from(depth > 0),
                _ => {}
            }
            last = Some(line.op);
        }
        let committed = matches!(last, Some(Op::Commit | Op::Cancel)) && !self.is_recorded();
        last != Some(Op::Close) && (depth > 0 || committed || self.under_way == Some(Op::Commit))
    }
}

impl History {
    /// The chain of a key.
    pub fn chain(&self, key: Key) -> usize {
        if self.one_chain { 0 } else { key }
    }

    /// Whether nothing was there before. Who clears the database is its first user, who finds the number 0.
    pub fn is_empty_at_first(&self) -> bool {
        match self.beginning {
            Beginning::Unknown => false,
            Beginning::ClearIfFirst => self.traces.iter().any(|trace| trace.opened == 0),
            _ => true,
        }
    }

    /// Whether numbers say nothing: all lines show the same one, though at least two traces changed something, or all are 0 and
    /// every line has times, as a service's clients write them.
    pub fn has_no_numbers(&self) -> bool {
        let first = self.traces.first().map_or(0, |trace| trace.opened);
        let same = |trace: &Trace| {
            let plain = |line: &Line| line.number == first && line.version.is_none();
            trace.opened == first && !trace.has_exact_numbers() && trace.lines.iter().all(plain)
        };
        let timed = |trace: &Trace| trace.lines.iter().all(|line| line.time.is_some());
        let clients = first == 0 && self.traces.iter().all(timed);
        let changed = self.traces.iter().filter(|trace| trace.lines.iter().any(|line| line.op.changes()));
        self.traces.iter().all(same) && (clients || changed.count() >= 2)
    }
}
