//! The mutex area in front of a database whose chains are locked by robust mutexes (`TDB_MUTEX_LOCKING`).
//!
//! Owns a mapping of the file's first `mutex_size` bytes, which never moves while the database is open: the C
//! library keeps a list of the mutexes a thread holds, through these very bytes. Layout, offsets from the file's start:
//!
//! | bytes | what |
//! |---|---|
//! | 0.. | a copy of the database's header |
//! | 168 | the mutex of the allrecord lock |
//! | 208 | 16 bits: how all records are locked, in `fcntl`'s numbers (unlocked, for reading, for writing) |
//! | 216.. | one mutex each for the freelist, chain 0, chain 1 ... |
//!
//! A chain is locked by its mutex alone, for reading too. Who has got it looks at the state of the allrecord lock; if
//! that stands against it, gives the chain back and queues at the allrecord mutex. Who takes the allrecord lock takes
//! its mutex, sets the state, and takes each chain's mutex once for a moment, so that nobody is left inside.
//! The owner of a mutex is a thread, not a handle: a lock must be given back by the thread that took it.
//!
//! A holder that died leaves its mutex to the next taker, who is told. A chain needs no repair that we could do (a
//! transaction's is found by the recovery check after each first lock); the state of a dead allrecord lock is reset.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr::{self, NonNull};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI16, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::file::forks::{self, Mapped};
use crate::file::format::HEADER_SIZE;
use crate::lock::ofd::{Attempt, LockKind};

/// The mapped mutexes of one open database.
pub(crate) struct MutexArea {
    base: NonNull<u8>,
    len: usize,
    chain_count: u32,
}

// SAFETY: the mapping is shared memory made for use by many threads and processes at once; the mutexes guard
// themselves, and the state is only touched atomically.
unsafe impl Send for MutexArea {}
// SAFETY: as above.
unsafe impl Sync for MutexArea {}

const MUTEX: usize = size_of::<libc::pthread_mutex_t>();
const ALLRECORD_MUTEX_AT: usize = HEADER_SIZE;
const STATE_AT: usize = ALLRECORD_MUTEX_AT + MUTEX;
/// The state's two bytes, rounded up to where a mutex may stand.
const LISTS_AT: usize = STATE_AT + align_of::<libc::pthread_mutex_t>();

/// Where glibc on 64-bit machines keeps the kind of a mutex.
const KIND_AT: usize = 16;

const UNLOCKED: i16 = libc::F_UNLCK as i16;

fn state_of(kind: LockKind) -> i16 {
    match kind {
        LockKind::Read => libc::F_RDLCK as i16,
        LockKind::Write => libc::F_WRLCK as i16,
    }
}

impl MutexArea {
    /// The bytes of the area for a database of `chain_count` chains: whole pages.
    pub fn size(chain_count: u32) -> u64 {
        let exact = LISTS_AT as u64 + MUTEX as u64 * (u64::from(chain_count) + 1);
        exact.next_multiple_of(page_size())
    }

    /// Makes the mutexes of a new database, or of one that nobody else has open: a machine that went down leaves them
    /// held by threads that are no more. The caller holds the open lock alone, and the file is long enough.
    pub fn create(file: &File, chain_count: u32) -> io::Result<MutexArea> {
        let area = MutexArea::over(file, chain_count)?;
        area.initialise_all()?;
        Ok(area)
    }

    /// Maps the mutexes of a database whose header says that it has them, of [`MutexArea::size`] bytes.
    pub fn open(file: &File, chain_count: u32) -> io::Result<MutexArea> {
        MutexArea::over(file, chain_count)?.must_be_robust()
    }

    /// The area as it is.
    fn over(file: &File, chain_count: u32) -> io::Result<MutexArea> {
        let len = MutexArea::size(chain_count);
        if file.metadata()?.len() < len {
            // A touch beyond the file's end would be a SIGBUS.
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file ends inside its mutexes"));
        }
        let len = usize::try_from(len).map_err(|_| io::Error::from_raw_os_error(libc::ENOMEM))?;
        MutexArea::map(Some(file), len, chain_count)
    }

    /// Fails unless every mutex is of the kind that [`MutexArea::create`] makes. The C library trusts a mutex's kind: with
    /// some that a damaged file may hold it ends the process.
    fn must_be_robust(self) -> io::Result<MutexArea> {
        let wanted = fresh_kind()?;
        // SAFETY: each pointer is to a mutex inside the mapping, and to its kind, a number of 4 bytes within.
        let kind_of = |mutex: *mut libc::pthread_mutex_t| unsafe {
            mutex.cast::<u8>().add(KIND_AT).cast::<i32>().read_volatile()
        };
        let sound = kind_of(self.allrecord()) == wanted
            && (0..=self.chain_count).all(|list| kind_of(self.list(list)) == wanted);
        if sound {
            Ok(self)
        } else {
            let what = "the file holds something else where its mutexes should be";
            Err(io::Error::new(io::ErrorKind::InvalidData, what))
        }
    }

    fn map(file: Option<&File>, len: usize, chain_count: u32) -> io::Result<MutexArea> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let (flags, file) = match file {
            Some(file) => (libc::MAP_SHARED, file.as_raw_fd()),
            None => (libc::MAP_SHARED | libc::MAP_ANONYMOUS, -1),
        };
        let mut held = forks::hold();
        // SAFETY: a new mapping wherever the kernel likes; it replaces nothing.
        let base = unsafe { libc::mmap(ptr::null_mut(), len, protection, flags, file, 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))?;
        if file != -1 {
            held.add(Mapped { base: base.as_ptr(), len, writable: true, file, start: 0 });
        }
        Ok(MutexArea { base, len, chain_count })
    }

    /// Locks a list: 0 is the freelist, `n + 1` chain `n`. `EAGAIN` if it is held and the attempt is not blocking,
    /// `EDEADLK` if this thread holds it through another handle.
    pub fn lock(&self, list: u32, kind: LockKind, attempt: Attempt) -> io::Result<()> {
        let patience = match attempt {
            Attempt::Once => Patience::None,
            Attempt::Blocking => Patience::Endless,
        };
        let chain = self.list(list);
        loop {
            self.take(chain, patience)?;
            // The freelist has nothing to do with the allrecord lock, whose holder takes it as everybody does.
            if list == 0 || self.allows(kind) {
                return Ok(());
            }
            self.give(chain)?;
            // Queue where the holder of all records is, and try again when it has gone.
            self.take_allrecord(patience)?;
            self.give(self.allrecord())?;
        }
    }

    /// Whether a list that this thread holds for reading may be written from now on: its mutex is held alone in either
    /// case, so only a lock of everything for reading stands against it, and waiting for that would be a deadlock.
    pub fn upgrade(&self, list: u32) -> io::Result<()> {
        if list == 0 || self.allows(LockKind::Write) {
            Ok(())
        } else {
            Err(io::Error::from_raw_os_error(libc::EDEADLK))
        }
    }

    /// Gives a list back.
    pub fn unlock(&self, list: u32) -> io::Result<()> {
        self.give(self.list(list))
    }

    /// Locks all chains, asking for each for `patience` at most; `EAGAIN` if one does not come, with nothing held.
    pub fn lock_all(&self, kind: LockKind, patience: Duration) -> io::Result<()> {
        let patience = if patience.is_zero() { Patience::None } else { Patience::For(patience) };
        self.take_allrecord(patience)?;
        if self.state().load(Ordering::SeqCst) != UNLOCKED {
            // Whoever died was reset; anything else is a file that someone has written into.
            self.give(self.allrecord())?;
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        self.state().store(state_of(kind), Ordering::SeqCst);
        self.wait_for_chains(patience).inspect_err(|_| {
            let _ = self.unlock_all();
        })
    }

    /// Makes our read lock of all chains a write lock; on a failure it is a read lock as before.
    pub fn upgrade_all(&self, patience: Duration) -> io::Result<()> {
        self.state().store(state_of(LockKind::Write), Ordering::SeqCst);
        let patience = if patience.is_zero() { Patience::None } else { Patience::For(patience) };
        self.wait_for_chains(patience).inspect_err(|_| {
            self.state().store(state_of(LockKind::Read), Ordering::SeqCst);
        })
    }

    /// Gives all chains back.
    pub fn unlock_all(&self) -> io::Result<()> {
        self.state().store(UNLOCKED, Ordering::SeqCst);
        self.give(self.allrecord())
    }

    /// The state keeps newcomers out; this waits until those inside have left.
    fn wait_for_chains(&self, patience: Patience) -> io::Result<()> {
        for list in 1..=self.chain_count {
            self.take(self.list(list), patience)?;
            self.give(self.list(list))?;
        }
        Ok(())
    }

    /// Whether the allrecord lock lets someone hold a chain in this way. The chain's mutex is held, so that the
    /// taker of an allrecord lock, who sets the state first, will wait for us.
    #[inline]
    fn allows(&self, kind: LockKind) -> bool {
        let state = self.state().load(Ordering::SeqCst);
        state == UNLOCKED || (kind == LockKind::Read && state == state_of(LockKind::Read))
    }

    fn take_allrecord(&self, patience: Patience) -> io::Result<()> {
        if self.take(self.allrecord(), patience)? == Taken::OwnerDied {
            self.state().store(UNLOCKED, Ordering::SeqCst);
        }
        Ok(())
    }

    #[inline]
    fn take(&self, mutex: *mut libc::pthread_mutex_t, patience: Patience) -> io::Result<Taken> {
        // SAFETY: `mutex` is inside our mapping (see `list`, `allrecord`). Its bytes may be anything a damaged file
        // holds; the C library answers with an error, or waits, as it would for libtdb.
        let result = unsafe {
            match patience {
                Patience::None => libc::pthread_mutex_trylock(mutex),
                Patience::Endless => libc::pthread_mutex_lock(mutex),
                Patience::For(time) => libc::pthread_mutex_timedlock(mutex, &deadline(time)),
            }
        };
        match result {
            0 => Ok(Taken::Unlocked),
            libc::EOWNERDEAD => {
                // SAFETY: we hold it, which is what EOWNERDEAD says.
                checked(unsafe { libc::pthread_mutex_consistent(mutex) })?;
                Ok(Taken::OwnerDied)
            }
            libc::EBUSY | libc::ETIMEDOUT => Err(io::Error::from_raw_os_error(libc::EAGAIN)),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }

    #[inline]
    fn give(&self, mutex: *mut libc::pthread_mutex_t) -> io::Result<()> {
        // SAFETY: inside our mapping; that it is not ours is an error, not harm: the mutexes check their owner.
        checked(unsafe { libc::pthread_mutex_unlock(mutex) })
    }

    /// Makes all mutexes anew, whatever they were: nobody else has the file open.
    fn initialise_all(&self) -> io::Result<()> {
        let attributes = Attributes::robust()?;
        self.state().store(UNLOCKED, Ordering::SeqCst);
        self.initialise(self.allrecord(), &attributes)?;
        for list in 0..=self.chain_count {
            self.initialise(self.list(list), &attributes)?;
        }
        Ok(())
    }

    fn initialise(&self, mutex: *mut libc::pthread_mutex_t, attributes: &Attributes) -> io::Result<()> {
        // SAFETY: inside our mapping and aligned; nobody else uses it yet, since the caller holds the open lock.
        checked(unsafe { libc::pthread_mutex_init(mutex, &attributes.0) })
    }

    #[inline]
    fn list(&self, list: u32) -> *mut libc::pthread_mutex_t {
        assert!(list <= self.chain_count, "list {list} of {} chains", self.chain_count);
        // SAFETY: the mapping has room for the freelist and `chain_count` chains.
        unsafe { self.base.as_ptr().add(LISTS_AT + MUTEX * list as usize).cast() }
    }

    #[inline]
    fn allrecord(&self) -> *mut libc::pthread_mutex_t {
        // SAFETY: the mapping is longer than its fixed part.
        unsafe { self.base.as_ptr().add(ALLRECORD_MUTEX_AT).cast() }
    }

    #[inline]
    fn state(&self) -> &AtomicI16 {
        // SAFETY: inside the mapping, aligned to 8 from its page; every process reads and writes it as one word.
        unsafe { AtomicI16::from_ptr(self.base.as_ptr().add(STATE_AT).cast()) }
    }
}

impl Drop for MutexArea {
    fn drop(&mut self) {
        let mut held = forks::hold();
        held.remove(self.base.as_ptr());
        // SAFETY: our mapping, and nothing refers to it any more. The handle has given its locks back before.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

/// Whether this machine's C library has mutexes that processes share and that outlive their holder; tried once, with a
/// thread that dies holding one. The layout of the area is known for the platforms named here only.
pub fn robust_mutexes_work() -> bool {
    static WORK: OnceLock<bool> = OnceLock::new();
    *WORK.get_or_init(|| {
        cfg!(all(target_os = "linux", target_env = "gnu")) && try_dying().is_ok_and(|works| works)
    })
}

fn try_dying() -> io::Result<bool> {
    let area = MutexArea::map(None, MutexArea::size(1) as usize, 1)?;
    area.initialise_all()?;
    let died =
        std::thread::scope(|scope| scope.spawn(|| area.lock(1, LockKind::Write, Attempt::Once)).join());
    match died {
        Ok(locked) => locked?,
        Err(_) => return Ok(false),
    }
    area.lock(1, LockKind::Write, Attempt::Once)?;
    area.unlock(1)?;
    Ok(true)
}

/// How long to wait for one mutex.
#[derive(Clone, Copy)]
enum Patience {
    None,
    For(Duration),
    Endless,
}

/// In which state the last holder left a mutex.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Taken {
    Unlocked,
    OwnerDied,
}

/// Attributes of a mutex that processes share, that checks its owner, and that outlives its owner's death.
struct Attributes(libc::pthread_mutexattr_t);

impl Attributes {
    fn robust() -> io::Result<Attributes> {
        // SAFETY: plain bytes, made valid by the call that follows.
        let mut attributes = unsafe { std::mem::zeroed() };
        // SAFETY: each call has a valid pointer to attributes that the first one initialised.
        unsafe {
            checked(libc::pthread_mutexattr_init(&mut attributes))?;
            checked(libc::pthread_mutexattr_settype(&mut attributes, libc::PTHREAD_MUTEX_ERRORCHECK))?;
            checked(libc::pthread_mutexattr_setpshared(&mut attributes, libc::PTHREAD_PROCESS_SHARED))?;
            checked(libc::pthread_mutexattr_setrobust(&mut attributes, libc::PTHREAD_MUTEX_ROBUST))?;
        }
        Ok(Attributes(attributes))
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: initialised by `robust`.
        unsafe { libc::pthread_mutexattr_destroy(&mut self.0) };
    }
}

/// The kind of a mutex with our attributes.
fn fresh_kind() -> io::Result<i32> {
    let attributes = Attributes::robust()?;
    let mut bytes = std::mem::MaybeUninit::<libc::pthread_mutex_t>::zeroed();
    // SAFETY: room for a mutex, initialised before it is looked at; the kind is 4 aligned bytes within it.
    unsafe {
        checked(libc::pthread_mutex_init(bytes.as_mut_ptr(), &attributes.0))?;
        Ok(bytes.as_ptr().cast::<u8>().add(KIND_AT).cast::<i32>().read())
    }
}

#[inline]
fn checked(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(result)) }
}

/// `pthread_mutex_timedlock` counts in wall-clock time; a clock that jumps only makes one wait longer or shorter.
fn deadline(time: Duration) -> libc::timespec {
    let end = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + time;
    libc::timespec { tv_sec: end.as_secs() as libc::time_t, tv_nsec: end.subsec_nanos() as libc::c_long }
}

fn page_size() -> u64 {
    // SAFETY: asks for a number.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) as u64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_millis(20);
    const CHAINS: u32 = 7;

    fn area() -> (File, MutexArea) {
        let file = tempfile::tempfile().expect("a scratch file");
        file.set_len(MutexArea::size(CHAINS)).expect("room");
        let area = MutexArea::create(&file, CHAINS).expect("mutexes");
        (file, area)
    }

    fn code<T>(result: io::Result<T>) -> Option<i32> {
        result.err().and_then(|error| error.raw_os_error())
    }

    fn elsewhere<T: Send>(act: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| scope.spawn(act).join().expect("the other thread ends"))
    }

    /// T3: the area has the size that libtdb computes, in whole pages.
    #[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
    #[test]
    fn the_area_has_the_size_and_offsets_of_libtdb() {
        assert_eq!((ALLRECORD_MUTEX_AT, STATE_AT, LISTS_AT), (168, 208, 216));
        assert_eq!(MutexArea::size(131), 8192);
        assert_eq!(MutexArea::size(10_007), (216_u64 + 40 * 10_008).next_multiple_of(4096));
    }

    /// T3: a chain has one holder, also for reading, and others are free.
    #[test]
    fn a_locked_chain_is_refused_to_another_thread() {
        let (_file, area) = area();
        area.lock(3, LockKind::Read, Attempt::Once).expect("a free chain");

        let refused = elsewhere(|| code(area.lock(3, LockKind::Read, Attempt::Once)));
        let free = elsewhere(|| area.lock(4, LockKind::Write, Attempt::Once).and_then(|()| area.unlock(4)));

        assert_eq!(refused, Some(libc::EAGAIN));
        assert!(free.is_ok());
        area.unlock(3).expect("ours");
        assert_eq!(code(area.unlock(3)), Some(libc::EPERM));
    }

    /// T3: a lock of all records for reading keeps writers out and lets readers in; the freelist is not part of it.
    #[test]
    fn all_records_locked_for_reading_refuse_only_writers() {
        let (_file, area) = area();
        area.lock_all(LockKind::Read, PATIENCE).expect("nobody is inside");

        let (reads, writes, frees) = elsewhere(|| {
            let reads = area.lock(2, LockKind::Read, Attempt::Once).and_then(|()| area.unlock(2)).is_ok();
            let writes = code(area.lock(2, LockKind::Write, Attempt::Once));
            (
                reads,
                writes,
                area.lock(0, LockKind::Write, Attempt::Once).and_then(|()| area.unlock(0)).is_ok(),
            )
        });

        assert_eq!((reads, writes, frees), (true, Some(libc::EAGAIN), true));
        area.upgrade_all(PATIENCE).expect("nobody is inside");
        assert_eq!(elsewhere(|| code(area.lock(2, LockKind::Read, Attempt::Once))), Some(libc::EAGAIN));
        area.unlock_all().expect("ours");
        assert!(
            elsewhere(|| area.lock(2, LockKind::Write, Attempt::Once).and_then(|()| area.unlock(2))).is_ok()
        );
    }

    /// T3: who wants all records and meets a held chain gives up with nothing held.
    #[test]
    fn a_refused_lock_of_all_records_leaves_nothing_locked() {
        let (_file, area) = area();
        area.lock(5, LockKind::Write, Attempt::Once).expect("free");

        let refused = elsewhere(|| code(area.lock_all(LockKind::Write, PATIENCE)));

        assert_eq!(refused, Some(libc::EAGAIN));
        area.unlock(5).expect("ours");
        area.lock_all(LockKind::Write, Duration::ZERO).expect("free again");
        area.unlock_all().expect("ours");
    }

    /// T3: a dead holder's chain goes to the next taker, and stays usable.
    #[test]
    fn a_chain_survives_the_death_of_its_holder() {
        let (_file, area) = area();
        elsewhere(|| area.lock(1, LockKind::Write, Attempt::Once)).expect("free");

        for _ in 0..2 {
            area.lock(1, LockKind::Write, Attempt::Once).expect("the holder is dead");
            area.unlock(1).expect("ours");
        }
    }

    /// T3: a dead holder of all records keeps nobody out.
    #[test]
    fn all_records_survive_the_death_of_their_holder() {
        for kind in [LockKind::Read, LockKind::Write] {
            let (_file, area) = area();
            elsewhere(|| area.lock_all(kind, PATIENCE)).expect("free");

            area.lock(2, LockKind::Write, Attempt::Blocking).expect("the holder is dead");
            area.unlock(2).expect("ours");
            area.lock_all(LockKind::Write, PATIENCE).expect("the holder is dead");
            area.unlock_all().expect("ours");
        }
    }

    /// T3: one area, mapped twice: what two processes have.
    #[test]
    fn two_mappings_of_one_file_exclude_each_other() {
        let (file, area) = area();
        let other = MutexArea::open(&file, CHAINS).expect("made above");
        area.lock(6, LockKind::Write, Attempt::Once).expect("free");

        assert_eq!(elsewhere(|| code(other.lock(6, LockKind::Write, Attempt::Once))), Some(libc::EAGAIN));
        area.unlock(6).expect("ours");
        elsewhere(|| other.lock(6, LockKind::Write, Attempt::Once).and_then(|()| other.unlock(6)))
            .expect("free");
    }

    /// T3, T11: a damaged mutex is refused before the C library sees it.
    #[test]
    fn a_mutex_of_another_kind_is_refused() {
        use std::os::unix::fs::FileExt;
        let (file, area) = area();
        drop(area);
        assert!(MutexArea::open(&file, CHAINS).is_ok());
        let kind = (LISTS_AT + 4 * MUTEX + KIND_AT) as u64;
        file.write_all_at(&0x20_i32.to_ne_bytes(), kind).expect("a writable file");
        assert!(MutexArea::open(&file, CHAINS).is_err());
    }

    /// T3, T11: a file that ends inside its mutexes is refused before anything is touched.
    #[test]
    fn a_file_without_room_for_its_mutexes_is_refused() {
        let file = tempfile::tempfile().expect("a scratch file");
        file.set_len(100).expect("room");
        assert!(MutexArea::open(&file, CHAINS).is_err());
    }
}
