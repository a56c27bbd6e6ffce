//! Generated histories as trace files.
//!
//! Owns the translation of the history crate's operations into lines of today's dialect, one file a process. A true
//! history streams: what stays in memory is what each key holds and twelve bytes for each value. One with a violation
//! is kept whole until it is written, because the place of the lie is chosen from all of it.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use history::generate::{History, Kind, Operation, Random, Shape, Violation, plant};
use history::register::ValueId;

use tdb_trace::{Call, Op, Opened, Stamp, print};

/// What is to be written.
#[derive(Clone, Debug)]
pub struct Order {
    /// The shape of the history.
    pub shape: Shape,
    /// One result is made false.
    pub violation: Option<Violation>,
    /// Lines carry times and versions.
    pub extended: bool,
    /// Files are compressed.
    pub zstd: bool,
}

/// What was written.
#[derive(Clone, Debug)]
pub struct Written {
    /// The files, by process.
    pub files: Vec<PathBuf>,
    /// Their lines.
    pub lines: u64,
    /// The line whose result was made false: the file's number, the line, and its key.
    pub planted: Option<(usize, u32, String)>,
}

/// Why traces could not be generated.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// The system failed.
    #[error("{}: {source}", path.display())]
    File {
        /// Which file or directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The directory is in use.
    #[error("{}: holds traces already; name an empty directory", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The history has no place for the violation.
    #[error("no place for this violation in a history of this shape; use more operations or fewer keys")]
    NoPlace,
    /// A number is out of range.
    #[error("{what} must be {range}")]
    Range {
        /// Which number.
        what: &'static str,
        /// What it may be.
        range: &'static str,
    },
    /// The sequence number passed 2^32.
    #[error("more than 2^32 changes; use fewer operations")]
    TooManyChanges,
}

/// Files that one process may hold open without asking.
const MOST_PROCESSES: u32 = 1000;
/// Nanoseconds from one tick of a generated history to the next.
const TICK_NS: u64 = 1000;
/// `tdb_open` of every generated trace: `TDB_SEQNUM` and today's hash; `O_RDWR | O_CREAT`.
const OPENED: Opened = Opened { seq: 0, hash_size: 10_007, tdb_flags: 0x880, open_flags: 0x42 };

/// Writes a history into `folder`, which is made if it is not there, as `generated.trace.N`.
pub fn generate(order: &Order, folder: &Path) -> Result<Written, GenerateError> {
    check(&order.shape)?;
    let mut files = Files::create(order, folder)?;
    let planted = match order.violation {
        None => {
            History::stream(&order.shape, |operation, history| files.operation(operation, history))?;
            None
        }
        Some(violation) => {
            let mut history = History::new(&order.shape);
            let mut random = Random::new(!order.shape.seed);
            let planted = plant(&mut history, violation, &mut random).ok_or(GenerateError::NoPlace)?;
            let mut place = None;
            for (index, operation) in history.operations.iter().enumerate() {
                files.operation(operation, &history)?;
                if index == planted.operation {
                    let file = operation.process as usize;
                    place = Some((file, files.traces[file].lines, key_name(operation.key)));
                }
            }
            place
        }
    };
    files.close(planted)
}

fn check(shape: &Shape) -> Result<(), GenerateError> {
    let range = |what, range| Err(GenerateError::Range { what, range });
    if !(1..=MOST_PROCESSES).contains(&shape.processes) {
        return range("the number of processes", "1 to 1000");
    }
    if shape.keys == 0 {
        return range("the number of keys", "1 or more");
    }
    if !(0.0..=10.0).contains(&shape.skew) {
        return range("the skew", "0 to 10");
    }
    if shape.late_per_mille > 1000 || shape.very_late_per_mille > 1000 {
        return range("a share of late operations", "0 to 1000 of 1000");
    }
    Ok(())
}

fn key_name(key: u32) -> String {
    format!("key{key:07}")
}

struct Files {
    traces: Vec<TraceFile>,
    extended: bool,
    text: Vec<u8>,
}

struct TraceFile {
    path: PathBuf,
    out: Out,
    lines: u32,
    seq: u32,
    end_ns: u64,
}

enum Out {
    Plain(BufWriter<File>),
    Zstd(Box<zstd::stream::write::Encoder<'static, BufWriter<File>>>),
}

impl Out {
    fn create(path: &Path, zstd: bool) -> io::Result<Out> {
        let file = BufWriter::with_capacity(1 << 16, File::create_new(path)?);
        if zstd {
            return Ok(Out::Zstd(Box::new(zstd::stream::write::Encoder::new(file, 1)?)));
        }
        Ok(Out::Plain(file))
    }

    fn write(&mut self, text: &[u8]) -> io::Result<()> {
        match self {
            Out::Plain(file) => file.write_all(text),
            Out::Zstd(file) => file.write_all(text),
        }
    }

    fn finish(self) -> io::Result<()> {
        match self {
            Out::Plain(mut file) => file.flush(),
            Out::Zstd(encoder) => encoder.finish()?.flush(),
        }
    }
}

impl Files {
    fn create(order: &Order, folder: &Path) -> Result<Files, GenerateError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| GenerateError::File { path, source }
        };
        fs::create_dir_all(folder).map_err(at(folder))?;
        if crate::trace::source::expand(folder).is_ok() {
            return Err(GenerateError::InUse { path: folder.to_owned() });
        }
        let mut files = Files { traces: Vec::new(), extended: order.extended, text: Vec::new() };
        for process in 0..order.shape.processes {
            let ending = if order.zstd { ".zst" } else { "" };
            let path = folder.join(format!("generated.trace.{process:04}{ending}"));
            let out = Out::create(&path, order.zstd).map_err(at(&path))?;
            files.traces.push(TraceFile { path, out, lines: 0, seq: 0, end_ns: 0 });
            let stamp = Stamp { start_ns: 0, duration_ns: TICK_NS / 2, version: None };
            files.lines(process as usize, &[(0, Call::Open(OPENED), stamp)])?;
        }
        Ok(files)
    }

    /// Writes the lines of one operation.
    fn operation(&mut self, operation: &Operation, history: &History) -> Result<(), GenerateError> {
        let seq = u32::try_from(operation.sequence).map_err(|_| GenerateError::TooManyChanges)?;
        let (start_ns, end_ns) = (operation.invoked_at * TICK_NS, operation.returned_at * TICK_NS);
        let trace = &mut self.traces[operation.process as usize];
        (trace.seq, trace.end_ns) = (seq, end_ns);
        let key_text = key_name(operation.key);
        let key = Some(key_text.as_bytes());
        let bytes = |value: ValueId| (value != ValueId::ABSENT).then(|| history.bytes_of(value));
        let (found, written) = (bytes(operation.found), bytes(operation.written));
        let value = Some(written.as_deref().unwrap_or_default());
        let result = if operation.succeeded() { 0 } else { -1 };
        let stamp = Stamp {
            start_ns,
            duration_ns: end_ns - start_ns,
            version: u32::try_from(operation.version).ok(),
        };
        let process = operation.process as usize;
        let call = match operation.kind {
            Kind::Fetch => Call::KeyRecord(Op::Fetch, key, found.as_deref()),
            Kind::Exists => Call::KeyResult(Op::Exists, key, i32::from(found.is_some())),
            Kind::Store => Call::Store { key, value, flag: 0, result },
            Kind::Insert => Call::Store { key, value, flag: 2, result },
            Kind::Delete => Call::KeyResult(Op::Delete, key, result),
            Kind::Append => {
                let before = found.as_deref().map_or(0, <[u8]>::len);
                let appended = written.as_deref().and_then(|written| written.get(before..));
                Call::Append { key, before: found.as_deref(), appended }
            }
            Kind::CancelledStore => {
                // The number was read at the end; so the first call lasts nearly until then.
                let last = end_ns - 2;
                let at = |start_ns, end_ns| Stamp { start_ns, duration_ns: end_ns - start_ns, version: None };
                let part = |nth| match nth {
                    0 => at(start_ns, last),
                    nth => at(last + nth - 1, last + nth),
                };
                // A transaction counts its own changes for itself until it is cancelled.
                let inside = seq.checked_add(1).ok_or(GenerateError::TooManyChanges)?;
                return self.lines(
                    process,
                    &[
                        (seq, Call::Bare(Op::TransactionStart), part(0)),
                        (inside, Call::Store { key, value, flag: 0, result: 0 }, part(1)),
                        (inside, Call::Bare(Op::TransactionCancel), part(2)),
                    ],
                );
            }
        };
        self.lines(process, &[(seq, call, stamp)])
    }

    fn lines(&mut self, process: usize, lines: &[(u32, Call, Stamp)]) -> Result<(), GenerateError> {
        self.text.clear();
        for (seq, call, stamp) in lines {
            print::line(*seq, call, self.extended.then_some(*stamp), &mut self.text);
        }
        let trace = &mut self.traces[process];
        trace.lines += lines.len() as u32;
        trace.out.write(&self.text).map_err(|source| GenerateError::File { path: trace.path.clone(), source })
    }

    fn close(mut self, planted: Option<(usize, u32, String)>) -> Result<Written, GenerateError> {
        for process in 0..self.traces.len() {
            let TraceFile { seq, end_ns, .. } = self.traces[process];
            let stamp = Stamp { start_ns: end_ns + 1, duration_ns: TICK_NS / 2, version: None };
            self.lines(process, &[(seq, Call::Bare(Op::Close), stamp)])?;
        }
        let mut written = Written { files: Vec::new(), lines: 0, planted };
        for TraceFile { path, out, lines, .. } in self.traces {
            out.finish().map_err(|source| GenerateError::File { path: path.clone(), source })?;
            written.lines += u64::from(lines);
            written.files.push(path);
        }
        Ok(written)
    }
}
