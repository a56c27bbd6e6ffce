//! Getting records out of a database that is damaged.
//!
//! First what chains still lead to, up to where each is broken; then whatever looks like a record with the right
//! hash anywhere else. A record is shown once; one that a later record of the same key has replaced may be shown
//! if no chain says better, so the caller decides what to trust.

use std::collections::HashMap;

use crate::check::CheckError;
use crate::file::bytes::Bytes;
use crate::file::format::{Offset, RECORD_HEADER, RECORD_USED, Record, TAILER, chain_head};
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
        let mut steps = 0;
        while at != 0 && steps < self.space.most_records() {
            let Ok(record) = self.space.record(at) else { return };
            self.rescue_record(at, &record, rescued, with);
            at = record.next;
            steps += 1;
        }
    }

    fn rescue_lost(&self, rescued: &mut Rescued, with: &mut impl FnMut(&[u8], &[u8])) {
        let size = self.space.size();
        let mut at = self.core.first_record();
        while size.saturating_sub(at) > RECORD_HEADER + TAILER {
            let known_end = rescued.ends.get(&at).copied();
            let found_end = known_end.or_else(|| {
                let record = self.space.record(at).ok()?;
                self.rescue_record(at, &record, rescued, with)
            });
            at = found_end.unwrap_or(at + 4);
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
