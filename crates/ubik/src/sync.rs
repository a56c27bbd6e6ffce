//! The locks of what several threads use at once: the standard library's, or, with the feature `controlled`, those of a
//! scheduler that tries one interleaving after the other (`schedules.rs`).

#[cfg(feature = "controlled")]
pub use shuttle::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
#[cfg(not(feature = "controlled"))]
pub use std::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
