//! Small lies, and histories that nobody executed.
//!
//! Owns which histories are put to the question: [`is_documented`] leaves out what libtdb cannot do and no document gives a
//! meaning (a lock of all chains under a lock of one, a transaction under a lock, a change that succeeds in a traversal for reading).

use fastrand::Rng;

use crate::history::{Beginning, Flag, History, KEYS, Line, Op, Trace, Value};

/// Changes one to three things.
pub fn mutate(random: &mut Rng, history: &mut History) {
    for _ in 0..random.u32(1..=3) {
        let nth = random.usize(..history.traces.len());
        if history.traces[nth].lines.is_empty() {
            continue;
        }
        let at = random.usize(..history.traces[nth].lines.len());
        match random.u32(..12) {
            0 => drop(history.traces[nth].lines.remove(at)),
            1 => history.traces[nth].lines.swap(0, at),
            2 => {
                let line = history.traces[nth].lines[at];
                history.traces[nth].lines.insert(at, line);
            }
            3..=6 => number(random, &mut history.traces[nth], at),
            7 if history.traces.len() > 1 => drop(history.traces.remove(nth)),
            8 => time(random, &mut history.traces[nth].lines[at]),
            _ => result(random, &mut history.traces[nth].lines[at]),
        }
    }
    // Two lives of one database are told by numbers that a lie can change.
    if history.beginning == Beginning::ClearIfFirst && history.traces.len() > 1 {
        history.beginning = Beginning::Declared;
    }
}

fn number(random: &mut Rng, trace: &mut Trace, at: usize) {
    let by = random.i32(-2..=2);
    let end = if random.bool() { at + 1 } else { trace.lines.len() };
    for line in &mut trace.lines[at..end] {
        line.number = line.number.saturating_add_signed(by);
        if let Some(version) = line.version.as_mut().filter(|_| random.bool()) {
            *version = version.saturating_add_signed(by);
        }
    }
    trace.opened = trace.opened.min(trace.lines[0].number);
}

fn time(random: &mut Rng, line: &mut Line) {
    if let Some((call, answer)) = &mut line.time {
        let by = random.i64(-20..=20);
        *call = call.saturating_add_signed(by);
        *answer = (*answer).saturating_add_signed(by).max(*call);
    }
}

fn result(random: &mut Rng, line: &mut Line) {
    let word = |random: &mut Rng| Value(random.u32(..5));
    match &mut line.op {
        Op::Fetch { found, .. } => *found = random.bool().then(|| word(random)),
        Op::Exists { there, .. } | Op::Parse { there, .. } => *there ^= true,
        Op::Store { done, value, .. } => {
            if random.bool() {
                *done ^= true;
            } else {
                *value = word(random);
            }
        }
        Op::Delete { done, .. } => *done ^= true,
        Op::Append { before, .. } => *before = random.bool().then(|| word(random)),
        Op::GetSeqnum(number) => *number = number.saturating_add_signed(random.i32(-2..=2)),
        Op::Callback { found, .. } => *found = word(random),
        Op::Firstkey(found) | Op::Nextkey(_, found) => *found = random.bool().then(|| random.usize(..KEYS)),
        Op::LockallTry { done, .. } | Op::ChainlockTry { done, .. } => *done ^= true,
        op @ Op::Commit => *op = Op::Cancel,
        op @ Op::Cancel => *op = Op::Commit,
        _ => {}
    }
}

/// Lines that nobody executed.
pub fn arbitrary(random: &mut Rng) -> History {
    let count = random.usize(1..=3);
    let beginning = if random.u32(..3) == 0 { Beginning::Declared } else { Beginning::Unknown };
    let (classic, one_chain) = (random.u32(..8) == 0, random.u32(..5) == 0);
    let busy = random.u32(..3);
    let traces = (0..count).map(|_| trace(random, classic, [8, 5, 4][count - 1], busy)).collect();
    History { traces, beginning, classic, one_chain }
}

fn trace(random: &mut Rng, classic: bool, most: usize, busy: u32) -> Trace {
    let opened = random.u32(..2);
    let mut number = opened;
    let mut trace = Trace { opened, exact: !classic && random.u32(..4) == 0, ..Trace::default() };
    for _ in 0..random.usize(1..=most) {
        number += random.u32(..=busy);
        let op = operation(random, classic, number);
        trace.lines.push(Line { number, op, time: None, version: None });
    }
    if random.u32(..8) > 0 {
        trace.lines.push(Line { number, op: Op::Close, time: None, version: None });
    }
    trace
}

fn operation(random: &mut Rng, classic: bool, number: u32) -> Op {
    let (key, value, write) = (random.usize(..KEYS), Value(random.u32(..3)), random.bool());
    let some = random.bool();
    let flag = [Flag::Replace, Flag::Insert, Flag::Modify][random.usize(..3)];
    match random.u32(..28) {
        0..=5 => Op::Fetch { key, found: some.then_some(value) },
        6..=9 => Op::Store { key, value, flag, done: random.u32(..4) > 0 },
        10 => Op::Storev { key, value, flag: if classic { return Op::Repack } else { flag } },
        11..=12 => Op::Append { key, before: some.then_some(value), more: value },
        13 => Op::Delete { key, done: some },
        14 => Op::Exists { key, there: some },
        15 => Op::Parse { key, there: some },
        16 if !classic => Op::Wipe,
        17 => Op::GetSeqnum(number),
        18 => Op::Start,
        19 => Op::Commit,
        20 => Op::Cancel,
        21 => Op::Lockall { write },
        22 => Op::Unlockall { write },
        23 => Op::Chainlock { key, write },
        24 => Op::Chainunlock { key, write },
        25 => Op::TraverseStart { write },
        26 => Op::Callback { key, found: value },
        27 => Op::TraverseEnd(None),
        _ => Op::Firstkey(some.then_some(key)),
    }
}

/// Whether every line stands where libtdb can have written it.
pub fn is_documented(history: &History) -> bool {
    history.traces.iter().all(|trace| {
        let mut place = Place::default();
        let allowed = trace.lines.iter().all(|line| place.allows(history.classic, line.op));
        let times = trace.opened_time.into_iter().chain(trace.lines.iter().filter_map(|line| line.time));
        let mut called = 0;
        let clock_runs = times.into_iter().all(|(call, answer)| {
            called = called.max(call);
            called <= answer
        });
        // Where a traversal without an end ended, and with it the refusals, is not written.
        let ambiguous = place.mixed && !place.chains.is_empty();
        allowed && clock_runs && !ambiguous && !(place.refused && place.walks.contains(&false))
    })
}

/// What is open at a line.
#[derive(Default)]
struct Place {
    chains: Vec<bool>,
    all: Vec<bool>,
    walks: Vec<bool>,
    depth: u32,
    /// A traversal has begun and shown nothing yet.
    begins: bool,
    /// A change was refused in a traversal for reading.
    refused: bool,
    /// A chain was locked for reading and for writing at once: which of the two an unlock gives back is not written.
    mixed: bool,
    /// A transaction has ended and none has begun since: an end that follows may be a nested one's.
    ended: bool,
}

impl Place {
    fn allows(&mut self, classic: bool, op: Op) -> bool {
        let walks = matches!(op, Op::Callback { .. } | Op::Callbackfn | Op::TraverseEnd(_) | Op::Close);
        // Whatever is done in a traversal is done in a callback.
        if std::mem::take(&mut self.begins) && !walks {
            return false;
        }
        self.begins = matches!(op, Op::TraverseStart { .. });
        let walks_for_reading = self.walks.contains(&false);
        let free = self.chains.is_empty() && self.all.is_empty() && self.walks.is_empty();
        match op {
            Op::Store { done: true, .. } | Op::Delete { done: true, .. } | Op::Append { .. } => {
                !walks_for_reading && !self.all.contains(&false)
            }
            Op::Store { .. } | Op::Delete { .. } => {
                self.refused |= walks_for_reading;
                walks_for_reading || !self.all.contains(&false)
            }
            Op::Storev { .. } => !walks_for_reading && !self.all.contains(&false),
            Op::Wipe => {
                self.chains.is_empty() && self.walks.is_empty() && !self.all.contains(&false) && !classic
            }
            Op::Lockall { write } | Op::LockallTry { write, done: true } => {
                let fits = self.chains.is_empty() && self.walks.is_empty() && !self.all.contains(&!write);
                self.all.push(write);
                fits && self.depth == 0
            }
            Op::Unlockall { .. } => {
                self.all.pop();
                // A chain locked meanwhile is not locked afterwards; what its unlock does then is not written.
                self.chains.is_empty()
            }
            Op::Chainlock { write, .. } | Op::ChainlockTry { write, done: true, .. } => {
                self.mixed |= self.chains.contains(&!write);
                self.chains.push(write);
                (!write || !self.all.contains(&false)) && self.depth == 0
            }
            Op::Chainunlock { .. } => {
                self.chains.pop();
                true
            }
            Op::TraverseStart { write } => {
                self.walks.push(write);
                self.chains.is_empty() && self.all.is_empty() && (self.depth == 0 || !write)
            }
            Op::TraverseEnd(_) => {
                self.walks.pop();
                true
            }
            op => self.allows_transaction(op, free),
        }
    }

    fn allows_transaction(&mut self, op: Op, free: bool) -> bool {
        match op {
            Op::Start => {
                self.depth += 1;
                self.ended = false;
                free
            }
            Op::Commit | Op::Cancel if self.depth > 0 => {
                self.depth -= 1;
                self.ended |= self.depth == 0;
                free
            }
            // Whether it ends the transaction or stands alone is not written.
            Op::Cancel if self.ended => false,
            _ => true,
        }
    }
}
