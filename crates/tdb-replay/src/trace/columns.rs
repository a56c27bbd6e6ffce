//! What one trace says, a row for each line; a column for the operations, one for the rest, and those of the stamps.
//!
//! Owns the rows of one trace. A row is one line, or a run of `traversefn` lines with the same sequence number (they
//! are nine tenths of some traces). Rows are numbered from 0; where a row's line is not the next one, it is noted. What a row's `key`,
//! `a` and `b` mean depends on its operation:
//!
//! | operation | key | a | b |
//! |---|---|---|---|
//! | fetch, traverse | key | value found | |
//! | exists, parse_record, *_nonblock | key or none | result as printed, in two's complement | |
//! | delete | key | result as printed, in two's complement | 1 if what it found is to be ignored (parts of histories) |
//! | store, storev | key | value | flag, shifted left by one; bit 0: it failed |
//! | append | key | second record, then value before | third record, then value after |
//! | firstkey, nextkey | key asked or none | key found or none | |
//! | traversefn | none | how many lines | |
//! | traverse_end, get_seqnum | none | result as printed | 1 if a result was printed |

use tdb_trace::{Op, Stamp};

use super::records::Column;
use super::stamps::Stamps;

/// In a key's place: there is no key. In a found key's place: none was found.
pub const NONE: u32 = u32::MAX;
/// The value of a key that does not exist.
pub const ABSENT: u32 = 0;
/// The value that has no bytes.
pub const EMPTY: u32 = 1;
/// In `a` of a classic append that found nothing or found no bytes: the trace does not say which.
pub const ABSENT_OR_EMPTY: u32 = u32::MAX - 1;

/// One row, as read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// What was done.
    pub op: Op,
    /// The sequence number on the line.
    pub seq: u32,
    /// See the table above.
    pub key: u32,
    /// See the table above.
    pub a: u32,
    /// See the table above.
    pub b: u32,
}

impl Row {
    /// The flag of a store.
    pub fn store_flag(self) -> u32 {
        self.b >> 1
    }

    /// Whether the result says that nothing was done.
    pub fn failed(self) -> bool {
        match self.op {
            Op::Store | Op::Storev => self.b & 1 == 1,
            Op::Fetch => self.a == ABSENT,
            Op::Exists => self.a == 0,
            Op::Firstkey | Op::Nextkey => self.a == NONE,
            Op::Delete
            | Op::ParseRecord
            | Op::LockallNonblock
            | Op::LockallReadNonblock
            | Op::ChainlockNonblock
            | Op::ChainlockReadNonblock => self.a != 0,
            _ => false,
        }
    }
}

/// The rows of one trace.
#[derive(Default)]
pub struct Columns {
    op: Vec<u8>,
    /// Rows whose lines do not follow the line of the row before, with these lines.
    jumps: Vec<(u32, u32)>,
    next_line: u32,
    /// Together, because who looks at one of them looks at all: in four columns they would be four waits for memory.
    fields: Vec<Fields>,
    stamps: Stamps,
}

/// A row but for its operation.
#[derive(Clone, Copy)]
struct Fields {
    seq: u32,
    key: u32,
    a: u32,
    b: u32,
}

impl Fields {
    #[inline(always)]
    fn of(Row { op: _, seq, key, a, b }: Row) -> Fields {
        Fields { seq, key, a, b }
    }
}

impl Columns {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.op.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.op.is_empty()
    }

    /// The operation of row `index`.
    #[inline]
    pub fn op(&self, index: usize) -> Op {
        Op::from_number(self.op[index])
    }

    /// The sequence number of row `index`.
    #[inline]
    pub fn seq(&self, index: usize) -> u32 {
        self.fields[index].seq
    }

    /// The operations of all rows, as numbers.
    pub(super) fn ops(&self) -> &[u8] {
        &self.op
    }

    /// The sequence numbers of all rows.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u32> + Clone + '_ {
        self.fields.iter().map(|fields| fields.seq)
    }

    /// The line of row `index`, counted from 1; the first line of a run.
    pub fn line(&self, index: usize) -> u32 {
        let at = self.jumps.partition_point(|&(row, _)| row as usize <= index);
        let (row, line) = self.jumps[at - 1];
        line + (index as u32 - row)
    }

    /// The times and the version of row `index`, where its line has them.
    pub fn stamp(&self, index: usize) -> Option<Stamp> {
        self.stamps.of(index)
    }

    /// The version of row `index`, where its line or its trace says it.
    pub fn version(&self, index: usize) -> Option<u32> {
        self.stamps.version_of(index)
    }

    /// Whether any line may have a version.
    pub fn has_versions(&self) -> bool {
        !self.stamps.say_nothing()
    }

    /// Whether any line has times.
    pub fn is_timed(&self) -> bool {
        !self.stamps.is_empty()
    }

    /// Row `index`.
    #[inline]
    pub fn row(&self, index: usize) -> Row {
        let Fields { seq, key, a, b } = self.fields[index];
        Row { op: self.op(index), seq, key, a, b }
    }

    /// Gives the last row its times and version, if it has them.
    pub(super) fn push_stamp(&mut self, stamp: Option<Stamp>) {
        if let (Some(stamp), Some(last)) = (stamp, self.op.len().checked_sub(1)) {
            self.stamps.set(last, stamp);
        }
    }

    /// Adds a row that stands on `line`.
    #[inline(always)]
    pub(super) fn push(&mut self, line: u32, row: Row) {
        if line != self.next_line || self.op.is_empty() {
            self.jumps.push((self.op.len() as u32, line));
        }
        self.next_line = line.wrapping_add(1);
        self.op.push(row.op as u8);
        self.fields.push(Fields::of(row));
    }

    /// Adds `by` to every number, version and answer that is a number, around the end of all numbers.
    pub(super) fn shift_numbers(&mut self, by: u32) {
        for (&op, fields) in self.op.iter().zip(&mut self.fields) {
            if op == Op::GetSeqnum as u8 && fields.b == 1 {
                fields.a = fields.a.wrapping_add(by);
            }
        }
        self.fields.iter_mut().for_each(|fields| fields.seq = fields.seq.wrapping_add(by));
        self.stamps.shift_versions(by);
    }

    /// Row `index` has this version.
    pub(super) fn set_version(&mut self, index: usize, version: u32) {
        self.stamps.set_version(index, version);
    }

    /// Puts a row before all others; it stands on `line`.
    pub(super) fn insert_first(&mut self, line: u32, row: Row, stamp: Option<Stamp>) {
        self.jumps.iter_mut().for_each(|(row, _)| *row += 1);
        self.jumps.insert(0, (0, line));
        self.op.insert(0, row.op as u8);
        self.fields.insert(0, Fields::of(row));
        self.stamps.insert_first(stamp);
    }

    /// Puts a record's id in its place.
    #[inline(always)]
    pub(super) fn place(&mut self, index: usize, column: Column, id: u32) {
        match column {
            Column::Key => self.fields[index].key = id,
            Column::A => self.fields[index].a = id,
            Column::B => self.fields[index].b = id,
        }
    }

    /// Counts one more line into the last row, a run of `traversefn`.
    pub(super) fn extend_run(&mut self) {
        self.fields.last_mut().expect("a run was pushed before it is extended").a += 1;
    }

    /// Puts the two values of an append in the place of the two records of its line.
    pub(super) fn settle_append(&mut self, index: usize, before: u32, after: u32) {
        self.fields[index].a = before;
        self.fields[index].b = after;
    }

    /// Gives back what growing took too much.
    pub(super) fn shrink(&mut self) {
        self.op.shrink_to_fit();
        self.jumps.shrink_to_fit();
        self.fields.shrink_to_fit();
    }

    /// Bytes of memory held.
    pub fn memory(&self) -> usize {
        self.op.capacity()
            + self.jumps.capacity() * size_of::<(u32, u32)>()
            + self.fields.capacity() * size_of::<Fields>()
            + self.stamps.memory()
    }
}
