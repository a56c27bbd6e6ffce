//! A store in one process's memory: the commands and the engine of the service without its servers. Nothing outlives it.
//!
//! Owns the databases and the one thread that carries steps out: those that wait together share a transaction.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tdb::storage::MemoryStorage;
use tdb::{Database, OpenError, OpenOptions};

use crate::carry_out::carry_out;
use crate::error::StorageError;
use crate::image::Image;
use crate::keyspace::{Clocks, Keyspace};
use crate::step::{Done, Step, StepError, Store};

/// How many hash chains a database has: enough that 100,000 keys are found in a few steps.
pub const CHAINS: u32 = 16_381;
/// How many steps may wait. More clients than this that wait at once are told to come again.
const WAITING: usize = 16_384;
/// The most steps of one transaction.
const BATCH: usize = 256;

/// A store in memory.
pub struct Memory {
    /// `None` once it ends.
    waiting: Option<SyncSender<(Step, Done)>>,
    worker: Option<JoinHandle<()>>,
    databases: usize,
}

impl Memory {
    /// A store of so many empty databases.
    ///
    /// # Errors
    /// There is no memory for them.
    ///
    /// # Panics
    /// If no thread can be started.
    pub fn new(databases: usize) -> Result<Memory, OpenError> {
        let open = |_| {
            let mut options = OpenOptions::new();
            let storage = Box::<MemoryStorage>::default();
            options.create(true).hash_size(CHAINS).open_storage("memory", storage)
        };
        let opened = (0..databases).map(open).collect::<Result<Vec<Database>, OpenError>>()?;
        let (waiting, steps) = sync_channel(WAITING);
        let worker = std::thread::Builder::new().name("kv memory".to_owned());
        let worker = worker.spawn(move || work(opened, &steps)).expect("a thread can be started");
        Ok(Memory { waiting: Some(waiting), worker: Some(worker), databases })
    }
}

impl Store for Memory {
    fn submit(&self, step: Step, done: Done) {
        let waiting = self.waiting.as_ref().expect("only dropping the store takes it");
        if let Err(TrySendError::Full((_, done)) | TrySendError::Disconnected((_, done))) =
            waiting.try_send((step, done))
        {
            let text = format!("more than {WAITING} commands are waiting already; try again later");
            done(Err(StepError::Unavailable(text)));
        }
    }

    fn databases(&self) -> usize {
        self.databases
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.waiting = None;
        // A thread that panicked has said so.
        let _ = self.worker.take().map(JoinHandle::join);
    }
}

/// The thread: takes all steps that wait, and carries them out.
fn work(mut databases: Vec<Database>, steps: &Receiver<(Step, Done)>) {
    let start = Instant::now();
    while let Ok(first) = steps.recv() {
        let mut batch = vec![first];
        batch.extend(steps.try_iter().take(BATCH - 1));
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let clocks = Clocks::new(start.elapsed(), wall);
        while let Some((Step { database, .. }, _)) = batch.first() {
            let of = *database;
            let (mine, others) = batch.into_iter().partition(|(step, _): &(Step, Done)| step.database == of);
            batch = others;
            match databases.get_mut(of) {
                Some(database) => together(database, clocks, mine),
                None => refuse(mine, &format!("there is no database {of}")),
            }
        }
    }
}

/// Carries steps out in one transaction, and answers them when it is committed.
fn together(database: &mut Database, clocks: Clocks, steps: Vec<(Step, Done)>) {
    let (steps, waiting): (Vec<Step>, Vec<Done>) = steps.into_iter().unzip();
    match commit(database, clocks, &steps) {
        Ok(replies) => waiting.into_iter().zip(replies).for_each(|(done, reply)| done(reply)),
        Err(error) => {
            let error = StepError::Refused(error.to_string());
            waiting.into_iter().for_each(|done| done(Err(error.clone())));
        }
    }
}

fn commit(
    database: &mut Database,
    clocks: Clocks,
    steps: &[Step],
) -> Result<Vec<Result<Vec<u8>, StepError>>, StorageError> {
    let chains = database.hash_size();
    let mut transaction = database.transaction().map_err(StorageError::engine)?;
    let mut image = Image::new(&mut transaction, chains);
    let mut keyspace = Keyspace::new(&mut image, clocks)?;
    let replies = steps.iter().map(|step| carry_out(step, &mut keyspace)).collect();
    keyspace.finish()?;
    transaction.commit().map_err(StorageError::engine)?;
    Ok(replies)
}

fn refuse(steps: Vec<(Step, Done)>, why: &str) {
    steps.into_iter().for_each(|(_, done)| done(Err(StepError::Refused(why.to_owned()))));
}
