//! Files that a command writes must be none that it reads, and no two of them one.
//!
//! Owns the question whether two paths name one file: by device and inode where both exist, so that links and other spellings
//! are seen through; otherwise by the directory and the name.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// Refuses outputs that would overwrite one of `inputs` or each other. Each output is named by its option; those that are not
/// given count for nothing.
///
/// # Errors
/// Wrong use: one of them is such a file. Nothing was touched.
pub fn refuse_overwriting<'a>(
    inputs: impl IntoIterator<Item = &'a PathBuf>,
    outputs: &[(&str, Option<&Path>)],
) -> Result<(), Failure> {
    let given = outputs.iter().filter_map(|(option, path)| Some((*option, (*path)?)));
    let outputs: Vec<(&str, &Path, FileId)> =
        given.filter_map(|(option, path)| Some((option, path, FileId::of(path)?))).collect();
    if outputs.is_empty() {
        return Ok(());
    }
    for input in inputs {
        let id = FileId::of(input);
        if let Some((option, path, _)) = outputs.iter().find(|(.., output)| Some(output) == id.as_ref()) {
            return Err(Failure::input(format!(
                "{option} {} would overwrite {}, which is read; name another file",
                path.display(),
                input.display()
            )));
        }
    }
    for (nth, (option, path, id)) in outputs.iter().enumerate() {
        if let Some((earlier, ..)) = outputs[..nth].iter().find(|(.., other)| other == id) {
            let path = path.display();
            return Err(Failure::input(format!("{earlier} and {option} both write {path}; name two files")));
        }
    }
    Ok(())
}

/// Which file a path names.
#[derive(PartialEq, Eq)]
enum FileId {
    /// Device and inode.
    There(u64, u64),
    /// The directory's device and inode, and a name in it.
    New(u64, u64, OsString),
}

impl FileId {
    /// None of what a write does not replace (a terminal, a pipe, /dev/null), and of what has no place.
    fn of(path: &Path) -> Option<FileId> {
        if let Ok(found) = fs::metadata(path) {
            return found.is_file().then(|| FileId::There(found.dev(), found.ino()));
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let folder = fs::metadata(folder).ok()?;
        Some(FileId::New(folder.dev(), folder.ino(), path.file_name()?.to_owned()))
    }
}
