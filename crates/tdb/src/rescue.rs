//! Getting records out of a database that is damaged.
//!
//! First what chains still lead to, up to where each is broken; then whatever looks like a record with the right
//! hash anywhere else, but not in free records and the recovery area, which hold what was deleted or never committed. A
//! record is shown once; one that a later record of the same key has replaced may be shown if no chain says better, so
//! the caller decides what to trust. Where the header is damaged, [`scan_records`] does without all of that.

use std::collections::{HashMap, HashSet};

use crate::check::CheckError;
use crate::file::bytes::Bytes;
use crate::file::format::{
    ByteOrder, FREELIST_HEAD, Offset, RECORD_FREE, RECORD_HEADER, RECORD_USED, RECOVERY_INVALID,
    RECOVERY_START_AT, RECOVERY_VALID, Record, TAILER, chain_head,
};
use crate::hash::HashFunction;
use crate::table::Table;

/// Where whole records were found, by start and end, and by hash.
#[derive(Default)]
struct Rescued {
    ends: HashMap<Offset, Offset>,
    by_hash: HashMap<u32, Vec<Offset>>,
}

impl<B: Bytes> Table<'_, B> {
    /// Calls `with` for every record that can still be read; returns how many.
    pub fn rescue(&self, with: impl FnMut(&[u8], &[u8])) -> Result<u64, CheckError> {
        self.core.noted(self.rescue_all(with))
    }

    fn rescue_all(&self, mut with: impl FnMut(&[u8], &[u8])) -> Result<u64, CheckError> {
        self.with_everything_locked(|| {
            let mut rescued = Rescued::default();
            for chain in 0..self.core.hash_size {
                self.rescue_chain(chain, &mut rescued, &mut with);
            }
            self.rescue_lost(&mut rescued, &mut with);
            Ok(rescued.ends.len() as u64)
        })
    }

    fn rescue_chain(&self, chain: u32, rescued: &mut Rescued, with: &mut impl FnMut(&[u8], &[u8])) {
        let mut at = self.space.word(chain_head(chain)).unwrap_or(0);
        // By then a chain goes in a circle.
        let most = u64::from(self.space.size());
        let mut passed = 0;
        while at != 0 && passed <= most {
            let Ok(record) = self.space.record(at) else { return };
            self.rescue_record(at, &record, rescued, with);
            at = record.next;
            passed += u64::from(RECORD_HEADER) + u64::from(record.record_len);
        }
    }

    fn rescue_lost(&self, rescued: &mut Rescued, with: &mut impl FnMut(&[u8], &[u8])) {
        let size = self.space.size();
        // Not at the first record: the number of chains may be what is damaged.
        let mut at = FREELIST_HEAD;
        while size.saturating_sub(at) > RECORD_HEADER + TAILER {
            let known_end = rescued.ends.get(&at).copied();
            let found_end = known_end.or_else(|| {
                let record = self.space.record(at).ok()?;
                self.end_of_unused(at, &record).or_else(|| self.rescue_record(at, &record, rescued, with))
            });
            at = found_end.unwrap_or(at + 4);
        }
    }

    /// Where a free record or the recovery area ends, if one begins here.
    fn end_of_unused(&self, at: Offset, record: &Record) -> Option<Offset> {
        let size = u64::from(self.space.size());
        let tailer = |end: Offset| self.space.word(end - TAILER).ok();
        match record.magic {
            RECORD_FREE | RECOVERY_VALID => unused_end(at, record, size, tailer),
            RECOVERY_INVALID if self.space.word(RECOVERY_START_AT).ok()? == at => {
                unused_end(at, record, size, tailer)
            }
            _ => None,
        }
    }

    /// Shows the record if it is whole and new; returns its end if it is whole.
    fn rescue_record(
        &self,
        at: Offset,
        record: &Record,
        rescued: &mut Rescued,
        with: &mut impl FnMut(&[u8], &[u8]),
    ) -> Option<Offset> {
        if record.magic != RECORD_USED || self.must_have_body(at, record).is_err() {
            return None;
        }
        let bytes = self.space.bytes(at + RECORD_HEADER, record.key_len + record.data_len).ok()?;
        let (key, value) = bytes.split_at(record.key_len as usize);
        if self.core.hash.hash(key) != record.hash {
            return None;
        }
        let end = at + RECORD_HEADER + record.record_len;
        let same_hash = rescued.by_hash.entry(record.hash).or_default();
        let shown = same_hash.iter().any(|other| {
            *other == at
                || self.space.record(*other).is_ok_and(|other| other.key_len == record.key_len)
                    && self.space.equals(*other + RECORD_HEADER, key).unwrap_or(false)
        });
        if !shown {
            same_hash.push(at);
            rescued.ends.insert(at, end);
            with(key, value);
        }
        Some(end)
    }
}

/// Where a record of which header and tailer agree ends.
fn unused_end(
    at: Offset,
    record: &Record,
    size: u64,
    tailer: impl Fn(Offset) -> Option<u32>,
) -> Option<Offset> {
    let len = record.record_len.checked_add(RECORD_HEADER)?;
    let end = at.checked_add(len)?;
    let sound = record.record_len >= TAILER && len.is_multiple_of(4) && u64::from(end) <= size;
    (sound && tailer(end) == Some(len)).then_some(end)
}

/// What [`scan_records`] has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scanned {
    /// Records shown.
    pub records: u64,
    /// Whether a commit was under way, so that some records may be those that it has put there already.
    pub unfinished_commit: bool,
}

/// Calls `with` for every record in the bytes of a file whose header cannot be trusted: whatever looks like a record of
/// either byte order and has the hash that one of `hashes` makes of its key, outside of free records and recovery areas.
/// Without `hashes` no hash is looked at. Of two records with one key the first is shown.
pub fn scan_records(bytes: &[u8], hashes: &[HashFunction], mut with: impl FnMut(&[u8], &[u8])) -> Scanned {
    let mut scanned = Scanned::default();
    let mut shown = HashSet::new();
    let mut at = 0;
    while let Some(header) = bytes.get(at..).and_then(|rest| rest.first_chunk()) {
        let found = [ByteOrder::Little, ByteOrder::Big]
            .into_iter()
            .find_map(|order| Found::at(bytes, at, order, &Record::from_bytes(header, order), hashes));
        let Some(found) = found else {
            at += 4;
            continue;
        };
        at = found.end;
        scanned.unfinished_commit |= found.unfinished_commit;
        if let Some((key, value)) = found.record
            && shown.insert(key)
        {
            scanned.records += 1;
            with(key, value);
        }
    }
    scanned
}

/// A stretch of a scanned file.
struct Found<'a> {
    end: usize,
    /// A key and its value, unless the stretch is in no use.
    record: Option<(&'a [u8], &'a [u8])>,
    unfinished_commit: bool,
}

impl<'a> Found<'a> {
    fn at(
        bytes: &'a [u8],
        at: usize,
        order: ByteOrder,
        record: &Record,
        hashes: &[HashFunction],
    ) -> Option<Found<'a>> {
        if matches!(record.magic, RECORD_FREE | RECOVERY_VALID) {
            let place = Offset::try_from(at).ok()?;
            let tailer = |end: Offset| Some(order.word_at(bytes, (end - TAILER) as usize));
            let end = unused_end(place, record, bytes.len() as u64, tailer)? as usize;
            return Some(Found { end, record: None, unfinished_commit: record.magic == RECOVERY_VALID });
        }
        let sound = record.magic == RECORD_USED && record.body_fits() && record.record_len.is_multiple_of(4);
        let start = at + RECORD_HEADER as usize;
        let body = bytes.get(start..start + record.record_len as usize).filter(|_| sound)?;
        let (key, rest) = body.split_at(record.key_len as usize);
        let hashed = hashes.is_empty() || hashes.iter().any(|hash| hash.hash(key) == record.hash);
        let value = &rest[..record.data_len as usize];
        let end = start + record.record_len as usize;
        hashed.then_some(Found { end, record: Some((key, value)), unfinished_commit: false })
    }
}
