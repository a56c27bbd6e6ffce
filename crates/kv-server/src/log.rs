//! What the server says about itself. The program decides where it goes.

use std::fmt;
use std::sync::Arc;

/// How important a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Each connection.
    Debug,
    /// What an operator did, or has to know.
    Info,
    /// What somebody should look at.
    Warning,
}

impl Level {
    /// The level of this name.
    pub fn named(name: &str) -> Option<Level> {
        [Level::Debug, Level::Info, Level::Warning].into_iter().find(|level| level.to_string() == name)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warning => "warning",
        })
    }
}

/// Takes a line. It is called on threads that serve clients and must not block for long.
pub type Log = Arc<dyn Fn(Level, &str) + Send + Sync>;
