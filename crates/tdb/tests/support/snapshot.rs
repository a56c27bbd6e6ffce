//! Pages of a database at one version, as a replicated database has them: lent, and never changed. Tests and a benchmark use it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tdb::{Changes, Storage};

/// Bytes of a page.
const PAGE: usize = 1024;

/// Pages at one version, which nobody changes.
#[derive(Clone, Default)]
pub struct Snapshot {
    pages: Vec<Arc<[u8]>>,
    size: u64,
    /// How many pages were lent so far.
    pub lent: Arc<AtomicU64>,
}

impl Snapshot {
    /// The next version: this one with the changes.
    pub fn with(&self, changes: &Changes) -> Snapshot {
        let mut bytes: Vec<u8> = self.pages.iter().flat_map(|page| page.iter().copied()).collect();
        bytes.resize((changes.size as usize).next_multiple_of(PAGE), 0);
        for change in &changes.ranges {
            bytes[change.offset as usize..][..change.bytes.len()].copy_from_slice(&change.bytes);
        }
        let pages = bytes.chunks(PAGE).map(Arc::from).collect();
        Snapshot { pages, size: changes.size.into(), lent: Arc::clone(&self.lent) }
    }

    /// The version with these bytes.
    pub fn of(bytes: &[u8]) -> Snapshot {
        let range = tdb::Change { offset: 0, bytes: bytes.to_vec() };
        Snapshot::default().with(&Changes { ranges: vec![range], size: bytes.len() as u32 })
    }
}

impl Storage for Snapshot {
    fn size(&self) -> io::Result<u64> {
        Ok(self.size)
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        for (nth, byte) in out.iter_mut().enumerate() {
            let at = offset as usize + nth;
            *byte = self.pages.get(at / PAGE).ok_or(io::ErrorKind::UnexpectedEof)?[at % PAGE];
        }
        Ok(())
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
        Some(PAGE as u32)
    }

    fn page(&self, number: u32) -> io::Result<Arc<[u8]>> {
        self.lent.fetch_add(1, Ordering::Relaxed);
        self.pages.get(number as usize).cloned().ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}
