//! What an application does with a replicated database: read and write transactions, and a cache of what it read.
//!
//! A read transaction has one version to its end and waits for nobody; a write transaction is alone in the cell. What C's
//! interface answers with UBADTYPE, UTWOENDS or UDONE does not compile here: only a write transaction writes, and
//! [`WriteTransaction::commit`] takes it. Dropping one undoes it.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use thiserror::Error;
use ubik_proto::cell::ServerId;
use ubik_proto::replica::remote::MAX_TRANSACTION_BYTES;
use ubik_proto::version::Version;

use crate::driver::{Server, Shared};
use crate::effect::{ClientEvent, ClientId, ReadError, ReadKind, WriteError};
use crate::locks::Held;
use crate::overlay::{Overlay, View};
use crate::snapshot::Snapshot;
use crate::sync::Mutex;

/// Why a transaction could not begin.
#[derive(Debug, Error)]
pub enum BeginError {
    /// This server cannot serve it.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// This server cannot serve it.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// Its turn did not come in time.
    #[error("the transaction did not begin within {0:?}; nothing was done")]
    TimedOut(Duration),
}

/// Why a write transaction was not committed, or is not known to be.
#[derive(Debug, Error)]
pub enum CommitError {
    /// It was undone everywhere.
    #[error(transparent)]
    Failed(#[from] WriteError),
    /// It may have been committed or not; a later read at the same place tells.
    #[error("it is not known whether the transaction was committed{}", version.map_or(String::new(), |v| format!(" as {v}")))]
    Undecided {
        /// The version it has if it was.
        version: Option<Version>,
    },
}

/// Why a write transaction could not be changed.
#[derive(Debug, Error)]
pub enum ChangeError {
    /// The store failed.
    #[error("cannot read the page that is to be changed: {0}")]
    Store(#[from] io::Error),
    /// The transaction is too large for one commit.
    #[error("the transaction holds more than {MAX_TRANSACTION_BYTES} bytes of changes; split it")]
    TooLarge,
    /// The wire and the files have 31-bit positions.
    #[error("position {0} is beyond two gigabytes")]
    TooFar(u64),
}

impl Server {
    /// Begins a read transaction, waiting at most `patience` for a commit that is being decided.
    ///
    /// # Errors
    /// If this server cannot vouch for its copy now; the error names who could.
    pub fn begin_read(&self, kind: ReadKind, patience: Duration) -> Result<ReadTransaction, BeginError> {
        let (client, events) = self.shared.enter();
        let mut held = Held::thread_entry();
        let effects = self.shared.state.begin_read(&mut held, client, kind);
        self.shared.carry_out(&mut held, effects);
        let event = events.recv_timeout(patience);
        self.shared.leave(client);
        match event {
            Ok(ClientEvent::ReadBegun(snapshot)) => Ok(ReadTransaction::of(snapshot)),
            Ok(ClientEvent::ReadFailed(error)) => Err(error.into()),
            _ => {
                let effects = self.shared.state.abandon(&mut held, client);
                self.shared.carry_out(&mut held, effects);
                Err(BeginError::TimedOut(patience))
            }
        }
    }

    /// Begins a write transaction when its turn comes, within `patience`; writers come in the order in which they asked.
    ///
    /// A turn is from here to [`WriteTransaction::submit`] or the drop, not to the end of the commit: the next writer goes on
    /// over what this one leaves, and what is completed while a commit is under way is committed together after it. So what a
    /// write transaction reads may be undecided; it is certain when the transaction is committed, also one that changed nothing.
    ///
    /// # Errors
    /// If this is not the sync site; the error names it.
    pub fn begin_write(&self, patience: Duration) -> Result<WriteTransaction, BeginError> {
        let turn = Turn::enter(&self.shared);
        let mut held = Held::thread_entry();
        let effects = self.shared.state.begin_write(&mut held, turn.client);
        self.shared.carry_out(&mut held, effects);
        match turn.events.recv_timeout(patience) {
            Ok(ClientEvent::WriteBegun(view)) => {
                Ok(WriteTransaction { open: Some((turn, Overlay::new(view))), position: 0 })
            }
            Ok(ClientEvent::WriteFailed(error)) => Err(error.into()),
            _ => {
                turn.abandon();
                Err(BeginError::TimedOut(patience))
            }
        }
    }

    /// The version that readers see here, if any.
    pub fn version(&self) -> Option<Version> {
        self.shared.state.database().visible_version()
    }

    /// Waits until readers see a version above `seen` here; returns it, or `None` after `patience`.
    pub fn wait_for_version(&self, seen: Version, patience: Duration) -> Option<Version> {
        let newer = || self.version().is_some_and(|version| version > seen);
        self.shared.wait_for_version(patience, newer);
        self.version().filter(|&version| version > seen)
    }

    /// Who is sync site, as far as this server knows.
    pub fn sync_site(&self) -> Option<ServerId> {
        self.shared
            .state
            .with_election(&mut Held::thread_entry(), |now, election| election.sync_site(now.moment))
    }
}

/// Reads of one version.
#[derive(Debug, Clone)]
pub struct ReadTransaction {
    snapshot: Snapshot,
    position: u64,
}

impl ReadTransaction {
    pub(crate) fn of(snapshot: Snapshot) -> Self {
        ReadTransaction { snapshot, position: 0 }
    }

    /// The version it reads.
    pub fn version(&self) -> Version {
        self.snapshot.version()
    }

    /// What it reads, page by page.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// How many bytes the database has.
    pub fn length(&self) -> u64 {
        self.snapshot.length()
    }

    /// Where the next read begins.
    pub fn tell(&self) -> u64 {
        self.position
    }

    /// Sets where the next read begins.
    pub fn seek(&mut self, position: u64) {
        self.position = position;
    }

    /// Fills `buffer` and goes on behind it; beyond the end there are zeros.
    ///
    /// # Errors
    /// Those of the store.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        self.snapshot.read(self.position, buffer)?;
        self.position += buffer.len() as u64;
        Ok(())
    }
}

/// One writer's name at the server, and where it hears.
struct Turn {
    shared: Arc<Shared>,
    client: ClientId,
    events: Receiver<ClientEvent>,
}

impl Turn {
    fn enter(shared: &Arc<Shared>) -> Self {
        let (client, events) = shared.enter();
        Turn { shared: shared.clone(), client, events }
    }

    fn abandon(&self) {
        let mut held = Held::thread_entry();
        let effects = self.shared.state.abandon(&mut held, self.client);
        self.shared.carry_out(&mut held, effects);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.shared.leave(self.client);
    }
}

/// Reads and changes, which become visible together or not at all.
pub struct WriteTransaction {
    /// `None` once it is complete.
    open: Option<(Turn, Overlay)>,
    position: u64,
}

/// A complete transaction on its way. Dropping it changes nothing about what becomes of it.
#[must_use = "only Submitted::wait tells whether it was committed"]
pub struct Submitted(Turn);

impl Submitted {
    /// Waits until a quorum has it, for as long as `patience`; returns its version, which others that were committed with it
    /// share.
    ///
    /// # Errors
    /// If it was undone, or if its fate is not known when `patience` is over or the mandate ends.
    pub fn wait(self, patience: Duration) -> Result<Version, CommitError> {
        match self.0.events.recv_timeout(patience) {
            Ok(ClientEvent::Committed(version)) => Ok(version),
            Ok(ClientEvent::WriteFailed(error)) => Err(error.into()),
            Ok(ClientEvent::Undecided(version)) => Err(CommitError::Undecided { version: Some(version) }),
            Ok(_) | Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                Err(CommitError::Undecided { version: None })
            }
        }
    }
}

impl WriteTransaction {
    fn overlay(&mut self) -> &mut Overlay {
        let (_, overlay) =
            self.open.as_mut().expect("submit takes the transaction, so nobody calls this after it");
        overlay
    }

    /// The database as it was when this transaction began, page by page, with what is being committed before it.
    pub fn base(&mut self) -> &View {
        self.overlay().base()
    }

    /// How many bytes the database has, with this transaction's changes.
    pub fn length(&mut self) -> u64 {
        self.overlay().length()
    }

    /// Where the next read or write begins.
    pub fn tell(&self) -> u64 {
        self.position
    }

    /// Sets where the next read or write begins.
    pub fn seek(&mut self, position: u64) {
        self.position = position;
    }

    /// Fills `buffer`, with this transaction's own changes, and goes on behind it.
    ///
    /// # Errors
    /// Those of the store.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        let position = self.position;
        self.overlay().read(position, buffer)?;
        self.position += buffer.len() as u64;
        Ok(())
    }

    /// Writes `bytes` and goes on behind them.
    ///
    /// # Errors
    /// If the transaction grows too large, or the store fails; it can then only be dropped or committed as it was.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), ChangeError> {
        let end = self.position + bytes.len() as u64;
        if end > i32::MAX as u64 {
            return Err(ChangeError::TooFar(end));
        }
        let position = self.position as u32;
        let overlay = self.overlay();
        if overlay.bytes() + bytes.len() > MAX_TRANSACTION_BYTES {
            return Err(ChangeError::TooLarge);
        }
        overlay.write(position, bytes)?;
        self.position = end;
        Ok(())
    }

    /// Cuts the database to `length` bytes, in order with the writes.
    ///
    /// # Errors
    /// If the length is beyond what the files can have.
    pub fn truncate(&mut self, length: u64) -> Result<(), ChangeError> {
        let length = i32::try_from(length).map_err(|_| ChangeError::TooFar(length))?;
        self.overlay().truncate(length as u32);
        Ok(())
    }

    /// Completes the transaction and lets the next writer begin, without waiting for anything; what becomes of it
    /// [`Submitted::wait`] tells.
    pub fn submit(mut self) -> Submitted {
        let (turn, overlay) =
            self.open.take().expect("submit takes the transaction, so this is the first time");
        let mut held = Held::thread_entry();
        let effects = turn.shared.state.commit(&mut held, turn.client, overlay.finish());
        turn.shared.carry_out_aside(&mut held, effects);
        Submitted(turn)
    }

    /// Commits: [`WriteTransaction::submit`] and [`Submitted::wait`].
    ///
    /// # Errors
    /// As there.
    pub fn commit(self, patience: Duration) -> Result<Version, CommitError> {
        self.submit().wait(patience)
    }
}

impl Drop for WriteTransaction {
    fn drop(&mut self) {
        if let Some((turn, _)) = self.open.take() {
            turn.abandon();
        }
    }
}

/// What an application made of one version, kept until the version moves.
///
/// A value stays valid for whoever has it, like the transaction that it was made from; a newer version makes a new one,
/// once. An aborted transaction touches nothing here.
#[derive(Debug)]
pub struct AppCache<T> {
    made: Mutex<Option<(Version, Arc<T>)>>,
}

impl<T> Default for AppCache<T> {
    fn default() -> Self {
        AppCache { made: Mutex::default() }
    }
}

impl<T> AppCache<T> {
    /// What belongs to the transaction's version, made with `make` if it is not here.
    ///
    /// # Errors
    /// Those of `make`.
    pub fn of<E>(
        &self,
        transaction: &mut ReadTransaction,
        make: impl FnOnce(&mut ReadTransaction) -> Result<T, E>,
    ) -> Result<Arc<T>, E> {
        let version = transaction.version();
        let mut made = self.made.lock().expect("a thread panicked while it made the cached value");
        if let Some((of, value)) = &*made
            && *of == version
        {
            return Ok(value.clone());
        }
        let value = Arc::new(make(transaction)?);
        if made.as_ref().is_none_or(|(of, _)| *of < version) {
            *made = Some((version, value.clone()));
        }
        Ok(value)
    }

    /// The version of what is here.
    pub fn cached_version(&self) -> Option<Version> {
        self.made
            .lock()
            .expect("a thread panicked while it made the cached value")
            .as_ref()
            .map(|(of, _)| *of)
    }
}
