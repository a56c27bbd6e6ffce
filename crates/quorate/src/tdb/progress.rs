//! How far a tool has come, for whoever waits at a terminal.

use indicatif::{ProgressBar, ProgressStyle};

/// Records between two looks at the clock.
const STEP: u64 = 1024;

/// A count of records on standard error, hidden where that is not a terminal, and gone when this is dropped.
pub struct Progress {
    bar: ProgressBar,
    records: u64,
}

impl Progress {
    /// Begins to count; `what` says what is done to records.
    pub fn start(what: &'static str) -> Progress {
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {pos} records {msg}, {per_sec}") {
            bar.set_style(style);
        }
        bar.set_message(what);
        Progress { bar, records: 0 }
    }

    /// Counts one record.
    pub fn tick(&mut self) {
        self.records += 1;
        if self.records.is_multiple_of(STEP) {
            self.bar.set_position(self.records);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
