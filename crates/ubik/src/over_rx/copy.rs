//! A database as a running server has it, OpenAFS's or ours, for whoever wants a copy.

use std::io;

use rx::Connection;
use rx::rpc::CallStream;
use thiserror::Error;
use ubik_proto::code::AbortCode;
use ubik_proto::messages::DiskCall;
use ubik_proto::version::Version;

use super::streams::{CHUNK, MALFORMED, MAX_CALL, read_exactly, read_rest};

/// Why there is no copy.
#[derive(Debug, Error)]
pub enum CopyError {
    /// The call failed, or the server refused it.
    #[error("the server does not give its database: {0}")]
    Call(rx::CallFailure),
    /// The server gives its database to others only.
    #[error(
        "the server gives its database to servers of its cell and to its own machine only, and to who has the cell's key"
    )]
    NotAuthorized,
    /// The bytes cannot be kept.
    #[error("cannot write the copy: {0}")]
    Keep(#[from] io::Error),
}

impl From<rx::CallFailure> for CopyError {
    fn from(failure: rx::CallFailure) -> CopyError {
        match failure {
            rx::CallFailure::Aborted(code) if code.0 == AbortCode::NOT_AUTHORIZED.0 => {
                CopyError::NotAuthorized
            }
            failure => CopyError::Call(failure),
        }
    }
}

/// Fetches the database over a connection to the DISK service; `keep` gets its bytes in order. Returns the version that they
/// are. The server keeps one version still while it sends it.
///
/// # Errors
/// As [`CopyError`] says; what was kept by then is not a copy.
pub fn fetch(
    connection: &Connection,
    mut keep: impl FnMut(&[u8]) -> io::Result<()>,
) -> Result<Version, CopyError> {
    let mut call = connection.start()?;
    call.write(&DiskCall::GetFile { file: 0 }.encode())?;
    call.finish()?;
    let mut length = [0; 4];
    read_exactly(&mut call, &mut length)?;
    let mut left = u32::from_be_bytes(length) as usize;
    let mut buffer = vec![0; CHUNK];
    while left > 0 {
        let count = CHUNK.min(left);
        read_exactly(&mut call, &mut buffer[..count])?;
        keep(&buffer[..count])?;
        left -= count;
    }
    let version = read_rest(&mut call, MAX_CALL)?;
    Version::decode(&version).map_err(|_| CopyError::Call(MALFORMED))
}
