//! Bytes in memory behind the [`Storage`] trait: for tests, and as the simplest example of an implementation.

use std::cell::RefCell;
use std::io;

use super::Storage;

/// A growing vector.
#[derive(Default)]
pub struct MemoryStorage {
    bytes: RefCell<Vec<u8>>,
}

impl MemoryStorage {
    /// Storage that begins with `bytes`; empty for a new database.
    pub fn new(bytes: Vec<u8>) -> MemoryStorage {
        MemoryStorage { bytes: RefCell::new(bytes) }
    }

    /// The bytes as they are now.
    pub fn bytes(&self) -> Vec<u8> {
        self.bytes.borrow().clone()
    }
}

fn place(len: usize, offset: u64, count: usize) -> io::Result<std::ops::Range<usize>> {
    let start = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
    match start.checked_add(count) {
        Some(end) if end <= len => Ok(start..end),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

impl Storage for MemoryStorage {
    fn size(&self) -> io::Result<u64> {
        Ok(self.bytes.borrow().len() as u64)
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let bytes = self.bytes.borrow();
        out.copy_from_slice(&bytes[place(bytes.len(), offset, out.len())?]);
        Ok(())
    }

    fn write_at(&self, offset: u64, new: &[u8]) -> io::Result<()> {
        let mut bytes = self.bytes.borrow_mut();
        let place = place(bytes.len(), offset, new.len())?;
        bytes[place].copy_from_slice(new);
        Ok(())
    }

    fn grow(&self, _from: u64, to: u64) -> io::Result<()> {
        let to = usize::try_from(to).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let mut bytes = self.bytes.borrow_mut();
        if to > bytes.len() {
            bytes.resize(to, 0);
        }
        Ok(())
    }

    fn truncate(&self, to: u64) -> io::Result<()> {
        self.bytes.borrow_mut().truncate(to as usize);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}
