//! True histories: a tiny database, a few processes that take turns at any moment, and the tracer's habits.
//!
//! Owns what really happened, so that such a history is explained whatever the brute force says of it. Each operation has up to
//! four moments: it is called, it takes effect, its version is read under its lock, its number is read. Others run in between.

mod choose;
mod effects;

use fastrand::Rng;

use crate::history::{Beginning, History, KEYS, Key, Line, Op, Trace, Value};
use crate::model::{Held, Locks};

/// What lines carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Plain,
    Exact,
    Extended,
    /// Times without versions.
    Timed,
    /// A service's client: no numbers.
    Client,
}

type Cells = [Option<Value>; KEYS];

/// What a process does at the moment.
#[derive(Clone, Copy, Debug)]
enum Phase {
    Idle,
    /// Called; a line that is written before has its number.
    Called {
        call: u64,
        number: u32,
        tries: u32,
    },
    /// Done; its version is still to be read, with the key locked.
    Done {
        call: u64,
        op: Op,
        kept: Option<Key>,
    },
    /// Its number is still to be read.
    Late {
        call: u64,
        op: Op,
        version: Option<u32>,
    },
    Gone,
}

struct Inner {
    number: u32,
    cells: Cells,
    depth: u32,
    poisoned: bool,
    changed: bool,
    /// A nested one began.
    nested: bool,
}

struct Process {
    trace: Trace,
    form: Form,
    phase: Phase,
    /// What it was called for.
    op: Op,
    budget: u32,
    inner: Option<Inner>,
    walks: Vec<(bool, Vec<Key>)>,
    /// Its locks: chain or all, for writing.
    locks: Vec<(Option<Key>, bool)>,
    walk_key: Option<Key>,
    /// The largest number that it has seen outside of transactions.
    known: u32,
}

/// A database and its users.
pub struct Simulation<'a> {
    random: &'a mut Rng,
    history: History,
    cells: Cells,
    counter: u32,
    clock: u64,
    locks: Locks,
    processes: Vec<Process>,
    letters: u32,
    /// A process died in a transaction after a nested one whose start is not written: nothing tells that the outer one did not
    /// end with it.
    ambiguous: bool,
}

/// A true history.
pub fn simulate(random: &mut Rng) -> History {
    loop {
        if let Some(history) = Simulation::new(random).run() {
            return history;
        }
    }
}

impl<'a> Simulation<'a> {
    fn new(random: &'a mut Rng) -> Self {
        let beginning = match random.u32(..10) {
            0 => Beginning::Declared,
            1 => Beginning::Truncated,
            2 => Beginning::ClearIfFirst,
            3 => Beginning::Internal,
            _ => Beginning::Unknown,
        };
        let count = if beginning == Beginning::Internal { 1 } else { random.usize(1..=3) };
        let classic = random.u32(..8) == 0;
        let forms: &[Form] = match random.u32(..6) {
            _ if classic => &[Form::Plain],
            0 => &[Form::Exact],
            1 => &[Form::Extended],
            2 => &[Form::Plain, Form::Exact, Form::Extended, Form::Timed],
            3 if beginning == Beginning::Unknown || beginning == Beginning::Declared => &[Form::Client],
            _ => &[Form::Plain],
        };
        let most = [0, 8, 6, 5][count];
        let processes = (0..count).map(|_| Process {
            trace: Trace::default(),
            form: forms[random.usize(..forms.len())],
            phase: Phase::Idle,
            op: Op::Repack,
            budget: random.u32(1..=most),
            inner: None,
            walks: Vec::new(),
            locks: Vec::new(),
            walk_key: None,
            known: 0,
        });
        let processes: Vec<Process> = processes.collect();
        let client = forms == [Form::Client];
        let unknown = beginning == Beginning::Unknown;
        let counter = if unknown && !client { random.u32(..4) } else { 0 };
        let letters = [2, 2, 4, 60][random.usize(..4)];
        let one_chain = random.u32(..5) == 0;
        let history = History { traces: Vec::new(), beginning, classic, one_chain };
        let locks = [Held::default(); 4];
        let mut new = Simulation {
            random,
            history,
            cells: [None; KEYS],
            counter,
            clock: 1,
            locks,
            processes,
            letters,
            ambiguous: false,
        };
        if unknown {
            new.cells = std::array::from_fn(|_| new.random.bool().then(|| new.word()));
        }
        new
    }

    fn run(mut self) -> Option<History> {
        for me in 0..self.processes.len() {
            let client = self.processes[me].form == Form::Client;
            self.processes[me].trace.opened = if client { 0 } else { self.counter };
            if self.is_timed(me) {
                self.clock += 2;
                self.processes[me].trace.opened_time = Some((self.clock, self.clock + 1));
            }
            self.processes[me].trace.exact = self.processes[me].form == Form::Exact;
            // Some open when others have worked for a while.
            if self.random.u32(..3) > 0 {
                (0..self.random.u32(..30)).for_each(|_| self.turn(me + 1));
            }
        }
        let count = self.processes.len();
        for _ in 0..400 {
            if self.processes.iter().all(|process| matches!(process.phase, Phase::Gone)) {
                break;
            }
            self.turn(count);
        }
        (0..count).for_each(|me| self.stop(me));
        self.history.traces = self.processes.into_iter().map(|process| process.trace).collect();
        (!self.ambiguous).then_some(self.history)
    }

    fn word(&mut self) -> Value {
        Value(self.random.u32(..=self.letters))
    }

    fn is_timed(&self, me: usize) -> bool {
        matches!(self.processes[me].form, Form::Extended | Form::Timed | Form::Client)
    }

    /// One of the first `count` processes does something.
    fn turn(&mut self, count: usize) {
        let me = self.random.usize(..count);
        self.clock += 2;
        match self.processes[me].phase {
            Phase::Idle => self.call(me),
            Phase::Called { call, number, tries } => self.attempt(me, call, number, tries),
            Phase::Done { call, op, kept } => {
                let version =
                    kept.filter(|_| self.processes[me].form == Form::Extended).map(|_| self.counter);
                self.processes[me].phase = Phase::Late { call, op, version };
                // The exact form's number is the version.
                if self.processes[me].form == Form::Exact || self.random.bool() {
                    self.finish(me);
                }
            }
            Phase::Late { .. } => self.finish(me),
            Phase::Gone => {}
        }
    }

    /// Writes the line of an operation that is done.
    fn finish(&mut self, me: usize) {
        if let Phase::Done { call, op, kept } = self.processes[me].phase {
            let version = kept.filter(|_| self.processes[me].form == Form::Extended).map(|_| self.counter);
            self.processes[me].phase = Phase::Late { call, op, version };
        }
        if let Phase::Late { call, op, version } = self.processes[me].phase {
            let number = self.number(me);
            self.line(me, number, op, call, version);
        }
    }

    fn line(&mut self, me: usize, number: u32, op: Op, call: u64, version: Option<u32>) {
        let time = self.is_timed(me).then_some((call, self.clock + 1));
        let process = &mut self.processes[me];
        let mut number = if process.form == Form::Client { 0 } else { number };
        if process.inner.is_none() && op != Op::Cancel {
            process.known = process.known.max(process.trace.opened);
            if matches!(process.form, Form::Exact | Form::Extended)
                && op.is_without_a_lock(self.history.classic)
            {
                number = process.known;
            }
            process.known = process.known.max(number);
        }
        process.trace.lines.push(Line { number, op, time, version });
        process.phase = if op == Op::Close { Phase::Gone } else { Phase::Idle };
    }

    /// The number that a process sees.
    fn number(&self, me: usize) -> u32 {
        self.processes[me].inner.as_ref().map_or(self.counter, |inner| inner.number)
    }

    fn call(&mut self, me: usize) {
        self.processes[me].op = self.choose(me);
        let call = self.clock;
        self.processes[me].phase = Phase::Called { call, number: self.number(me), tries: 0 };
        if self.random.bool() {
            self.attempt(me, call, self.number(me), 0);
        }
    }

    /// The end of a trace: what was done is written, what was not is dropped or was under way.
    fn stop(&mut self, me: usize) {
        self.finish(me);
        let process = &self.processes[me];
        let nested = process.inner.as_ref().is_some_and(|inner| inner.nested);
        self.ambiguous |= nested && process.form == Form::Plain;
        if let Phase::Called { call, number, .. } = process.phase {
            match process.op {
                op @ Op::Lockall { .. } if process.form == Form::Plain => {
                    self.line(me, number, op, call, None)
                }
                op if may_be_under_way(op) && process.inner.is_none() && self.is_timed(me) => {
                    self.processes[me].trace.under_way = Some(op);
                }
                Op::Commit
                    if self.is_timed(me) && process.inner.as_ref().is_some_and(|inner| inner.depth == 1) =>
                {
                    self.processes[me].trace.under_way = Some(Op::Commit);
                }
                _ => {}
            }
        }
        self.processes[me].phase = Phase::Gone;
    }

    fn attempt(&mut self, me: usize, call: u64, number: u32, tries: u32) {
        let op = self.processes[me].op;
        let before = self.locks;
        if self.kept(me, op) || !self.effect(me, op, call, number) {
            self.locks = before;
            self.processes[me].phase = Phase::Called { call, number, tries: tries + 1 };
            // A lock that cannot be had: the call fails, and its line stands all the same.
            let waits = matches!(op, Op::Lockall { .. } | Op::Chainlock { .. });
            if tries > 3 && waits && self.random.bool() {
                match self.processes[me].form {
                    Form::Plain => self.line(me, number, op, call, None),
                    _ => self.processes[me].phase = Phase::Idle,
                }
            } else if tries > 20 {
                self.stop(me);
                self.die(me);
            }
        }
    }

    fn die(&mut self, me: usize) {
        self.locks[me] = Held::default();
        self.processes[me].phase = Phase::Gone;
    }

    /// Whether somebody's change still holds a lock that this operation needs.
    fn kept(&self, me: usize, op: Op) -> bool {
        let needs = |kept: Key| match op {
            _ if self.processes[me].inner.is_some() && op != Op::Commit => false,
            Op::Wipe | Op::Lockall { .. } | Op::LockallTry { .. } | Op::Start | Op::Commit => true,
            op => key_of(op).is_none_or(|key| self.history.chain(key) == self.history.chain(kept)),
        };
        self.processes.iter().enumerate().any(|(other, process)| {
            other != me && matches!(process.phase, Phase::Done { kept: Some(kept), .. } if needs(kept))
        })
    }
}

/// The key whose chain an operation locks.
fn key_of(op: Op) -> Option<Key> {
    match op {
        Op::Fetch { key, .. }
        | Op::Exists { key, .. }
        | Op::Parse { key, .. }
        | Op::Store { key, .. }
        | Op::Storev { key, .. }
        | Op::Append { key, .. }
        | Op::Delete { key, .. }
        | Op::Callback { key, .. }
        | Op::Chainlock { key, .. }
        | Op::ChainlockTry { key, .. } => Some(key),
        _ => None,
    }
}

/// What a recorder announces before it is done.
fn may_be_under_way(op: Op) -> bool {
    matches!(op, Op::Store { done: true, .. } | Op::Append { .. } | Op::Delete { done: true, .. })
}
