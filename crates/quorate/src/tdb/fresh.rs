//! A database file in the making: beside its final name, moved there whole, gone if anything fails or a signal ends the
//! program.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use tdb::Database;

use super::open_failure;
use crate::failure::Failure;
use crate::unfinished::Guard;

/// What to do with a file that has the final name already.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Leave it; moving fails.
    Keep,
    /// The new file takes its place.
    Replace,
}

/// As many links as Linux follows.
const MOST_LINKS: u32 = 40;

/// A file that is not at its place yet; dropped before [`Fresh::finish`], it is removed.
pub struct Fresh {
    temporary: PathBuf,
    target: PathBuf,
    existing: Existing,
    guard: Guard,
}

impl Fresh {
    /// Makes an empty database beside `target`, or beside the file that this is a link to. `hash_size` 0 is the default.
    pub fn create(target: &Path, existing: Existing, hash_size: u32) -> Result<(Fresh, Database), Failure> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let target = linked_to(target);
        if existing == Existing::Keep && target.symlink_metadata().is_ok() {
            return Err(Failure::input(format!("{} exists already; name another file", target.display())));
        }
        let mut name = target.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.{}.tmp", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
        let temporary = target.with_file_name(name);
        let guard = Guard::new(&temporary)?;
        let fresh = Fresh { temporary, target, existing, guard };
        // Nobody else knows this file, so it needs no locks.
        let mut options = super::options();
        super::without_locks(&mut options);
        let database = options
            .create(true)
            .truncate(true)
            .no_sync(true)
            .hash_size(hash_size)
            .open(&fresh.temporary)
            .map_err(|error| open_failure(&error.with_path(&fresh.target)))?;
        Ok((fresh, database))
    }

    /// Gives the file the mode of `other`, and its owner where that is allowed.
    pub fn look_like(&self, other: &Path) -> Result<(), Failure> {
        let give = || -> io::Result<()> {
            let like = fs::metadata(other)?;
            match chown(&self.temporary, Some(like.uid()), Some(like.gid())) {
                Err(error) if error.kind() != io::ErrorKind::PermissionDenied => return Err(error),
                _ => {}
            }
            fs::set_permissions(&self.temporary, fs::Permissions::from_mode(like.mode() & 0o7777))
        };
        give().map_err(|error| {
            let target = self.target.display();
            Failure::system(format!("cannot give {target} the mode of {}: {error}", other.display()))
        })
    }

    /// Syncs the file and moves it to its place.
    pub fn finish(self, database: Database) -> Result<(), Failure> {
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
        self.guard.keep();
        Ok(())
    }
}

/// The file that a chain of symbolic links ends at, whether it exists or not.
pub(super) fn linked_to(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        match fs::read_link(&path) {
            // An absolute link replaces all of the path.
            Ok(link) => path = path.parent().unwrap_or(Path::new("")).join(link),
            Err(_) => break,
        }
    }
    path
}

/// Makes a new name durable.
fn sync_folder(target: &Path) -> io::Result<()> {
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(folder)?.sync_all()
}
