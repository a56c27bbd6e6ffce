//! A history's lines as steps, each of which happens at one moment.
//!
//! Owns what a line says of the moment of its operation (docs/ordering.md, "All keys together"). One that is written when its work is
//! done happened no earlier than the number of the line before it and no later than its own. One that is written before (`tdb_lockall`,
//! releases, commits, wipes) shows a number that was there first, and happened at that number or later. Where a line has times its number
//! was read between them. One that is written where no lock is held (`tdb_close`, refused locks, a traversal for reading) shows, in our
//! recordings, the number that its process knew last: it had been reached, and others may have passed it.

use history::action::Action;

use super::locks::NO_SLOT;
use super::transactions::{self, Transaction};
use crate::order::lowest::{Lowest, died_in_a_commit};
use crate::order::meaning::{Meaning, meaning, refusal};
use crate::trace::columns::{NONE, Row};
use crate::trace::dialect::Dialect;
use crate::trace::held::takes_locks;
use crate::trace::op::Op;
use crate::trace::structure::{Group, GroupKind};
use crate::trace::{History, Trace};

/// What happens in a step.
#[derive(Clone, Debug)]
pub enum Act {
    /// Nothing; only its number and times count.
    Nothing,
    /// An operation on a key.
    Touch {
        /// The key,
        key: u32,
        /// its chain,
        chain: u32,
        /// and the slot of that.
        slot: u32,
        /// What it needs and leaves.
        action: Action,
        /// The other way in which it can have gone.
        other: Option<Action>,
        /// Its own lock is for writing.
        write: bool,
    },
    /// The version of the change before is read; its chain is locked until then.
    Read {
        /// The chain.
        chain: u32,
        /// The version.
        version: u32,
    },
    /// Every key is deleted.
    Wipe {
        /// It happened at the number of its line.
        exact: bool,
    },
    /// A whole transaction.
    Transaction(Box<Transaction>),
    /// The chain of a slot is locked.
    LockChain {
        /// The chain,
        chain: u32,
        /// and its slot.
        slot: u32,
        /// For writing.
        write: bool,
    },
    /// The chain of a slot is released.
    UnlockChain {
        /// The slot.
        slot: u32,
    },
    /// All chains are locked.
    LockAll {
        /// For writing.
        write: bool,
    },
    /// All chains are released.
    UnlockAll,
    /// Another process locks something for this one, or no longer does.
    Mark {
        /// The slot; none for all chains.
        slot: Option<u32>,
        /// Or no longer does.
        set: bool,
    },
    /// A traversal that takes the transaction lock begins.
    BeginWalk {
        /// For writing.
        write: bool,
    },
    /// It ends.
    EndWalk {
        /// For writing.
        write: bool,
    },
    /// The process is gone, and with it its locks.
    End,
}

/// A step.
#[derive(Clone, Debug)]
pub struct Step {
    /// The row of its trace; of the end of the process, the number of rows.
    pub row: u32,
    /// What happens.
    pub act: Act,
    /// It happens at this number or later,
    pub low: u32,
    /// and must be over at this one.
    pub high: u32,
    /// The number that was read under its lock.
    pub version: Option<u32>,
    /// It was called at this time.
    pub called: u64,
    /// It was answered at this one.
    pub answered: u64,
    /// It may not have happened.
    pub perhaps: bool,
}

/// The steps of one trace.
pub struct Lane {
    /// In order.
    pub steps: Vec<Step>,
    /// Its process takes locks.
    pub locks: bool,
    /// By step: when it or one after it was answered, whichever was first.
    pub over: Vec<u64>,
}

/// The steps of a history.
pub struct Steps {
    /// By trace.
    pub lanes: Vec<Lane>,
    /// How many keys there are.
    pub keys: usize,
    /// How many chains have slots.
    pub slots: usize,
    /// Somebody locks something.
    pub locks: bool,
    /// A wipe counts.
    pub wipes_count: bool,
}

impl Steps {
    /// The steps of `history`. `chains` are the keys' chains in the recorded database, and `ends[t]` the row from which trace `t`
    /// says nothing. None if a transaction can have gone in too many ways.
    pub fn read(history: &History, chains: &[u32], ends: &[u32], times: bool) -> Option<Steps> {
        let slots = slots(history, chains);
        let mut lanes = Vec::with_capacity(history.traces.len());
        for (trace, &end) in history.traces.iter().zip(ends) {
            let steps = Vec::with_capacity(end as usize + 2);
            let (seen, lowest) = (trace.opened.seq, Lowest::of(history, trace));
            let reader = Reader { history, trace, chains, slots: &slots, times, lowest, seen, steps };
            lanes.push(reader.read(end as usize)?);
        }
        let takes = |step: &Step| {
            matches!(
                step.act,
                Act::LockChain { .. } | Act::LockAll { .. } | Act::Mark { .. } | Act::BeginWalk { .. }
            )
        };
        let locks = lanes.iter().any(|lane| lane.locks && lane.steps.iter().any(takes));
        let wipes_count = history.dialect == Dialect::Today;
        Some(Steps { lanes, keys: chains.len(), slots: slots.len(), locks, wipes_count })
    }

    /// How many steps there are.
    pub fn count(&self) -> usize {
        self.lanes.iter().map(|lane| lane.steps.len()).sum()
    }
}

/// The chains that somebody locks or marks, in ascending order: a slot for each.
fn slots(history: &History, chains: &[u32]) -> Vec<u32> {
    let mut slots = Vec::new();
    for trace in &history.traces {
        let locked = trace.groups.iter().filter(|group| group.taken).filter_map(|group| match group.kind {
            GroupKind::Chain { key, .. } => Some(key),
            _ => None,
        });
        slots.extend(locked.filter(|&key| key != NONE).map(|key| chains[key as usize]));
        let marks = (0..trace.rows.len()).map(|row| trace.rows.row(row));
        let marks = marks.filter(|row| row.op == Op::ChainlockMark && row.key != NONE);
        slots.extend(marks.map(|row| chains[row.key as usize]));
    }
    slots.sort_unstable();
    slots.dedup();
    slots
}

struct Reader<'a> {
    history: &'a History,
    trace: &'a Trace,
    chains: &'a [u32],
    slots: &'a [u32],
    times: bool,
    lowest: Lowest,
    /// The number that was there at the last line.
    seen: u32,
    steps: Vec<Step>,
}

impl Reader<'_> {
    fn read(mut self, end: usize) -> Option<Lane> {
        let groups = &self.trace.groups;
        let (mut next, mut open): (usize, Vec<Group>) = (0, Vec::new());
        self.opened();
        let mut row = 0;
        while row < end {
            open.retain(|group| group.end as usize >= row);
            let mut transaction = None;
            let mut starting = None;
            while let Some(group) = groups.get(next).filter(|group| group.start as usize <= row) {
                next += 1;
                match group.is_transaction() {
                    true => transaction = Some(group),
                    false => starting = Some(*group),
                }
            }
            if let Some(group) = transaction {
                self.transaction(group, end)?;
                row = group.end as usize + 1;
                while groups.get(next).is_some_and(|inner| (inner.start as usize) < row) {
                    next += 1;
                }
                continue;
            }
            self.row(row, starting, &open);
            open.extend(starting);
            self.end_walks(row, &open);
            row += 1;
        }
        if self.steps.last().is_none_or(|step| !matches!(step.act, Act::End)) {
            self.push(end, Act::End, self.seen, self.last());
        }
        let mut over: Vec<u64> = self.steps.iter().map(|step| step.answered).collect();
        for at in (1..over.len()).rev() {
            over[at - 1] = over[at - 1].min(over[at]);
        }
        let locks = takes_locks(&self.trace.opened);
        Some(Lane { steps: self.steps, locks, over })
    }

    /// The largest number that there can be in this trace's time.
    fn last(&self) -> u32 {
        self.trace.last_number
    }

    fn push(&mut self, row: usize, act: Act, low: u32, high: u32) {
        let step = Step {
            row: row as u32,
            act,
            low,
            high,
            version: None,
            called: 0,
            answered: u64::MAX,
            perhaps: false,
        };
        self.steps.push(step);
    }

    /// The last step happened between these times, if times count and the line has them.
    fn time(&mut self, row: usize) {
        let stamp = self.trace.rows.stamp(row).filter(|_| self.times);
        if let (Some(stamp), Some(step)) = (stamp, self.steps.last_mut()) {
            (step.called, step.answered) = (stamp.start_ns, stamp.end_ns());
        }
    }

    fn opened(&mut self) {
        if let Some(stamp) = self.trace.opened_stamp.filter(|_| self.times) {
            // The number was read before, and no lock was held.
            self.push(0, Act::Nothing, self.seen, self.last());
            let step = self.steps.last_mut().expect("it was just pushed");
            (step.called, step.answered) = (stamp.start_ns, stamp.end_ns());
        }
    }

    /// A step whose line was written when it was done.
    fn after(&mut self, row: usize, act: Act) {
        let number = self.trace.rows.seq(row);
        self.push(row, act, self.seen, number);
        self.time(row);
        self.seen = self.lowest.of_row(row, number);
    }

    /// Its number was read before it was answered.
    fn reads_number(&mut self, row: usize) {
        if self.times && self.trace.rows.stamp(row).is_some() {
            self.push(row, Act::Nothing, self.seen, self.trace.rows.seq(row));
            self.time(row);
        }
    }

    /// A step of a line that was written where no lock was held.
    fn without_a_lock(&mut self, index: usize, row: Row) {
        let number = self.lowest.of_row(index, row.seq);
        if number < self.seen {
            self.push(index, Act::Nothing, self.seen, number);
        }
        self.seen = number;
        self.push(index, self.act_without_a_lock(row), self.seen, self.last());
        self.time(index);
    }

    /// A step whose line was written first.
    fn before(&mut self, row: usize, act: Act) {
        self.after(row, Act::Nothing);
        self.push(row, act, self.seen, self.last());
        self.time(row);
    }

    fn row(&mut self, index: usize, starting: Option<Group>, open: &[Group]) {
        let row = self.trace.rows.row(index);
        if self.trace.unfinished && index + 1 == self.trace.rows.len() {
            return self.under_way(index, row);
        }
        let told = meaning(row, refuses_changes(self.trace, row.op, open));
        if let Some(meaning) = told.filter(|meaning| meaning.action != Action::NOTHING) {
            self.touch(index, row.op, &meaning);
        } else {
            match row.op {
                _ if is_without_a_lock(row, self.history.dialect) => self.without_a_lock(index, row),
                Op::WipeAll => self.wipe(index),
                Op::GetSeqnum if row.b == 1 => {
                    self.push(index, Act::Nothing, self.seen, row.a);
                    self.time(index);
                    // A number that is taken back is told to whoever asks for it.
                    if !died_in_a_commit(self.history) {
                        self.push(index, Act::Nothing, row.a, row.seq);
                        self.time(index);
                    }
                    self.seen = self.lowest.of_row(index, row.seq);
                    self.reads_number(index);
                }
                _ => self.lock(index, row.op, starting, open),
            }
        }
    }

    fn touch(&mut self, index: usize, op: Op, meaning: &Meaning) {
        let chain = self.chains[meaning.key as usize];
        let act = Act::Touch {
            key: meaning.key,
            chain,
            slot: self.slot(meaning.key),
            action: meaning.action,
            other: meaning.is_uncertain().then(|| refusal(meaning.action)),
            write: matches!(op, Op::Store | Op::Storev | Op::Delete | Op::Append),
        };
        self.after(index, act);
        if let Some(version) = self.trace.rows.version(index) {
            self.steps.last_mut().expect("it was just pushed").version = Some(version);
            if !meaning.action.keeps() {
                self.push(index, Act::Read { chain, version }, 0, self.trace.rows.seq(index));
                self.time(index);
            }
        }
        self.reads_number(index);
    }

    fn slot(&self, key: u32) -> u32 {
        let found = self.slots.binary_search(&self.chains[key as usize]);
        found.map_or(NO_SLOT, |slot| slot as u32)
    }

    fn wipe(&mut self, index: usize) {
        let number = self.trace.rows.seq(index);
        self.after(index, Act::Nothing);
        self.push(index, Act::Wipe { exact: true }, number, self.last());
        self.time(index);
        // Nothing shows that its process lived to see it done.
        let unseen = index + 1 == self.trace.rows.len() && !self.trace.is_recorded();
        self.steps.last_mut().expect("it was just pushed").perhaps = unseen;
        // Its process knows what it counted, also where no other line reads it.
        self.seen = number.saturating_add(u32::from(self.history.dialect == Dialect::Today));
    }

    /// What a mark, the end of a trace or a line that says nothing does.
    fn act_without_a_lock(&self, row: Row) -> Act {
        match row.op {
            Op::Close => Act::End,
            Op::LockallMark | Op::LockallUnmark => Act::Mark { slot: None, set: row.op == Op::LockallMark },
            Op::ChainlockMark | Op::ChainlockUnmark if row.key != NONE => match self.slot(row.key) {
                NO_SLOT => Act::Nothing,
                slot => Act::Mark { slot: Some(slot), set: row.op == Op::ChainlockMark },
            },
            _ => Act::Nothing,
        }
    }

    /// A line that begins or ends a lock or a traversal, or says nothing of either.
    fn lock(&mut self, index: usize, op: Op, starting: Option<Group>, open: &[Group]) {
        let classic = self.history.dialect == Dialect::Classic;
        if let Some(group) = starting.filter(|group| group.taken) {
            let act = match group.kind {
                GroupKind::AllRecord { write } => Act::LockAll { write },
                GroupKind::Chain { key, write } if key != NONE => {
                    Act::LockChain { chain: self.chains[key as usize], slot: self.slot(key), write }
                }
                GroupKind::Traverse { write } if write || classic => Act::BeginWalk { write },
                _ => Act::Nothing,
            };
            // libtdb writes this one before it asks for the lock.
            match matches!(op, Op::Lockall | Op::LockallRead) && !self.trace.is_recorded() {
                true => return self.before(index, act),
                false => self.after(index, act),
            }
            return self.reads_number(index);
        }
        let ended = open.iter().find(|group| !group.open && group.taken && group.end as usize == index);
        match ended.map(|group| group.kind) {
            Some(GroupKind::AllRecord { .. }) => self.before(index, Act::UnlockAll),
            Some(GroupKind::Chain { key, .. }) if key != NONE => {
                self.before(index, Act::UnlockChain { slot: self.slot(key) });
            }
            _ => {
                self.after(index, Act::Nothing);
                self.reads_number(index);
            }
        }
    }

    /// Traversals that took the transaction lock and end here let go of it.
    fn end_walks(&mut self, index: usize, open: &[Group]) {
        let classic = self.history.dialect == Dialect::Classic;
        for group in open.iter().filter(|group| group.end as usize == index && group.taken) {
            if let GroupKind::Traverse { write } = group.kind
                && (write || classic)
            {
                self.push(index, Act::EndWalk { write }, self.seen, self.last());
            }
        }
    }

    fn transaction(&mut self, group: &Group, end: usize) -> Option<()> {
        let (start, last) = (group.start as usize, group.end as usize);
        let number = self.trace.rows.seq(start);
        self.push(start, Act::Nothing, self.seen.max(number), number);
        self.time(start);
        // Its end may be left out: then it was cancelled.
        let cut = Group { end: (last.min(end - 1)) as u32, open: group.open || last >= end, ..*group };
        let kind = match cut.open {
            true => GroupKind::Transaction { committed: false },
            false => cut.kind,
        };
        let transaction = transactions::read(self.history, self.trace, &Group { kind, ..cut })?;
        let stamp = |row: usize| self.trace.rows.stamp(row).filter(|_| self.times);
        let (called, answered) = (stamp(start), stamp(cut.end as usize));
        // Its locks keep others from changing anything between its start and its end, so it happens at its end.
        let holds = called.is_some() && answered.is_some() && !cut.open && takes_locks(&self.trace.opened);
        if holds {
            for act in [Act::BeginWalk { write: true }, Act::LockAll { write: false }] {
                self.push(start, act, number, self.last());
                self.time(start);
            }
        }
        self.push(start, Act::Transaction(Box::new(transaction)), number, self.last());
        let step = self.steps.last_mut().expect("it was just pushed");
        step.called = if holds { answered } else { called }.map_or(0, |stamp| stamp.start_ns);
        step.answered = answered.map_or(u64::MAX, |stamp| stamp.end_ns());
        self.seen = number;
        if holds {
            for act in [Act::UnlockAll, Act::EndWalk { write: true }] {
                self.push(cut.end as usize, act, self.seen, self.last());
                self.time(cut.end as usize);
            }
        }
        Some(())
    }

    /// What was under way when the process died: perhaps it happened, and perhaps it counted.
    fn under_way(&mut self, index: usize, row: Row) {
        let (low, high) = (self.seen, self.last());
        match (row.op, meaning(row, false)) {
            (Op::WipeAll, _) => self.push(index, Act::Wipe { exact: false }, low, high),
            (op, Some(meaning)) => {
                let act = Act::Touch {
                    key: meaning.key,
                    chain: self.chains[meaning.key as usize],
                    slot: self.slot(meaning.key),
                    action: meaning.action,
                    other: meaning.is_uncertain().then(|| refusal(meaning.action)),
                    write: matches!(op, Op::Store | Op::Storev | Op::Delete | Op::Append),
                };
                self.push(index, act, low, high);
            }
            _ => return,
        }
        self.steps.last_mut().expect("it was just pushed").perhaps = true;
    }
}

/// Whether a change that failed says nothing about its key: inside a traversal for reading, in a process that only
/// reads, and, for a delete, while its process may have locked all records for reading.
fn refuses_changes(trace: &Trace, op: Op, open: &[Group]) -> bool {
    let reading = |group: &Group| match group.kind {
        GroupKind::Traverse { write: false } => true,
        GroupKind::AllRecord { write: false } => op == Op::Delete,
        _ => false,
    };
    trace.opened.open_flags & 3 == 0 || open.iter().any(reading)
}

/// Whether a line is written where no lock is held.
fn is_without_a_lock(row: Row, dialect: Dialect) -> bool {
    match row.op {
        // The library of 2009 takes the transaction lock for it.
        Op::TraverseReadStart => dialect != Dialect::Classic,
        Op::TraverseEnd
        | Op::LockallMark
        | Op::LockallUnmark
        | Op::ChainlockMark
        | Op::ChainlockUnmark
        | Op::Repack
        | Op::Close => true,
        // The end of a walk by keys: no chain has another key.
        Op::Firstkey | Op::Nextkey => row.a == NONE,
        Op::LockallNonblock | Op::LockallReadNonblock | Op::ChainlockNonblock | Op::ChainlockReadNonblock => {
            row.failed()
        }
        _ => false,
    }
}
