//! Storage in memory that fails when told to, as a disk does.
// Each suite uses a part of it.
#![allow(dead_code)]

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use tdb::Storage;

/// A kind of call that can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Read,
    Write,
    /// A write of which a part is done before it fails.
    ShortWrite,
    /// The disk is full.
    Grow,
    Sync,
}

pub const CALLS: [Call; 5] = [Call::Read, Call::Write, Call::ShortWrite, Call::Grow, Call::Sync];

/// What is going to fail.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    pub call: Call,
    /// How many such calls come before.
    pub after: u32,
    /// Whether all later ones fail, too.
    pub lasting: bool,
}

#[derive(Default)]
struct Shared {
    bytes: Vec<u8>,
    fault: Option<Fault>,
    failed: u32,
    calls: u64,
}

/// Clones share the bytes and the fault.
#[derive(Clone, Default)]
pub struct Faulty(Arc<Mutex<Shared>>);

impl Faulty {
    pub fn new(bytes: Vec<u8>) -> Faulty {
        Faulty(Arc::new(Mutex::new(Shared { bytes, ..Shared::default() })))
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().expect("no test panics while it holds the storage")
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.lock().bytes.clone()
    }

    /// Sets or removes what is going to fail; returns how often the last one failed.
    pub fn set(&self, fault: Option<Fault>) -> u32 {
        let mut shared = self.lock();
        shared.fault = fault;
        std::mem::take(&mut shared.failed)
    }

    /// How many calls there were so far.
    pub fn calls(&self) -> u64 {
        self.lock().calls
    }

    /// The call goes through, or fails as planned.
    fn call(&self, call: &[Call]) -> Result<MutexGuard<'_, Shared>, (Call, MutexGuard<'_, Shared>)> {
        let mut shared = self.lock();
        shared.calls += 1;
        let Some(fault) = shared.fault.as_mut().filter(|fault| call.contains(&fault.call)) else {
            return Ok(shared);
        };
        if fault.after > 0 {
            fault.after -= 1;
            return Ok(shared);
        }
        let failing = fault.call;
        if !fault.lasting {
            shared.fault = None;
        }
        shared.failed += 1;
        Err((failing, shared))
    }
}

fn failure() -> io::Error {
    io::Error::from_raw_os_error(5)
}

impl Storage for Faulty {
    fn size(&self) -> io::Result<u64> {
        Ok(self.lock().bytes.len() as u64)
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let shared = self.call(&[Call::Read]).map_err(|_| failure())?;
        let start = offset as usize;
        let place = start.checked_add(out.len()).and_then(|end| shared.bytes.get(start..end));
        out.copy_from_slice(place.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let start = offset as usize;
        let (len, mut shared, result) = match self.call(&[Call::Write, Call::ShortWrite]) {
            Ok(shared) => (bytes.len(), shared, Ok(())),
            // A word is written whole or not at all: it lies in one page and one sector.
            Err((Call::ShortWrite, shared)) if bytes.len() > 4 => (bytes.len() / 2, shared, Err(failure())),
            Err((_, shared)) => (0, shared, Err(failure())),
        };
        let place = shared.bytes.get_mut(start..start + bytes.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        place[..len].copy_from_slice(&bytes[..len]);
        result
    }

    fn grow(&self, _from: u64, to: u64) -> io::Result<()> {
        let mut shared = self.call(&[Call::Grow]).map_err(|_| io::Error::from(io::ErrorKind::StorageFull))?;
        let len = shared.bytes.len().max(to as usize);
        shared.bytes.resize(len, 0);
        Ok(())
    }

    fn truncate(&self, to: u64) -> io::Result<()> {
        self.lock().bytes.truncate(to as usize);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.call(&[Call::Sync]).map(drop).map_err(|_| failure())
    }
}
