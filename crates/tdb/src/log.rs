//! Messages to whoever opened a database.

use std::sync::Arc;

/// How serious a message of [`crate::OpenOptions::log`] is; libtdb's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i32)]
pub enum LogLevel {
    /// The database cannot be used.
    Fatal = 0,
    /// An operation failed.
    Error = 1,
    /// Something is odd and was dealt with.
    Warning = 2,
    /// Something happened, as it should.
    Trace = 3,
}

/// Where messages go.
pub type Log = Arc<dyn Fn(LogLevel, &str) + Send + Sync>;
