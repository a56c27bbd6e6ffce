//! The redo log of one transaction: its records, and what to do with a log that is found at start.
//!
//! The records are OpenAFS's (`docs/ubik-format.md`, The log). C appends them after an unused header of 64 bytes and
//! knows a whole transaction by its end record alone. That is not enough: between two syncs a disk may keep any of the
//! sectors written, so an end record proves nothing about the records before it. This program therefore fills the
//! unused header with a checksum of the records ([`Header`]); C ignores it, and a log that C wrote has none.

use crate::version::Version;
use crate::xdr::{Decoder, Encoder, XdrError};

/// Where the records begin.
pub const HEADER_LEN: usize = 64;
const HEADER_MAGIC: u32 = 0x514c_4f47; // "QLOG"

const BEGIN: u32 = 100;
const COMMIT: u32 = 101;
const ABORT: u32 = 102;
const WRITE: u32 = 103;
const TRUNCATE: u32 = 104;

/// One change that a transaction makes, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Bytes at a place.
    Write {
        /// In bytes after the header.
        position: u32,
        /// What.
        bytes: Vec<u8>,
    },
    /// A new, shorter length.
    Truncate {
        /// How many bytes stay.
        length: u32,
    },
}

/// What a log found at start asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Replay {
    /// Nothing: no transaction was whole, or the database is past it. The reason is for the log line.
    Nothing(&'static str),
    /// Make these changes and label the database so. Doing it twice changes nothing.
    Apply {
        /// In order.
        changes: Vec<Change>,
        /// The version they make.
        version: Version,
    },
}

/// The bytes of the whole log of one transaction, header included.
pub fn encode(changes: &[Change], version: Version) -> Vec<u8> {
    let mut xdr = Encoder::default();
    xdr.u32(BEGIN);
    let mut records = xdr.finish();
    for change in changes {
        match change {
            Change::Write { position, bytes } => {
                xdr.u32(WRITE).u32(0).u32(*position).u32(bytes.len() as u32);
                records.append(&mut xdr.finish());
                // Not an XDR opaque: C writes the bytes as they are, without filling.
                records.extend_from_slice(bytes);
            }
            Change::Truncate { length } => {
                xdr.u32(TRUNCATE).u32(0).u32(*length);
                records.append(&mut xdr.finish());
            }
        }
    }
    xdr.u32(COMMIT).u32(version.epoch).u32(version.counter);
    records.append(&mut xdr.finish());
    let mut log = Header::of(&records, version).encode();
    log.append(&mut records);
    log
}

/// The same changes in as few writes as make them: between two truncations, writes that touch or overlap become one, in the
/// order of their places. What a later one wrote over an earlier one is what is left.
pub fn merge(changes: Vec<Change>) -> Vec<Change> {
    let mut merged = Vec::new();
    let mut writes = Vec::new();
    for change in changes {
        match change {
            Change::Write { position, bytes } => writes.push((position, bytes)),
            Change::Truncate { .. } => {
                merge_writes(&mut merged, &mut writes);
                merged.push(change);
            }
        }
    }
    merge_writes(&mut merged, &mut writes);
    merged
}

/// Puts `writes`, merged, at the end of `merged`; each byte is copied once.
fn merge_writes(merged: &mut Vec<Change>, writes: &mut Vec<(u32, Vec<u8>)>) {
    let end = |(position, bytes): &(u32, Vec<u8>)| u64::from(*position) + bytes.len() as u64;
    writes.retain(|(_, bytes)| !bytes.is_empty());
    let mut spans: Vec<(u64, u64)> = writes.iter().map(|write| (u64::from(write.0), end(write))).collect();
    spans.sort_unstable();
    spans.dedup_by(|next, span| {
        let touches = next.0 <= span.1;
        span.1 = if touches { span.1.max(next.1) } else { span.1 };
        touches
    });
    if spans.len() == writes.len() {
        writes.sort_by_key(|&(position, _)| position);
        merged.extend(writes.drain(..).map(|(position, bytes)| Change::Write { position, bytes }));
        return;
    }
    let mut whole: Vec<Vec<u8>> = spans.iter().map(|&(from, to)| vec![0; (to - from) as usize]).collect();
    for (position, bytes) in writes.drain(..) {
        let nth = spans.partition_point(|&(from, _)| from <= u64::from(position)) - 1;
        let at = (u64::from(position) - spans[nth].0) as usize;
        whole[nth][at..at + bytes.len()].copy_from_slice(&bytes);
    }
    let positions = spans.iter().map(|&(from, _)| from as u32);
    merged.extend(positions.zip(whole).map(|(position, bytes)| Change::Write { position, bytes }));
}

/// Decides what to do with the log `bytes` beside a database labelled `label`.
///
/// Whole transactions only: a torn tail is ignored, and a log that the database is already past is not applied.
pub fn replay(bytes: &[u8], label: Version) -> Replay {
    let Some((header, records)) = bytes.split_at_checked(HEADER_LEN) else {
        return Replay::Nothing("the log is empty");
    };
    if records.is_empty() {
        return Replay::Nothing("the log is empty");
    }
    match Header::decode(header) {
        Ok(Some(header)) => match records.get(..header.length as usize) {
            Some(whole) if header == Header::of(whole, header.version) => replay_records(whole, label),
            _ => Replay::Nothing("the log is torn"),
        },
        // A log of C's.
        Ok(None) => replay_records(records, label),
        Err(_) => Replay::Nothing("the log's header is damaged"),
    }
}

fn replay_records(records: &[u8], label: Version) -> Replay {
    match decode_transaction(records) {
        Err(_) => Replay::Nothing("the log ends within a record"),
        Ok(None) => Replay::Nothing("the transaction was aborted"),
        Ok(Some((_, version))) if version < label => Replay::Nothing("the database is past the log"),
        Ok(Some((changes, version))) => Replay::Apply { changes, version },
    }
}

type Transaction = (Vec<Change>, Version);

fn decode_transaction(records: &[u8]) -> Result<Option<Transaction>, XdrError> {
    let mut xdr = Decoder::new(records);
    let mut changes = Vec::new();
    loop {
        match xdr.u32()? {
            BEGIN => changes.clear(),
            WRITE => {
                xdr.u32()?;
                let position = xdr.unsigned("position")?;
                let length = xdr.unsigned("length")? as usize;
                changes.push(Change::Write { position, bytes: xdr.bytes(length)?.to_vec() });
            }
            TRUNCATE => {
                xdr.u32()?;
                changes.push(Change::Truncate { length: xdr.unsigned("length")? });
            }
            COMMIT => {
                let version = Version { epoch: xdr.unsigned("epoch")?, counter: xdr.unsigned("counter")? };
                return Ok(Some((changes, version)));
            }
            ABORT => return Ok(None),
            other => return Err(XdrError::Opcode(other)),
        }
    }
}

/// What stands in the log's first 64 bytes.
#[derive(Debug, PartialEq, Eq)]
struct Header {
    version: Version,
    length: u32,
    checksum: u64,
}

impl Header {
    fn of(records: &[u8], version: Version) -> Self {
        Header { version, length: records.len() as u32, checksum: checksum(records, version) }
    }

    fn encode(&self) -> Vec<u8> {
        let mut xdr = Encoder::default();
        xdr.u32(HEADER_MAGIC).u32(self.version.epoch).u32(self.version.counter).u32(self.length);
        xdr.u32((self.checksum >> 32) as u32).u32(self.checksum as u32);
        let mut bytes = xdr.finish();
        bytes.resize(HEADER_LEN, 0);
        bytes
    }

    /// `None` if the header is unused, as C leaves it.
    fn decode(bytes: &[u8]) -> Result<Option<Self>, XdrError> {
        let mut xdr = Decoder::new(bytes);
        match xdr.u32()? {
            HEADER_MAGIC => {}
            0 => return Ok(None),
            other => {
                return Err(XdrError::Range { what: "log header", value: other.into() });
            }
        }
        let version = Version { epoch: xdr.u32()?, counter: xdr.u32()? };
        let length = xdr.u32()?;
        let checksum = (u64::from(xdr.u32()?) << 32) | u64::from(xdr.u32()?);
        Ok(Some(Header { version, length, checksum }))
    }
}

/// FNV-1a: it tells old sectors from new ones; nobody attacks it here.
fn checksum(records: &[u8], version: Version) -> u64 {
    let seed = (u64::from(version.epoch) << 32) | u64::from(version.counter);
    let start = 0xcbf2_9ce4_8422_2325 ^ seed;
    records.iter().fold(start, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes() -> Vec<Change> {
        vec![
            Change::Write { position: 10, bytes: b"hello".to_vec() },
            Change::Truncate { length: 12 },
            Change::Write { position: 2000, bytes: vec![7; 700] },
        ]
    }

    fn write(position: u32, bytes: &[u8]) -> Change {
        Change::Write { position, bytes: bytes.to_vec() }
    }

    /// Writes that touch or overlap are one, the later one over the earlier; a truncation stands between those before it and
    /// those after.
    #[test]
    fn writes_that_touch_or_overlap_become_one() {
        let changes = vec![
            write(10, b"aaaa"),
            write(20, b"far"),
            write(8, b"bbb"),
            write(14, b"cc"),
            write(11, b"D"),
            write(30, b""),
            Change::Truncate { length: 9 },
            write(16, b"e"),
        ];
        let merged =
            vec![write(8, b"bbbDaacc"), write(20, b"far"), Change::Truncate { length: 9 }, write(16, b"e")];
        assert_eq!(merge(changes), merged);
        assert_eq!(merge(merged.clone()), merged);
    }

    /// Merged or not, random changes leave the same bytes; no two writes of one run touch.
    #[test]
    fn merged_changes_leave_the_same_bytes() {
        let mut state = 1_u32;
        let mut random = |below: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) % below
        };
        let apply = |changes: &[Change]| {
            let mut all = Vec::new();
            for change in changes {
                match change {
                    Change::Write { position, bytes } => {
                        let end = *position as usize + bytes.len();
                        all.resize(all.len().max(end), 0);
                        all[*position as usize..end].copy_from_slice(bytes);
                    }
                    Change::Truncate { length } => all.truncate(*length as usize),
                }
            }
            all
        };
        for _ in 0..2000 {
            let changes: Vec<Change> = (0..random(12))
                .map(|nth| match random(8) {
                    0 => Change::Truncate { length: random(60) },
                    _ => write(random(60), &vec![nth as u8 + 1; 1 + random(9) as usize]),
                })
                .collect();
            let merged = merge(changes.clone());
            assert_eq!(apply(&merged), apply(&changes), "{changes:?} became {merged:?}");
            for pair in merged.windows(2) {
                if let [Change::Write { position, bytes }, Change::Write { position: next, .. }] = pair {
                    assert!(position + (bytes.len() as u32) < *next, "{merged:?}");
                }
            }
        }
    }

    /// U5: a whole log is applied, also when the label already says so, and not once the database is past it.
    #[test]
    fn a_whole_log_is_applied_unless_the_database_is_past_it() {
        let version = Version::new(9, 4);
        let log = encode(&changes(), version);
        let apply = Replay::Apply { changes: changes(), version };
        assert_eq!(replay(&log, Version::new(9, 3)), apply);
        assert_eq!(replay(&log, version), apply);
        assert_eq!(replay(&log, Version::new(9, 5)), Replay::Nothing("the database is past the log"));
    }

    /// U5: cut anywhere, or with any sector still holding the transaction before, nothing is applied.
    #[test]
    fn a_torn_log_is_ignored_wherever_it_is_torn() {
        let log = encode(&changes(), Version::new(9, 4));
        for cut in 0..log.len() {
            assert!(matches!(replay(&log[..cut], Version::FRESH), Replay::Nothing(_)), "cut at {cut}");
        }
        let older = vec![Change::Write { position: 10, bytes: b"older".to_vec() }, changes()[1].clone()];
        let older = encode(
            &[older, vec![Change::Write { position: 2000, bytes: vec![6; 700] }]].concat(),
            Version::new(9, 3),
        );
        assert_eq!(older.len(), log.len());
        for stale in 0..log.len().div_ceil(512) {
            let mut mixed = log.clone();
            let sector = stale * 512..log.len().min(stale * 512 + 512);
            mixed[sector.clone()].copy_from_slice(&older[sector]);
            assert!(matches!(replay(&mixed, Version::new(9, 3)), Replay::Nothing(_)), "sector {stale}");
        }
    }

    /// U4: a log of C's has no header; its end record decides.
    #[test]
    fn a_log_of_openafs_is_applied_when_its_end_record_is_there() {
        let version = Version::new(9, 4);
        let mut log = encode(&changes(), version);
        log[..HEADER_LEN].fill(0);
        assert_eq!(replay(&log, Version::new(9, 3)), Replay::Apply { changes: changes(), version });
        log.truncate(log.len() - 12);
        assert!(matches!(replay(&log, Version::new(9, 3)), Replay::Nothing(_)));
        log.extend_from_slice(&ABORT.to_be_bytes());
        assert_eq!(replay(&log, Version::new(9, 3)), Replay::Nothing("the transaction was aborted"));
    }
}
