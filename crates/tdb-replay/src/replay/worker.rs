//! One worker: runs one trace's rows in order on its own session.
//!
//! Owns the position in the trace. Before a row it waits as the schedule says; after a row it announces its progress
//! if anybody waits for that; in between it does what the line says and compares. Traversals are in
//! [`super::traversal`], single operations in [`super::operation`].

use std::time::Instant;

use super::Options;
use super::noting::Execution;
use super::pace::Pace;
use super::stop::Stopped;
use super::tally::{Mismatch, Tally};
use super::timeline::Span;
use super::turn::Turns;
use super::watch::Place;
use crate::engine::{EngineError, Key, Session};
use crate::schedule::TracePlan;
use crate::trace::op::Op;
use crate::trace::structure::{Group, GroupKind};
use crate::trace::{History, Trace};

/// Why a worker stopped before its trace's end.
#[derive(Debug)]
pub enum Halt {
    /// Another worker failed.
    Stopped,
    /// The engine failed at this row.
    Engine(u32, EngineError),
}

impl From<Stopped> for Halt {
    fn from(Stopped: Stopped) -> Self {
        Halt::Stopped
    }
}

/// Where an adversary may delay a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// Before it looks whether it must wait.
    BeforeWait,
    /// After a wait, before the row.
    BeforeRow,
    /// After the row, before its progress is announced.
    BeforeAnnounce,
}

/// Rows between asking for something and looking at it.
const AHEAD: usize = 8;

/// One worker.
pub struct Worker<'a> {
    pub(super) history: &'a History,
    pub(super) trace: &'a Trace,
    number: usize,
    pub(super) plan: &'a TracePlan,
    turns: &'a Turns,
    pub(super) at: Place<'a>,
    pub(super) options: &'a Options<'a>,
    /// What noted times count from.
    epoch: Instant,
    /// The next row.
    pub(super) row: u32,
    next_wait: usize,
    next_announce: usize,
    next_group: usize,
    /// The last row of the open transaction.
    transaction: Option<Group>,
    /// Open read traversals: inside them changes are refused.
    pub(super) reading: u32,
    /// How deep the engine's own traversals are nested.
    pub(super) nested: u32,
    pub(super) tally: Tally,
    pub(super) scratch: Vec<u8>,
    /// When the row began, and how many mismatches there were, if it is noted.
    pub(super) began: Option<(u64, u64)>,
    pace: Option<Pace>,
}

impl<'a> Worker<'a> {
    /// At the first row of trace `number`.
    pub fn new(
        history: &'a History,
        number: usize,
        plan: &'a TracePlan,
        (turns, at): (&'a Turns, Place<'a>),
        options: &'a Options<'a>,
        epoch: Instant,
    ) -> Self {
        Worker {
            history,
            trace: &history.traces[number],
            number,
            plan,
            turns,
            at,
            options,
            epoch,
            row: 0,
            next_wait: 0,
            next_announce: 0,
            next_group: 0,
            transaction: None,
            reading: 0,
            nested: 0,
            tally: Tally::default(),
            scratch: Vec::new(),
            began: None,
            pace: None,
        }
    }

    /// Runs the whole trace.
    pub fn run(mut self, session: &mut dyn Session) -> (Tally, Result<(), Halt>) {
        self.pace = self.options.speed.and_then(|speed| Pace::new(self.history, speed));
        let result = self.rows(session, self.plan.end);
        self.tally.lane.end = self.now();
        self.tally.not_run += u64::from(self.trace.rows.len() as u32 - self.plan.end);
        (self.tally, result)
    }

    /// Runs rows up to `end`, exclusive.
    pub(super) fn rows(&mut self, session: &mut dyn Session, end: u32) -> Result<(), Halt> {
        while self.row < end {
            self.look_ahead(session);
            self.wait()?;
            let row = self.row;
            let group = self.group_here();
            match group {
                Some(Group { kind: GroupKind::Traverse { write }, end, .. }) => {
                    self.traversal(session, write, end.min(self.plan.end - 1))?;
                    continue;
                }
                Some(group) if group.is_transaction() && self.transaction.is_none() => {
                    self.timed(session, |_, session| session.start_transaction())?;
                    self.transaction = Some(group);
                }
                _ => self.single(session)?,
            }
            debug_assert_eq!(self.row, row);
            self.finish_row();
        }
        Ok(())
    }

    /// Asks for what later rows will look at: the processor fetches it while this one runs.
    fn look_ahead(&self, session: &dyn Session) {
        let rows = &self.trace.rows;
        let row = self.row as usize;
        if row + 2 * AHEAD >= rows.len() {
            return;
        }
        session.foresee(self.key(rows.row(row + 2 * AHEAD).key));
        let soon = rows.row(row + AHEAD);
        session.approach(self.key(soon.key));
        // Where it is not a value, nothing is lost.
        self.history.records.values.approach(soon.a);
    }

    /// The group that starts at this row.
    fn group_here(&mut self) -> Option<Group> {
        let groups = &self.trace.groups;
        while groups.get(self.next_group).is_some_and(|group| group.start < self.row) {
            self.next_group += 1;
        }
        groups.get(self.next_group).filter(|group| group.start == self.row).copied()
    }

    /// A row that is neither a traversal's nor starts a transaction.
    fn single(&mut self, session: &mut dyn Session) -> Result<(), Halt> {
        let op = self.trace.rows.op(self.row as usize);
        match op {
            Op::TransactionStart
            | Op::TransactionPrepareCommit
            | Op::TransactionCommit
            | Op::TransactionCancel => {
                self.transaction_row(session, op)?;
            }
            _ if self.plan.skip.contains(&self.row) => self.tally.not_run += 1,
            _ => self.operation(session)?,
        }
        // A transaction whose end is missing died with its process.
        if self.transaction.is_some_and(|group| group.open && group.end == self.row) {
            self.transaction = None;
            self.answered(session.cancel())?;
        }
        Ok(())
    }

    /// Nested transactions are part of the outermost one: only its last line ends it.
    fn transaction_row(&mut self, session: &mut dyn Session, op: Op) -> Result<(), Halt> {
        let Some(group) = self.transaction else {
            self.tally.not_run += 1;
            return Ok(());
        };
        let committed = self.is_committed(group);
        if self.row == group.end {
            self.transaction = None;
            let end = |_: &mut Self, session: &mut dyn Session| {
                if committed { session.commit() } else { session.cancel() }
            };
            self.timed(session, end)?;
        } else if op == Op::TransactionPrepareCommit && self.prepares(group) {
            self.timed(session, |_, session| session.prepare_commit())?;
        }
        Ok(())
    }

    /// Whether a prepare at this row is put to the engine: it needs every record, which the order knows of transactions
    /// that take effect only.
    fn prepares(&self, group: Group) -> bool {
        self.is_committed(group) && self.row + 1 == group.end && group.end < self.plan.end
    }

    fn is_committed(&self, group: Group) -> bool {
        group.kind == GroupKind::Transaction { committed: true } || self.plan.turned.contains(&group.start)
    }

    /// Waits as the schedule says before this row.
    pub(super) fn wait(&mut self) -> Result<(), Halt> {
        self.pause(Point::BeforeWait);
        while let Some(wait) = self.plan.waits.get(self.next_wait).filter(|wait| wait.row <= self.row) {
            self.next_wait += 1;
            if self.turns.reached(wait.on as usize, wait.rows) {
                continue;
            }
            let start = Instant::now();
            self.at.waits(wait.on, wait.rows);
            let parked = self.turns.wait(wait.on as usize, wait.rows)?;
            self.at.works();
            self.tally.waits += 1;
            self.tally.parked += u64::from(parked);
            self.tally.waited += start.elapsed();
            if self.options.timeline {
                let from = start.duration_since(self.epoch).as_nanos() as u64;
                let (on, rows) = (wait.on, wait.rows);
                self.tally.lane.waits.push(Span { from, to: self.now(), on, rows });
            }
        }
        if let Some(pace) = &self.pace
            && let Some(stamp) = self.trace.rows.stamp(self.row as usize)
        {
            self.at.paces();
            pace.wait_for(stamp.start_ns);
            self.at.works();
        }
        self.pause(Point::BeforeRow);
        if self.options.noting.is_some() {
            self.begin_row();
        }
        Ok(())
    }

    /// This row has finished: counts it, announces it, goes to the next.
    pub(super) fn finish_row(&mut self) {
        let row = self.trace.rows.row(self.row as usize);
        let lines = if row.op == Op::Traversefn { u64::from(row.a) } else { 1 };
        self.tally.operations[row.op as usize] += lines;
        if let Some(began) = self.began.take() {
            self.note(self.row, began);
        }
        self.row += 1;
        self.at.at(self.row);
        if self.plan.announce.get(self.next_announce) == Some(&self.row) {
            self.next_announce += 1;
            self.pause(Point::BeforeAnnounce);
            self.turns.finish(self.number, self.row);
        }
    }

    /// The row begins now. It is noted for its own sake, or because a wait for its end is.
    fn begin_row(&mut self) {
        let rows = self.row + 1;
        let wanted = self.options.noting.is_some_and(|noting| {
            let is_announced = self.plan.announce.get(self.next_announce) == Some(&rows);
            noting.notes_row(self.number, self.row) || is_announced && noting.notes_wait(self.number, rows)
        });
        self.began = wanted.then(|| (self.now(), self.tally.mismatches));
    }

    /// Row `row`, which began then, is done now.
    pub(super) fn note(&mut self, row: u32, (from, mismatches): (u64, u64)) {
        let (to, differs) = (self.now(), self.tally.mismatches > mismatches);
        self.tally.lane.executions.push(Execution { row, differs, from, to });
    }

    fn now(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }

    fn pause(&self, point: Point) {
        if let Some(pause) = self.options.pause {
            pause(self.number, self.row, point);
        }
    }

    pub(super) fn is_split(&self) -> bool {
        self.plan.split.contains(&self.row)
    }

    /// Runs `what`, the whole of this row, and notes how long it took.
    pub(super) fn timed<T>(
        &mut self,
        session: &mut dyn Session,
        what: impl FnOnce(&mut Self, &mut dyn Session) -> Result<T, EngineError>,
    ) -> Result<T, Halt> {
        if !self.options.latency {
            let answer = what(self, session);
            return self.answered(answer);
        }
        let start = Instant::now();
        let answer = what(self, session);
        self.tally.took(self.trace.rows.op(self.row as usize), start.elapsed());
        self.answered(answer)
    }

    pub(super) fn answered<T>(&self, answer: Result<T, EngineError>) -> Result<T, Halt> {
        answer.map_err(|error| Halt::Engine(self.row, error))
    }

    pub(super) fn key(&self, id: u32) -> Key<'a> {
        Key::new(id, &self.history.records.keys)
    }

    /// Notes that this row's result was not the recorded one.
    pub(super) fn mismatch(&mut self, expected: String, got: String) {
        let (trace, row) = (self.trace, self.row as usize);
        self.tally.mismatch(|| Mismatch {
            file: trace.path.display().to_string(),
            line: trace.rows.line(row),
            expected,
            got,
        });
    }
}
