//! A history's lines as steps, each of which happens at one moment; or why the history cannot be read.
//!
//! Owns the meaning of a line. What a step may say of its moment:
//!
//! * `lo` and `hi`: plain numbers bound a step (R8). A line that is written once its work is done had its moment no earlier than the
//!   number of the line before it and no later than its own: `lo <= number before`, `number after <= hi`. One that is written before
//!   (`tdb_lockall`, unlocks, commits, the ends of traversals, `tdb_close`) has its moment at its own number or later.
//! * a line that is written where no lock is held shows a number that its process knew before: nothing but that it had been reached.
//!   So our recorder writes it.
//! * a version (in a trace that says `#v`, the number of each line that could have one): a step that looked did so exactly at that number. One that changed did so at that number or before, and kept its
//!   key's chain locked until the number was the version: that is a step of its own, [`Act::Read`].
//! * `call` and `answer`: its moment lies between them.
//!
//! A transaction is one step, at exactly the number of its start: nobody else changes anything until its end. The numbers inside are
//! its own, and some tracers repeat the start's. A wipe happens at exactly its number.

use crate::history::{Flag, History, Key, Line, Op, Trace, Value};
use crate::model::{Cell, Need, Ways};

/// What happens in a step.
#[derive(Clone, Debug)]
pub enum Act {
    /// Nothing; the numbers count.
    Nothing,
    /// An operation on a key; `write` if its own lock is for writing.
    Touch {
        key: Key,
        ways: Ways,
        write: bool,
    },
    /// The version of the change before is read.
    Read {
        key: Key,
        version: u32,
    },
    /// `exact`: it has a line, with its number.
    Wipe {
        exact: bool,
    },
    Transaction(Transaction),
    /// `surely`: the line says that it was held. libtdb writes those of the forms that wait whether it was or not; only a line that
    /// releases it shows that it was.
    LockChain {
        chain: usize,
        write: bool,
        surely: bool,
    },
    UnlockChain {
        chain: usize,
    },
    LockAll {
        write: bool,
        surely: bool,
    },
    UnlockAll,
    Mark {
        chain: Option<usize>,
        set: bool,
    },
    BeginWalk {
        write: bool,
    },
    EndWalk {
        write: bool,
    },
    /// The process is gone, and its locks with it.
    End,
}

/// A transaction: its number, its operations with theirs, how it ended.
#[derive(Clone, Debug)]
pub struct Transaction {
    pub number: u32,
    /// The number of its last line, to which a commit leads at least.
    pub until: u32,
    /// Its numbers do not count its changes.
    pub miscounts: bool,
    pub parts: Vec<Part>,
    pub end: End,
}

/// What became of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Committed,
    Cancelled,
    /// Its process died during the commit.
    Either,
}

/// What a line in a transaction does.
#[derive(Clone, Copy, Debug)]
pub enum Part {
    Nothing,
    Touch { key: Key, ways: Ways },
    Wipe,
}

/// A step.
#[derive(Clone, Debug)]
pub struct Step {
    /// The line that says it; of what no line says, the last one.
    pub line: usize,
    pub act: Act,
    pub lo: u32,
    pub hi: u32,
    pub version: Option<u32>,
    pub call: u64,
    pub answer: u64,
    /// It may not have happened.
    pub perhaps: bool,
}

/// A line that has no place in its trace, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable(pub String);

/// The steps of every trace.
pub fn steps(history: &History) -> Result<Vec<Vec<Step>>, Unreadable> {
    history.traces.iter().map(|trace| Reader::new(history, trace).read()).collect()
}

struct Reader<'a> {
    history: &'a History,
    trace: &'a Trace,
    steps: Vec<Step>,
    /// The number that was there at the last line.
    seen: u32,
    /// The line that is read.
    at: usize,
    /// Somebody died in a commit.
    died: bool,
    /// Lines that end a traversal, by the line that began it.
    walk_ends: Vec<(usize, usize, bool)>,
    /// Locks that were taken and not released: of which chain, however it was locked, or of all for writing or not.
    taken: Vec<(Option<usize>, bool)>,
}

impl<'a> Reader<'a> {
    fn new(history: &'a History, trace: &'a Trace) -> Self {
        let (steps, taken) = (Vec::with_capacity(trace.lines.len() + 2), Vec::new());
        let died = history.traces.iter().any(Trace::died_in_a_commit);
        Reader { history, trace, steps, seen: trace.opened, at: 0, died, walk_ends: Vec::new(), taken }
    }

    fn read(mut self) -> Result<Vec<Step>, Unreadable> {
        self.walk_ends = walks(self.trace)?;
        if let Some((call, answer)) = self.trace.opened_time {
            // The number was read before, and no lock was held.
            self.push(Act::Nothing, self.seen, u32::MAX, None);
            let step = self.steps.last_mut().expect("it was just pushed");
            (step.call, step.answer) = (call, answer);
        }
        let mut at = 0;
        while at < self.trace.lines.len() {
            self.at = at;
            if self.trace.lines[at].op == Op::Start {
                at = self.transaction(at)?;
            } else {
                self.line(at)?;
                at += 1;
            }
        }
        if let Some(op) = self.trace.under_way {
            self.under_way(op)?;
        }
        if self.steps.last().is_none_or(|step| !matches!(step.act, Act::End)) {
            self.push(Act::End, self.seen, u32::MAX, None);
        }
        Ok(self.steps)
    }

    fn push(&mut self, act: Act, lo: u32, hi: u32, line: Option<&Line>) {
        let (call, answer) = line.and_then(|line| line.time).unwrap_or((0, u64::MAX));
        let at = |line: &Line| self.trace.lines.iter().position(|other| std::ptr::eq(other, line));
        let line = line.and_then(at).unwrap_or(self.at);
        self.steps.push(Step { line, act, lo, hi, version: None, call, answer, perhaps: false });
    }

    /// A step whose line was written afterwards.
    fn after(&mut self, act: Act, line: &Line) {
        self.push(act, self.seen, line.number, Some(line));
        self.seen = self.was_there(line);
    }

    /// The number that was certainly there when a line was written. libtdb's tracer may have read one that was taken back.
    fn was_there(&self, line: &Line) -> u32 {
        let taken_back = self.died && !self.trace.is_recorded();
        let from = self.trace.lines.iter().position(|other| std::ptr::eq(other, line)).unwrap_or(0);
        let later = self.trace.lines[from..].iter().map(|line| line.number).min();
        later.filter(|_| taken_back).unwrap_or(line.number)
    }

    /// The same for a line that has nothing to do with keys.
    fn aside(&mut self, act: Act, line: &Line) {
        self.after(act, line);
        self.reads_number(line);
    }

    /// The moment when a line's number was read: with times, that was before it was answered.
    fn reads_number(&mut self, line: &Line) {
        if line.time.is_some() {
            self.push(Act::Nothing, self.seen, line.number, Some(line));
        }
    }

    /// A step of a line that was written where no lock was held: our recorder tells the number that its process knew last, which others may
    /// have passed meanwhile.
    fn knew(&mut self, act: Act, line: &Line) {
        let number = self.was_there(line);
        if number < self.seen {
            self.push(Act::Nothing, self.seen, number, None);
        }
        self.seen = number;
        self.push(act, self.seen, u32::MAX, Some(line));
    }

    /// A step whose line was written before.
    fn before(&mut self, act: Act, line: &Line) {
        self.after(Act::Nothing, line);
        self.push(act, self.seen, u32::MAX, Some(line));
    }

    fn in_read_walk(&self, at: usize) -> bool {
        self.walk_ends.iter().any(|&(start, end, write)| !write && start < at && at < end)
    }

    fn line(&mut self, at: usize) -> Result<(), Unreadable> {
        let line = &self.trace.lines[at];
        if let Some(touched) = touched(self.history, line.op, self.in_read_walk(at)) {
            self.touch(line, touched);
            self.reads_number(line);
            self.end_walks(at);
            return Ok(());
        }
        match line.op {
            op if op.is_without_a_lock(self.history.classic) => {
                if op == Op::Close && at + 1 < self.trace.lines.len() {
                    return Err(Unreadable("a line after tdb_close".into()));
                }
                self.knew(without_a_lock(self.history, op), line);
            }
            Op::Wipe => {
                self.push(Act::Nothing, self.seen, line.number, Some(line));
                self.push(Act::Wipe { exact: true }, line.number, u32::MAX, Some(line));
                // Written before, and nothing shows that its process lived to see it done.
                self.steps.last_mut().expect("it was just pushed").perhaps =
                    at + 1 == self.trace.lines.len() && !self.trace.is_recorded();
                self.seen = line.number.saturating_add(u32::from(!self.history.classic));
            }
            Op::GetSeqnum(answer) => {
                // Its answer lies between the numbers of its line and of the line before it.
                self.push(Act::Nothing, self.seen, answer, Some(line));
                // Whoever asks may be told a number that is taken back.
                if !self.died {
                    self.push(Act::Nothing, answer, line.number, Some(line));
                }
                self.seen = self.was_there(line);
                self.reads_number(line);
            }
            Op::TraverseStart { write } if write || self.history.classic => {
                self.aside(Act::BeginWalk { write }, line);
            }
            Op::Start | Op::Prepare | Op::Commit | Op::Cancel => {
                return Err(Unreadable("the end of a transaction without its start".into()));
            }
            _ => self.lock(line)?,
        }
        self.end_walks(at);
        Ok(())
    }

    /// The traversals that end with this line let go of their lock.
    fn end_walks(&mut self, at: usize) {
        for nth in 0..self.walk_ends.len() {
            let (start, end, write) = self.walk_ends[nth];
            if end == at && start <= at && (write || self.history.classic) {
                self.push(Act::EndWalk { write }, self.seen, u32::MAX, None);
            }
        }
    }

    fn touch(&mut self, line: &Line, (key, ways, write): (Key, Ways, bool)) {
        let version =
            if self.trace.exact && line.op.has_version() { Some(line.number) } else { line.version };
        self.after(Act::Touch { key, ways, write }, line);
        let Some(version) = version else { return };
        let last = self.steps.len() - 1;
        self.steps[last].version = Some(version);
        if ways.each().any(|way| way.leaves.is_some()) {
            self.push(Act::Read { key, version }, 0, line.number, Some(line));
        }
    }

    fn lock(&mut self, line: &Line) -> Result<(), Unreadable> {
        match line.op {
            Op::Lockall { write } => {
                self.taken.push((None, write));
                match self.trace.is_recorded() {
                    true => self.aside(Act::LockAll { write, surely: true }, line),
                    false => self.before(Act::LockAll { write, surely: false }, line),
                }
            }
            Op::LockallTry { write, done: true } => {
                self.taken.push((None, write));
                self.aside(Act::LockAll { write, surely: true }, line);
            }
            Op::Unlockall { write } => {
                self.release(None, write)?;
                self.before(Act::UnlockAll, line);
            }
            Op::Chainlock { key, write } | Op::ChainlockTry { key, write, done: true } => {
                let chain = self.history.chain(key);
                let surely = self.trace.is_recorded() || !matches!(line.op, Op::Chainlock { .. });
                self.taken.push((Some(chain), false));
                self.aside(Act::LockChain { chain, write, surely }, line);
            }
            Op::Chainunlock { key, .. } => {
                let chain = self.history.chain(key);
                self.release(Some(chain), false)?;
                self.before(Act::UnlockChain { chain }, line);
            }
            // What found no key.
            _ => self.aside(Act::Nothing, line),
        }
        Ok(())
    }

    fn release(&mut self, chain: Option<usize>, write: bool) -> Result<(), Unreadable> {
        match self.taken.iter().rposition(|&taken| taken == (chain, write)) {
            Some(at) => drop(self.taken.remove(at)),
            None => return Err(Unreadable("an unlock without its lock".into())),
        }
        Ok(())
    }

    /// Reads a transaction; gives the line behind it.
    fn transaction(&mut self, start: usize) -> Result<usize, Unreadable> {
        let lines = &self.trace.lines;
        let (last, end, is_closed) = transaction_end(self.trace, start);
        let number = lines[start].number;
        if lines[start..=last].iter().any(|line| line.op == Op::Close) {
            return Err(Unreadable("a line after tdb_close".into()));
        }
        self.push(Act::Nothing, self.seen.max(number), number, Some(&lines[start]));
        let mut parts = Vec::new();
        for (at, line) in lines.iter().enumerate().take(last + 1).skip(start + 1) {
            parts.push(match line.op {
                Op::Wipe => Part::Wipe,
                op => match touched(self.history, op, self.in_read_walk(at)) {
                    Some((key, ways, _)) => Part::Touch { key, ways },
                    None => Part::Nothing,
                },
            });
            self.inside(line.op)?;
        }
        // Its locks keep others from changing anything until it ends, so all of it happens at its end.
        let holds = lines[start].time.is_some() && lines[last].time.is_some() && is_closed;
        if holds {
            self.push(Act::BeginWalk { write: true }, number, u32::MAX, Some(&lines[start]));
            self.push(Act::LockAll { write: false, surely: true }, number, u32::MAX, Some(&lines[start]));
        }
        self.push(
            Act::Transaction(Transaction {
                number,
                until: lines[last].number,
                miscounts: !self.history.classic && miscounts(&lines[start..=last]),
                parts,
                end,
            }),
            number,
            u32::MAX,
            None,
        );
        if let Some((call, _)) = lines[if holds { last } else { start }].time {
            self.steps.last_mut().expect("it was just pushed").call = call;
        }
        if let Some((_, answer)) = lines[last].time.filter(|_| end != End::Either) {
            self.steps.last_mut().expect("it was just pushed").answer = answer;
        }
        self.seen = number;
        if holds {
            self.push(Act::UnlockAll, number, u32::MAX, Some(&lines[last]));
            self.push(Act::EndWalk { write: true }, number, u32::MAX, Some(&lines[last]));
        }
        Ok(last + 1)
    }

    /// Locks inside a transaction exclude nobody whom it does not, but must be paired.
    fn inside(&mut self, op: Op) -> Result<(), Unreadable> {
        let chain = |key| Some(self.history.chain(key));
        match op {
            Op::Lockall { write } | Op::LockallTry { write, done: true } => self.taken.push((None, write)),
            Op::Chainlock { key, .. } | Op::ChainlockTry { key, done: true, .. } => {
                self.taken.push((chain(key), false));
            }
            Op::Unlockall { write } => self.release(None, write)?,
            Op::Chainunlock { key, .. } => self.release(chain(key), false)?,
            _ => {}
        }
        Ok(())
    }

    /// What was under way when the process died: perhaps it happened, and perhaps it was counted.
    fn under_way(&mut self, op: Op) -> Result<(), Unreadable> {
        let last = self.steps.last().map(|step| &step.act);
        if op == Op::Commit && matches!(last, Some(Act::Transaction(_))) {
            return Ok(());
        }
        let act = match op {
            Op::Wipe => Act::Wipe { exact: false },
            op => match touched(self.history, op, false) {
                Some((key, ways, write)) => Act::Touch { key, ways, write },
                None => return Err(Unreadable("the end of a transaction without its start".into())),
            },
        };
        self.push(act, self.seen, u32::MAX, None);
        self.steps.last_mut().expect("it was just pushed").perhaps = true;
        Ok(())
    }
}

/// Whether the numbers inside a transaction do not count its changes, which today's tracer's do, or go back. Nothing is said of nested ones, and of
/// traversals, in which changes are refused.
fn miscounts(lines: &[Line]) -> bool {
    let inner = |op| matches!(op, Op::Start | Op::Cancel | Op::TraverseStart { write: false });
    let (mut least, mut wrong) = (lines[0].number, false);
    for line in &lines[1..] {
        least += u32::from(line.op.changes() && line.op != Op::Wipe);
        wrong |= line.number < least;
        least = least.max(line.number) + u32::from(line.op == Op::Wipe);
    }
    wrong && lines.len() > 1 && !lines[1..lines.len() - 1].iter().any(|line| inner(line.op))
}

/// The key of an operation, how it can have gone, and whether its own lock is for writing.
fn touched(history: &History, op: Op, in_read_walk: bool) -> Option<(Key, Ways, bool)> {
    let look = |key, need| Some((key, Ways::look(need), false));
    match op {
        Op::Fetch { key, found } => look(key, Need::found(found)),
        Op::Exists { key, there } | Op::Parse { key, there } => look(key, Need::there(there)),
        Op::Callback { key, found } => look(key, Need::Word(found)),
        Op::Firstkey(Some(key)) | Op::Nextkey(_, Some(key)) => look(key, Need::Present),
        // In a traversal for reading changes are refused before they look or lock. A store that replaces whatever is there fails for
        // reasons that nobody knows.
        Op::Store { done: false, .. } | Op::Delete { done: false, .. } if in_read_walk => None,
        Op::Store { flag: Flag::Replace, done: false, .. } => None,
        Op::Store { key, value, flag, done } => Some((key, Ways::store(value, flag, done), true)),
        Op::Storev { .. } if in_read_walk => None,
        Op::Storev { key, value, flag } => Some((key, Ways::storev(value, flag), true)),
        Op::Delete { key, done: true } => Some((key, Ways::change(Need::Present, Cell::Absent), true)),
        Op::Delete { key, done: false } => Some((key, Ways::look(Need::Absent), true)),
        Op::Append { key, before, more } => {
            let need = match before {
                None | Some(Value::EMPTY) if history.classic => Need::AbsentOrEmpty,
                before => Need::found(before),
            };
            let after = before.map_or(more, |before| before.then(more));
            Some((key, Ways::change(need, Cell::Word(after)), true))
        }
        _ => None,
    }
}

/// What happens in a line that was written where no lock was held.
fn without_a_lock(history: &History, op: Op) -> Act {
    match op {
        Op::Close => Act::End,
        Op::ChainMark { key, set } => Act::Mark { chain: Some(history.chain(key)), set },
        Op::LockallMark { set } => Act::Mark { chain: None, set },
        _ => Act::Nothing,
    }
}

/// The last line of a transaction, and what became of it. Nested ones are of no effect of their own, except that a cancelled
/// one makes the outermost fail; today's tracer does not write their start, so a later commit belongs to it, too.
fn transaction_end(trace: &Trace, start: usize) -> (usize, End, bool) {
    let (lines, under_way) = (&trace.lines, trace.under_way);
    let (mut depth, mut last, mut cancelled) = (1, None, false);
    for (at, line) in lines.iter().enumerate().skip(start + 1) {
        match line.op {
            Op::Start if last.is_some() => break,
            Op::Start => depth += 1,
            Op::Commit | Op::Cancel if depth > 0 => {
                depth -= 1;
                cancelled |= line.op == Op::Cancel;
                last = if depth == 0 { Some(at) } else { last };
            }
            Op::Commit | Op::Prepare if last.is_some() => last = Some(at),
            _ => {}
        }
    }
    let Some(last) = last else {
        let died_in_commit = under_way == Some(Op::Commit) && depth == 1 && !cancelled;
        let open = lines.len() - 1 - usize::from(lines[lines.len() - 1].op == Op::Close);
        return (open, if died_in_commit { End::Either } else { End::Cancelled }, false);
    };
    // The line is written before. Either its process lived to see it done, or a number that goes back shows that it failed.
    let unseen = last + 1 == lines.len() && !trace.is_recorded();
    // What the next line itself counted was not there before it.
    let moved = |next: &Line| {
        matches!(next.op, Op::Store { done: true, .. } | Op::Delete { done: true, .. } | Op::Append { .. })
    };
    let before = |next: &Line| next.number.saturating_sub(u32::from(moved(next)));
    let failed =
        !trace.is_recorded() && lines.get(last + 1).is_some_and(|next| before(next) < lines[last].number);
    let end = match cancelled {
        true => End::Cancelled,
        false if unseen || failed || (last + 1 == lines.len() && under_way == Some(Op::Commit)) => {
            End::Either
        }
        false => End::Committed,
    };
    (last, end, true)
}

/// Where each traversal begins and ends (the line whose end it does not outlast), and whether it is for writing. One without an end
/// ended after its last callback.
fn walks(trace: &Trace) -> Result<Vec<(usize, usize, bool)>, Unreadable> {
    let (mut open, mut done): (Vec<(usize, usize, bool)>, Vec<_>) = (Vec::new(), Vec::new());
    for (at, line) in trace.lines.iter().enumerate() {
        match line.op {
            Op::TraverseStart { write } => open.push((at, at, write)),
            Op::Callback { .. } | Op::Callbackfn => match open.last_mut() {
                Some(innermost) => innermost.1 = at,
                None => return Err(Unreadable("a callback without a traversal".into())),
            },
            Op::TraverseEnd(_) => match open.pop() {
                Some((start, _, write)) => done.push((start, at, write)),
                None => return Err(Unreadable("the end of a traversal without its start".into())),
            },
            _ => {}
        }
    }
    done.append(&mut open);
    Ok(done)
}
