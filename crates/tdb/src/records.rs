//! All records, one after the other, as copies.

use crate::database::Database;
use crate::dump::Pair;
use crate::error::ReadError;
use crate::table::traverse::{Batch, Copying};

/// An iterator over all records; see [`Database::records`].
///
/// A chain's keys are copied at a time; a value is looked up when its turn comes, so none is old and none deleted. After
/// an error it ends.
#[derive(Debug)]
pub struct Records<'db> {
    database: &'db Database,
    chain: u32,
    keys: std::vec::IntoIter<Vec<u8>>,
}

impl<'db> Records<'db> {
    pub(crate) fn new(database: &'db Database) -> Self {
        Records { database, chain: 0, keys: Vec::new().into_iter() }
    }

    fn step(&mut self) -> Result<Option<Pair>, ReadError> {
        loop {
            for key in self.keys.by_ref() {
                if let Some(value) = self.database.fetch(&key)? {
                    return Ok(Some((key, value)));
                }
            }
            if self.chain == self.database.hash_size() {
                return Ok(None);
            }
            let mut batch = Batch::default();
            let table = self.database.table();
            self.database.core().noted(table.copy_chain(self.chain, None, Copying::Keys, &mut batch))?;
            self.chain += 1;
            self.keys = batch.keys().map(<[u8]>::to_vec).collect::<Vec<_>>().into_iter();
        }
    }
}

impl Iterator for Records<'_> {
    type Item = Result<Pair, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let record = self.step();
        if record.is_err() {
            self.chain = self.database.hash_size();
            self.keys = Vec::new().into_iter();
        }
        record.transpose()
    }
}
