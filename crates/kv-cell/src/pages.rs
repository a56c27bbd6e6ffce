//! A TDB image in a Ubik database: its pages as the engine borrows them, and what a transaction changed of them.

use std::io;
use std::sync::Arc;

use kv::StorageError;
use kv::memory::CHAINS;
use tdb::storage::MemoryStorage;
use tdb::{Changes, Database, OpenOptions, Storage};
use ubik::application::{ChangeError, WriteTransaction};
use ubik::overlay::View;
use ubik_proto::changed::PAGE_LEN;

/// The image at one version; nobody changes it.
struct Pages(View);

impl Storage for Pages {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.length())
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if offset + out.len() as u64 > self.0.length() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.0.read(offset, out)
    }

    fn write_at(&self, _: u64, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn grow(&self, _: u64, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn truncate(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn page_len(&self) -> Option<u32> {
        Some(PAGE_LEN as u32)
    }

    fn page(&self, number: u32) -> io::Result<Arc<[u8]>> {
        Ok(self.0.page(number)?)
    }
}

/// An open image, which is given one version after the other.
pub struct OpenImage(Option<Database>);

impl OpenImage {
    /// One that has no version yet.
    pub fn new() -> OpenImage {
        OpenImage(None)
    }

    /// The image as `view` has it; an empty one where nothing was ever written.
    ///
    /// # Errors
    /// The engine cannot read it.
    pub fn at(&mut self, view: &View) -> Result<&mut Database, StorageError> {
        if view.length() == 0 {
            return Ok(self.0.insert(new_image()?));
        }
        if let Some(open) = &mut self.0
            && open.exchange(Box::new(Pages(view.clone()))).is_ok()
        {
            return Ok(self.0.as_mut().expect("it is there, as was just seen"));
        }
        // The first, or one of another shape, as after a database was replaced whole.
        let opened = OpenOptions::new().open_storage("image", Box::new(Pages(view.clone())));
        Ok(self.0.insert(opened.map_err(StorageError::engine)?))
    }

    /// The image as it was given last.
    pub fn current(&self) -> Option<&Database> {
        self.0.as_ref()
    }
}

fn new_image() -> Result<Database, StorageError> {
    let mut options = OpenOptions::new();
    let options = options.create(true).hash_size(CHAINS);
    options.open_storage("image", Box::<MemoryStorage>::default()).map_err(StorageError::engine)
}

/// The bytes of an image without keys.
///
/// # Errors
/// There is no memory for it.
pub fn empty_image() -> Result<Vec<u8>, StorageError> {
    let image = new_image()?;
    let mut bytes = vec![0; image.map_size() as usize];
    let storage = image.into_storage().expect("it was opened in one");
    storage.read_at(0, &mut bytes).map_err(StorageError::engine)?;
    Ok(bytes)
}

/// Ranges closer than this are sent as one: each is a write of its own in every call and every log, and 64 fill a call.
const GAP: u64 = 128;

/// Writes what a transaction of the engine changed into one of the database.
///
/// # Errors
/// It is too large, or the store fails.
pub fn write(transaction: &mut WriteTransaction, changes: &Changes) -> Result<(), ChangeError> {
    let mut ranges = changes.ranges.iter().peekable();
    while let Some(first) = ranges.next() {
        let start = u64::from(first.offset);
        let mut bytes = first.bytes.clone();
        while let Some(next) =
            ranges.next_if(|next| u64::from(next.offset) <= start + bytes.len() as u64 + GAP)
        {
            let gap = (u64::from(next.offset) - start) as usize - bytes.len();
            let from = bytes.len();
            bytes.resize(from + gap, 0);
            transaction.seek(start + from as u64);
            transaction.read(&mut bytes[from..])?;
            bytes.extend_from_slice(&next.bytes);
        }
        transaction.seek(start);
        transaction.write(&bytes)?;
    }
    let size = u64::from(changes.size);
    if transaction.length() < size {
        transaction.seek(size - 1);
        transaction.write(&[0])?;
    }
    Ok(())
}
