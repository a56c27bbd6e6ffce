//! What a simulated process calls next, by where it is: under locks, in a transaction, in a traversal.

use super::{Form, Simulation};
use crate::history::{Flag, KEYS, Key, Op, Value};

/// What an operation that was called is to do: its results are settled when it takes effect.
impl Simulation<'_> {
    pub(super) fn choose(&mut self, me: usize) -> Op {
        let key = self.random.usize(..KEYS);
        let process = &mut self.processes[me];
        if process.budget == 0 {
            return self.wind_up(me);
        }
        process.budget -= 1;
        if process.trace.lines.last().is_some_and(|line| matches!(line.op, Op::TraverseStart { .. })) {
            return if self.random.bool() { Op::Callbackfn } else { self.walk_operation(me) };
        }
        let client = process.form == Form::Client;
        if client || self.random.u32(..10) < 6 {
            return self.key_operation(key, client);
        }
        if self.processes[me].inner.is_some() {
            return self.inner_operation(me, key);
        }
        if !self.processes[me].walks.is_empty() {
            return self.walk_operation(me);
        }
        self.scope(me, key)
    }

    fn key_operation(&mut self, key: Key, client: bool) -> Op {
        let value = self.word();
        let flag = [Flag::Replace, Flag::Insert, Flag::Modify][self.random.usize(..3)];
        match self.random.u32(..if client { 9 } else { 16 }) {
            0..=3 => Op::Fetch { key, found: None },
            4..=5 => Op::Store { key, value, flag: Flag::Replace, done: true },
            6..=7 => Op::Store { key, value, flag, done: true },
            8 => Op::Delete { key, done: true },
            9..=10 => Op::Append { key, before: None, more: value },
            11 => Op::Exists { key, there: true },
            12 => Op::Parse { key, there: true },
            13 if !self.history.classic => Op::Storev { key, value, flag },
            14 => Op::Firstkey(None),
            _ => Op::GetSeqnum(0),
        }
    }

    fn inner_operation(&mut self, me: usize, key: Key) -> Op {
        let nested = self.processes[me].inner.as_ref().is_some_and(|inner| inner.depth > 1);
        match self.random.u32(..8) {
            0 => Op::Start,
            1 if nested => Op::Cancel,
            2 if !self.history.classic => Op::Wipe,
            3 => Op::Cancel,
            4 => Op::Prepare,
            _ if nested || self.random.bool() => Op::Commit,
            _ => Op::Fetch { key, found: None },
        }
    }

    fn walk_operation(&mut self, me: usize) -> Op {
        let seen = &self.processes[me].walks.last().expect("it walks").1;
        let left: Vec<Key> =
            (0..KEYS).filter(|&key| self.cells[key].is_some() && !seen.contains(&key)).collect();
        match self.random.u32(..8) {
            0 => Op::Callbackfn,
            1 | 2 => Op::TraverseEnd(None),
            3 => Op::TraverseEnd(Some(1)),
            4 if seen.len() == 1 && self.processes[me].walks.len() < 2 => Op::TraverseStart { write: false },
            _ if left.is_empty() => Op::TraverseEnd(None),
            _ => Op::Callback { key: left[self.random.usize(..left.len())], found: Value::EMPTY },
        }
    }

    /// Something that begins or ends a lock, a transaction or a traversal; or, under a lock of a chain for reading, a change
    /// there, which makes that one for writing.
    fn scope(&mut self, me: usize, key: Key) -> Op {
        if let Some(&(Some(held), false)) = self.processes[me].locks.last()
            && self.random.u32(..3) == 0
        {
            let value = self.word();
            let flag = [Flag::Replace, Flag::Insert][self.random.usize(..2)];
            return match self.random.bool() {
                true => Op::Store { key: held, value, flag, done: true },
                false => Op::Delete { key: held, done: true },
            };
        }
        let write = self.random.u32(..3) > 0;
        let process = &self.processes[me];
        if let Some(&(held, write)) = process.locks.last()
            && self.random.bool()
        {
            return match held {
                None => Op::Unlockall { write },
                Some(key) => Op::Chainunlock { key, write },
            };
        }
        let free = process.locks.is_empty();
        match self.random.u32(..12) {
            0..=2 => Op::Chainlock { key, write },
            3 => Op::ChainlockTry { key, write: write || self.history.classic, done: true },
            4 | 5 if free => Op::Lockall { write },
            6 if free => Op::LockallTry { write, done: true },
            7 if free && !self.history.classic => Op::Wipe,
            8 if free => Op::TraverseStart { write },
            9 => match process.walk_key {
                Some(key) => Op::Nextkey(key, None),
                None => Op::Repack,
            },
            10 if self.random.bool() => Op::ChainMark { key, set: write },
            10 => Op::LockallMark { set: write },
            _ if free => Op::Start,
            _ => Op::Fetch { key, found: None },
        }
    }

    /// What is open is ended, mostly, and then the trace.
    fn wind_up(&mut self, me: usize) -> Op {
        let process = &self.processes[me];
        if let Some(inner) = &process.inner {
            return if inner.depth == 1 && self.random.u32(..4) == 0 { Op::Cancel } else { Op::Commit };
        }
        if !process.walks.is_empty() {
            return Op::TraverseEnd(None);
        }
        if self.random.u32(..6) > 0
            && let Some(&(held, write)) = process.locks.last()
        {
            return held.map_or(Op::Unlockall { write }, |key| Op::Chainunlock { key, write });
        }
        Op::Close
    }
}
