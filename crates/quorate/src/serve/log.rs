//! What a server says, on standard error: lines for people, or JSON for programs.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::SystemTime;

use kv_server::Level;
use serde::Deserialize;

use crate::afs::serve::log::stamp;

/// How lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One object a line: time, level, message.
    Json,
}

/// The log of this process.
pub struct ServiceLog {
    least: AtomicU8,
    format: Format,
}

impl ServiceLog {
    /// Lines of `level` and above.
    pub fn new(level: Level, format: Format) -> ServiceLog {
        ServiceLog { least: AtomicU8::new(level as u8), format }
    }

    /// Lines of `level` and above from now on.
    pub fn set_level(&self, level: Level) {
        self.least.store(level as u8, Ordering::Relaxed);
    }

    /// A line.
    pub fn say(&self, level: Level, message: &str) {
        if (level as u8) < self.least.load(Ordering::Relaxed) {
            return;
        }
        let time = stamp(SystemTime::now());
        let line = match self.format {
            Format::Text => format!("{time} {level}: {message}\n"),
            Format::Json => {
                let object =
                    serde_json::json!({"time": time, "level": level.to_string(), "message": message});
                format!("{object}\n")
            }
        };
        // A log that cannot be written must not stop the server. One write a line, so that lines do not mix.
        let _ = io::stderr().write_all(line.as_bytes());
    }
}
