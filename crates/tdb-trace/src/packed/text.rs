//! A packed trace as its text, for whoever reads lines.
//!
//! Owns the reading of the file's parts in their order: what follows the ring, then what is in the ring only, then what was
//! under way. A file whose process is at work may be read, too: the ring is looked at before what follows it, and
//! nothing leaves the ring before it follows it.

use std::io::{self, Read};

use super::record::{Decoded, decode};
use super::{ANNOUNCED_AT, DRAINED_AT, HEAD_AT, LAYOUT, LAYOUT_AT, MAGIC, PAGE, RING_AT};
use crate::print::line;

/// The longest ring that is believed.
const MOST_RING: u32 = 1 << 26;
/// How much is read at a time.
const CHUNK: usize = 1 << 17;

/// Reads a packed trace and gives its text.
pub struct PackedText<R> {
    from: R,
    ring: Vec<u8>,
    head: u64,
    announced: u64,
    /// How many bytes of records were taken from the file.
    taken: u64,
    /// Records that have no text yet begin at `at`; the first of them begins there.
    records: Vec<u8>,
    at: usize,
    /// The file has no more of them.
    ended: bool,
    text: Vec<u8>,
    given: usize,
}

impl<R: Read> PackedText<R> {
    /// Reads the beginning of a packed trace.
    ///
    /// # Errors
    /// It cannot be read, or is not a packed trace of a layout that is known.
    pub fn new(mut from: R) -> io::Result<PackedText<R>> {
        let mut page = [0; PAGE];
        from.read_exact(&mut page).map_err(cut)?;
        let word = |at: usize| page[at..].first_chunk().map_or(0, |word| u32::from_le_bytes(*word));
        let long = |at: usize| page[at..].first_chunk().map_or(0, |long| u64::from_le_bytes(*long));
        if page[..MAGIC.len()] != MAGIC {
            return Err(wrong("its first bytes are those of something else"));
        }
        if word(LAYOUT_AT) != LAYOUT {
            return Err(wrong(&format!("layout {} is not known here; expected {LAYOUT}", word(LAYOUT_AT))));
        }
        let ring_len = word(RING_AT);
        let (head, drained, announced) = (long(HEAD_AT), long(DRAINED_AT), long(ANNOUNCED_AT));
        if ring_len == 0 || ring_len > MOST_RING || drained > head || head - drained > u64::from(ring_len) {
            return Err(wrong("its numbers contradict each other"));
        }
        let mut ring = vec![0; ring_len as usize];
        from.read_exact(&mut ring).map_err(cut)?;
        let (records, text) = (Vec::new(), Vec::new());
        Ok(PackedText { from, ring, head, announced, taken: 0, records, at: 0, ended: false, text, given: 0 })
    }

    /// Makes text of some more records; false at the end.
    fn more(&mut self) -> io::Result<bool> {
        self.text.clear();
        self.given = 0;
        while self.text.is_empty() {
            if !self.ended {
                self.fill()?;
            }
            while let Some(read) = decode(&self.records[self.at..]).transpose() {
                let Decoded { number, call, stamp, len } = read.map_err(|what| self.bad(what))?;
                line(number, &call, stamp, &mut self.text);
                self.at += len;
            }
            if self.ended {
                if self.at < self.records.len() {
                    return Err(self.bad("the end of the records"));
                }
                self.under_way()?;
                return Ok(!self.text.is_empty());
            }
        }
        Ok(true)
    }

    /// Takes more records from the file, or the last from the ring.
    fn fill(&mut self) -> io::Result<()> {
        self.records.drain(..self.at);
        self.at = 0;
        let want = (self.head - self.taken).min(CHUNK as u64);
        let read = (&mut self.from).take(want).read_to_end(&mut self.records)? as u64;
        self.taken += read;
        if read < want || self.taken == self.head {
            let rest = self.ring_bytes(self.taken..self.head)?;
            self.records.extend_from_slice(&rest);
            self.ended = true;
        }
        Ok(())
    }

    fn ring_bytes(&self, range: std::ops::Range<u64>) -> io::Result<Vec<u8>> {
        let (len, ring) = (range.end - range.start, self.ring.len() as u64);
        if len > ring {
            return Err(cut(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok((range.start..range.end).map(|at| self.ring[(at % ring) as usize]).collect())
    }

    /// What was under way when the process died: a line whose first byte says so.
    fn under_way(&mut self) -> io::Result<()> {
        let announced = std::mem::take(&mut self.announced);
        let Some(len) = announced.checked_sub(self.head).filter(|&len| len > 0) else {
            return Ok(());
        };
        let record = if len > self.ring.len() as u64 / 2 {
            let mut record = Vec::new();
            (&mut self.from).take(len).read_to_end(&mut record)?;
            record
        } else {
            self.ring_bytes(self.head..announced)?
        };
        // Anything else is the record that a withdrawn announcement was overwritten with.
        if let Ok(Some(Decoded { number, call, .. })) = decode(&record) {
            let start = self.text.len();
            line(number, &call, None, &mut self.text);
            self.text[start] = b'?';
        }
        Ok(())
    }

    fn bad(&self, what: &str) -> io::Error {
        let end = if self.ended { self.head } else { self.taken };
        wrong(&format!("record at byte {}: {what}", end - (self.records.len() - self.at) as u64))
    }
}

impl<R: Read> Read for PackedText<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.given == self.text.len() && !self.more()? {
            return Ok(0);
        }
        let rest = &self.text[self.given..];
        let len = rest.len().min(into.len());
        into[..len].copy_from_slice(&rest[..len]);
        self.given += len;
        Ok(len)
    }
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("damaged packed trace: {what}"))
}

fn cut(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => wrong("it ends before its records do"),
        _ => error,
    }
}
