//! The records of one transaction, as bytes.

use tdb::Savepoint;

use crate::error::StorageError;

/// Records by key. A transaction of the engine is one; what it shows is all or nothing.
pub trait Records {
    /// The value of `key`.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError>;

    /// Gives `key` this value, whether it is there or not.
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), StorageError>;

    /// Removes `key`; false if it is not there.
    fn delete(&mut self, key: &[u8]) -> Result<bool, StorageError>;

    /// Removes everything.
    fn clear(&mut self) -> Result<(), StorageError>;

    /// How many bytes of the database are in use by now, those included that were freed within it.
    fn size(&self) -> u64;

    /// Into how many slices the records fall; a key stays in its slice.
    fn slices(&self) -> u32;

    /// Shows the records of slice `slice` to `each`.
    fn for_each(&self, slice: u32, each: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), StorageError>;

    /// A place for [`Records::roll_back`] to go back to; `None` where nothing can be written.
    fn savepoint(&mut self) -> Option<Savepoint> {
        None
    }

    /// Undoes what was written after `point`.
    fn roll_back(&mut self, point: &Savepoint) -> Result<(), StorageError> {
        let _ = point;
        Err(StorageError::ReadOnly)
    }
}
