//! The bytes of the calls between servers, as OpenAFS has them (`docs/ubik-protocol.md`, The stock wire).
//!
//! Numbers that C keeps as signed integers and that mean a size, a position or an epoch are refused when negative.

use crate::messages::{
    Beacon, DiskCall, MAX_INTERFACES, MAX_SINGLE_WRITE, MAX_WRITE_BYTES, MAX_WRITES, VoteCall, Write,
};
use crate::version::{TransactionId, Version};
use crate::xdr::{Decoder, Encoder, XdrError};

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
            VoteCall::Stands => drop(xdr.u32(10100)),
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
            10100 => VoteCall::Stands,
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
    use crate::messages::LOCK_WRITE;

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
