//! The bytes of a trace file, whatever they are packed in.
//!
//! Owns the opening of files: plain, packed, gzip or zstd by their first bytes, never by their name; directories as the traces in
//! them.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::path::{Path, PathBuf};

use tdb_trace::packed::{self, PackedText};

/// A stream of a trace's text.
pub type Source = Box<dyn Read + Send>;

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Opens a trace file.
pub fn open(path: &Path) -> io::Result<Source> {
    if path.is_dir() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "is a directory"));
    }
    let mut file = File::open(path)?;
    if !file.metadata()?.is_file() {
        // Its first bytes tell what it is, and `slice` reads it again.
        return Err(io::Error::other("is not a regular file; write what it gives to a file first"));
    }
    let magic = first_bytes(&mut file)?;
    file.rewind()?;
    if magic.starts_with(&ZSTD) {
        return text_of(zstd::stream::read::Decoder::new(file)?);
    }
    if magic.starts_with(&GZIP) {
        return text_of(flate2::read::MultiGzDecoder::new(BufReader::with_capacity(1 << 16, file)));
    }
    if magic == packed::MAGIC {
        return Ok(Box::new(PackedText::new(file)?));
    }
    Ok(Box::new(file))
}

/// The text of what was compressed, which may be a packed trace.
fn text_of(mut stream: impl Read + Send + 'static) -> io::Result<Source> {
    let first = first_bytes(&mut stream)?;
    let stream = io::Cursor::new(first.clone()).chain(stream);
    Ok(if first == packed::MAGIC { Box::new(PackedText::new(stream)?) } else { Box::new(stream) })
}

/// As many bytes as tell what it is; fewer if there are no more.
fn first_bytes(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut first = Vec::new();
    stream.take(packed::MAGIC.len() as u64).read_to_end(&mut first)?;
    Ok(first)
}

/// The trace files that `path` stands for: itself, or, if it is a directory, the files in it with `.trace` in their
/// names, sorted by name.
pub fn expand(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let entry = entry?.path();
        let named = entry.file_name().is_some_and(|name| name.to_string_lossy().contains(".trace"));
        if named && entry.is_file() {
            found.push(entry);
        }
    }
    if found.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            "no file with \".trace\" in its name in this directory",
        ));
    }
    found.sort();
    Ok(found)
}
