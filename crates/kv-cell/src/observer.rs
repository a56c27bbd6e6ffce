//! The thread that looks at what is committed here: it keeps the cell's clock going on a server that only follows, and has
//! the numbers that status tells.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use kv::keyspace::Totals;
use kv::{Clocks, Keyspace, StorageError, View};
use ubik::driver::Server;
use ubik::effect::ReadKind;
use ubik_proto::version::Version;

use crate::clock::CellClock;
use crate::pages::OpenImage;

/// How long it waits for a new version at a time, so that it ends when it is told to.
const WAIT: Duration = Duration::from_millis(250);
/// The least time between two looks, so that it costs a busy server nothing.
const PAUSE: Duration = Duration::from_millis(100);

/// What was seen last.
#[derive(Debug, Default)]
pub struct Seen {
    totals: Mutex<Totals>,
    stopped: AtomicBool,
}

impl Seen {
    /// Keys, the last revision, the clock at the last commit.
    pub fn totals(&self) -> Totals {
        *self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the thread.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}

/// The thread: until it is stopped.
pub fn observe(server: &Server, clock: &CellClock, seen: &Seen) {
    let mut image = OpenImage::new();
    let mut version = Version::NONE;
    while !seen.stopped.load(Ordering::Relaxed) {
        let Some(newer) = server.wait_for_version(version, WAIT) else { continue };
        version = newer;
        // What cannot be read, those who read say.
        if let Ok((of, totals)) = look(server, &mut image) {
            clock.observe(of, totals);
            *seen.totals.lock().unwrap_or_else(PoisonError::into_inner) = totals;
        }
        std::thread::sleep(PAUSE);
    }
}

fn look(server: &Server, image: &mut OpenImage) -> Result<(Version, Totals), StorageError> {
    let transaction = server.begin_read(ReadKind::Any, WAIT).map_err(StorageError::engine)?;
    let snapshot = transaction.snapshot();
    let mut view = View::new(image.at(&snapshot.clone().into())?);
    Ok((snapshot.version(), Keyspace::new(&mut view, Clocks::default())?.totals()))
}
