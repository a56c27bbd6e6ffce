//! The calls between servers, as plain types, and their bytes (`docs/ubik-protocol.md`, The stock wire).
//!
//! Numbers that C keeps as signed integers and that mean a size, a position or an epoch are refused when negative.

use crate::version::{TransactionId, Version};
use crate::xdr::{Decoder, Encoder, XdrError};

/// The most writes one `WriteV` carries.
pub const MAX_WRITES: usize = 64;
/// The most bytes one `WriteV` carries.
pub const MAX_WRITE_BYTES: usize = 65_536;
/// The most bytes one `Write` carries.
const MAX_SINGLE_WRITE: usize = 20_000;
/// The addresses in one `UpdateInterfaceAddr`, always all of them.
pub const MAX_INTERFACES: usize = 256;
/// The type of a write lock, the only one a sync site asks for.
pub const LOCK_WRITE: u32 = 2;

/// A candidate asks for a vote, or the sync site for its renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beacon {
    /// Whether the sender says that it is sync site.
    pub claims_sync_site: bool,
    /// When the sender began this round, by its wall clock; from a candidate of ours, the epoch it proposes.
    pub start: i32,
    /// The version that the sync site vouches for; [`Version::NONE`] grants no lease.
    pub version: Version,
    /// Its epoch, and the transaction that runs or the next one.
    pub transaction: TransactionId,
}

/// One change of a file's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Which file of the database; 0 is the only one in use.
    pub file: u32,
    /// Where, in bytes after the header.
    pub position: u32,
    /// What.
    pub bytes: Vec<u8>,
}

/// A call to the VOTE service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VoteCall {
    /// 10000.
    Beacon(Beacon),
    /// 10001: `ubik_debug` without addresses.
    DebugOld,
    /// 10002: `ubik_sdebug` of the nth other server, without alternate addresses.
    ServerDebugOld(u32),
    /// 10003: in C this call has no way to answer; the argument is ignored.
    SyncSite,
    /// 10004.
    Debug,
    /// 10005.
    ServerDebug(u32),
    /// 10006: as `Debug`, and whether this is a clone.
    DebugWithKind,
    /// 10007.
    ServerDebugWithKind(u32),
}

/// A call to the DISK service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskCall {
    /// 20000: a write transaction begins.
    Begin(TransactionId),
    /// 20001: log it, sync, make it the database's next version.
    Commit(TransactionId),
    /// 20002: the transaction's write lock.
    Lock {
        /// The transaction.
        transaction: TransactionId,
        /// Always 0 from a sync site.
        file: u32,
        /// Always 1 from a sync site.
        position: u32,
        /// Must be 1.
        length: u32,
        /// 1 read, 2 write.
        kind: u32,
    },
    /// 20003: one write, from a sync site that lacks `WriteV`.
    Write {
        /// The transaction.
        transaction: TransactionId,
        /// What to write.
        write: Write,
    },
    /// 20004: which version have you?
    GetVersion,
    /// 20005: send me your database.
    GetFile {
        /// Which file.
        file: u32,
    },
    /// 20006: take this database; its bytes follow in the same call.
    SendFile {
        /// Which file.
        file: u32,
        /// How many bytes follow.
        length: u32,
        /// What they are.
        version: Version,
    },
    /// 20007: forget the transaction.
    Abort(TransactionId),
    /// 20008: the transaction is over everywhere.
    ReleaseLocks(TransactionId),
    /// 20009: cut the file.
    Truncate {
        /// The transaction.
        transaction: TransactionId,
        /// Which file.
        file: u32,
        /// How many bytes to keep.
        length: u32,
    },
    /// 20010: are you there?
    Probe,
    /// 20011: several writes.
    WriteV {
        /// The transaction.
        transaction: TransactionId,
        /// In order.
        writes: Vec<Write>,
    },
    /// 20012: these are my addresses, the primary first.
    UpdateInterfaceAddr(Vec<u32>),
    /// 20013: label the database anew.
    SetVersion {
        /// The transaction.
        transaction: TransactionId,
        /// What the label must be.
        old: Version,
        /// What it becomes.
        new: Version,
    },
}

fn encode_version(xdr: &mut Encoder, version: Version) {
    xdr.u32(version.epoch).u32(version.counter);
}

fn decode_version(xdr: &mut Decoder<'_>) -> Result<Version, XdrError> {
    Ok(Version { epoch: xdr.unsigned("epoch")?, counter: xdr.unsigned("counter")? })
}

fn encode_id(xdr: &mut Encoder, id: TransactionId) {
    xdr.u32(id.epoch).u32(id.counter);
}

fn decode_id(xdr: &mut Decoder<'_>) -> Result<TransactionId, XdrError> {
    Ok(TransactionId {
        epoch: xdr.unsigned("transaction epoch")?,
        counter: xdr.unsigned("transaction counter")?,
    })
}

impl Version {
    /// The reply of `GetVersion`, and the end of that of `GetFile`.
    pub fn encode(self) -> Vec<u8> {
        let mut xdr = Encoder::default();
        encode_version(&mut xdr, self);
        xdr.finish()
    }

    /// Reads a version.
    ///
    /// # Errors
    /// If these are not the bytes of one.
    pub fn decode(bytes: &[u8]) -> Result<Self, XdrError> {
        let mut xdr = Decoder::new(bytes);
        let version = decode_version(&mut xdr)?;
        xdr.finish()?;
        Ok(version)
    }
}

impl VoteCall {
    /// The call's bytes, its number first.
    pub fn encode(&self) -> Vec<u8> {
        let mut xdr = Encoder::default();
        match *self {
            VoteCall::Beacon(beacon) => {
                xdr.u32(10000).u32(beacon.claims_sync_site.into()).i32(beacon.start);
                encode_version(&mut xdr, beacon.version);
                encode_id(&mut xdr, beacon.transaction);
            }
            VoteCall::DebugOld => drop(xdr.u32(10001)),
            VoteCall::ServerDebugOld(which) => drop(xdr.u32(10002).u32(which)),
            VoteCall::SyncSite => drop(xdr.u32(10003).u32(0)),
            VoteCall::Debug => drop(xdr.u32(10004)),
            VoteCall::ServerDebug(which) => drop(xdr.u32(10005).u32(which)),
            VoteCall::DebugWithKind => drop(xdr.u32(10006)),
            VoteCall::ServerDebugWithKind(which) => drop(xdr.u32(10007).u32(which)),
        }
        xdr.finish()
    }

    /// Reads a call.
    ///
    /// # Errors
    /// If these are not the bytes of one.
    pub fn decode(bytes: &[u8]) -> Result<Self, XdrError> {
        let mut xdr = Decoder::new(bytes);
        let call = match xdr.u32()? {
            10000 => VoteCall::Beacon(Beacon {
                claims_sync_site: xdr.u32()? != 0,
                start: xdr.i32()?,
                version: decode_version(&mut xdr)?,
                transaction: decode_id(&mut xdr)?,
            }),
            10001 => VoteCall::DebugOld,
            10002 => VoteCall::ServerDebugOld(xdr.u32()?),
            10003 => {
                xdr.u32()?;
                VoteCall::SyncSite
            }
            10004 => VoteCall::Debug,
            10005 => VoteCall::ServerDebug(xdr.u32()?),
            10006 => VoteCall::DebugWithKind,
            10007 => VoteCall::ServerDebugWithKind(xdr.u32()?),
            other => return Err(XdrError::Opcode(other)),
        };
        xdr.finish()?;
        Ok(call)
    }
}

impl DiskCall {
    /// The call's bytes, its number first. The database of `SendFile` follows them.
    pub fn encode(&self) -> Vec<u8> {
        let mut xdr = Encoder::default();
        xdr.u32(self.opcode());
        match self {
            DiskCall::Begin(id) | DiskCall::Commit(id) | DiskCall::Abort(id) | DiskCall::ReleaseLocks(id) => {
                encode_id(&mut xdr, *id);
            }
            DiskCall::Lock { transaction, file, position, length, kind } => {
                encode_id(&mut xdr, *transaction);
                xdr.u32(*file).u32(*position).u32(*length).u32(*kind);
            }
            DiskCall::Write { transaction, write } => {
                encode_id(&mut xdr, *transaction);
                xdr.u32(write.file).u32(write.position).opaque(&write.bytes);
            }
            DiskCall::GetVersion | DiskCall::Probe => {}
            DiskCall::GetFile { file } => drop(xdr.u32(*file)),
            DiskCall::SendFile { file, length, version } => {
                xdr.u32(*file).u32(*length);
                encode_version(&mut xdr, *version);
            }
            DiskCall::Truncate { transaction, file, length } => {
                encode_id(&mut xdr, *transaction);
                xdr.u32(*file).u32(*length);
            }
            DiskCall::WriteV { transaction, writes } => {
                encode_id(&mut xdr, *transaction);
                encode_writes(&mut xdr, writes);
            }
            DiskCall::UpdateInterfaceAddr(addresses) => {
                for index in 0..MAX_INTERFACES {
                    xdr.u32(addresses.get(index).copied().unwrap_or(0));
                }
            }
            DiskCall::SetVersion { transaction, old, new } => {
                encode_id(&mut xdr, *transaction);
                encode_version(&mut xdr, *old);
                encode_version(&mut xdr, *new);
            }
        }
        xdr.finish()
    }

    /// What the call is, for people.
    pub fn name(&self) -> &'static str {
        match self {
            DiskCall::Begin(_) => "Begin",
            DiskCall::Commit(_) => "Commit",
            DiskCall::Lock { .. } => "Lock",
            DiskCall::Write { .. } => "Write",
            DiskCall::GetVersion => "GetVersion",
            DiskCall::GetFile { .. } => "GetFile",
            DiskCall::SendFile { .. } => "SendFile",
            DiskCall::Abort(_) => "Abort",
            DiskCall::ReleaseLocks(_) => "ReleaseLocks",
            DiskCall::Truncate { .. } => "Truncate",
            DiskCall::Probe => "Probe",
            DiskCall::WriteV { .. } => "WriteV",
            DiskCall::UpdateInterfaceAddr(_) => "UpdateInterfaceAddr",
            DiskCall::SetVersion { .. } => "SetVersion",
        }
    }

    /// The number of the procedure.
    pub fn opcode(&self) -> u32 {
        match self {
            DiskCall::Begin(_) => 20000,
            DiskCall::Commit(_) => 20001,
            DiskCall::Lock { .. } => 20002,
            DiskCall::Write { .. } => 20003,
            DiskCall::GetVersion => 20004,
            DiskCall::GetFile { .. } => 20005,
            DiskCall::SendFile { .. } => 20006,
            DiskCall::Abort(_) => 20007,
            DiskCall::ReleaseLocks(_) => 20008,
            DiskCall::Truncate { .. } => 20009,
            DiskCall::Probe => 20010,
            DiskCall::WriteV { .. } => 20011,
            DiskCall::UpdateInterfaceAddr(_) => 20012,
            DiskCall::SetVersion { .. } => 20013,
        }
    }

    /// Reads a call. Of `SendFile` only the arguments: the stream that follows is the caller's to read.
    ///
    /// # Errors
    /// If these are not the bytes of one.
    pub fn decode(bytes: &[u8]) -> Result<Self, XdrError> {
        let mut xdr = Decoder::new(bytes);
        let call = match xdr.u32()? {
            20000 => DiskCall::Begin(decode_id(&mut xdr)?),
            20001 => DiskCall::Commit(decode_id(&mut xdr)?),
            20002 => DiskCall::Lock {
                transaction: decode_id(&mut xdr)?,
                file: xdr.unsigned("file")?,
                position: xdr.unsigned("position")?,
                length: xdr.unsigned("length")?,
                kind: xdr.unsigned("lock type")?,
            },
            20003 => DiskCall::Write {
                transaction: decode_id(&mut xdr)?,
                write: Write {
                    file: xdr.unsigned("file")?,
                    position: xdr.unsigned("position")?,
                    bytes: xdr.opaque("write", MAX_SINGLE_WRITE)?.to_vec(),
                },
            },
            20004 => DiskCall::GetVersion,
            20005 => DiskCall::GetFile { file: xdr.unsigned("file")? },
            20006 => DiskCall::SendFile {
                file: xdr.unsigned("file")?,
                length: xdr.unsigned("length")?,
                version: decode_version(&mut xdr)?,
            },
            20007 => DiskCall::Abort(decode_id(&mut xdr)?),
            20008 => DiskCall::ReleaseLocks(decode_id(&mut xdr)?),
            20009 => DiskCall::Truncate {
                transaction: decode_id(&mut xdr)?,
                file: xdr.unsigned("file")?,
                length: xdr.unsigned("length")?,
            },
            20010 => DiskCall::Probe,
            20011 => DiskCall::WriteV { transaction: decode_id(&mut xdr)?, writes: decode_writes(&mut xdr)? },
            20012 => DiskCall::UpdateInterfaceAddr(decode_addresses(&mut xdr)?),
            20013 => DiskCall::SetVersion {
                transaction: decode_id(&mut xdr)?,
                old: decode_version(&mut xdr)?,
                new: decode_version(&mut xdr)?,
            },
            other => return Err(XdrError::Opcode(other)),
        };
        xdr.finish()?;
        Ok(call)
    }

    /// The transaction it speaks of, if any.
    pub fn transaction(&self) -> Option<TransactionId> {
        match self {
            DiskCall::Begin(id) | DiskCall::Commit(id) | DiskCall::Abort(id) | DiskCall::ReleaseLocks(id) => {
                Some(*id)
            }
            DiskCall::Lock { transaction, .. }
            | DiskCall::Write { transaction, .. }
            | DiskCall::Truncate { transaction, .. }
            | DiskCall::WriteV { transaction, .. }
            | DiskCall::SetVersion { transaction, .. } => Some(*transaction),
            DiskCall::GetVersion
            | DiskCall::GetFile { .. }
            | DiskCall::SendFile { .. }
            | DiskCall::Probe
            | DiskCall::UpdateInterfaceAddr(_) => None,
        }
    }
}

/// The places first, then all bytes together.
fn encode_writes(xdr: &mut Encoder, writes: &[Write]) {
    xdr.u32(writes.len() as u32);
    for write in writes {
        xdr.u32(write.file).u32(write.position).u32(write.bytes.len() as u32);
    }
    let bytes: Vec<u8> = writes.iter().flat_map(|write| &write.bytes).copied().collect();
    xdr.opaque(&bytes);
}

fn decode_writes(xdr: &mut Decoder<'_>) -> Result<Vec<Write>, XdrError> {
    let count = xdr.count("writes", MAX_WRITES)?;
    let mut places = Vec::with_capacity(count);
    for _ in 0..count {
        places.push((xdr.unsigned("file")?, xdr.unsigned("position")?, xdr.unsigned("length")? as usize));
    }
    let mut rest = xdr.opaque("bytes written", MAX_WRITE_BYTES)?;
    let mut writes = Vec::with_capacity(count);
    for (file, position, length) in places {
        let (bytes, after) =
            rest.split_at_checked(length).ok_or_else(|| XdrError::Short { missing: length - rest.len() })?;
        rest = after;
        writes.push(Write { file, position, bytes: bytes.to_vec() });
    }
    if rest.is_empty() { Ok(writes) } else { Err(XdrError::Trailing(rest.len())) }
}

/// Up to the first zero: the rest is filling.
fn decode_addresses(xdr: &mut Decoder<'_>) -> Result<Vec<u32>, XdrError> {
    let mut addresses = Vec::new();
    for _ in 0..MAX_INTERFACES {
        addresses.push(xdr.u32()?);
    }
    let used = addresses.iter().position(|&address| address == 0).unwrap_or(MAX_INTERFACES);
    addresses.truncate(used);
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn examples() -> Vec<DiskCall> {
        let transaction = TransactionId { epoch: 9, counter: 3 };
        let write = |position, bytes: &[u8]| Write { file: 0, position, bytes: bytes.to_vec() };
        vec![
            DiskCall::Begin(transaction),
            DiskCall::Commit(transaction),
            DiskCall::Lock { transaction, file: 0, position: 1, length: 1, kind: LOCK_WRITE },
            DiskCall::Write { transaction, write: write(5, b"abcde") },
            DiskCall::GetVersion,
            DiskCall::GetFile { file: 0 },
            DiskCall::SendFile { file: 0, length: 77, version: Version::new(4, 5) },
            DiskCall::Abort(transaction),
            DiskCall::ReleaseLocks(transaction),
            DiskCall::Truncate { transaction, file: 0, length: 1024 },
            DiskCall::Probe,
            DiskCall::WriteV { transaction, writes: vec![write(0, b"x"), write(9, b"yz"), write(1, b"")] },
            DiskCall::UpdateInterfaceAddr(vec![0x7f00_0001, 0x0a00_0002]),
            DiskCall::SetVersion { transaction, old: Version::FRESH, new: Version::new(9, 1) },
        ]
    }

    /// U29: every call survives its bytes.
    #[test]
    fn every_disk_call_reads_back_as_it_was_written() {
        for call in examples() {
            assert_eq!(DiskCall::decode(&call.encode()), Ok(call));
        }
    }

    /// Bad input is an error: each call cut short anywhere, and with a byte more.
    #[test]
    fn a_call_that_is_cut_or_too_long_is_refused() {
        for call in examples() {
            let bytes = call.encode();
            for cut in 0..bytes.len() {
                assert!(DiskCall::decode(&bytes[..cut]).is_err(), "{call:?} cut at {cut}");
            }
            assert!(DiskCall::decode(&[bytes, vec![0; 4]].concat()).is_err());
        }
        assert_eq!(DiskCall::decode(&31337u32.to_be_bytes()), Err(XdrError::Opcode(31337)));
        assert_eq!(VoteCall::decode(&10008u32.to_be_bytes()), Err(XdrError::Opcode(10008)));
    }
}
