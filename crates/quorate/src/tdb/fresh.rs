//! A database file in the making: beside its final name, moved there whole, gone if anything fails.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tdb::Database;

use super::open_failure;
use crate::failure::Failure;

/// What to do with a file that has the final name already.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Leave it; moving fails.
    Keep,
    /// The new file takes its place.
    Replace,
}

/// A file that is not at its place yet; dropped before [`Fresh::finish`], it is removed.
pub struct Fresh {
    temporary: PathBuf,
    target: PathBuf,
    existing: Existing,
    finished: bool,
}

impl Fresh {
    /// Makes an empty database beside `target`. `hash_size` 0 is the default.
    pub fn create(target: &Path, existing: Existing, hash_size: u32) -> Result<(Fresh, Database), Failure> {
        if existing == Existing::Keep && target.exists() {
            return Err(Failure::input(format!("{} exists already; name another file", target.display())));
        }
        let mut name = target.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.tmp", std::process::id()));
        let fresh = Fresh {
            temporary: target.with_file_name(name),
            target: target.to_owned(),
            existing,
            finished: false,
        };
        let database = super::options()
            .create(true)
            .truncate(true)
            .no_sync(true)
            .hash_size(hash_size)
            .open(&fresh.temporary)
            .map_err(|error| open_failure(&error))?;
        Ok((fresh, database))
    }

    /// Syncs the file and moves it to its place.
    pub fn finish(mut self, database: Database) -> Result<(), Failure> {
        drop(database);
        let place = || -> io::Result<()> {
            fs::File::open(&self.temporary)?.sync_all()?;
            match self.existing {
                Existing::Replace => fs::rename(&self.temporary, &self.target)?,
                Existing::Keep => {
                    // A link fails if the name is taken, where a rename would overwrite.
                    fs::hard_link(&self.temporary, &self.target)?;
                    fs::remove_file(&self.temporary)?;
                }
            }
            sync_folder(&self.target)
        };
        place()
            .map_err(|error| Failure::system(format!("cannot make {}: {error}", self.target.display())))?;
        self.finished = true;
        Ok(())
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        if !self.finished {
            // Nothing better can be done about a failure here, and an earlier one is being reported.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// Makes a new name durable.
fn sync_folder(target: &Path) -> io::Result<()> {
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(folder)?.sync_all()
}
