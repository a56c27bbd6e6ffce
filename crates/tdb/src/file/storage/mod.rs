//! Where a database's bytes live: the seam under the engine.
//!
//! A mapped file and anonymous memory are used directly (see `mapping.rs`), without a call through this trait. Everything
//! else, a file without mapping, memory in tests, a file inside another system's transaction, is a [`Storage`]. Every byte the engine changes and every point at which it needs the bytes to be durable goes
//! through it in program order, so an implementation that records its calls knows every state that a crash can leave.

mod file;
mod memory;

use std::io;
use std::sync::Arc;

pub(crate) use file::FileStorage;
pub use memory::MemoryStorage;

/// The bytes of a database.
///
/// Offsets are from the start of the database. Calls come from one thread at a time. An error is given to the
/// caller of the operation, which then leaves the database as it was (inside a transaction) or, like libtdb,
/// possibly with the change half-done in a way that `check` finds (outside).
pub trait Storage: Send {
    /// How many bytes there are now; other processes may have added some.
    fn size(&self) -> io::Result<u64>;

    /// Fills `out` with the bytes at `offset`; an error if there are not enough.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`, inside the present size.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Adds zero bytes until there are `to`, with the room reserved: later writes there do not run out of space.
    fn grow(&self, from: u64, to: u64) -> io::Result<()>;

    /// Drops all bytes from `to` on.
    fn truncate(&self, to: u64) -> io::Result<()>;

    /// Returns when all that was written and grown before is durable.
    fn sync(&self) -> io::Result<()>;

    /// Notes that the database was changed now, for backup programs that look at the time of a file.
    fn touch(&self) {}

    /// How many bytes each page has that this storage lends, a power of two; `None` if it lends none.
    fn page_len(&self) -> Option<u32> {
        None
    }

    /// Page `number`, whole; what lies beyond the size is not looked at. A database keeps some of the pages it was lent, so
    /// they change through its own calls only, until the storage is exchanged ([`crate::Database::exchange`]).
    ///
    /// # Errors
    /// As [`Storage::read_at`].
    fn page(&self, number: u32) -> io::Result<Arc<[u8]>> {
        let _ = number;
        Err(io::ErrorKind::Unsupported.into())
    }
}
