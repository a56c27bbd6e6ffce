//! The columns in which a trace keeps its stamps: when each line's operation ran, and at which version.
//!
//! A plain trace pays nothing: the columns stay empty.

use tdb_trace::Stamp;

/// In the start column: the line has no stamp.
const NO_STAMP: u64 = u64::MAX;
/// In the version column: the line has none.
const NO_VERSION: u64 = u64::MAX;

/// The stamps of a trace's rows; as long as its rows, or shorter when the last rows have none.
#[derive(Clone, Default)]
pub struct Stamps {
    start: Vec<u64>,
    duration: Vec<u64>,
    /// [`NO_VERSION`] for none: any number of 32 bits can be one.
    version: Vec<u64>,
}

impl Stamps {
    /// Gives row `row` a stamp; rows are given in ascending order.
    pub(super) fn set(&mut self, row: usize, stamp: Stamp) {
        if self.start.len() != row || self.version.len() != row {
            self.start.resize(row, NO_STAMP);
            self.duration.resize(row, 0);
            self.version.resize(row, NO_VERSION);
        }
        self.start.push(stamp.start_ns);
        self.duration.push(stamp.duration_ns);
        self.version.push(stamp.version.map_or(NO_VERSION, u64::from));
    }

    /// Adds `by` to every version, around the end of all numbers.
    pub(super) fn shift_versions(&mut self, by: u32) {
        for version in self.version.iter_mut().filter(|version| **version != NO_VERSION) {
            *version = (*version as u32).wrapping_add(by).into();
        }
    }

    /// Gives row `row` a version, and no times if it has none.
    pub(super) fn set_version(&mut self, row: usize, version: u32) {
        if self.version.len() <= row {
            self.version.resize(row + 1, NO_VERSION);
        }
        self.version[row] = version.into();
    }

    /// The rows move on by one, for a new first one.
    pub(super) fn insert_first(&mut self, stamp: Option<Stamp>) {
        if !self.start.is_empty() || stamp.is_some() {
            self.start.insert(0, stamp.map_or(NO_STAMP, |stamp| stamp.start_ns));
            self.duration.insert(0, stamp.map_or(0, |stamp| stamp.duration_ns));
        }
        if !self.version.is_empty() || stamp.is_some() {
            self.version.insert(0, stamp.and_then(|stamp| stamp.version).map_or(NO_VERSION, u64::from));
        }
    }

    /// The stamp of a row, if its line has one.
    pub fn of(&self, row: usize) -> Option<Stamp> {
        let start_ns = *self.start.get(row).filter(|&&start| start != NO_STAMP)?;
        Some(Stamp { start_ns, duration_ns: self.duration[row], version: self.version_of(row) })
    }

    /// The version of a row, if it has one, with times or without.
    pub fn version_of(&self, row: usize) -> Option<u32> {
        self.version.get(row).and_then(|&version| u32::try_from(version).ok())
    }

    /// Whether no row has times.
    pub fn is_empty(&self) -> bool {
        self.start.is_empty()
    }

    /// Whether no row has times or a version.
    pub fn say_nothing(&self) -> bool {
        self.version.is_empty()
    }

    /// Bytes of memory held.
    pub fn memory(&self) -> usize {
        8 * (self.start.capacity() + self.duration.capacity() + self.version.capacity())
    }
}
