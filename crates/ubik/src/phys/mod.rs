//! PHYS: the bytes of one database, wherever they are kept.
//!
//! [`PhysicalStore`] is all that the layers above know: nothing there knows how files are named or how a whole database
//! is replaced. Two stores ship: [`files`] on disk, and [`memory`] with a model of what a crash leaves.
//!
//! Positions are in bytes after the file's header; the header itself belongs to the store.

pub mod files;
pub mod memory;

use std::io;
use std::sync::Arc;

use thiserror::Error;
use ubik_proto::election::promise::KeptPromise;
use ubik_proto::version::Version;

/// Bytes in the header of the database file and of the log.
pub const HEADER_LEN: u64 = 64;
/// The header's first word.
pub const LABEL_MAGIC: u32 = 0x0035_4545;

/// The data of one database, as it was when it was opened: a replacement leaves it readable for whoever has it.
///
/// Positional I/O from any number of threads at once.
pub trait StoreFile: Send + Sync {
    /// Reads at `position`; returns how many bytes there were.
    ///
    /// # Errors
    /// Those of the medium.
    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<usize>;
    /// Writes at `position`, growing the file as needed.
    ///
    /// # Errors
    /// Those of the medium.
    fn write_at(&self, position: u64, bytes: &[u8]) -> io::Result<()>;
    /// Takes room for what will be written at `position`: writing it then does not fail for want of room. Changes no bytes, and
    /// not the length.
    ///
    /// # Errors
    /// Those of the medium, a full one above all.
    fn reserve(&self, position: u64, length: u64) -> io::Result<()>;
    /// Cuts or extends the file.
    ///
    /// # Errors
    /// Those of the medium.
    fn truncate(&self, length: u64) -> io::Result<()>;
    /// How many bytes there are.
    ///
    /// # Errors
    /// Those of the medium.
    fn length(&self) -> io::Result<u64>;
    /// Writes the label; it is safe after [`StoreFile::sync`].
    ///
    /// # Errors
    /// Those of the medium.
    fn set_label(&self, version: Version) -> io::Result<()>;
    /// Makes everything written safe, label and data.
    ///
    /// # Errors
    /// Those of the medium.
    fn sync(&self) -> io::Result<()>;
}

/// A whole database that is being received, in a file of its own. Dropped without [`Replacement::commit`], it never
/// was, and nothing but that file is removed.
pub trait Replacement: Send + std::fmt::Debug {
    /// Appends bytes.
    ///
    /// # Errors
    /// Those of the medium.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Labels what was received, makes it safe, and puts it in the old one's place in one step. Returns the data
    /// file: the one that was received, whatever else is in the directory by now.
    ///
    /// # Errors
    /// Which of the two databases is in place then is what [`ReplaceError`] says.
    fn commit(self: Box<Self>, version: Version) -> Result<Arc<dyn StoreFile>, ReplaceError>;
}

/// Why a received database did not take the old one's place.
#[derive(Debug, Error)]
pub enum ReplaceError {
    /// The old database is in its place.
    #[error("the received database cannot be put in place, the old one stays: {0}")]
    Kept(#[source] io::Error),
    /// The new one is in its place, and may be gone again after a crash.
    #[error("the received database is in place and could not be made safe; restart this server: {0}")]
    Unsafe(#[source] io::Error),
}

/// Where one database is kept.
pub trait PhysicalStore: Send + Sync {
    /// How many files the database has; 1 until there is a format with more.
    fn file_count(&self) -> u32 {
        1
    }
    /// The data file, created if there is none, and its label, if it has one. Called once, at the start: what an earlier
    /// life was receiving is removed.
    ///
    /// # Errors
    /// Those of the medium, or `InvalidData` if the file is not a database.
    fn open(&self) -> io::Result<(Arc<dyn StoreFile>, Option<Version>)>;
    /// Replaces the log by `bytes` (its header included) and makes them safe.
    ///
    /// # Errors
    /// Those of the medium; the log may then hold any part of the bytes.
    fn write_log(&self, bytes: &[u8]) -> io::Result<()>;
    /// Empties the log; not synced, since replaying it would change nothing.
    ///
    /// # Errors
    /// Those of the medium.
    fn clear_log(&self) -> io::Result<()>;
    /// The log, its header included.
    ///
    /// # Errors
    /// Those of the medium.
    fn read_log(&self) -> io::Result<Vec<u8>>;
    /// Starts receiving a whole database.
    ///
    /// # Errors
    /// Those of the medium.
    fn begin_replacement(&self) -> io::Result<Box<dyn Replacement>>;
    /// The promise that was written last, if one ever was.
    ///
    /// # Errors
    /// Those of the medium, or `InvalidData`.
    fn load_promise(&self) -> io::Result<Option<KeptPromise>>;
    /// Writes the promise and makes it safe, in one step.
    ///
    /// # Errors
    /// Those of the medium.
    fn save_promise(&self, promise: KeptPromise) -> io::Result<()>;
}

/// The header of a database with this label.
pub fn encode_label(version: Version) -> [u8; 16] {
    let mut header = [0; 16];
    header[..4].copy_from_slice(&LABEL_MAGIC.to_be_bytes());
    header[6..8].copy_from_slice(&(HEADER_LEN as u16).to_be_bytes());
    header[8..12].copy_from_slice(&version.epoch.to_be_bytes());
    header[12..16].copy_from_slice(&version.counter.to_be_bytes());
    header
}

/// The label in a header; `None` if the header is empty or all zeros, as in a file that was just created.
///
/// # Errors
/// `InvalidData` if it is something else.
pub fn decode_label(header: &[u8]) -> io::Result<Option<Version>> {
    if header.iter().all(|&byte| byte == 0) {
        return Ok(None);
    }
    let word = |at: usize| -> io::Result<u32> {
        let bytes = header.get(at..at + 4).ok_or_else(|| bad_label("its header is cut short"))?;
        Ok(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    };
    if word(0)? != LABEL_MAGIC {
        return Err(bad_label("its first word is not that of a Ubik database"));
    }
    Ok(Some(Version { epoch: word(8)?, counter: word(12)? }))
}

fn bad_label(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{what}; move the file away to start empty"))
}

/// The bytes in which a promise is kept: magic, epoch, whether it has somebody, whom (an address), cell, and a check of these.
pub fn encode_promise(promise: KeptPromise) -> [u8; PROMISE_LEN] {
    let mut bytes = [0; PROMISE_LEN];
    bytes[..4].copy_from_slice(PROMISE_MAGIC);
    bytes[4..8].copy_from_slice(&promise.max_epoch.to_be_bytes());
    bytes[8..12].copy_from_slice(&u32::from(promise.to.is_some()).to_be_bytes());
    bytes[12..16].copy_from_slice(&promise.to.unwrap_or(0).to_be_bytes());
    bytes[16..24].copy_from_slice(&promise.cell.to_be_bytes());
    let check = checksum(&bytes[..24]);
    bytes[24..].copy_from_slice(&check.to_be_bytes());
    bytes
}

const PROMISE_MAGIC: &[u8; 4] = b"QPR2";
/// Bytes in a promise.
pub const PROMISE_LEN: usize = 32;

/// Reads a promise; `None` if there is none.
///
/// # Errors
/// `InvalidData` if the bytes are no promise.
pub fn decode_promise(bytes: &[u8]) -> io::Result<Option<KeptPromise>> {
    // One of the first format names a place in a list that may have changed since: it counts as missing.
    if bytes.is_empty() || (bytes.len() == 16 && bytes.starts_with(b"QPRM")) {
        return Ok(None);
    }
    let whole: &[u8; PROMISE_LEN] = bytes.try_into().map_err(|_| bad_promise())?;
    if whole[..4] != *PROMISE_MAGIC || whole[24..] != checksum(&whole[..24]).to_be_bytes() {
        return Err(bad_promise());
    }
    let word = |at: usize| u32::from_be_bytes([whole[at], whole[at + 1], whole[at + 2], whole[at + 3]]);
    let cell = u64::from(word(16)) << 32 | u64::from(word(20));
    Ok(Some(KeptPromise { max_epoch: word(4), to: (word(8) == 1).then(|| word(12)), cell }))
}

fn bad_promise() -> io::Error {
    let what = "the promise file is damaged; remove it to be bound for a full promise instead";
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// FNV-1a, 64 bits.
fn checksum(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// U4: the header that OpenAFS writes and reads.
    #[test]
    fn a_label_is_that_of_openafs() {
        let label = encode_label(Version::new(0x0102_0304, 5));
        assert_eq!(label, [0, 0x35, 0x45, 0x45, 0, 0, 0, 64, 1, 2, 3, 4, 0, 0, 0, 5]);
        assert_eq!(decode_label(&label).unwrap(), Some(Version::new(0x0102_0304, 5)));
        assert_eq!(decode_label(&[]).unwrap(), None);
        assert!(decode_label(b"TDB file\n0000000").is_err());
        assert!(decode_label(&label[..10]).is_err());
    }

    #[test]
    fn a_damaged_promise_is_refused() {
        let promise = KeptPromise { max_epoch: 77, to: Some(0x0a00_0001), cell: u64::MAX - 5 };
        let bytes = encode_promise(promise);
        assert_eq!(decode_promise(&bytes).unwrap(), Some(promise));
        assert_eq!(decode_promise(&[]).unwrap(), None);
        for at in 0..bytes.len() {
            let mut damaged = bytes;
            damaged[at] ^= 0x40;
            assert!(decode_promise(&damaged).is_err(), "byte {at}");
        }
        assert!(decode_promise(&bytes[..9]).is_err());
    }
}
