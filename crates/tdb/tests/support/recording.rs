//! Storage that remembers every change and every sync, for tests that ask what a crash could have left.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use tdb::Storage;

/// One call that changes the bytes or makes them durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Write { at: usize, bytes: Vec<u8> },
    Grow { to: usize },
    Truncate { to: usize },
    Sync,
}

/// Changes `image` as the event does.
pub fn apply(image: &mut Vec<u8>, event: &Event) {
    match event {
        Event::Write { at, bytes } => {
            if image.len() < at + bytes.len() {
                // The growth before it was lost, and this write was not: the file is as long as the write makes it.
                image.resize(at + bytes.len(), 0);
            }
            image[*at..at + bytes.len()].copy_from_slice(bytes);
        }
        Event::Grow { to } if *to > image.len() => image.resize(*to, 0),
        Event::Truncate { to } => image.resize(*to, 0),
        Event::Grow { .. } | Event::Sync => {}
    }
}

#[derive(Default)]
struct Shared {
    image: Vec<u8>,
    events: Vec<Event>,
}

/// Clones share the bytes: one goes to the database, one stays with the test.
#[derive(Clone, Default)]
pub struct Recording(Arc<Mutex<Shared>>);

impl Recording {
    pub fn new(image: Vec<u8>) -> Recording {
        Recording(Arc::new(Mutex::new(Shared { image, events: Vec::new() })))
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().expect("no test panics while it holds the recording")
    }

    /// How many events there are so far.
    pub fn len(&self) -> usize {
        self.lock().events.len()
    }

    /// All events so far.
    pub fn events(&self) -> Vec<Event> {
        self.lock().events.clone()
    }

    /// The bytes as they are now.
    pub fn image(&self) -> Vec<u8> {
        self.lock().image.clone()
    }

    fn happen(&self, event: Event) {
        let mut shared = self.lock();
        apply(&mut shared.image, &event);
        shared.events.push(event);
    }
}

impl Storage for Recording {
    fn size(&self) -> io::Result<u64> {
        Ok(self.lock().image.len() as u64)
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let shared = self.lock();
        let start = offset as usize;
        let place = start.checked_add(out.len()).and_then(|end| shared.image.get(start..end));
        out.copy_from_slice(place.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let at = offset as usize;
        if at + bytes.len() > self.lock().image.len() {
            return Err(io::Error::other("a write beyond the end"));
        }
        self.happen(Event::Write { at, bytes: bytes.to_vec() });
        Ok(())
    }

    fn grow(&self, _from: u64, to: u64) -> io::Result<()> {
        self.happen(Event::Grow { to: to as usize });
        Ok(())
    }

    fn truncate(&self, to: u64) -> io::Result<()> {
        self.happen(Event::Truncate { to: to as usize });
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.happen(Event::Sync);
        Ok(())
    }
}
