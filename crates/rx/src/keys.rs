//! Key files, and the security classes that come from them.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rx_proto::rxkad::Level;
use rx_proto::rxkad::client::RxkadClient;
use rx_proto::rxkad::keys::{KeyFile, KeyFileError};
use rx_proto::rxkad::server::RxkadServer;
use rx_proto::rxkad::ticket::Printed;

use crate::port::SystemRandom;

/// Why a key file is of no use.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It cannot be read.
    #[error("cannot read key file {path}: {source}")]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is malformed.
    #[error("key file {path}: {source}")]
    Malformed {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        source: KeyFileError,
    },
    /// No key in it can seal tickets.
    #[error(
        "the key file holds no key of type aes256-cts or aes128-cts for rxkad; add one with `asetkey add rxkad_krb5`"
    )]
    NoKey,
    /// No random numbers.
    #[error("cannot read random numbers from the system: {0}")]
    Random(io::Error),
}

/// Reads a `KeyFileExt`.
///
/// # Errors
/// It cannot be read or is malformed.
pub fn read(path: &Path) -> Result<KeyFile, KeyError> {
    let bytes = std::fs::read(path).map_err(|source| KeyError::Read { path: path.to_owned(), source })?;
    KeyFile::parse(&bytes).map_err(|source| KeyError::Malformed { path: path.to_owned(), source })
}

/// A client that calls as the service itself, with a ticket printed from its key.
///
/// # Errors
/// There is no suitable key.
pub fn client(keys: &KeyFile, level: Level) -> Result<RxkadClient, KeyError> {
    let mut random = SystemRandom::open().map_err(KeyError::Random)?;
    let key = keys.newest().ok_or(KeyError::NoKey)?;
    let printed = Printed::new(key, &mut random).ok_or(KeyError::NoKey)?;
    Ok(RxkadClient::printed(printed, level))
}

/// A server that accepts tickets sealed with these keys.
pub fn server(keys: KeyFile, least_level: Level) -> RxkadServer {
    RxkadServer { keys: Arc::new(keys), least_level }
}
