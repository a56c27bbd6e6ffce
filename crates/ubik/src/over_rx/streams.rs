//! The bytes of calls and transfers, as both sides read and write them.

use rx::rpc::CallStream;
use ubik_proto::code::AbortCode;
use ubik_proto::messages::MAX_WRITE_BYTES;

use super::calls::failed;
use crate::effect::CallError;
use crate::phys::Replacement;
use crate::snapshot::Snapshot;

/// The most bytes of a call without a stream: a full `WriteV`, and room for its places.
pub(super) const MAX_CALL: usize = MAX_WRITE_BYTES + 4096;
/// How much of a transfer is moved at a time.
pub(super) const CHUNK: usize = 64 << 10;

/// The stream is not what the protocol has there.
pub(super) const MALFORMED: rx::CallFailure =
    rx::CallFailure::Unanswered(rx::AbortCode(AbortCode::UNMARSHAL.0));

/// Everything up to the end of the stream, at most `limit` bytes.
pub(super) fn read_rest(
    call: &mut (impl CallStream + ?Sized),
    limit: usize,
) -> Result<Vec<u8>, rx::CallFailure> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match call.read(&mut buffer)? {
            0 => return Ok(bytes),
            count if bytes.len() + count > limit => return Err(MALFORMED),
            count => bytes.extend_from_slice(&buffer[..count]),
        }
    }
}

pub(super) fn read_exactly(
    call: &mut (impl CallStream + ?Sized),
    mut out: &mut [u8],
) -> Result<(), rx::CallFailure> {
    while !out.is_empty() {
        match call.read(out)? {
            0 => return Err(MALFORMED),
            count => out = &mut out[count..],
        }
    }
    Ok(())
}

/// Writes a database's bytes as a stream.
pub(super) fn write_database(
    call: &mut (impl CallStream + ?Sized),
    database: &Snapshot,
) -> Result<(), CallError> {
    let mut buffer = vec![0; CHUNK];
    let mut position = 0;
    while position < database.length() {
        let count = CHUNK.min((database.length() - position) as usize);
        database.copy(position, &mut buffer[..count]).map_err(|error| CallError::Local(error.to_string()))?;
        call.write(&buffer[..count]).map_err(failed)?;
        position += count as u64;
    }
    Ok(())
}

/// Reads `length` bytes of a stream into a replacement.
pub(super) fn read_database(
    call: &mut (impl CallStream + ?Sized),
    length: u32,
    into: &mut dyn Replacement,
) -> Result<(), CallError> {
    let mut buffer = vec![0; CHUNK];
    let mut left = length as usize;
    while left > 0 {
        let count = CHUNK.min(left);
        read_exactly(call, &mut buffer[..count]).map_err(failed)?;
        into.append(&buffer[..count]).map_err(|error| CallError::Local(error.to_string()))?;
        left -= count;
    }
    Ok(())
}

/// The wire carries lengths of 31 bits.
pub(super) fn wire_length(database: &Snapshot) -> Result<u32, CallError> {
    i32::try_from(database.length())
        .map(|length| length as u32)
        .map_err(|_| CallError::Aborted(AbortCode::INTERNAL))
}
