//! Sequence numbers that begin again: behind the last one there is, and when a database is cleared.
//!
//! Owns the straightening, after which numbers of a history never begin again. A history that goes past 2^32 - 1 is
//! counted from its own first number. A database that is opened with clear-if-first by the first of its users begins a new
//! *life*, with number 0 and without a record: each life's numbers are moved behind those of the one before, and the line that
//! opened it becomes a wipe. Nobody has a database open in two lives, so a trace belongs to one.
//!
//! Which life that is, [`lives`](super::lives) knows.

use tdb_trace::Op;

use super::Trace;
use super::columns::{NONE, Row};
use super::lives::{Lives, clears, may_clear};

/// Numbers so far from the end and the beginning belong together, if both are there.
const NEAR: u32 = 1 << 24;

/// Makes the numbers of all traces those of one counter that never begins again. Returns whether it was guessed in which life a
/// trace belongs.
pub(super) fn straighten(traces: &mut [Trace], warnings: &mut Vec<String>) -> bool {
    unwrap_numbers(traces, warnings);
    let mut guessed = false;
    if traces.iter().any(may_clear) && traces.len() > 1 {
        let lives = Lives::of(traces);
        guessed = lives.guessed;
        match fit(traces, &lives.of_trace) {
            true => move_apart(traces, &lives.of_trace, warnings),
            false => warnings.push(
                "the database was cleared, and its numbers before and after pass 2^32 together: they are taken as they \
                 stand, and what is said of their order may be wrong; look at the times between two clearings apart \
                 (quorate slice)"
                    .into(),
            ),
        }
    }
    guessed
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
            && let Some(first) = members()
                .filter(|&number| traces[number].opened.seq == offset && clears(&traces[number]))
                .min_by_key(|&number| traces[number].opened_stamp.map(|stamp| stamp.start_ns))
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
