//! The records of a TDB image, inside one of its transactions.

use std::ops::ControlFlow;

use tdb::{StoreError, StoreMode, Transaction};

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

fn engine(error: impl std::error::Error + Send + Sync + 'static) -> StorageError {
    StorageError::Engine(Box::new(error))
}

impl Records for Image<'_, '_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        self.transaction.fetch(key).map_err(engine)
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), StorageError> {
        self.transaction.store(key, value, StoreMode::Replace).map_err(engine)
    }

    fn delete(&mut self, key: &[u8]) -> Result<bool, StorageError> {
        match self.transaction.delete(key) {
            Ok(()) => Ok(true),
            Err(StoreError::NoSuchRecord) => Ok(false),
            Err(error) => Err(engine(error)),
        }
    }

    fn clear(&mut self) -> Result<(), StorageError> {
        self.transaction.wipe_all().map_err(engine)
    }

    fn slices(&self) -> u32 {
        self.chains
    }

    fn for_each(&self, slice: u32, each: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), StorageError> {
        let shown = self.transaction.traverse_chain(slice, |key, value| {
            each(key, value);
            ControlFlow::Continue(())
        });
        shown.map(drop).map_err(engine)
    }
}
