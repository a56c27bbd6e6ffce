//! A part of a history, as a history of its own.
//!
//! Owns the renumbering: a part has its own interners, so that working on a small part of a large history costs what
//! the part costs. Rows keep the line numbers that they have in their files.

use tdb_trace::{BadLine, Op, Stamp};

use super::chain::{Hashing, Spread};
use super::columns::{ABSENT, ABSENT_OR_EMPTY, Columns, EMPTY, NONE, Row};
use super::intern::Intern;
use super::records::Records;
use super::{History, Trace, structure};

impl History {
    /// The rows for which `keep` (by trace, then row) says so. Traces stay where they are, if need be without rows.
    ///
    /// # Errors
    /// The trace, the row among those kept, and what it misses, when the rows kept are not grammatical by themselves.
    pub fn restricted(&self, keep: &[Vec<bool>]) -> Result<History, (usize, usize, BadLine)> {
        self.restricted_and(keep, |_, _, row| row)
    }

    /// The same history, as if trace `number` did not say when anything happened; none if the rest does not allow that.
    pub(crate) fn without_times_of(&self, number: usize) -> Option<History> {
        let at_any_time = |stamp: Stamp| Stamp { start_ns: 0, duration_ns: u64::MAX / 4, ..stamp };
        let all: Vec<Vec<bool>> = self.traces.iter().map(|trace| vec![true; trace.rows.len()]).collect();
        let stamp = |of: usize, stamp: Stamp| if of == number { at_any_time(stamp) } else { stamp };
        let mut history = self.part(&all, |_, _, row| row, stamp).ok()?;
        let trace = &mut history.traces[number];
        trace.opened_stamp = trace.opened_stamp.map(at_any_time);
        Some(history)
    }

    /// The same, with each row (of a trace, with a number) changed before it is taken.
    pub(crate) fn restricted_and(
        &self,
        keep: &[Vec<bool>],
        change: impl Fn(usize, usize, Row) -> Row,
    ) -> Result<History, (usize, usize, BadLine)> {
        self.part(keep, change, |_, stamp| stamp)
    }

    fn part(
        &self,
        keep: &[Vec<bool>],
        change: impl Fn(usize, usize, Row) -> Row,
        stamp: impl Fn(usize, Stamp) -> Stamp,
    ) -> Result<History, (usize, usize, BadLine)> {
        let hashing = Hashing::recorded(self);
        let mut part = History {
            traces: Vec::with_capacity(self.traces.len()),
            records: Records::default(),
            dialect: self.dialect,
            lives_guessed: self.lives_guessed,
            warnings: Vec::new(),
            text_bytes: 0,
        };
        for (number, (trace, keep)) in self.traces.iter().zip(keep).enumerate() {
            let mut rows = Columns::default();
            let kept: Vec<usize> = (0..trace.rows.len()).filter(|&index| keep[index]).collect();
            for &index in &kept {
                let row =
                    moved(change(number, index, trace.rows.row(index)), &self.records, &mut part.records);
                rows.push(trace.rows.line(index), row);
                rows.push_stamp(trace.rows.stamp(index).map(|of| stamp(number, of)));
                if let Some(version) = trace.rows.version(index) {
                    rows.set_version(rows.len() - 1, version);
                }
            }
            let spread = Spread { hashing, keys: &part.records.keys };
            let mut groups = structure::groups(&rows, spread, trace.is_recorded())
                .map_err(|(row, bad)| (number, row, bad))?;
            for group in &mut groups {
                group.taken = was_taken(trace, kept[group.start as usize]);
            }
            part.traces.push(Trace {
                path: trace.path.clone(),
                opened: trace.opened,
                opened_stamp: trace.opened_stamp,
                lines: rows.len() as u32 + 1,
                unfinished: trace.unfinished && keep.last() == Some(&true),
                exact: trace.exact,
                closed: trace.closed && !rows.is_empty() && rows.op(rows.len() - 1) == Op::Close,
                rows,
                groups,
                last_number: trace.last_number,
                recounted: trace.recounted,
            });
        }
        Ok(part)
    }
}

/// Whether what starts at this row of the whole was held, which no part can tell.
fn was_taken(trace: &Trace, row: usize) -> bool {
    let at = trace.groups.partition_point(|group| (group.start as usize) < row);
    trace.groups.get(at).is_some_and(|group| group.start as usize == row && group.taken)
}

/// The row with the numbers that its records have in `to`.
fn moved(mut row: Row, from: &Records, to: &mut Records) -> Row {
    let mut key = |id: u32| {
        if id == NONE { NONE } else { to.keys.intern(from.keys.bytes(id)) }
    };
    row.key = key(row.key);
    if matches!(row.op, Op::Firstkey | Op::Nextkey) {
        row.a = key(row.a);
    }
    let mut value = |id: u32| match id {
        ABSENT | EMPTY | ABSENT_OR_EMPTY => id,
        id => to.values.intern(from.values.bytes(id)),
    };
    match row.op {
        Op::Fetch | Op::Traverse | Op::Store | Op::Storev => row.a = value(row.a),
        Op::Append => (row.a, row.b) = (value(row.a), value(row.b)),
        _ => {}
    }
    row
}
