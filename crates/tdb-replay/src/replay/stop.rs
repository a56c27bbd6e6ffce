//! What both kinds of workers have in common when they wait for a turn.

/// Loads before a worker sleeps. Longer spinning would take the core from the worker that is waited for, when there
/// are more workers than cores.
pub(super) const SPINS: u32 = 200;

/// The replay was stopped by another worker, or by the watchdog.
#[derive(Debug, PartialEq, Eq)]
pub struct Stopped;
