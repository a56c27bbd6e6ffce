//! What operations do when they take effect, with the results that they then have.

use super::{Form, Inner, Phase, Simulation, key_of, may_be_under_way};
use crate::history::{Flag, KEYS, Key, Op, Value};
use crate::model::{self, Held};

/// What operations do when they take effect. Each gives whether it could.
impl Simulation<'_> {
    pub(super) fn effect(&mut self, me: usize, op: Op, call: u64, number: u32) -> bool {
        if key_of(op).is_some() && !matches!(op, Op::Chainlock { .. } | Op::ChainlockTry { .. }) {
            return self.on_key(me, op, call);
        }
        match op {
            Op::Start | Op::Commit | Op::Cancel | Op::Prepare => self.transactional(me, op, call, number),
            Op::Wipe => self.wipe(me, call, number),
            Op::TraverseStart { .. } | Op::TraverseEnd(_) | Op::Callbackfn => self.walk(me, op, call, number),
            Op::Firstkey(_) | Op::Nextkey(..) => self.next_key(me, op, call),
            Op::GetSeqnum(_) => {
                let op = Op::GetSeqnum(self.number(me));
                self.processes[me].phase = Phase::Done { call, op, kept: None };
                true
            }
            Op::Close => {
                self.locks[me] = Held::default();
                self.line(me, number, op, call, None);
                true
            }
            _ => self.lock(me, op, call, number),
        }
    }

    fn on_key(&mut self, me: usize, op: Op, call: u64) -> bool {
        let key = key_of(op).expect("it has one");
        let refused = self.processes[me].walks.iter().any(|&(write, _)| !write);
        let looks =
            matches!(op, Op::Fetch { .. } | Op::Exists { .. } | Op::Parse { .. } | Op::Callback { .. });
        let (op, after) = match op {
            Op::Store { key, value, flag, .. } if refused => {
                (Op::Store { key, value, flag, done: false }, None)
            }
            Op::Delete { key, .. } if refused => (Op::Delete { key, done: false }, None),
            Op::Append { .. } | Op::Storev { .. } if refused => {
                (Op::Fetch { key, found: self.cell(me, key) }, None)
            }
            op => self.settle(me, op),
        };
        // It shows a record that is gone by now: the walk goes on.
        if matches!(op, Op::Callback { .. }) && self.cell(me, key).is_none() {
            self.processes[me].phase = Phase::Idle;
            return true;
        }
        // Nobody may change anything under a lock of all chains for reading.
        let under_read = self.processes[me].locks.contains(&(None, false)) && !looks;
        let (op, after) = if under_read {
            (Op::Exists { key, there: self.cell(me, key).is_some() }, None)
        } else {
            (op, after)
        };
        if self.processes[me].inner.is_none() {
            let chain = self.history.chain(key);
            let write = !looks && !under_read && !refused;
            if !model::touch(&mut self.locks, me, chain, write) {
                return false;
            }
        }
        if let Op::Callback { .. } = op
            && let Some((_, seen)) = self.processes[me].walks.last_mut()
        {
            seen.push(key);
        }
        if let Some(after) = after {
            self.change(me, key, after);
        }
        let kept = self.processes[me].inner.is_none().then_some(key);
        self.processes[me].phase = Phase::Done { call, op, kept };
        if after.is_some() && self.is_timed(me) && kept.is_some() && self.random.u32(..40) == 0 {
            if may_be_under_way(op) {
                self.processes[me].trace.under_way = Some(op);
                self.die(me);
            }
        } else if kept.is_none() {
            self.finish(me);
        }
        true
    }

    fn cell(&self, me: usize, key: Key) -> Option<Value> {
        self.processes[me].inner.as_ref().map_or(self.cells[key], |inner| inner.cells[key])
    }

    /// The operation with its result, and what it leaves.
    fn settle(&self, me: usize, op: Op) -> (Op, Option<Option<Value>>) {
        let there = key_of(op).and_then(|key| self.cell(me, key));
        let may = |flag| match flag {
            Flag::Replace => true,
            Flag::Insert => there.is_none(),
            Flag::Modify => there.is_some(),
        };
        match op {
            Op::Fetch { key, .. } => (Op::Fetch { key, found: there }, None),
            Op::Exists { key, .. } => (Op::Exists { key, there: there.is_some() }, None),
            Op::Parse { key, .. } => (Op::Parse { key, there: there.is_some() }, None),
            Op::Callback { key, .. } => (Op::Callback { key, found: there.unwrap_or(Value::EMPTY) }, None),
            Op::Store { key, value, flag, .. } => {
                let done = may(flag);
                (Op::Store { key, value, flag, done }, done.then_some(Some(value)))
            }
            Op::Storev { value, flag, .. } => (op, may(flag).then_some(Some(value))),
            Op::Delete { key, .. } => {
                (Op::Delete { key, done: there.is_some() }, there.is_some().then_some(None))
            }
            // Words stay short.
            Op::Append { key, .. } if there.is_some_and(|word| word.0 > 9999) => {
                (Op::Fetch { key, found: there }, None)
            }
            Op::Append { key, more, .. } => {
                let before = if self.history.classic && there == Some(Value::EMPTY) { None } else { there };
                (Op::Append { key, before, more }, Some(Some(there.unwrap_or(Value::EMPTY).then(more))))
            }
            op => (op, None),
        }
    }

    fn change(&mut self, me: usize, key: Key, after: Option<Value>) {
        // A store that grows counts twice.
        let counts = 1 + u32::from(self.random.u32(..6) == 0);
        let constant = self.history.classic && repeats_numbers(me);
        match &mut self.processes[me].inner {
            Some(inner) => {
                inner.cells[key] = after;
                inner.number += if constant { 0 } else { counts };
                inner.changed = true;
            }
            None => {
                self.cells[key] = after;
                self.counter += counts;
            }
        }
    }

    fn transactional(&mut self, me: usize, op: Op, call: u64, number: u32) -> bool {
        match (op, self.processes[me].inner.as_mut()) {
            (Op::Start, None) => {
                if !model::begin_walk(&mut self.locks, me, true)
                    || !model::lock_all(&mut self.locks, me, false)
                {
                    return false;
                }
                let (number, cells) = (self.counter, self.cells);
                let inner = Inner { number, cells, depth: 1, poisoned: false, changed: false, nested: false };
                self.processes[me].inner = Some(inner);
                self.processes[me].known = number;
                self.line(me, number, op, call, None);
            }
            (Op::Start, Some(inner)) => {
                inner.depth += 1;
                inner.nested = true;
                // Today's tracer says nothing of it, and our recorder nothing of nested ones at all.
                if self.history.classic && self.processes[me].form == Form::Plain {
                    self.line(me, number, op, call, None);
                } else {
                    self.processes[me].phase = Phase::Idle;
                }
            }
            (Op::Commit, Some(inner)) if inner.depth == 1 => return self.commit(me, call, number),
            (Op::Cancel, Some(inner)) if inner.depth == 1 => {
                self.line(me, number, op, call, None);
                self.leave(me);
            }
            (Op::Commit | Op::Cancel, Some(inner)) => {
                inner.depth -= 1;
                inner.poisoned |= op == Op::Cancel;
                match self.processes[me].form {
                    Form::Plain => self.line(me, number, op, call, None),
                    _ => self.processes[me].phase = Phase::Idle,
                }
            }
            (Op::Prepare, Some(inner)) if inner.depth == 1 && !inner.poisoned => {
                self.line(me, number, op, call, None);
            }
            _ => self.processes[me].phase = Phase::Idle,
        }
        true
    }

    fn commit(&mut self, me: usize, call: u64, number: u32) -> bool {
        let inner = self.processes[me].inner.as_ref().expect("it is in a transaction");
        let (takes, failed) = (inner.changed && !inner.poisoned, inner.poisoned);
        if takes && !model::may_wipe(&self.locks, me) {
            return false;
        }
        if takes {
            self.cells = inner.cells;
            let changes = self.processes[me].trace.lines.len() as u32;
            // The tracer of 2009 does not show how far it counted.
            self.counter = if inner.number == self.counter { self.counter + changes } else { inner.number };
        }
        let recorded = self.processes[me].form != Form::Plain;
        if takes && self.is_timed(me) && self.random.u32(..20) == 0 {
            self.processes[me].trace.under_way = Some(Op::Commit);
            self.die(me);
        } else {
            let op = if recorded && failed { Op::Cancel } else { Op::Commit };
            self.line(me, number, op, call, None);
            self.processes[me].known = self.counter;
            self.leave(me);
        }
        true
    }

    fn leave(&mut self, me: usize) {
        self.processes[me].inner = None;
        self.locks[me] = Held::default();
    }

    fn wipe(&mut self, me: usize, call: u64, _number: u32) -> bool {
        if self.processes[me].inner.is_none() && !model::may_wipe(&self.locks, me) {
            return false;
        }
        let number = self.number(me);
        match &mut self.processes[me].inner {
            Some(inner) => {
                inner.cells = [None; KEYS];
                inner.number += 1;
                inner.changed = true;
            }
            None => {
                self.cells = [None; KEYS];
                self.counter += 1;
            }
        }
        self.line(me, number, Op::Wipe, call, None);
        if self.processes[me].inner.is_none() {
            self.processes[me].known = self.counter;
        }
        true
    }

    fn walk(&mut self, me: usize, op: Op, call: u64, number: u32) -> bool {
        let classic = self.history.classic;
        match op {
            Op::TraverseStart { write } => {
                if (write || classic) && !model::begin_walk(&mut self.locks, me, write) {
                    return false;
                }
                self.processes[me].walks.push((write, Vec::new()));
                self.processes[me].phase = Phase::Done { call, op, kept: None };
            }
            Op::TraverseEnd(_) => {
                let ended = self.processes[me].walks.pop();
                if let Some((write, _)) = ended.filter(|&(write, _)| write || classic) {
                    model::end_walk(&mut self.locks, me, write);
                }
                self.line(me, number, op, call, None);
            }
            _ => self.line(me, self.number(me), op, call, None),
        }
        true
    }

    fn next_key(&mut self, me: usize, op: Op, call: u64) -> bool {
        let free = |key: &Key| {
            self.processes[me].inner.is_some() || {
                let mut locks = self.locks;
                let kept = self.kept(me, Op::Fetch { key: *key, found: None });
                !kept && model::touch(&mut locks, me, self.history.chain(*key), false)
            }
        };
        let keys: Vec<Key> = (0..KEYS).filter(|&key| self.cell(me, key).is_some()).filter(free).collect();
        let found = (!keys.is_empty()).then(|| keys[self.random.usize(..keys.len())]);
        self.processes[me].walk_key = found;
        let op = match op {
            Op::Nextkey(key, _) => Op::Nextkey(key, found),
            _ => Op::Firstkey(found),
        };
        let kept = found.filter(|_| self.processes[me].inner.is_none());
        self.processes[me].phase = Phase::Done { call, op, kept };
        true
    }

    fn lock(&mut self, me: usize, op: Op, call: u64, number: u32) -> bool {
        let locks = &mut self.locks;
        let chain = |key| self.history.chain(key);
        match op {
            Op::Lockall { write } => {
                if !model::lock_all(locks, me, write) {
                    return false;
                }
                self.processes[me].locks.push((None, write));
                let number = if self.processes[me].form == Form::Plain { number } else { self.counter };
                self.line(me, number, op, call, None);
            }
            Op::LockallTry { write, .. } => {
                let before = *locks;
                let done = model::lock_all(locks, me, write);
                self.locks = if done { self.locks } else { before };
                self.processes[me].locks.extend(done.then_some((None, write)));
                self.processes[me].phase =
                    Phase::Done { call, op: Op::LockallTry { write, done }, kept: None };
            }
            Op::Chainlock { key, write } => {
                let under_read = self.processes[me].locks.contains(&(None, false)) && write;
                if under_read || !model::lock_chain(locks, me, chain(key), write) {
                    return false;
                }
                self.processes[me].locks.push((Some(key), write));
                self.processes[me].phase = Phase::Done { call, op, kept: None };
            }
            Op::ChainlockTry { key, write, .. } => {
                let before = *locks;
                let under_read = self.processes[me].locks.contains(&(None, false)) && write;
                let done = !under_read && model::lock_chain(locks, me, chain(key), write);
                self.locks = if done { self.locks } else { before };
                self.processes[me].locks.extend(done.then_some((Some(key), write)));
                self.processes[me].phase =
                    Phase::Done { call, op: Op::ChainlockTry { key, write, done }, kept: None };
            }
            Op::Unlockall { .. } => {
                model::unlock_all(locks, me);
                self.processes[me].locks.pop();
                self.line(me, number, op, call, None);
            }
            Op::Chainunlock { key, .. } => {
                model::unlock_chain(locks, me, chain(key));
                self.processes[me].locks.pop();
                self.line(me, number, op, call, None);
            }
            _ => self.line(me, number, op, call, None),
        }
        true
    }
}

/// Whether a process's tracer is that of 2009, which repeats the number inside transactions.
fn repeats_numbers(me: usize) -> bool {
    me.is_multiple_of(2)
}
