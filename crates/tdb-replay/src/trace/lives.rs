//! The lives of a database that is opened with clear-if-first: which of them each trace belongs to.
//!
//! Owns that question alone; [`numbers`](super::numbers) moves the lives' numbers apart. A life begins when nobody else has the database
//! open with clear-if-first.
//!
//! With times a life begins with number 0 after others had seen more, and not while one of those still has the database
//! open. Without times it is known by what excludes another: a change that took the number from `s` to `s + 1` and nothing
//! else in between is the only one that did. A trace that made no such change, or none that is taken, goes where what it
//! read was there; if that is true of several lives, one of them is guessed, and [`Lives::guessed`] says so.

use hashbrown::HashMap;
use tdb_trace::Op;

use super::Trace;
use super::columns::{ABSENT, ABSENT_OR_EMPTY, NONE, Row};
use super::structure::GroupKind;

/// `TDB_CLEAR_IF_FIRST` of tdb.h.
const CLEAR_IF_FIRST: u32 = 1;

/// Whether the process that wrote this trace clears the database if it is its first user.
pub(super) fn clears(trace: &Trace) -> bool {
    trace.opened.tdb_flags & CLEAR_IF_FIRST != 0
}

/// Whether it may have cleared it: then it found the number 0.
pub(super) fn may_clear(trace: &Trace) -> bool {
    clears(trace) && trace.opened.seq == 0
}

/// Which trace belongs to which life.
pub(super) struct Lives {
    /// The life of each trace, from 0.
    pub of_trace: Vec<usize>,
    /// Some could belong to another one as well.
    pub guessed: bool,
}

impl Lives {
    /// Those of these traces.
    pub fn of(traces: &[Trace]) -> Lives {
        if traces.iter().all(|trace| trace.opened_stamp.is_some()) {
            Lives { of_trace: by_time(traces), guessed: false }
        } else {
            by_changes(traces)
        }
    }
}

fn by_time(traces: &[Trace]) -> Vec<usize> {
    let opened = |trace: &Trace| trace.opened_stamp.map_or(0, |stamp| stamp.start_ns);
    let mut order: Vec<usize> = (0..traces.len()).collect();
    order.sort_by_key(|&number| opened(&traces[number]));
    let mut lives = vec![0; traces.len()];
    let mut life = 0;
    for (at, &number) in order.iter().enumerate() {
        let now = opened(&traces[number]);
        let mut before =
            order[..at].iter().filter(|&&other| lives[other] == life).map(|&other| &traces[other]);
        let is_open = before.clone().any(|other| clears(other) && was_open(other, now));
        if may_clear(&traces[number]) && !is_open && before.any(|other| had_moved(other, now)) {
            life += 1;
        }
        lives[number] = life;
    }
    lives
}

/// Whether the process that wrote `trace` certainly had the database open at `time`.
fn was_open(trace: &Trace, time: u64) -> bool {
    let last = trace.rows.len().checked_sub(1).and_then(|last| trace.rows.stamp(last));
    last.is_some_and(|stamp| if trace.closed { stamp.start_ns > time } else { stamp.end_ns() > time })
}

/// Whether `trace` had seen the number move before `time`. What a transaction shows is its own.
fn had_moved(trace: &Trace, time: u64) -> bool {
    let rows = &trace.rows;
    let mut inside = trace.groups.iter().filter(|group| group.is_transaction()).peekable();
    let row = (0..rows.len()).find(|&row| {
        while inside.next_if(|group| (group.end as usize) < row).is_some() {}
        let shows = inside.peek().is_none_or(|group| {
            let committed = group.kind == GroupKind::Transaction { committed: true };
            row <= group.start as usize || (row == group.end as usize && committed)
        });
        shows && rows.seq(row) > 0
    });
    row.and_then(|row| rows.stamp(row)).is_some_and(|stamp| stamp.end_ns() < time)
}

/// What one trace says without its times.
#[derive(Default)]
struct Said {
    /// The numbers `s` from which its changes, outside of transactions, led to `s + 1`, with no others in between: the key, and its
    /// value after that.
    made: Vec<(u32, u32, u32)>,
    /// What it read, outside of transactions: between which numbers, which key, which value.
    read: Vec<(u32, u32, u32, u32)>,
    /// The largest number that it shows.
    most: u32,
}

impl Said {
    fn by(trace: &Trace) -> Said {
        let rows = &trace.rows;
        let mut inside = trace.groups.iter().filter(|group| group.is_transaction()).peekable();
        let mut said = Said::default();
        let mut last = trace.opened.seq;
        for index in 0..rows.len() {
            while inside.next_if(|group| (group.end as usize) < index).is_some() {}
            let row = rows.row(index);
            let in_transaction = inside.peek().is_some_and(|group| group.start as usize <= index);
            if !in_transaction {
                match left(row) {
                    Some(value) if last.checked_add(1) == Some(row.seq) => {
                        said.made.push((last, row.key, value));
                    }
                    None if row.op == Op::Fetch && row.key != NONE && row.seq >= last => {
                        said.read.push((last, row.seq, row.key, row.a));
                    }
                    _ => {}
                }
            }
            last = row.seq;
            said.most = said.most.max(last);
        }
        said
    }
}

/// The value that a change leaves.
fn left(row: Row) -> Option<u32> {
    match row.op {
        _ if row.failed() => None,
        Op::Store => Some(row.a),
        Op::Append => Some(row.b),
        Op::Delete => Some(ABSENT),
        _ => None,
    }
}

/// What is known of a life.
#[derive(Default)]
struct Life {
    /// The number from which each change led to the next one.
    made: HashMap<u32, (u32, u32)>,
    /// The largest number that it had.
    most: u32,
}

impl Life {
    fn has_room_for(&self, said: &Said) -> bool {
        said.made.iter().all(|(from, ..)| !self.made.contains_key(from))
    }

    fn add(&mut self, said: &Said) {
        self.made.extend(said.made.iter().map(|&(from, key, value)| (from, (key, value))));
        self.most = self.most.max(said.most);
    }

    /// What of a trace cannot be in this life, if it began empty and all its changes are known; as far as they are.
    fn contradicted_by(&self, said: &Said) -> usize {
        let known = (0..self.most).take_while(|from| self.made.contains_key(from)).count() as u32;
        let beyond = usize::from(known == self.most && said.most > self.most && said.made.is_empty());
        let is_wrong = |&&(low, high, key, value): &&(u32, u32, u32, u32)| {
            high <= known && !self.can_be(key, value, low, high)
        };
        beyond + said.read.iter().filter(is_wrong).count()
    }

    /// Whether `key` has `value` at a number from `low` to `high`.
    fn can_be(&self, key: u32, value: u32, low: u32, high: u32) -> bool {
        let has = |at: u32| {
            let last = (0..at).rev().filter_map(|from| self.made.get(&from)).find(|(other, _)| *other == key);
            last.map_or(ABSENT, |&(_, value)| value)
        };
        value == ABSENT_OR_EMPTY || (low..=high).any(|at| has(at) == value)
    }
}

/// Reads of a trace that are held against a life, and numbers that they may lie back: it is a hint, and has to be found quickly.
const MOST_READS: usize = 256;
const MOST_NUMBERS: u32 = 4096;

fn by_changes(traces: &[Trace]) -> Lives {
    let mut all: Vec<Said> = traces.iter().map(Said::by).collect();
    for said in &mut all {
        said.read.retain(|&(.., high, _, _)| high <= MOST_NUMBERS);
        said.read.truncate(MOST_READS);
    }
    // Those that led from the lowest numbers tell the lives apart best; those that led from none tell nothing.
    let mut order: Vec<usize> = (0..traces.len()).collect();
    let least = |said: &Said| said.made.first().map_or(u32::MAX, |&(from, ..)| from);
    order.sort_by_key(|&number| least(&all[number]));
    let mut lives: Vec<Life> = Vec::new();
    let (mut of_trace, mut guessed) = (vec![0; traces.len()], false);
    for &number in &order {
        let said = &all[number];
        let places = lives.iter().enumerate().filter(|(_, life)| life.has_room_for(said));
        let mut places: Vec<(usize, usize)> =
            places.map(|(nth, life)| (life.contradicted_by(said), nth)).collect();
        places.sort_unstable();
        let life = match places[..] {
            [] => lives.len(),
            [(_, only)] => only,
            [(best, first), (next, _), ..] => {
                guessed |= best == next;
                first
            }
        };
        if life == lives.len() {
            lives.push(Life::default());
        }
        lives[life].add(said);
        of_trace[number] = life;
    }
    // A life begins with somebody who may clear.
    let begins =
        |life| (0..traces.len()).any(|number| of_trace[number] == life && may_clear(&traces[number]));
    match (1..lives.len()).all(begins) {
        true => Lives { of_trace, guessed: guessed || lives.len() > 1 && traces.len() > lives.len() },
        false => Lives { of_trace: vec![0; traces.len()], guessed: false },
    }
}
