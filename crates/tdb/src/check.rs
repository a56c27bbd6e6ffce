//! Looking at every byte of a database and saying whether it holds together.
//!
//! First the header must be one, then all chains and the freelist are followed, and where they lead is noted. Then the records of the file must
//! follow one another without gaps, each of them noted once and on the right list. Where there is no record but a
//! zero or pad word in the place of its magic, the space up to the next noted one is lost, as a crash leaves it:
//! counted, no error. The memory needed is two bits for every four bytes of the file.

use crate::error::{AccessError, Coded, ErrorCode, LockError, ReadError};
use crate::file::bytes::Bytes;
use crate::file::format::{
    HEADER_SIZE, Header, Length, Offset, PAD, RECORD_DEAD, RECORD_FREE, RECORD_HEADER, RECORD_USED,
    RECOVERY_INVALID, RECOVERY_START_AT, RECOVERY_VALID, Record, TAILER, chain_head,
};
use crate::lock::{ChainIndex, LockKind};
use crate::table::Table;

/// A check that did not pass.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// The lock.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Damage, or unreadable bytes.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The caller's own check of keys and values said no.
    #[error("the record at offset {offset} was rejected")]
    Rejected {
        /// Where the record is.
        offset: Offset,
    },
}

impl Coded for CheckError {
    fn code(&self) -> ErrorCode {
        match self {
            CheckError::Lock(source) => source.code(),
            CheckError::Access(source) => source.code(),
            CheckError::Rejected { .. } => ErrorCode::Success,
        }
    }
}

/// What a check that passed has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Records with a key and a value.
    pub used: u64,
    /// Deleted records that are still on their chains.
    pub dead: u64,
    /// Records of the freelist.
    pub free: u64,
    /// Bytes that belong to nothing.
    pub lost_bytes: u64,
}

/// One bit for each place where a record can start.
struct Places {
    bits: Vec<u64>,
}

impl Places {
    fn new(size: u32) -> Places {
        Places { bits: vec![0; size as usize / 4 / 64 + 1] }
    }

    /// Sets the bit of `at`; `false` if it is set already, or no record can start there.
    fn set(&mut self, at: Offset) -> bool {
        let bit = 1 << (at / 4 % 64);
        match self.bits.get_mut(at as usize / 4 / 64) {
            Some(word) if *word & bit == 0 && at.is_multiple_of(4) => {
                *word |= bit;
                true
            }
            _ => false,
        }
    }

    /// Clears the bit of `at`; `false` if it was not set.
    fn take(&mut self, at: Offset) -> bool {
        let Some(word) = self.bits.get_mut(at as usize / 4 / 64) else {
            return false;
        };
        let bit = 1 << (at / 4 % 64);
        let was = *word & bit != 0 && at.is_multiple_of(4);
        if was {
            *word &= !bit;
        }
        was
    }

    /// The first place from `at` on.
    fn next(&self, at: Offset) -> Option<Offset> {
        let start = at.div_ceil(4);
        let mut nth = start as usize / 64;
        let mut word = self.bits.get(nth)? & (u64::MAX << (start % 64));
        while word == 0 {
            nth += 1;
            word = *self.bits.get(nth)?;
        }
        Some((nth as u32 * 64 + word.trailing_zeros()) * 4)
    }
}

/// Where the chains and the freelist lead.
pub(crate) struct Noted {
    used: Places,
    free: Places,
}

/// What stands at a place between two records.
pub(crate) enum Stretch {
    Record(Record),
    RecoveryArea(Record),
    /// Lost space of so many bytes.
    Nothing(Length),
}

impl Stretch {
    /// The bytes it takes.
    pub(crate) fn len(&self) -> Length {
        match self {
            Stretch::Record(record) | Stretch::RecoveryArea(record) => RECORD_HEADER + record.record_len,
            Stretch::Nothing(len) => *len,
        }
    }
}

fn corrupt(offset: Offset, what: &'static str) -> AccessError {
    AccessError::Corrupt { offset, what }
}

impl<B: Bytes> Table<'_, B> {
    /// Checks the whole database; `accept` is asked about every key and value.
    pub fn check(&self, accept: impl FnMut(&[u8], &[u8]) -> bool) -> Result<CheckReport, CheckError> {
        self.core.noted(self.check_all(accept))
    }

    fn check_all(&self, mut accept: impl FnMut(&[u8], &[u8]) -> bool) -> Result<CheckReport, CheckError> {
        self.with_everything_locked(|| {
            self.check_header()?;
            let mut noted = self.noted_records()?;
            let report = self.check_stretches(&mut noted, &mut accept)?;
            match noted.used.next(0).or(noted.free.next(0)) {
                Some(at) => Err(corrupt(at, "a list leads here, into the middle of something").into()),
                None => Ok(report),
            }
        })
    }

    /// The database's own header: behind mutexes it is not the one that the file was opened by.
    fn check_header(&self) -> Result<(), AccessError> {
        let mut bytes = [0; HEADER_SIZE];
        self.space.read(0, &mut bytes)?;
        let header = Header::from_bytes(&bytes);
        let same = header.is_some_and(|header| {
            let hash_fits = !header.names_hash() || header.was_made_with(&self.core.hash);
            header.order == self.space.order() && header.hash_size == self.core.hash_size && hash_fits
        });
        if same { Ok(()) } else { Err(corrupt(0, "the header is damaged")) }
    }

    /// Follows all chains and the freelist.
    pub(crate) fn noted_records(&self) -> Result<Noted, AccessError> {
        let size = self.space.size();
        let mut noted = Noted { used: Places::new(size), free: Places::new(size) };
        for chain in 0..self.core.hash_size {
            self.note_chain(chain, &mut noted.used)?;
        }
        self.walk_freelist(|at, _| {
            if noted.free.set(at) { Ok(()) } else { Err(corrupt(at, "the freelist goes in a circle")) }
        })?;
        Ok(noted)
    }

    /// Runs `run` while nobody changes anything: under a read lock of everything, unless everything is locked already.
    pub(crate) fn with_everything_locked<T, E: From<LockError> + From<AccessError>>(
        &self,
        run: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let free = !self.core.locks.holds_everything();
        let _locked = free.then(|| self.core.everything(LockKind::Read)).transpose()?;
        self.space.refresh()?;
        run()
    }

    fn check_stretches(
        &self,
        noted: &mut Noted,
        accept: &mut impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<CheckReport, CheckError> {
        let mut report = CheckReport::default();
        let mut found_area = false;
        self.walk_stretches(noted, |noted, at, stretch| {
            match stretch {
                Stretch::Nothing(len) => report.lost_bytes += u64::from(*len),
                Stretch::RecoveryArea(_) => found_area = true,
                Stretch::Record(record) if record.magic == RECORD_FREE => {
                    report.free += 1;
                    self.check_tailer(at, record)?;
                    if !noted.free.take(at) {
                        return Err(corrupt(at, "a free record is not on the freelist").into());
                    }
                }
                Stretch::Record(record) => {
                    let alive = record.magic == RECORD_USED;
                    *(if alive { &mut report.used } else { &mut report.dead }) += 1;
                    if !noted.used.take(at) {
                        return Err(corrupt(at, "a record is on no chain").into());
                    }
                    self.check_body(at, record, alive, accept)?;
                }
            }
            Ok::<(), CheckError>(())
        })?;
        let area = self.space.word(RECOVERY_START_AT)?;
        if area != 0 && !found_area {
            // The next commit would write its old bytes there.
            return Err(
                corrupt(area, "the header points here for the recovery area, and there is none").into()
            );
        }
        Ok(report)
    }

    /// Calls `with` for everything between the chain heads and the end of the file, in order.
    pub(crate) fn walk_stretches<E: From<AccessError>>(
        &self,
        noted: &mut Noted,
        mut with: impl FnMut(&mut Noted, Offset, &Stretch) -> Result<(), E>,
    ) -> Result<(), E> {
        let size = self.space.size();
        let mut at = self.core.first_record();
        while at < size {
            let stretch = self.stretch_at(at, noted)?;
            with(noted, at, &stretch)?;
            at += stretch.len();
        }
        Ok(())
    }

    fn stretch_at(&self, at: Offset, noted: &Noted) -> Result<Stretch, AccessError> {
        let left = self.space.size() - at;
        let area = self.space.word(RECOVERY_START_AT)?;
        if left < RECORD_HEADER {
            return Ok(Stretch::Nothing(left));
        }
        let record = self.space.record(at)?;
        let fits = record.record_len <= left - RECORD_HEADER && record.record_len.is_multiple_of(4);
        match record.magic {
            RECORD_USED | RECORD_DEAD | RECORD_FREE if !fits || record.record_len < TAILER => {
                Err(corrupt(at, "a record's length is impossible"))
            }
            RECORD_USED | RECORD_DEAD | RECORD_FREE => Ok(Stretch::Record(record)),
            RECOVERY_VALID | RECOVERY_INVALID if area == at && at.is_multiple_of(4) && fits => {
                Ok(Stretch::RecoveryArea(record))
            }
            RECOVERY_INVALID | PAD => Ok(Stretch::Nothing(self.next_noted(at, area, noted) - at)),
            _ => match self.next_noted(at, area, noted) - at {
                // No record that holds anything fits in here; what looked like a header reaches into the next one.
                gap if gap <= RECORD_HEADER + TAILER => Ok(Stretch::Nothing(gap)),
                _ => Err(corrupt(at, "there is no record, and no empty space")),
            },
        }
    }

    /// Where the next thing after `at` begins that something points at; the end of the file if there is none.
    fn next_noted(&self, at: Offset, area: Offset, noted: &Noted) -> Offset {
        let after = at + 4;
        let area = Some(area).filter(|area| *area >= after);
        let next = [noted.used.next(after), noted.free.next(after), area].into_iter().flatten().min();
        next.unwrap_or(u32::MAX).min(self.space.size())
    }

    fn check_tailer(&self, at: Offset, record: &Record) -> Result<(), AccessError> {
        let tailer = self.space.word(at + RECORD_HEADER + record.record_len - TAILER)?;
        if tailer == record.record_len + RECORD_HEADER {
            Ok(())
        } else {
            Err(corrupt(at, "the length at the record's end is not the one at its start"))
        }
    }

    fn check_body(
        &self,
        at: Offset,
        record: &Record,
        alive: bool,
        accept: &mut impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), CheckError> {
        self.must_have_body(at, record)?;
        self.check_tailer(at, record)?;
        let bytes = self.space.bytes(at + RECORD_HEADER, record.key_len + record.data_len)?;
        let (key, value) = bytes.split_at(record.key_len as usize);
        if self.core.hash.hash(key) != record.hash {
            return Err(corrupt(at, "the record's hash is not its key's").into());
        }
        if alive && !accept(key, value) {
            return Err(CheckError::Rejected { offset: at });
        }
        Ok(())
    }

    fn note_chain(&self, chain: u32, used: &mut Places) -> Result<(), AccessError> {
        let mut link = chain_head(chain);
        let mut at = self.space.word(link)?;
        while at != 0 {
            if !used.set(at) {
                return Err(corrupt(link, "this points at no record, or at one that is on a chain already"));
            }
            let record = self.space.record(at)?;
            if record.hash % self.core.hash_size != chain {
                return Err(corrupt(at, "the record is on the chain of another hash"));
            }
            link = at;
            at = record.next;
        }
        Ok(())
    }

    /// How many records the freelist holds.
    pub fn freelist_size(&self) -> Result<u32, CheckError> {
        self.freelist_records(|_, _| {})
    }

    /// Checks the freelist alone, for circles and for records that are not free; returns how many it holds.
    pub fn validate_freelist(&self) -> Result<u32, CheckError> {
        self.core.noted(self.under_freelist_lock(|| {
            let mut seen = Places::new(self.space.size());
            self.walk_freelist(|at, record| {
                if record.magic != RECORD_FREE || !at.is_multiple_of(4) {
                    return Err(corrupt(at, "a record of the freelist is not free"));
                }
                if seen.take(at) {
                    return Err(corrupt(at, "the freelist goes in a circle"));
                }
                self.space.must_hold(at, RECORD_HEADER.saturating_add(record.record_len))?;
                seen.set(at);
                Ok(())
            })
        }))
    }

    /// Calls `with` with place and length of each record of the freelist, in the list's order; returns how many.
    pub fn freelist_records(&self, mut with: impl FnMut(Offset, Length)) -> Result<u32, CheckError> {
        self.core.noted(self.under_freelist_lock(|| {
            self.walk_freelist(|at, record| {
                with(at, record.record_len);
                Ok(())
            })
        }))
    }

    /// Calls `with` with place and header of each record of a chain, deleted ones included, under the chain's lock.
    pub fn chain_records(&self, chain: u32, mut with: impl FnMut(Offset, &Record)) -> Result<(), ReadError> {
        if chain >= self.core.hash_size {
            return self.core.noted(Err(ReadError::NoSuchChain { chain, hash_size: self.core.hash_size }));
        }
        let mut run = || {
            let _chain = self.core.read(ChainIndex::chain(chain))?;
            let mut at = self.space.word(chain_head(chain))?;
            let mut steps = 0;
            while at != 0 {
                let record = self.space.record(at)?;
                steps += 1;
                self.must_be_on_chain(at, &record, steps)?;
                with(at, &record);
                at = record.next;
            }
            Ok(())
        };
        self.core.noted(run())
    }

    fn under_freelist_lock<T>(&self, run: impl FnOnce() -> Result<T, AccessError>) -> Result<T, CheckError> {
        let _freelist = self.core.read(ChainIndex::FREELIST)?;
        Ok(run()?)
    }
}
