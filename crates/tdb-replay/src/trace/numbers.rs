//! Sequence numbers that begin again: behind the last one there is, and when a database is cleared.
//!
//! Owns the straightening, after which numbers of a history never begin again. A history that goes past 2^32 - 1 is
//! counted from its own first number. A database that is opened with clear-if-first by the first of its users begins a new
//! *life*, with number 0 and without a record: each life's numbers are moved behind those of the one before, and the line that
//! opened it becomes a wipe. Nobody has a database open in two lives, so a trace belongs to one.
//!
//! A life is known by its times: it begins with number 0 after others had seen more. Without times it is known by what
//! excludes another: a change that took the number from `s` to `s + 1` and nothing else in between is the only one that did.

use hashbrown::HashSet;
use tdb_trace::Op;

use super::Trace;
use super::columns::{NONE, Row};
use super::structure::GroupKind;

/// `TDB_CLEAR_IF_FIRST` of tdb.h.
const CLEAR_IF_FIRST: u32 = 1;
/// Numbers so far from the end and the beginning belong together, if both are there.
const NEAR: u32 = 1 << 24;

/// Makes the numbers of all traces those of one counter that never begins again.
pub(super) fn straighten(traces: &mut [Trace], warnings: &mut Vec<String>) {
    unwrap_numbers(traces, warnings);
    if traces.iter().any(may_clear) && traces.len() > 1 {
        let lives = lives(traces);
        match fit(traces, &lives) {
            true => move_apart(traces, &lives, warnings),
            false => warnings.push(
                "the database was cleared, and its numbers before and after pass 2^32 together: they are taken as they \
                 stand, and what is said of their order may be wrong; look at the times between two clearings apart \
                 (quorate slice)"
                    .into(),
            ),
        }
    }
}

fn numbers(trace: &Trace) -> impl Iterator<Item = u32> + '_ {
    std::iter::once(trace.opened.seq).chain((0..trace.rows.len()).map(|row| trace.rows.seq(row)))
}

/// Counts from the first number, if the last one there is was passed.
fn unwrap_numbers(traces: &mut [Trace], warnings: &mut Vec<String>) {
    let (mut least, mut most, mut passed) = (u32::MAX, 0, false);
    for trace in traces.iter() {
        let (opened, numbers) = (trace.opened.seq, trace.rows.numbers());
        let mut last = opened;
        (least, most) = (least.min(opened), most.max(opened));
        for number in numbers {
            passed |= last.saturating_sub(number) > 1 << 31;
            (least, most, last) = (least.min(number), most.max(number), number);
        }
    }
    passed |= least < NEAR && most > u32::MAX - NEAR;
    let Some(any) = traces.first().map(|trace| trace.opened.seq).filter(|_| passed) else {
        return;
    };
    // All lie within half the circle of any of them.
    let behind = traces.iter().flat_map(numbers).map(|number| number.wrapping_sub(any) as i32).min();
    let first = any.wrapping_add_signed(behind.unwrap_or(0));
    for trace in traces.iter_mut() {
        shift(trace, first.wrapping_neg());
    }
    warnings.push(format!("the sequence number went past 2^32: it is counted from {first}"));
}

fn shift(trace: &mut Trace, by: u32) {
    trace.recounted = trace.recounted.wrapping_add(by);
    trace.opened.seq = trace.opened.seq.wrapping_add(by);
    trace.rows.shift_numbers(by);
}

/// Whether the process that wrote this trace clears the database if it is its first user.
fn clears(trace: &Trace) -> bool {
    trace.opened.tdb_flags & CLEAR_IF_FIRST != 0
}

/// Whether it may have cleared it: then it found the number 0.
fn may_clear(trace: &Trace) -> bool {
    clears(trace) && trace.opened.seq == 0
}

/// The life of each trace, from 0.
fn lives(traces: &[Trace]) -> Vec<usize> {
    if traces.iter().all(|trace| trace.opened_stamp.is_some()) { by_time(traces) } else { by_changes(traces) }
}

fn by_time(traces: &[Trace]) -> Vec<usize> {
    let opened = |trace: &Trace| trace.opened_stamp.map_or(0, |stamp| stamp.start_ns);
    let mut order: Vec<usize> = (0..traces.len()).collect();
    order.sort_by_key(|&number| opened(&traces[number]));
    let mut lives = vec![0; traces.len()];
    let mut life = 0;
    for (at, &number) in order.iter().enumerate() {
        let now = opened(&traces[number]);
        let moved = |&&other: &&usize| lives[other] == life && had_moved(&traces[other], now);
        if may_clear(&traces[number]) && order[..at].iter().any(|other| moved(&other)) {
            life += 1;
        }
        lives[number] = life;
    }
    lives
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

/// Each trace goes to the first life in which nobody made a change that it made alone.
fn by_changes(traces: &[Trace]) -> Vec<usize> {
    let mut made: Vec<HashSet<u32>> = Vec::new();
    let mut lives = vec![0; traces.len()];
    for (number, trace) in traces.iter().enumerate() {
        let alone = made_alone(trace);
        let free = |life: &HashSet<u32>| alone.iter().all(|step| !life.contains(step));
        let life = made.iter().position(free).unwrap_or(made.len());
        if life == made.len() {
            made.push(HashSet::new());
        }
        made[life].extend(alone);
        lives[number] = life;
    }
    // A life begins with somebody who may clear.
    let begins =
        |life: usize| (0..traces.len()).any(|number| lives[number] == life && may_clear(&traces[number]));
    if (1..made.len()).all(begins) { lives } else { vec![0; traces.len()] }
}

/// The numbers `s` from which this trace's changes, outside of transactions, led to `s + 1`, with no others in between.
fn made_alone(trace: &Trace) -> Vec<u32> {
    let rows = &trace.rows;
    let mut inside = trace.groups.iter().filter(|group| group.is_transaction()).peekable();
    let mut alone = Vec::new();
    let mut last = trace.opened.seq;
    for index in 0..rows.len() {
        while inside.next_if(|group| (group.end as usize) < index).is_some() {}
        let row = rows.row(index);
        let changes = matches!(row.op, Op::Store | Op::Delete | Op::Append) && !row.failed();
        let in_transaction = inside.peek().is_some_and(|group| group.start as usize <= index);
        if changes && !in_transaction && last.checked_add(1) == Some(row.seq) {
            alone.push(last);
        }
        last = row.seq;
    }
    alone
}

/// Whether there is room for the numbers of all lives, one behind the other.
fn fit(traces: &[Trace], lives: &[usize]) -> bool {
    let mut most: Vec<u64> = vec![0; lives.iter().max().map_or(0, |last| last + 1)];
    for (trace, &life) in traces.iter().zip(lives) {
        most[life] = most[life].max(numbers(trace).max().unwrap_or(0).into());
    }
    most.iter().map(|most| most + 2).sum::<u64>() <= u32::MAX.into()
}

/// Moves each life's numbers behind those of the one before, and makes a wipe of its beginning.
fn move_apart(traces: &mut [Trace], lives: &[usize], warnings: &mut Vec<String>) {
    let count = lives.iter().max().map_or(0, |last| last + 1);
    let mut offset = 0u32;
    for life in 0..count {
        let members = || (0..lives.len()).filter(|&number| lives[number] == life);
        let most = members().flat_map(|number| numbers(&traces[number])).max().unwrap_or(0);
        for number in members() {
            shift(&mut traces[number], offset);
            if life + 1 < count {
                traces[number].last_number = offset.saturating_add(most);
            }
        }
        if life > 0
            && let Some(first) =
                members().find(|&number| traces[number].opened.seq == offset && clears(&traces[number]))
        {
            begin(&mut traces[first], offset - 1);
            let path = traces[first].path.display();
            warnings.push(format!("{path}:1: the database was cleared here, and its numbers began again"));
        }
        // One number is the wipe's, and one lies between.
        offset = offset.saturating_add(most).saturating_add(2);
    }
}

/// The line that opened the database wiped it, from number `before` to the next.
fn begin(trace: &mut Trace, before: u32) {
    trace.opened.seq = before;
    let wipe = Row { op: Op::WipeAll, seq: before, key: NONE, a: NONE, b: NONE };
    trace.rows.insert_first(1, wipe, trace.opened_stamp);
    for group in &mut trace.groups {
        group.start += 1;
        group.end += 1;
    }
}
