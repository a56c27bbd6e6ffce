//! The chosen lines of traces, copied byte for byte.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::Selection;
use crate::trace::op::Op;
use crate::trace::{History, Trace, source};

/// Why the lines could not be copied.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The system failed, or a trace has changed since it was read.
    #[error("{}: {source}", path.display())]
    File {
        /// Which file or directory.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// The directory is in use.
    #[error("{}: holds traces already; name an empty directory", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// No row was chosen.
    #[error("nothing is left: no line fits the choice")]
    Nothing,
}

/// Copies the chosen lines of each trace into `folder`, under the trace's name; traces without any get no file.
pub fn write(history: &History, selection: &Selection, folder: &Path) -> Result<Vec<PathBuf>, WriteError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| WriteError::File { path, source }
    };
    if selection.is_empty() {
        return Err(WriteError::Nothing);
    }
    fs::create_dir_all(folder).map_err(at(folder))?;
    if source::expand(folder).is_ok() {
        return Err(WriteError::InUse { path: folder.to_owned() });
    }
    let mut written: Vec<PathBuf> = Vec::new();
    for (trace, keep) in history.traces.iter().zip(&selection.keep) {
        if !keep.contains(&true) {
            continue;
        }
        let mut path = folder.join(name(&trace.path, None));
        let mut number = 2;
        while written.contains(&path) {
            path = folder.join(name(&trace.path, Some(number)));
            number += 1;
        }
        copy(trace, keep, &path).map_err(at(&path))?;
        written.push(path);
    }
    Ok(written)
}

/// A trace's file name without the ending of its packing; ".trace" is in it, so that directories of traces show it.
fn name(path: &Path, number: Option<u32>) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = [".zst", ".gz"].iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(&name);
    let name = if name.contains(".trace") { name.to_owned() } else { format!("{name}.trace") };
    number.map_or(name.clone(), |number| format!("{name}.{number}"))
}

fn copy(trace: &Trace, keep: &[bool], path: &Path) -> io::Result<()> {
    let mut source = BufReader::with_capacity(1 << 18, source::open(&trace.path)?);
    let mut out = BufWriter::with_capacity(1 << 18, File::create_new(path)?);
    let mut text = Vec::new();
    let mut at = 0;
    let mut lines = std::iter::once((1, 1)).chain(lines(trace, keep));
    let Some(mut wanted) = lines.next() else {
        return Ok(());
    };
    loop {
        text.clear();
        if source.read_until(b'\n', &mut text)? == 0 {
            let changed = format!("{} is shorter than when it was read", trace.path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, changed));
        }
        at += 1;
        if at < wanted.0 {
            continue;
        }
        out.write_all(&text)?;
        if at == wanted.1 {
            match lines.next() {
                Some(next) => wanted = next,
                None => break,
            }
        }
    }
    out.flush()
}

/// The first and last line of each chosen row, ascending.
fn lines<'a>(trace: &'a Trace, keep: &'a [bool]) -> impl Iterator<Item = (u32, u32)> + 'a {
    // A row of the first line, which opened the database and cleared it, is there already.
    let stands = |index: usize| keep[index] && trace.rows.line(index) > 1;
    (0..trace.rows.len()).filter(move |&index| stands(index)).map(|index| {
        let row = trace.rows.row(index);
        let first = trace.rows.line(index);
        let count = if row.op == Op::Traversefn { row.a } else { 1 };
        (first, first + count - 1)
    })
}
