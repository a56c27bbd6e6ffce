//! Trace files to columns of rows.
//!
//! Owns everything between the bytes of the files and [`History`]: after [`History::read`] returned, every row is
//! grammatical, every group has a start, and appends of both dialects say what was there before and after. A trace
//! streams through one buffer; what stays in memory is each distinct key and value once, and about 17 bytes a row.
//!
//! * [`source`]: plain, packed, gzip and zstd files, folders.
//! * [`line`](mod@line): a line, by the grammar of `tdb-trace`.
//! * [`records`]: keys and values of the last lines, which wait for their ids.
//! * [`intern`], [`strings`], [`words`], [`columns`]: what is kept.
//! * [`chain`]: which keys share a chain.
//! * [`structure`]: groups (traversals, transactions, locks) and what is missing in them. [`held`]: which locks were held.
//! * [`numbers`]: sequence numbers that begin again.
//! * [`dialect`]: the two forms of `tdb_append`.
//! * [`stamps`]: times and versions, in traces of the extended form.
//! * [`exact`]: versions without times.
//! * [`calls`]: what a row's line said.
//! * [`restrict`]: a part of a history.

pub mod calls;
pub mod chain;
pub mod columns;
pub mod dialect;
mod exact;
pub mod held;
pub mod intern;
pub mod line;
mod lives;
mod numbers;
pub mod records;
pub mod restrict;
pub mod source;
mod stamps;
mod strings;
pub mod structure;
mod words;

use std::io::{self, Read};
use std::path::{Path, PathBuf};

// The operations of rows are those of the grammar.
pub use tdb_trace::op;
use tdb_trace::op::Op;
use tdb_trace::{BadLine, Opened, Stamp, bad_line::show};

use chain::{Hashing, Spread};
use columns::{Columns, Row};
use dialect::Dialect;
use line::OpenedWith;
use records::{Full, Records};
use structure::Group;

/// What one process did to one database.
pub struct Trace {
    /// Where it was read from.
    pub path: PathBuf,
    /// What its `tdb_open` says.
    pub opened: Opened,
    /// The times of its `tdb_open`, in the extended form.
    pub opened_stamp: Option<Stamp>,
    /// The lines after the first.
    pub rows: Columns,
    /// Traversals, transactions and locks, by first row.
    pub groups: Vec<Group>,
    /// How many lines the file has.
    pub lines: u32,
    /// It ends with `tdb_close`.
    pub closed: bool,
    /// Its last row was under way when its process died: nobody knows whether it happened.
    pub unfinished: bool,
    /// Its first line says that its numbers are exact.
    pub exact: bool,
    /// The largest number that the database had in this process's time, where a later life of it says so.
    pub last_number: u32,
    /// What was added to the numbers of its lines, around the end of all numbers, so that those of the history never begin again.
    pub recounted: u32,
}

impl Trace {
    /// A number of this trace as its lines have it.
    pub fn written(&self, number: u32) -> u32 {
        number.wrapping_sub(self.recounted)
    }

    /// Row `index` with the numbers that its line has.
    pub fn written_row(&self, index: usize) -> Row {
        let mut row = self.rows.row(index);
        row.seq = self.written(row.seq);
        if row.op == Op::GetSeqnum && row.b == 1 {
            row.a = self.written(row.a);
        }
        row
    }

    /// Whether our own recorder wrote it, which writes lines of successful calls only, and afterwards; libtdb's tracer writes some
    /// before the work.
    pub fn is_recorded(&self) -> bool {
        self.exact || self.unfinished || self.opened_stamp.is_some() || self.rows.is_timed()
    }
}

/// All traces of one database.
pub struct History {
    /// The traces, in the order given.
    pub traces: Vec<Trace>,
    /// Their keys and values.
    pub records: Records,
    /// Who wrote the traces.
    pub dialect: Dialect,
    /// Without times it is not sure after which clearing of the database each trace began.
    pub lives_guessed: bool,
    /// What people should know about the traces, though it stops nothing.
    pub warnings: Vec<String>,
    /// Bytes of trace text.
    pub text_bytes: u64,
}

/// Why traces cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file cannot be opened or read.
    #[error("{}: {source}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A line breaks the grammar, or its place does.
    #[error("{}:{line}: expected {expected}, found {found}", path.display())]
    Line {
        /// Which file.
        path: PathBuf,
        /// Which line, counted from 1.
        line: u32,
        /// What should have stood there.
        expected: String,
        /// What stood there.
        found: String,
    },
    /// There are more different keys or values than can be named.
    #[error("{}: by the end of this trace there are 16 GiB of distinct keys or values; replay fewer traces", path.display())]
    Full {
        /// Which file.
        path: PathBuf,
    },
}

impl ReadError {
    /// Whether the system failed, rather than the trace.
    pub fn is_io(&self) -> bool {
        matches!(self, ReadError::File { source, .. } if source.raw_os_error().is_some())
    }
}

/// What a reader puts up with.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tolerance {
    /// A last line that was cut short is dropped with a warning: its process was killed while it wrote.
    pub cut_last_line: bool,
}

impl History {
    /// Reads traces; `progress` hears how many bytes of text were read so far.
    pub fn read(
        paths: &[PathBuf],
        tolerance: Tolerance,
        mut progress: impl FnMut(u64),
    ) -> Result<History, ReadError> {
        let mut records = Records::default();
        let mut warnings = Vec::new();
        let mut text_bytes = 0;
        let mut traces: Vec<Trace> = Vec::with_capacity(paths.len());
        for path in paths {
            let hashing = traces.first().map(|first| Hashing::of(&first.opened));
            let reader = Reader { hashing, ..Reader::new(path, tolerance, &mut records, &mut warnings) };
            traces.push(reader.read(&mut |bytes| {
                text_bytes += bytes;
                progress(text_bytes);
            })?);
        }
        let dialect =
            dialect::settle(&mut traces, &mut records).map_err(|full| full_at(paths.last(), full))?;
        let lives_guessed = numbers::straighten(&mut traces, &mut warnings);
        for trace in &mut traces {
            trace.rows.shrink();
        }
        records.shrink();
        Ok(History { traces, records, dialect, lives_guessed, warnings, text_bytes })
    }

    /// Reads traces that are in memory, under the names `0`, `1` and so on.
    pub fn read_texts(texts: &[&[u8]], tolerance: Tolerance) -> Result<History, ReadError> {
        let mut records = Records::default();
        let mut warnings = Vec::new();
        let mut traces: Vec<Trace> = Vec::with_capacity(texts.len());
        for (number, mut text) in texts.iter().copied().enumerate() {
            let path = PathBuf::from(number.to_string());
            let hashing = traces.first().map(|first| Hashing::of(&first.opened));
            let reader = Reader { hashing, ..Reader::new(&path, tolerance, &mut records, &mut warnings) };
            traces.push(reader.read_from(&mut text, &mut |_| {})?);
        }
        let dialect = dialect::settle(&mut traces, &mut records).map_err(|full| full_at(None, full))?;
        let lives_guessed = numbers::straighten(&mut traces, &mut warnings);
        let text_bytes = texts.iter().map(|text| text.len() as u64).sum();
        Ok(History { traces, records, dialect, lives_guessed, warnings, text_bytes })
    }

    /// Lines of all traces.
    pub fn lines(&self) -> u64 {
        self.traces.iter().map(|trace| u64::from(trace.lines)).sum()
    }

    /// `file:line` of a row.
    pub fn place(&self, trace: usize, row: usize) -> String {
        format!("{}:{}", self.traces[trace].path.display(), self.traces[trace].rows.line(row))
    }

    /// Bytes of memory held.
    pub fn memory(&self) -> usize {
        let rows: usize = self
            .traces
            .iter()
            .map(|trace| trace.rows.memory() + trace.groups.capacity() * size_of::<Group>())
            .sum();
        rows + self.records.keys.memory() + self.records.values.memory()
    }
}

fn full_at(path: Option<&PathBuf>, Full: Full) -> ReadError {
    ReadError::Full { path: path.cloned().unwrap_or_default() }
}

/// Reads one file.
struct Reader<'a> {
    path: &'a Path,
    tolerance: Tolerance,
    records: &'a mut Records,
    warnings: &'a mut Vec<String>,
    rows: Columns,
    opened: Option<Opened>,
    opened_stamp: Option<Stamp>,
    /// How the history's database spreads its keys, if its first trace was read before this one.
    hashing: Option<Hashing>,
    /// Its appends are known to be of today's dialect.
    today: bool,
    /// The numbers of the lines are versions.
    exact: bool,
    line: u32,
    closed: bool,
    /// What follows is behind the end of a trace whose process died.
    dead: bool,
    unfinished: bool,
    /// The text of the last line with its end, if it was a `traversefn`.
    run: Vec<u8>,
}

const CHUNK: usize = 1 << 18;
/// The first byte of a line that says what was under way when its process died.
const UNDER_WAY: u8 = b'?';

impl<'a> Reader<'a> {
    fn new(
        path: &'a Path,
        tolerance: Tolerance,
        records: &'a mut Records,
        warnings: &'a mut Vec<String>,
    ) -> Self {
        let rows = Columns::default();
        Reader {
            path,
            tolerance,
            records,
            warnings,
            rows,
            opened: None,
            opened_stamp: None,
            hashing: None,
            today: false,
            exact: false,
            line: 0,
            closed: false,
            dead: false,
            unfinished: false,
            run: Vec::new(),
        }
    }

    fn read(self, progress: &mut dyn FnMut(u64)) -> Result<Trace, ReadError> {
        let path = self.path;
        let mut source =
            source::open(path).map_err(|source| ReadError::File { path: path.to_owned(), source })?;
        self.read_from(&mut source, progress)
    }

    fn read_from(mut self, source: &mut dyn Read, progress: &mut dyn FnMut(u64)) -> Result<Trace, ReadError> {
        let path = self.path;
        let file_error = |source| ReadError::File { path: path.to_owned(), source };
        let mut buffer = vec![0; CHUNK];
        let mut kept = 0;
        loop {
            if kept == buffer.len() {
                buffer.resize(buffer.len() * 2, 0);
            }
            let read = match source.read(&mut buffer[kept..]) {
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(file_error(error)),
            };
            if read == 0 {
                self.last_line(&buffer[..kept])?;
                break;
            }
            progress(read as u64);
            let filled = kept + read;
            // What was kept holds no line end: it is the beginning of a line.
            let Some(end) = memchr::memrchr(b'\n', &buffer[kept..filled]).map(|at| kept + at + 1) else {
                kept = filled;
                continue;
            };
            self.lines(&buffer[..end])?;
            buffer.copy_within(end..filled, 0);
            kept = filled - end;
        }
        self.finish()
    }

    /// Reads whole lines.
    fn lines(&mut self, mut text: &[u8]) -> Result<(), ReadError> {
        while !text.is_empty() {
            text = self.line(text)?;
        }
        Ok(())
    }

    /// Reads the first line of `text`; the rest is what follows its end.
    #[inline(always)]
    fn line<'b>(&mut self, text: &'b [u8]) -> Result<&'b [u8], ReadError> {
        if self.dead || self.closed || self.opened.is_none() || matches!(text[0], UNDER_WAY | 0) {
            return self.odd_line(text);
        }
        self.line = self.line.checked_add(1).ok_or_else(|| self.error("fewer than 2^32 lines", "more"))?;
        if !self.run.is_empty()
            && let Some(rest) = text.strip_prefix(&*self.run)
        {
            self.rows.extend_run();
            return Ok(rest);
        }
        let read = line::read(text, self.rows.len(), self.today, self.records);
        let (row, mut rest) = read.map_err(|bad| self.bad(*bad))?;
        self.rows.push(self.line, row);
        if rest.first() != Some(&b'\n') {
            rest = self.stamp(rest)?;
        }
        rest = rest.get(1..).unwrap_or_default();
        if self.records.is_full() {
            self.settle()?;
        }
        self.run.clear();
        match row.op {
            Op::Traversefn => self.run.extend_from_slice(&text[..text.len() - rest.len()]),
            Op::Close => self.closed = true,
            _ => {}
        }
        Ok(rest)
    }

    /// Reads what a line of the extended form adds.
    #[inline(never)]
    fn stamp<'b>(&mut self, rest: &'b [u8]) -> Result<&'b [u8], ReadError> {
        let (stamp, rest) = line::stamp(rest).map_err(|bad| self.bad(*bad))?;
        self.rows.push_stamp(stamp);
        Ok(rest)
    }

    /// Reads the first line of `text`, which is that of the trace, or stands behind its end.
    #[inline(never)]
    fn odd_line<'b>(&mut self, text: &'b [u8]) -> Result<&'b [u8], ReadError> {
        let end = memchr::memchr(b'\n', text).unwrap_or(text.len());
        let (text, rest) = (&text[..end], text.get(end + 1..).unwrap_or_default());
        if self.dead || matches!(text.first(), Some(&UNDER_WAY | 0)) {
            self.after_death(text)?;
            return Ok(rest);
        }
        self.line = self.line.checked_add(1).ok_or_else(|| self.error("fewer than 2^32 lines", "more"))?;
        if self.closed {
            return Err(self.error("the end of the file after tdb_close", show(text)));
        }
        let (opened, with) = line::open_line(text).map_err(|bad| self.bad(*bad))?;
        self.today = dialect::says_today(&opened);
        self.opened = Some(opened);
        match with {
            OpenedWith::Nothing => {}
            OpenedWith::Stamp(stamp) => self.opened_stamp = Some(stamp),
            OpenedWith::Exact => self.exact = true,
        }
        Ok(rest)
    }

    /// What a recorder leaves whose process died (docs/trace-extended.md): a zero, or what was under way; after that
    /// anything.
    fn after_death(&mut self, text: &[u8]) -> Result<(), ReadError> {
        if self.dead {
            return Ok(());
        }
        if self.closed || self.opened.is_none() {
            self.line += 1;
            return Err(self.error("a line of a trace", show(text)));
        }
        self.dead = true;
        if text[0] != UNDER_WAY {
            return Ok(());
        }
        self.line += 1;
        let body = text.split(|&byte| byte == b'#').next().unwrap_or_default();
        // Its first digit is missing, and its number says nothing: it was written before the operation.
        let mut body = body.trim_ascii_end().to_vec();
        body[0] = b'0';
        let read = line::read(&body, self.rows.len(), self.today, self.records);
        let (mut row, rest) = read.map_err(|bad| self.bad(*bad))?;
        line::stamp(rest).map_err(|bad| self.bad(*bad))?;
        row.seq = match self.rows.len() {
            0 => self.opened.map_or(0, |opened| opened.seq),
            rows => self.rows.seq(rows - 1),
        };
        self.rows.push(self.line, row);
        self.unfinished = true;
        let place = format!("{}:{}", self.path.display(), self.line);
        self.warnings
            .push(format!("{place}: its process died during this operation, which may have happened"));
        Ok(())
    }

    /// What stands after the last line end: nothing, in a whole file.
    fn last_line(&mut self, text: &[u8]) -> Result<(), ReadError> {
        if text.is_empty() {
            return Ok(());
        }
        if self.dead || matches!(text.first(), Some(&UNDER_WAY | 0)) {
            return self.after_death(text);
        }
        self.line += 1;
        if !self.tolerance.cut_last_line {
            let cut = format!(
                "{}, cut short (if its process was killed while it wrote, --killed drops this line)",
                show(text)
            );
            return Err(self.error("a line end", cut));
        }
        self.warnings.push(format!(
            "{}:{}: the last line is cut short and was dropped",
            self.path.display(),
            self.line
        ));
        Ok(())
    }

    /// Gives the records of the last rows their ids.
    fn settle(&mut self) -> Result<(), ReadError> {
        let rows = &mut self.rows;
        let settled = self.records.settle(|row, column, id| rows.place(row, column, id));
        settled.map_err(|Full| ReadError::Full { path: self.path.to_owned() })
    }

    fn finish(mut self) -> Result<Trace, ReadError> {
        self.settle()?;
        let Some(opened) = self.opened else {
            return Err(ReadError::Line {
                path: self.path.to_owned(),
                line: 1,
                expected: "a tdb_open line".into(),
                found: "an empty file".into(),
            });
        };
        let groups = self.groups(&opened)?;
        if !self.closed {
            let what = if groups.iter().any(|group| group.open && group.is_transaction()) {
                "no tdb_close at the end; the open transaction is cancelled, as its process's death did"
            } else {
                "no tdb_close at the end"
            };
            self.warnings.push(format!("{}:{}: {what}", self.path.display(), self.line));
        }
        if self.exact {
            exact::number(&mut self.rows, &groups, self.unfinished);
        }
        let path = self.path.to_owned();
        Ok(Trace {
            path,
            opened,
            opened_stamp: self.opened_stamp,
            rows: std::mem::take(&mut self.rows),
            groups,
            lines: self.line,
            closed: self.closed,
            unfinished: self.unfinished,
            exact: self.exact,
            last_number: u32::MAX,
            recounted: 0,
        })
    }

    fn groups(&self, opened: &Opened) -> Result<Vec<Group>, ReadError> {
        let hashing = self.hashing.unwrap_or_else(|| Hashing::of(opened));
        let spread = Spread { hashing, keys: &self.records.keys };
        let only_successes =
            self.exact || self.unfinished || self.opened_stamp.is_some() || self.rows.is_timed();
        let groups = structure::groups(&self.rows, spread, only_successes);
        let mut groups = groups.map_err(|(row, bad)| ReadError::Line {
            path: self.path.to_owned(),
            line: self.rows.line(row),
            expected: bad.expected,
            found: bad.found,
        })?;
        held::Told { rows: &self.rows, opened, spread, only_successes }.settle(&mut groups);
        Ok(groups)
    }

    fn error(&self, expected: impl Into<String>, found: impl Into<String>) -> ReadError {
        ReadError::Line {
            path: self.path.to_owned(),
            line: self.line,
            expected: expected.into(),
            found: found.into(),
        }
    }

    fn bad(&self, bad: BadLine) -> ReadError {
        self.error(bad.expected, bad.found)
    }
}
