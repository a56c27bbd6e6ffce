//! The lock order of a server, checked by the compiler.
//!
//! A thread takes locks downwards only: [`AppCache`] -> [`DatabaseLock`] -> [`ElectionLock`]. It starts with one
//! [`Held<Nothing>`]; locking borrows its token and hands back one a level down, so the upper token is out of use for as
//! long as the guard lives. Taking two locks the wrong way round does not compile.
//!
//! Ubik's own order is application cache, database, beacon, vote, version, address. Beacon, vote and version state are
//! one value here ([`ubik_proto::election::Election`]), since each use of them is short and does no I/O; addresses belong to
//! the transport. What is below these three (page cache, snapshots, files) locks inside one call and calls nobody.
//!
//! Downwards compiles:
//!
//! ```
//! use ubik::locks::{DatabaseLock, Held, Ordered, ElectionLock};
//! let (database, election) = (Ordered::<DatabaseLock, _>::new(1), Ordered::<ElectionLock, _>::new(2));
//! let mut held = Held::thread_entry();
//! let mut guard = database.lock(&mut held);
//! let (one, held) = guard.parts();
//! assert_eq!(*one + *election.lock(held), 3);
//! ```
//!
//! The database lock while votes are locked does not:
//!
//! ```compile_fail,E0277
//! use ubik::locks::{DatabaseLock, Held, Ordered, ElectionLock};
//! let (database, election) = (Ordered::<DatabaseLock, _>::new(1), Ordered::<ElectionLock, _>::new(2));
//! let mut held = Held::thread_entry();
//! let mut guard = election.lock(&mut held);
//! let (two, held) = guard.parts();
//! assert_eq!(*two + *database.lock(held), 3);
//! ```
//!
//! Nor does the application's cache while the database is locked, nor the token of before while any is:
//!
//! ```compile_fail,E0277
//! use ubik::locks::{AppCache, DatabaseLock, Held, Ordered};
//! let (database, cache) = (Ordered::<DatabaseLock, _>::new(1), Ordered::<AppCache, _>::new(2));
//! let mut held = Held::thread_entry();
//! let mut guard = database.lock(&mut held);
//! let (one, held) = guard.parts();
//! assert_eq!(*one + *cache.lock(held), 3);
//! ```
//!
//! ```compile_fail,E0499
//! use ubik::locks::{DatabaseLock, Held, Ordered, ElectionLock};
//! let (database, election) = (Ordered::<DatabaseLock, _>::new(1), Ordered::<ElectionLock, _>::new(2));
//! let mut held = Held::thread_entry();
//! let guard = election.lock(&mut held);
//! assert_eq!(*guard + *database.lock(&mut held), 3);
//! ```

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use crate::sync::{Mutex, MutexGuard};

/// Proof that the locks up to level `L`, and no lower one, may be held.
#[derive(Debug)]
pub struct Held<'a, L>(PhantomData<(&'a mut (), L, *const ())>);

/// `Self` comes before `L` in the lock order.
#[diagnostic::on_unimplemented(
    message = "lock order: `{L}` cannot be taken while `{Self}` is held",
    label = "take this lock before `{Self}`; the order is in locks.rs"
)]
pub trait Before<L> {}

macro_rules! lock_order {
    (@all $a:ident) => {};
    (@all $a:ident $($b:ident)+) => {
        $(impl Before<$b> for $a {})+
        lock_order!(@all $($b)+);
    };
    ($($(#[$doc:meta])* $level:ident)+) => {
        $($(#[$doc])* #[derive(Debug)] pub enum $level {})+
        lock_order!(@all $($level)+);
    };
}

lock_order! {
    /// No lock is held: where every thread starts.
    Nothing
    /// The application's cache of one database.
    AppCache
    /// One database: its transactions, its recovery, and every change of its version.
    DatabaseLock
    /// Promise, mandate, votes, and what beacons claim. Never held while anything is waited for.
    ElectionLock
}

impl Held<'static, Nothing> {
    /// The token of a thread that holds no lock; call it at the thread's entry.
    pub fn thread_entry() -> Self {
        Held(PhantomData)
    }
}

/// A value locked at level `L` of the order.
#[derive(Debug)]
pub struct Ordered<L, T> {
    mutex: Mutex<T>,
    level: PhantomData<fn(L)>,
}

impl<L, T> Ordered<L, T> {
    /// Puts `value` under a lock.
    pub const fn new(value: T) -> Self {
        Ordered { mutex: Mutex::new(value), level: PhantomData }
    }

    /// Locks; whoever holds a lower lock has no token for it. A panic while the guard lives aborts the process: what is
    /// behind the lock may be half changed, and the threads that do not need it would go on without it.
    pub fn lock<'a, H: Before<L>>(&'a self, _held: &'a mut Held<'_, H>) -> Guard<'a, L, T> {
        let value = self.mutex.lock().expect("a panic under this lock aborts the process");
        Guard { value, held: Held(PhantomData), _alive: AbortOnPanic }
    }
}

/// The locked value, with the token for the locks below it.
#[derive(Debug)]
pub struct Guard<'a, L, T> {
    value: MutexGuard<'a, T>,
    held: Held<'a, L>,
    _alive: AbortOnPanic,
}

/// Ends the process if it is dropped by a panic, after the panic has said what it is.
#[derive(Debug)]
pub struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        // The scheduler of `schedules.rs` reports a panic itself.
        if std::thread::panicking() && cfg!(not(feature = "controlled")) {
            std::process::abort();
        }
    }
}

impl<'a, L, T> Guard<'a, L, T> {
    /// Splits the guard into the value and the token for the next lock.
    pub fn parts(&mut self) -> (&mut T, &mut Held<'a, L>) {
        (&mut self.value, &mut self.held)
    }
}

impl<L, T> Deref for Guard<'_, L, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<L, T> DerefMut for Guard<'_, L, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pair of levels; of the two answers to [`Probe::allows`] the compiler takes the first that applies.
    struct Probe<A, B>(PhantomData<(A, B)>);

    impl<A: Before<B>, B> Probe<A, B> {
        fn allows(&self) -> bool {
            true
        }
    }

    trait Otherwise {
        fn allows(&self) -> bool {
            false
        }
    }

    impl<A, B> Otherwise for Probe<A, B> {}

    macro_rules! allowed_after {
        ($held:ty: $($next:ty),+) => { [$(Probe::<$held, $next>(PhantomData).allows()),+] };
    }

    /// U15, U30, U38: of any two locks the compiler lets exactly one be taken while the other is held: application cache,
    /// database, votes; and none is taken twice.
    #[test]
    fn only_lower_locks_are_taken_while_one_is_held() {
        let table = [
            allowed_after!(Nothing: Nothing, AppCache, DatabaseLock, ElectionLock),
            allowed_after!(AppCache: Nothing, AppCache, DatabaseLock, ElectionLock),
            allowed_after!(DatabaseLock: Nothing, AppCache, DatabaseLock, ElectionLock),
            allowed_after!(ElectionLock: Nothing, AppCache, DatabaseLock, ElectionLock),
        ];
        for (held, row) in table.iter().enumerate() {
            for (next, &allowed) in row.iter().enumerate() {
                assert_eq!(allowed, held < next, "level {next} while level {held} is held");
            }
        }
    }
}
