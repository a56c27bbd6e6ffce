//! One trace as the merge walks it: what comes next, where it belongs, which locks it takes and gives back.
//!
//! Owns the position in a trace and the groups that are open there. A transaction is one event; everything else is one
//! event a row.

use std::ops::Range;

use super::locks::{Access, Momentary, Scope};
use super::solve::{LEFT_OUT, Solution};
use super::units::Units;
use crate::trace::columns::{NONE, Row};
use crate::trace::dialect::Dialect;
use crate::trace::op::Op;
use crate::trace::structure::{Group, GroupKind};
use crate::trace::{History, Trace};

/// What the merge needs to know about a history.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    /// The traces.
    pub history: &'a History,
    /// Their units.
    pub units: &'a Units,
    /// The orders of the keys.
    pub solution: &'a Solution,
    /// The chain of each key in the target; none where no trace locks a chain.
    pub chains: &'a [u32],
    /// The row from which each trace says nothing.
    pub dead: &'a [u32],
    /// Steps do not wait for chains that the recorded ones need not have met.
    pub lone_steps: bool,
}

/// Which of two events goes first: the one in the smaller cell. Within a cell, operations go before locks and locks that keep
/// out little before those that keep out much; where lines have times, the one that began earlier goes first, or had its
/// lock earlier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Priority {
    cell: u64,
    tie: u64,
}

/// What happens at a row.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// The row.
    pub row: u32,
    /// The last row that belongs to it.
    pub end: u32,
    /// What it takes and keeps.
    pub scope: Option<Scope>,
    /// What it needs for a moment.
    pub moment: Option<Momentary>,
    /// Which events go first.
    pub priority: Priority,
    /// Its first and last unit, exclusive.
    first_unit: u32,
    last_unit: u32,
}

impl Event {
    /// Its units.
    pub fn units(&self) -> Range<usize> {
        self.first_unit as usize..self.last_unit as usize
    }
}

/// A group that is open at the walker's row.
#[derive(Clone, Copy, Debug)]
pub struct Active {
    /// Its number among the trace's groups.
    pub group: u32,
    /// Its last row.
    pub end: u32,
    /// What it is.
    pub kind: GroupKind,
    /// The lock that it took.
    pub scope: Option<Scope>,
}

/// What becomes of a walk one of whose steps is taken out of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alone {
    /// This traversal, a group of the trace, is not held open.
    Split(u32),
    /// The traversal or the single step of a walk by keys that stands in this row is not run at all.
    Unwalked(u32),
}

/// Walks one trace.
pub struct Walker<'a> {
    input: Input<'a>,
    trace: &'a Trace,
    rows: u32,
    next_group: usize,
    next_unit: u32,
    last_unit: u32,
    /// The groups that are open before the current event.
    pub active: Vec<Active>,
    /// Those of them that are traversals whose steps are alone.
    lone: Vec<u32>,
    /// What comes next.
    pub event: Option<Event>,
}

impl<'a> Walker<'a> {
    /// At the first row of trace `number`.
    pub fn new(input: Input<'a>, number: usize) -> Walker<'a> {
        let mut walker = Walker {
            input,
            trace: &input.history.traces[number],
            rows: input.dead[number],
            next_group: 0,
            next_unit: input.units.starts[number],
            last_unit: input.units.starts[number + 1],
            active: Vec::new(),
            lone: Vec::new(),
            event: None,
        };
        walker.event = walker.at(0, 0);
        walker
    }

    /// The group that the current event starts, unless it is a transaction.
    pub fn starting(&self) -> Option<Active> {
        let event = self.event?;
        let group = self.group_at(event.row).filter(|group| !group.is_transaction())?;
        Some(Active { group: self.next_group as u32, end: group.end, kind: group.kind, scope: event.scope })
    }

    /// If the current event is a step of a walk: what it needs at least, which is the chain of the record that it showed.
    pub fn needs_alone(&self) -> Option<Option<Momentary>> {
        let event = self.event?;
        matches!(event.moment, Some(Momentary::Step { .. })).then(|| self.lone_step(event.row))
    }

    /// Takes the current event, a step, out of its walk: it shows its record, whatever the engine would show then. Of a
    /// traversal all later steps follow.
    pub fn leave_alone(&mut self) -> Option<Alone> {
        let alone = self.needs_alone()?;
        let event = self.event.as_mut()?;
        event.moment = alone;
        if matches!(self.trace.rows.op(event.row as usize), Op::Firstkey | Op::Nextkey) {
            return Some(Alone::Unwalked(event.row));
        }
        let group = innermost(&self.active)?.group;
        self.lone.push(group);
        let start = self.trace.groups[group as usize].start;
        // The engine's traversal begins with the first step.
        Some(if event.row == start + 1 { Alone::Unwalked(start) } else { Alone::Split(group) })
    }

    /// Whether the steps of a traversal are alone.
    pub fn is_lone(&self, group: u32) -> bool {
        self.lone.contains(&group)
    }

    fn lone_step(&self, row: u32) -> Option<Momentary> {
        let row = self.trace.rows.row(row as usize);
        let key = match row.op {
            Op::Firstkey | Op::Nextkey => row.a,
            Op::Traverse => row.key,
            _ => NONE,
        };
        (key != NONE).then(|| Momentary::Chain { chain: self.chain(key), write: false })
    }

    /// Goes on to the next event; `released` hears of every group that ended with the current one.
    pub fn advance(&mut self, mut released: impl FnMut(Active)) {
        let Some(event) = self.event else { return };
        self.active.extend(self.starting());
        while self.trace.groups.get(self.next_group).is_some_and(|group| group.start <= event.end) {
            self.next_group += 1;
        }
        self.active.retain(|active| {
            let ended = active.end <= event.end;
            if ended {
                released(*active);
            }
            !ended
        });
        self.next_unit = event.last_unit;
        self.event = self.at(event.end + 1, event.priority.cell);
        if self.event.is_none() {
            self.active.drain(..).for_each(released);
        }
    }

    fn group_at(&self, row: u32) -> Option<&'a Group> {
        self.trace.groups.get(self.next_group).filter(|group| group.start == row)
    }

    fn at(&self, row: u32, not_before: u64) -> Option<Event> {
        if row >= self.rows {
            return None;
        }
        let units = &self.input.units.rows;
        let mut last_unit = self.next_unit;
        while last_unit < self.last_unit && units[last_unit as usize].row == row {
            last_unit += 1;
        }
        let mut event = Event {
            row,
            end: row,
            scope: None,
            moment: None,
            priority: Priority::default(),
            first_unit: self.next_unit,
            last_unit,
        };
        let group = self.group_at(row);
        let (cell, tie) = match group {
            Some(group) if group.is_transaction() => self.transaction(&mut event, group),
            Some(group) => {
                event.scope = if group.taken { self.scope(group) } else { None };
                let cell = self.lock_cell(row);
                (cell, event.scope.map_or(0, |scope| self.tie(scope, cell, group)))
            }
            None => {
                event.moment = self.moment(row, &event);
                (self.cell(&event), 0)
            }
        };
        if self.input.solution.ranked {
            event.priority.cell = self.rank(&event, not_before);
            return Some(event);
        }
        let tie = match self.trace.rows.stamp(row as usize) {
            // A lock was had by the end of its line; who was let in after an operation was so after its beginning.
            Some(stamp) if group.is_some() => stamp.end_ns(),
            Some(stamp) => stamp.start_ns,
            None => tie,
        };
        event.priority = Priority { cell: cell.max(not_before), tie };
        Some(event)
    }

    fn transaction(&self, event: &mut Event, group: &Group) -> (u64, u64) {
        let changes = self.input.units.rows[event.units()].iter().any(|unit| unit.advances());
        event.end = group.end.min(self.rows - 1);
        event.moment = Some(Momentary::Transaction { changes });
        // Over in its cell, it keeps nobody out of the next one.
        (2 * u64::from(self.trace.rows.seq(event.row as usize)) + u64::from(changes), 0)
    }

    fn scope(&self, group: &Group) -> Option<Scope> {
        match group.kind {
            GroupKind::Transaction { .. } => None,
            GroupKind::Traverse { write: true } => Some(Scope::Transaction { write: true }),
            GroupKind::Traverse { write: false } => (self.input.history.dialect == Dialect::Classic)
                .then_some(Scope::Transaction { write: false }),
            GroupKind::AllRecord { write } => Some(Scope::All { write }),
            GroupKind::Chain { key, write } => {
                let chain = self.chain(key);
                let access = match write {
                    true => Access::Write,
                    false if self.is_upgraded(group, chain) => Access::Update,
                    false => Access::Read,
                };
                Some(Scope::Chain { chain, access })
            }
        }
    }

    /// Whether this lock of `chain` for reading becomes one for writing before it is released.
    fn is_upgraded(&self, group: &Group, chain: u32) -> bool {
        let mut reading = self.active.iter().filter(|active| is_reading(active)).count();
        (group.start + 1..=group.end).any(|row| {
            let row = self.trace.rows.row(row as usize);
            match row.op {
                Op::TraverseStart => return true,
                Op::TraverseReadStart => reading += 1,
                Op::TraverseEnd => reading = reading.saturating_sub(1),
                _ => {}
            }
            let writes = matches!(
                row.op,
                Op::Store | Op::Storev | Op::Append | Op::Delete | Op::Chainlock | Op::ChainlockNonblock
            );
            writes && (reading == 0 || !is_refused(row)) && self.chain(row.key) == chain
        })
    }

    fn chain(&self, key: u32) -> u32 {
        self.input.chains.get(key as usize).copied().unwrap_or(0)
    }

    fn moment(&self, row: u32, event: &Event) -> Option<Momentary> {
        let op = self.trace.rows.op(row as usize);
        match op {
            Op::WipeAll => Some(Momentary::Wipe),
            Op::Traverse | Op::Traversefn | Op::TraverseEnd => {
                let innermost = innermost(&self.active);
                if innermost.is_some_and(|active| self.is_lone(active.group)) {
                    return self.lone_step(row);
                }
                let write =
                    innermost.is_some_and(|active| active.kind == GroupKind::Traverse { write: true });
                Some(Momentary::Step { write })
            }
            Op::Firstkey | Op::Nextkey => Some(Momentary::Step { write: false }),
            Op::Fetch | Op::Exists | Op::ParseRecord | Op::Store | Op::Storev | Op::Append | Op::Delete => {
                let write = matches!(op, Op::Store | Op::Storev | Op::Append | Op::Delete);
                if write
                    && is_refused(self.trace.rows.row(row as usize))
                    && self.active.iter().any(is_reading)
                {
                    return None;
                }
                let key = self.input.units.rows[event.units()].first().map(|unit| unit.key);
                let key = key.unwrap_or_else(|| self.trace.rows.row(row as usize).key);
                debug_assert_ne!(key, NONE);
                Some(Momentary::Chain { chain: self.chain(key), write })
            }
            _ => None,
        }
    }

    /// Where a row without a lock belongs: where its unit was solved to be, or at its own number.
    fn cell(&self, event: &Event) -> u64 {
        let seq = 2 * u64::from(self.trace.rows.seq(event.row as usize));
        if self.trace.rows.op(event.row as usize) == Op::WipeAll {
            return seq + 1;
        }
        event.units().next().map_or(seq, |unit| self.input.solution.cells[unit])
    }

    /// Where a row belongs if cells are places in one order: where its unit is, or the next one of its trace.
    fn rank(&self, event: &Event, not_before: u64) -> u64 {
        let turns = &self.input.solution.turns;
        let mut ahead = (event.first_unit..self.last_unit).filter(|&unit| turns[unit as usize] != LEFT_OUT);
        ahead.next().map_or(not_before, |unit| self.input.solution.cells[unit as usize]).max(not_before)
    }

    /// A lock is taken at the number on its line, except that `tdb_lockall` is written before the lock is held: the
    /// line after it tells, unless that one moved the number itself.
    fn lock_cell(&self, row: u32) -> u64 {
        let row = row as usize;
        let rows = &self.trace.rows;
        let seq = rows.seq(row);
        let waits = matches!(rows.op(row), Op::Lockall | Op::LockallRead);
        if !waits || row + 1 >= self.rows as usize {
            return 2 * u64::from(seq);
        }
        let next = rows.row(row + 1);
        let moved = matches!(next.op, Op::Store | Op::Storev | Op::Append | Op::Delete) && !next.failed();
        2 * u64::from(next.seq.saturating_sub(u32::from(moved)).max(seq))
    }

    /// Of locks at one number, without times. One that is kept beyond it keeps out what others do at this number, so it goes
    /// after those that are not, the more of others it keeps out the later: a lock of all chains after all others.
    fn tie(&self, scope: Scope, cell: u64, group: &Group) -> u64 {
        let end = 2 * u64::from(self.trace.rows.seq(group.end as usize));
        let width = end.saturating_sub(cell) / 2;
        let class = match scope {
            _ if width == 0 => 1,
            Scope::Transaction { .. } => 2,
            Scope::Chain { .. } => 3,
            Scope::All { .. } => 4,
        };
        (class << 32) + width
    }
}

/// Whether this is a traversal for reading, inside which changes are refused without asking for a lock.
fn is_reading(active: &Active) -> bool {
    active.kind == GroupKind::Traverse { write: false }
}

/// Whether a change was, if it stands in such a traversal; a storev does not say.
fn is_refused(row: Row) -> bool {
    row.failed() || matches!(row.op, Op::Storev | Op::Chainlock)
}

fn innermost(active: &[Active]) -> Option<&Active> {
    active.iter().rfind(|active| matches!(active.kind, GroupKind::Traverse { .. }))
}
