//! The files of traces: made, named, and looked after.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Makes a file, which must not exist, for its owner alone.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    let mut how = std::fs::OpenOptions::new();
    how.read(true).write(true).create_new(true).mode(0o600).custom_flags(libc::O_CLOEXEC);
    how.open(path)
}

/// Gives a file another name, which nothing has.
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    // Unlike renaming, this fails if the name is taken. Not every file system has links.
    match std::fs::hard_link(from, to) {
        Ok(()) => std::fs::remove_file(from),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists || to.exists() => Err(error),
        Err(_) => std::fs::rename(from, to),
    }
}

/// Calls `make` with names that differ, until it finds that one is new.
pub(crate) fn new_name<T>(first: &Path, mut make: impl FnMut(&Path) -> io::Result<T>) -> io::Result<T> {
    let mut path = first.to_owned();
    for nth in 2.. {
        match make(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let mut name = first.as_os_str().to_owned();
                name.push(format!(".{nth}"));
                path = PathBuf::from(name);
            }
            other => return other,
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Whether a file of which `len` bytes were written is still what was written; `cut` if a mapping of it has found otherwise.
///
/// # Errors
/// Another process has removed it or cut it short.
pub(crate) fn check(file: &Metadata, len: u64, cut: bool) -> io::Result<()> {
    if cut || file.len() < len {
        return Err(cut_short());
    }
    if file.nlink() == 0 {
        return Err(io::Error::new(io::ErrorKind::NotFound, "another process has removed the file"));
    }
    Ok(())
}

pub(crate) fn cut_short() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "another process has cut the file short")
}
