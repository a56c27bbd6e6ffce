//! The records of a TDB image: inside one of its transactions, or as they are.

use std::ops::ControlFlow;

use tdb::{Database, Savepoint, StoreError, StoreMode, Transaction};

use crate::error::StorageError;
use crate::records::Records;

/// A transaction of the engine as [`Records`]. What is written becomes part of the image when the transaction does.
pub struct Image<'t, 'db> {
    transaction: &'t mut Transaction<'db>,
    chains: u32,
}

impl<'t, 'db> Image<'t, 'db> {
    /// The records that `transaction` sees; `chains` is how many hash chains its database has
    /// ([`tdb::Database::hash_size`]): its slices.
    pub fn new(transaction: &'t mut Transaction<'db>, chains: u32) -> Image<'t, 'db> {
        Image { transaction, chains }
    }
}

impl Records for Image<'_, '_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        self.transaction.fetch(key).map_err(StorageError::engine)
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), StorageError> {
        self.transaction.store(key, value, StoreMode::Replace).map_err(StorageError::engine)
    }

    fn delete(&mut self, key: &[u8]) -> Result<bool, StorageError> {
        match self.transaction.delete(key) {
            Ok(()) => Ok(true),
            Err(StoreError::NoSuchRecord) => Ok(false),
            Err(error) => Err(StorageError::engine(error)),
        }
    }

    fn clear(&mut self) -> Result<(), StorageError> {
        self.transaction.wipe_all().map_err(StorageError::engine)
    }

    fn size(&self) -> u64 {
        self.transaction.map_size().into()
    }

    fn slices(&self) -> u32 {
        self.chains
    }

    fn for_each(&self, slice: u32, each: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), StorageError> {
        let shown = self.transaction.traverse_chain(slice, |key, value| {
            each(key, value);
            ControlFlow::Continue(())
        });
        shown.map(drop).map_err(StorageError::engine)
    }

    fn savepoint(&mut self) -> Option<Savepoint> {
        Some(self.transaction.savepoint())
    }

    fn roll_back(&mut self, point: &Savepoint) -> Result<(), StorageError> {
        self.transaction.rollback_to(point).map_err(StorageError::engine)
    }
}

/// A database that is only read, as [`Records`]: every write is refused. It shows one version if nobody writes to the
/// database meanwhile.
pub struct View<'db>(&'db Database);

impl<'db> View<'db> {
    /// The records of `database`.
    pub fn new(database: &'db Database) -> View<'db> {
        View(database)
    }
}

impl Records for View<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        self.0.fetch(key).map_err(StorageError::engine)
    }

    fn put(&mut self, _: &[u8], _: &[u8]) -> Result<(), StorageError> {
        Err(StorageError::ReadOnly)
    }

    fn delete(&mut self, _: &[u8]) -> Result<bool, StorageError> {
        Err(StorageError::ReadOnly)
    }

    fn clear(&mut self) -> Result<(), StorageError> {
        Err(StorageError::ReadOnly)
    }

    fn size(&self) -> u64 {
        self.0.map_size().into()
    }

    fn slices(&self) -> u32 {
        self.0.hash_size()
    }

    fn for_each(&self, slice: u32, each: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), StorageError> {
        let shown = self.0.traverse_chain(slice, |key, value| {
            each(key, value);
            ControlFlow::Continue(())
        });
        shown.map(drop).map_err(StorageError::engine)
    }
}
