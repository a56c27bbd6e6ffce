//! Opening: options, the header's check, new files, clear-if-first.
//!
//! While a file is opened the open lock keeps other openers out, so nobody sees a header that is half written.
//! Nothing in an existing file is believed before [`Header::from_bytes`] and [`check_header`] have passed.

mod again;
mod mutexes;
mod observing;

pub(crate) use again::open_another;

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use std::cell::{Cell, RefCell};

use crate::commit::undone::Undone;
use crate::core::Core;
use crate::database::Database;
use crate::error::{AccessError, LockError, OpenError};
use crate::file::bytes::Bytes;
use crate::file::format::{
    ByteOrder, DEFAULT_HASH_SIZE, FEATURE_MUTEX, FREELIST_HEAD, HEADER_SIZE, Header, MAX_HASH_SIZE,
    RWLOCKS_FEATURES, RWLOCKS_HASH, first_record,
};
use crate::file::overlay::Overlay;
use crate::file::space::{Backing, Space};
use crate::file::storage::{FileStorage, Storage};
use crate::flags::Flags;
use crate::hash::HashFunction;
use crate::lock::mutex::robust_mutexes_work;
use crate::lock::{LockByte, LockKind, Locks, OnWait, PATIENCE, Wait};
use crate::log::Log;
use crate::observe::Observe;
use crate::table::freelist_memory::FreelistMemory;

/// libtdb's number of deleted records a chain may keep in a volatile database.
const VOLATILE_MAX_DEAD: u32 = 5;

/// How to open a database. The default opens an existing file for reading and writing, with locks, mapped, synced.
#[derive(Clone)]
pub struct OpenOptions {
    flags: Flags,
    create: bool,
    truncate: bool,
    exclusive: bool,
    read_only: bool,
    undo_in_memory: bool,
    overwrite_foreign: bool,
    hash_size: u32,
    mode: u32,
    order: ByteOrder,
    hash: Option<HashFunction>,
    max_dead: Option<u32>,
    log: Option<Log>,
    on_wait: Option<OnWait>,
    observe: Option<Arc<dyn Observe>>,
}

impl Default for OpenOptions {
    fn default() -> Self {
        OpenOptions {
            flags: Flags::default(),
            create: false,
            truncate: false,
            exclusive: false,
            read_only: false,
            undo_in_memory: false,
            overwrite_foreign: false,
            hash_size: 0,
            mode: 0o600,
            order: ByteOrder::NATIVE,
            hash: None,
            max_dead: None,
            log: None,
            on_wait: None,
            observe: None,
        }
    }
}

impl std::fmt::Debug for OpenOptions {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("OpenOptions")
            .field("flags", &self.flags)
            .field("create", &self.create)
            .field("read_only", &self.read_only)
            .field("hash_size", &self.hash_size)
            .finish_non_exhaustive()
    }
}

macro_rules! flag_options {
    ($($(#[$doc:meta])* $name:ident => $flag:ident)+) => {
        $($(#[$doc])* pub fn $name(&mut self, on: bool) -> &mut Self {
            self.switch(Flags::$flag, on)
        })+
    };
}

impl OpenOptions {
    /// The default options.
    pub fn new() -> Self {
        Self::default()
    }

    /// All flags at once; see [`crate::compat::set_flags`].
    pub(crate) fn set_flags(&mut self, flags: Flags) {
        self.flags = flags;
    }

    fn switch(&mut self, flag: Flags, on: bool) -> &mut Self {
        self.flags = if on { self.flags | flag } else { self.flags - flag };
        self
    }

    /// Creates the file if it does not exist.
    pub fn create(&mut self, on: bool) -> &mut Self {
        self.create = on;
        self
    }

    /// With `create`: fails if the file exists.
    pub fn exclusive(&mut self, on: bool) -> &mut Self {
        self.exclusive = on;
        self
    }

    /// Empties the file first. Whoever else has it open sees it go away: meant for files that nobody has open.
    pub fn truncate(&mut self, on: bool) -> &mut Self {
        self.truncate = on;
        self
    }

    /// Opens for reading only, and so without locks, as libtdb does: a reader without the right to write cannot
    /// hold writers up, and may see a change half-made.
    pub fn read_only(&mut self, on: bool) -> &mut Self {
        self.read_only = on;
        self
    }

    /// With `read_only`: shows the database as it was before a commit that is half-done, because its process has died or is
    /// at it just now. Otherwise operations fail until that commit is over, or undone by an opener that may write. The
    /// pages concerned are copied into memory; the log says that it was done.
    pub fn undo_in_memory(&mut self, on: bool) -> &mut Self {
        self.undo_in_memory = on;
        self
    }

    /// With `create`: makes a database out of a file that is none, as libtdb does. Otherwise only an empty file, or
    /// one whose creator died before the header, becomes a database.
    pub fn overwrite_foreign(&mut self, on: bool) -> &mut Self {
        self.overwrite_foreign = on;
        self
    }

    /// The number of chains of a new file; 0 for the default of 131.
    pub fn hash_size(&mut self, chains: u32) -> &mut Self {
        self.hash_size = chains;
        self
    }

    /// The permissions of a new file; 0o600 by default.
    pub fn mode(&mut self, mode: u32) -> &mut Self {
        self.mode = mode;
        self
    }

    /// The byte order of a new file; this machine's by default.
    pub fn byte_order(&mut self, order: ByteOrder) -> &mut Self {
        self.order = order;
        self
    }

    /// The hash function. By default a new file gets [`HashFunction::Old`], and an existing one says which it has.
    pub fn hash(&mut self, hash: HashFunction) -> &mut Self {
        self.hash = Some(hash);
        self
    }

    /// How many deleted records a chain may keep.
    pub fn max_dead(&mut self, max_dead: u32) -> &mut Self {
        self.max_dead = Some(max_dead);
        self
    }

    /// Where messages go; nowhere by default.
    pub fn log(&mut self, log: Log) -> &mut Self {
        self.log = Some(log);
        self
    }

    /// Calls `on_wait` after each second for which an operation has waited for a lock; when it returns
    /// [`Break`](std::ops::ControlFlow::Break), the operation fails with [`LockError::GaveUp`]. Such a handle tries for
    /// locks every few milliseconds where others sleep.
    pub fn on_wait(&mut self, on_wait: OnWait) -> &mut Self {
        self.on_wait = Some(on_wait);
        self
    }

    flag_options! {
        /// The first opener, while nobody else with this option has it open, empties the database.
        clear_if_first => CLEAR_IF_FIRST
        /// In memory, without a file, locks and transactions.
        internal => INTERNAL
        /// Reads and writes instead of mapping.
        no_mmap => NOMMAP
        /// Does not sync: transactions survive a killed process, but not a crash of the machine.
        no_sync => NOSYNC
        /// Counts changes in the sequence number.
        seqnum => SEQNUM
        /// Keeps some deleted records on their chains, for databases whose records come and go.
        volatile => VOLATILE
        /// Makes a new file with the Jenkins hash.
        incompatible_hash => INCOMPATIBLE_HASH
    }

    /// Takes no locks, for databases that nobody else has open.
    ///
    /// # Safety
    /// Nobody else, in this process or another, writes to the file while it is open. Otherwise records of both are lost.
    #[allow(unsafe_code)]
    pub unsafe fn no_lock(&mut self, on: bool) -> &mut Self {
        self.switch(Flags::NOLOCK, on)
    }

    /// Locks chains by robust mutexes in the file, for a database that this machine's processes share. A lock then
    /// belongs to the thread that took it.
    ///
    /// # Safety
    /// Whoever can write to the file keeps to the rules of this format: the C library keeps a list of the mutexes that a
    /// thread holds, and that list runs through the file's own bytes. Who writes anything else there while a lock is held
    /// makes it write to any address of this process.
    #[allow(unsafe_code)]
    pub unsafe fn mutex_locking(&mut self, on: bool) -> &mut Self {
        self.switch(Flags::MUTEX_LOCKING, on)
    }

    /// Opens the database in the file `path`.
    ///
    /// # Errors
    /// The options contradict each other; the system refuses; or the file is not a TDB file, is damaged, or uses something
    /// that this program does not know.
    pub fn open(&self, path: impl AsRef<Path>) -> Result<Database, OpenError> {
        self.open_core(path.as_ref()).map(Database::of)
    }

    /// Opens the database in `storage`, creating it if the storage is empty and `create` is on. Nobody else can reach it,
    /// so no locks are taken. A transaction of it can be committed if the storage can be written, or its changes taken out
    /// ([`crate::Transaction::into_changes`]) if not.
    ///
    /// # Errors
    /// As [`OpenOptions::open`].
    pub fn open_storage(
        &self,
        name: impl AsRef<Path>,
        storage: Box<dyn Storage>,
    ) -> Result<Database, OpenError> {
        self.open_storage_core(name.as_ref(), storage).map(Database::of)
    }

    pub(crate) fn open_storage_core(
        &self,
        name: &Path,
        storage: Box<dyn Storage>,
    ) -> Result<Core, OpenError> {
        let mut options = self.settled(name)?;
        options.flags = options.flags | Flags::NOMMAP;
        let space = Space::new(Backing::Custom(storage), !options.read_only, false);
        options.finish(name, space)
    }

    pub(crate) fn open_core(&self, path: &Path) -> Result<Core, OpenError> {
        let options = self.settled(path)?;
        if options.flags.has(Flags::INTERNAL) {
            let space = Space::new(Backing::Memory, true, true);
            return options.finish_new(path, space);
        }
        let file = options.open_file(path).map_err(|cause| OpenError::Io { path: path.into(), cause })?;
        options.finish(path, options.space_in(file))
    }

    fn space_in(&self, file: File) -> Space {
        let mapped = !self.flags.has(Flags::NOMMAP);
        Space::new(Backing::File(FileStorage::new(Arc::new(file))), !self.read_only, mapped)
    }

    /// The options with their consequences, or why they contradict each other.
    fn settled(&self, path: &Path) -> Result<OpenOptions, OpenError> {
        let refuse = |why| Err(OpenError::Options { path: path.into(), why });
        let mut options = self.clone();
        if self.flags.has(Flags::ALLOW_NESTING) && self.flags.has(Flags::DISALLOW_NESTING) {
            return refuse("nesting cannot be both allowed and disallowed");
        }
        if self.flags.has(Flags::MUTEX_LOCKING) {
            if self.flags.has(Flags::INTERNAL) || self.flags.has(Flags::NOMMAP) {
                return refuse("mutexes need a file, and that it is mapped");
            }
            if !robust_mutexes_work() {
                let what = "locking by robust mutexes, which this machine does not have";
                return Err(OpenError::Unsupported { path: path.into(), what });
            }
            if self.order != ByteOrder::NATIVE {
                return refuse("mutexes are this machine's, and the byte order is not");
            }
            options.flags = options.flags | Flags::INCOMPATIBLE_HASH;
        }
        if self.hash_size > MAX_HASH_SIZE {
            return refuse("the hash size is larger than a file can hold");
        }
        if self.read_only && (self.truncate || self.create && self.exclusive) {
            return refuse("a file opened for reading cannot be created or emptied");
        }
        if !self.flags.has(Flags::DISALLOW_NESTING) {
            options.flags = options.flags | Flags::ALLOW_NESTING;
        }
        if self.read_only {
            options.flags = (options.flags | Flags::NOLOCK) - Flags::CLEAR_IF_FIRST - Flags::MUTEX_LOCKING;
        }
        if self.flags.has(Flags::INTERNAL) {
            options.flags = (options.flags | Flags::NOLOCK | Flags::NOMMAP) - Flags::CLEAR_IF_FIRST;
        }
        Ok(options)
    }

    fn open_file(&self, path: &Path) -> io::Result<File> {
        let mut how = std::fs::OpenOptions::new();
        how.read(true).write(!self.read_only).mode(self.mode).custom_flags(libc::O_CLOEXEC);
        // Truncation waits for the open lock.
        how.create(self.create && !self.read_only).create_new(self.create && self.exclusive);
        how.open(path)
    }

    fn hash_for_new(&self) -> HashFunction {
        match &self.hash {
            Some(hash) => hash.clone(),
            None if self.flags.has(Flags::INCOMPATIBLE_HASH) => HashFunction::Jenkins,
            None => HashFunction::Old,
        }
    }

    fn chains(&self) -> u32 {
        if self.hash_size == 0 { DEFAULT_HASH_SIZE } else { self.hash_size }
    }

    /// An opening with what the options say; what the header says comes later.
    fn opening(&self, name: &Path, space: Space) -> Core {
        let volatile = if self.flags.has(Flags::VOLATILE) { VOLATILE_MAX_DEAD } else { 0 };
        let flags = self.flags - (Flags::CONVERT | Flags::BIGENDIAN);
        Core {
            locks: Locks::new(space.file().cloned(), self.read_only, flags.has(Flags::NOLOCK))
                .with_on_wait(self.on_wait.clone()),
            space,
            flags: Cell::new(flags),
            read_only: self.read_only,
            hash: self.hash_for_new(),
            hash_size: self.chains(),
            name: name.into(),
            options: self.clone(),
            last_error: Cell::default(),
            max_dead: Cell::new(self.max_dead.unwrap_or(volatile)),
            freelist: FreelistMemory::default(),
            writing: Cell::new(0),
            cursor: RefCell::new(None),
            changes: Cell::new(0),
            layout_epoch: Cell::new(0),
            log: RefCell::new(self.log.clone()),
            buffer: Cell::default(),
            former: Cell::new(Overlay::empty()),
            observed: None,
            undone: Undone::default(),
        }
    }

    pub(crate) fn undoes_in_memory(&self) -> bool {
        self.undo_in_memory
    }

    fn finish_new(&self, path: &Path, space: Space) -> Result<Core, OpenError> {
        let mut core = self.opening(path, space);
        self.create_in(&mut core).map_err(|cause| OpenError::Access { path: path.into(), cause })?;
        Ok(core)
    }

    fn finish(&self, path: &Path, space: Space) -> Result<Core, OpenError> {
        let mut core = self.opening(path, space);
        let lock_error = |cause| OpenError::Lock { path: path.into(), cause };
        core.lock_byte(LockByte::Open, LockKind::Write, Wait::Yes).map_err(lock_error)?;
        let first = self.empty_if_first(&core)?;
        self.read_or_create(&mut core, first)?;
        core.locks.set_chain_count(core.hash_size);
        if first {
            core.locks.unlock_byte(LockByte::Active);
        }
        if self.says_it_is_here() {
            // Stays for as long as the database is open: it says that someone is here.
            core.lock_byte(LockByte::Active, LockKind::Read, Wait::Yes).map_err(lock_error)?;
        }
        let observing = self.begin_observing(&mut core);
        core.locks.unlock_byte(LockByte::Open);
        core.space.set_floor(first_record(core.hash_size));
        observing.map(|()| core)
    }

    /// Whether openers hold the active lock: who is first empties the database, or makes its mutexes.
    fn says_it_is_here(&self) -> bool {
        self.flags.has(Flags::CLEAR_IF_FIRST) || self.flags.has(Flags::MUTEX_LOCKING)
    }

    /// Whether we are the first of those who say they are here; if so, the active lock is held for writing, and the
    /// database is empty if that was asked for.
    fn empty_if_first(&self, core: &Core) -> Result<bool, OpenError> {
        let lock_error = |cause| OpenError::Lock { path: core.name.clone(), cause };
        if !self.says_it_is_here() {
            return Ok(false);
        }
        match core.lock_byte(LockByte::Active, LockKind::Write, Wait::No) {
            Ok(()) => {}
            Err(LockError::WouldBlock) => return Ok(false),
            Err(error) => return Err(lock_error(error)),
        }
        if !self.flags.has(Flags::CLEAR_IF_FIRST) {
            return Ok(true);
        }
        // Openers without clear-if-first do not count as first, and may be at work: wait for them.
        let whole =
            core.locks.lock_range(LockKind::Write, FREELIST_HEAD.into(), 0, Wait::Yes, Some(PATIENCE));
        whole.map_err(lock_error)?;
        let cleared = core.space.truncate(0);
        core.locks.unlock_range(FREELIST_HEAD.into(), 0);
        cleared.map_err(|cause| OpenError::Access { path: core.name.clone(), cause })?;
        Ok(true)
    }

    fn read_or_create(&self, core: &mut Core, first: bool) -> Result<(), OpenError> {
        let path = core.name.clone();
        let access_error = |cause| OpenError::Access { path: path.clone(), cause };
        if self.truncate {
            core.space.truncate(0).map_err(access_error)?;
        }
        core.space.refresh().map_err(access_error)?;
        if !core.space.is_memory() {
            self.must_be_addressable(core)?;
        }
        let header = read_header(&core.space).map_err(access_error)?;
        let Some(header) = header else {
            let emptied = first && self.flags.has(Flags::CLEAR_IF_FIRST);
            let may_create = (self.create || emptied) && !self.read_only;
            let worthless = self.overwrite_foreign || holds_nothing(&core.space).map_err(access_error)?;
            if !may_create || !worthless {
                return Err(OpenError::NotTdb { path });
            }
            return self.create_in(core).map_err(access_error);
        };
        let hash = check_header(&header, self, &path)
            .map_err(|error| mutexes::damaged_if_contradicted(&core.space, &header, error))?;
        core.space.set_order(header.order);
        core.hash = hash;
        core.hash_size = header.hash_size;
        if header.feature_bits() == FEATURE_MUTEX {
            self.use_mutexes(core, &header, first)?;
        }
        if core.space.size() < first_record(header.hash_size) {
            return Err(OpenError::Corrupt { path, what: "the file ends before its chains do" });
        }
        Ok(())
    }

    fn must_be_addressable(&self, core: &Core) -> Result<(), OpenError> {
        let path = || core.name.clone();
        let Some(storage) = core.space.storage() else {
            return Ok(());
        };
        let size = storage.size().map_err(|cause| OpenError::Io { path: path(), cause })?;
        if size > u64::from(u32::MAX) {
            return Err(OpenError::Corrupt {
                path: path(),
                what: "it is longer than 4 GiB, which no offset can reach",
            });
        }
        Ok(())
    }

    /// Writes an empty database. The magic text comes last: before it is there the file is none.
    fn create_in(&self, core: &mut Core) -> Result<(), AccessError> {
        let header = Header::new(self.order, core.hash_size, &core.hash);
        core.space.set_order(self.order);
        core.space.truncate(0)?;
        if self.flags.has(Flags::MUTEX_LOCKING) {
            return mutexes::create(core, header);
        }
        let space = &core.space;
        space.grow(first_record(core.hash_size))?;
        let bytes = header.to_bytes();
        space.write(32, &bytes[32..])?;
        space.write(0, &bytes[..32])
    }
}

fn read_header(space: &Space) -> Result<Option<Header>, AccessError> {
    if (space.size() as usize) < HEADER_SIZE {
        return Ok(None);
    }
    let mut bytes = [0; HEADER_SIZE];
    space.read(0, &mut bytes)?;
    Ok(Header::from_bytes(&bytes))
}

/// Whether the file is empty, or was given a size and no header by a creator that died.
fn holds_nothing(space: &Space) -> Result<bool, AccessError> {
    let mut start = vec![0; (space.size() as usize).min(32)];
    space.read(0, &mut start)?;
    Ok(start.iter().all(|byte| *byte == 0))
}

/// The hash function of a file with this header, or why the file cannot be used.
fn check_header(header: &Header, options: &OpenOptions, path: &Path) -> Result<HashFunction, OpenError> {
    let path = || PathBuf::from(path);
    if header.rwlocks != 0 && header.rwlocks != RWLOCKS_HASH && header.rwlocks != RWLOCKS_FEATURES {
        return Err(OpenError::Spinlocks { path: path() });
    }
    match header.feature_bits() {
        0 => {}
        FEATURE_MUTEX if options.flags.has(Flags::MUTEX_LOCKING) || options.flags.has(Flags::NOLOCK) => {}
        FEATURE_MUTEX => {
            return Err(OpenError::Mutexes { path: path() });
        }
        _ => {
            return Err(OpenError::Unsupported { path: path(), what: "an unknown feature" });
        }
    }
    if header.hash_size == 0 || header.hash_size > MAX_HASH_SIZE {
        return Err(OpenError::Corrupt { path: path(), what: "the hash size is impossible" });
    }
    let wanted = options.hash_for_new();
    if !header.names_hash() || header.was_made_with(&wanted) {
        return Ok(wanted);
    }
    let others = [HashFunction::Old, HashFunction::Jenkins];
    // Who brings a function means it; who does not, takes the file's.
    match others.into_iter().find(|hash| options.hash.is_none() && header.was_made_with(hash)) {
        Some(hash) => Ok(hash),
        None => Err(OpenError::WrongHash { path: path() }),
    }
}
