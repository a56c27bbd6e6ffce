//! Who has got how far: the traces' progress, and waiting for it.
//!
//! Owns the choice between [`super::threads`] and [`super::shared`], which do the same for workers that are threads and
//! for workers that are processes.

use super::shared::SharedTurns;
use super::stop::Stopped;
use super::threads::ThreadTurns;

/// The progress of all traces, for workers of either kind.
pub enum Turns {
    /// They are threads.
    Threads(ThreadTurns),
    /// They are processes.
    Processes(SharedTurns),
}

impl Turns {
    /// Whether the first `rows` rows of `trace` have finished.
    #[inline]
    pub fn reached(&self, trace: usize, rows: u32) -> bool {
        match self {
            Turns::Threads(turns) => turns.reached(trace, rows),
            Turns::Processes(turns) => turns.reached(trace, rows),
        }
    }

    /// The first `rows` rows of `trace` have finished.
    pub fn finish(&self, trace: usize, rows: u32) {
        match self {
            Turns::Threads(turns) => turns.finish(trace, rows),
            Turns::Processes(turns) => turns.finish(trace, rows),
        }
    }

    /// Waits until the first `rows` rows of `trace` have finished; true if it had to sleep.
    pub fn wait(&self, trace: usize, rows: u32) -> Result<bool, Stopped> {
        match self {
            Turns::Threads(turns) => turns.wait(trace, rows),
            Turns::Processes(turns) => turns.wait(trace, rows),
        }
    }

    /// A worker is ready; returns when all are.
    pub fn meet(&self) {
        match self {
            Turns::Threads(turns) => turns.meet(),
            Turns::Processes(turns) => turns.meet(),
        }
    }

    /// Ends every wait, now and later.
    pub fn stop(&self) {
        match self {
            Turns::Threads(turns) => turns.stop(),
            Turns::Processes(turns) => turns.stop(),
        }
    }
}
