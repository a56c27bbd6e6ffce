//! Figures about a database: how many records of which kind and size, and where the bytes went.

use std::fmt;

use crate::check::{CheckError, Stretch};
use crate::file::bytes::Bytes;
use crate::file::format::{RECORD_FREE, RECORD_HEADER, RECORD_USED, TAILER, chain_head};
use crate::hash::HashFunction;
use crate::table::Table;

/// Number, smallest, average and largest of some sizes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spread {
    /// How many there are.
    pub count: u64,
    /// Their sum.
    pub total: u64,
    /// The smallest; 0 if there are none.
    pub smallest: u64,
    /// The largest; 0 if there are none.
    pub largest: u64,
}

impl Spread {
    fn add(&mut self, size: u64) {
        self.smallest = if self.count == 0 { size } else { self.smallest.min(size) };
        self.largest = self.largest.max(size);
        self.total += size;
        self.count += 1;
    }

    /// The average, rounded down.
    pub fn average(&self) -> u64 {
        self.total.checked_div(self.count).unwrap_or(0)
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}/{}", self.smallest, self.average(), self.largest)
    }
}

/// What [`Table::summary`] has found; its text is libtdb's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The bytes of the file.
    pub file_size: u64,
    /// Whether the hash function is not libtdb's first.
    pub incompatible_hash: bool,
    /// Sizes of keys; their number is the number of records.
    pub keys: Spread,
    /// Sizes of values.
    pub values: Spread,
    /// Bytes of records that are neither key nor value, tailers included.
    pub padding: Spread,
    /// Sizes of deleted records and of lost space.
    pub dead: Spread,
    /// Sizes of free records.
    pub free: Spread,
    /// Bytes of the area that commits keep old bytes in. libtdb's text does not name it.
    pub recovery_area: u64,
    /// Lengths of chains; their number is the hash size.
    pub chains: Spread,
    /// Runs of free records side by side, by how many more than one.
    pub uncoalesced: Spread,
}

impl<B: Bytes> Table<'_, B> {
    /// Figures about the whole database.
    pub fn summary(&self) -> Result<Summary, CheckError> {
        self.core.noted(self.summarize())
    }

    fn summarize(&self) -> Result<Summary, CheckError> {
        self.with_everything_locked(|| {
            let mut summary = Summary {
                file_size: self.space.size().into(),
                incompatible_hash: !matches!(self.core.hash, HashFunction::Old),
                ..Summary::default()
            };
            let mut run = 0;
            let mut noted = self.noted_records()?;
            self.walk_stretches(&mut noted, |_, _, stretch| {
                summary.add(stretch, &mut run);
                Ok::<(), CheckError>(())
            })?;
            summary.end_run(&mut run);
            for chain in 0..self.core.hash_size {
                summary.chains.add(self.chain_len(chain)?);
            }
            Ok(summary)
        })
    }

    fn chain_len(&self, chain: u32) -> Result<u64, CheckError> {
        let mut len = 0;
        let mut at = self.space.word(chain_head(chain))?;
        while at != 0 {
            let record = self.space.record(at)?;
            len += 1;
            self.must_be_on_chain(at, &record, len)?;
            at = record.next;
        }
        Ok(len.into())
    }
}

impl Summary {
    fn add(&mut self, stretch: &Stretch, run: &mut u64) {
        match stretch {
            Stretch::Record(record) if record.magic == RECORD_FREE => {
                self.free.add(record.record_len.into());
                *run += 1;
            }
            Stretch::Record(record) if record.magic == RECORD_USED => {
                let used = u64::from(record.key_len) + u64::from(record.data_len);
                self.keys.add(record.key_len.into());
                self.values.add(record.data_len.into());
                self.padding.add(u64::from(record.record_len).saturating_sub(used));
                self.end_run(run);
            }
            Stretch::Record(record) => self.dead.add(record.record_len.into()),
            Stretch::Nothing(len) => {
                *run += 1;
                self.dead.add(u64::from(len.saturating_sub(RECORD_HEADER)));
            }
            Stretch::RecoveryArea(record) => {
                self.recovery_area += u64::from(record.record_len) + u64::from(RECORD_HEADER);
                self.end_run(run);
            }
        }
    }

    fn end_run(&mut self, run: &mut u64) {
        if *run > 1 {
            self.uncoalesced.add(*run - 1);
        }
        *run = 0;
    }

    fn part(&self, bytes: u64) -> f64 {
        bytes as f64 * 100.0 / self.file_size.max(1) as f64
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers =
            (self.keys.count + self.free.count + self.dead.count) * u64::from(RECORD_HEADER + TAILER);
        writeln!(out, "Size of file/data: {}/{}", self.file_size, self.keys.total + self.values.total)?;
        writeln!(out, "Header offset/logical size: 0/{}", self.file_size)?;
        writeln!(out, "Number of records: {}", self.keys.count)?;
        writeln!(out, "Incompatible hash: {}", if self.incompatible_hash { "yes" } else { "no" })?;
        writeln!(out, "Active/supported feature flags: 0x00000000/0x00000001")?;
        writeln!(out, "Robust mutexes locking: no")?;
        writeln!(out, "Smallest/average/largest keys: {}", self.keys)?;
        writeln!(out, "Smallest/average/largest data: {}", self.values)?;
        writeln!(out, "Smallest/average/largest padding: {}", self.padding)?;
        writeln!(out, "Number of dead records: {}", self.dead.count)?;
        writeln!(out, "Smallest/average/largest dead records: {}", self.dead)?;
        writeln!(out, "Number of free records: {}", self.free.count)?;
        writeln!(out, "Smallest/average/largest free records: {}", self.free)?;
        writeln!(out, "Number of hash chains: {}", self.chains.count)?;
        writeln!(out, "Smallest/average/largest hash chains: {}", self.chains)?;
        writeln!(out, "Number of uncoalesced records: {}", self.uncoalesced.total)?;
        writeln!(out, "Smallest/average/largest uncoalesced runs: {}", self.uncoalesced)?;
        let parts = [
            self.keys.total,
            self.values.total,
            self.padding.total,
            self.free.total,
            self.dead.total,
            headers,
            self.chains.count * 4,
        ];
        let parts: Vec<String> = parts.iter().map(|bytes| format!("{:.0}", self.part(*bytes))).collect();
        writeln!(out, "Percentage keys/data/padding/free/dead/rechdrs&tailers/hashes: {}", parts.join("/"))
    }
}
