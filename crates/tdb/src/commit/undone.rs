//! A half-done commit undone in memory, for a handle that may only read.
//!
//! Owns which recovery area was played back into this process's own copy of the pages that it concerns. The file stays as
//! it is. Such a handle takes no locks, so the commit may be that of a living process, and may end: before each operation
//! the area is looked at again, and once it is at rest the file is shown as it is.

use std::cell::Cell;

use crate::commit::recovery;
use crate::core::Core;
use crate::error::{AccessError, LockError};
use crate::file::bytes::Bytes;
use crate::file::format::{Offset, RECOVERY_START_AT, RECOVERY_VALID, Record};
use crate::log::LogLevel;

/// How many commits of others may begin while one of them is undone.
const TRIES: u32 = 20;

/// A recovery area: where it is, and its header.
type Area = (Offset, Record);

/// The commit that is undone in this handle's memory, if any.
#[derive(Default)]
pub(crate) struct Undone {
    area: Cell<Option<Area>>,
    told: Cell<bool>,
}

impl Core {
    /// Whether the file's recovery area is another one than the one that is undone in memory; false if none is.
    #[inline]
    pub fn undone_is_outdated(&self) -> Result<bool, AccessError> {
        self.undone.area.get().map_or(Ok(false), |area| self.is_outdated(area))
    }

    #[cold]
    fn is_outdated(&self, (at, area): Area) -> Result<bool, AccessError> {
        Ok(self.space.record_in_file(at)? != area)
    }

    /// Shows the database as it was before the commit whose recovery area is valid, if there is one.
    ///
    /// # Errors
    /// The area is damaged, the file cannot be mapped, or commits of others follow one another too fast.
    pub fn undo_in_memory(&self) -> Result<(), LockError> {
        for _ in 0..TRIES {
            if self.undone.area.take().is_some() {
                self.space.set_private(false).map_err(LockError::Recovery)?;
                self.note_new_layout();
            }
            let Some(area) = self.pending_area().map_err(LockError::Recovery)? else {
                return Ok(());
            };
            self.space.set_private(true).map_err(LockError::Recovery)?;
            let played_back = recovery::play_back(self);
            self.undone.area.set(Some(area));
            // If the commit has ended meanwhile, what was played back may be a mixture.
            if self.undone_is_outdated().map_err(LockError::Recovery)? {
                continue;
            }
            played_back.map_err(LockError::Recovery)?;
            self.tell_of_undoing();
            return Ok(());
        }
        Err(LockError::WouldBlock)
    }

    fn pending_area(&self) -> Result<Option<Area>, AccessError> {
        let at = self.space.word(RECOVERY_START_AT)?;
        if at == 0 {
            return Ok(None);
        }
        let area = self.space.record(at)?;
        Ok((area.magic == RECOVERY_VALID).then_some((at, area)))
    }

    fn tell_of_undoing(&self) {
        if self.undone.told.replace(true) {
            return;
        }
        let what = if self.locks.another_commits() {
            "another process is committing; its changes are not shown"
        } else {
            "a commit was interrupted; it is undone in memory, and the file keeps it until it is opened for writing"
        };
        self.say(LogLevel::Warning, || format!("{}: {what}", self.name.display()));
    }
}
