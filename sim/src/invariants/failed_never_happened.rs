//! A write that was called failed is never read.

use std::collections::HashSet;

use super::Found;

/// A write that was called failed is never read (U35).
#[derive(Debug, Default)]
pub struct FailedNeverHappened {
    failed: HashSet<u64>,
}

impl FailedNeverHappened {
    /// The write of `value` was called failed.
    pub fn failed(&mut self, value: u64) {
        self.failed.insert(value);
    }

    /// Somebody read `value`.
    ///
    /// # Errors
    /// If its write was called failed.
    pub fn read(&self, value: u64) -> Found {
        if self.failed.contains(&value) {
            Err(format!("value {value} is read, and its write was called failed"))
        } else {
            Ok(())
        }
    }
}
