//! A run as Chrome's trace events, for Perfetto and other viewers of them.
//!
//! Owns the format: one JSON object with a list of events, times in microseconds. Each trace is a thread of one process; each
//! row that it ran and each of its waits is a complete event (`X`), and a flow (`s` to `f`) leads from the row that was waited for to
//! the end of the wait. It is written as it goes. What it holds is bounded ([`crate::replay::noting`]); if anything is left out, the
//! file says so.

use std::collections::HashMap;
use std::fmt::{self, Display};
use std::io::{self, Write};

use serde_json::json;
use tdb_trace::Call;
use tdb_trace::call::Bytes;

use crate::page::names;
use crate::replay::noting::{Execution, Noting};
use crate::replay::tally::Mismatch;
use crate::replay::timeline::{Lane, Span, Timeline};
use crate::schedule::Schedule;
use crate::trace::calls::call_of;
use crate::trace::columns::Row;
use crate::trace::op::Op;
use crate::trace::{History, Trace};

/// Bytes of a key or record that are shown.
const MOST_BYTES: usize = 64;

/// A run to be written.
pub struct Events<'a> {
    /// What was run.
    pub history: &'a History,
    /// The plan of it.
    pub schedule: &'a Schedule,
    /// What the traces are called.
    pub names: &'a [String],
    /// Which rows and waits were noted.
    pub noting: Noting,
    /// The last run.
    pub timeline: &'a Timeline,
    /// Its first results that were not the recorded ones.
    pub mismatches: &'a [Mismatch],
}

/// Nanoseconds as microseconds, exactly.
struct Micros(u64);

impl Display for Micros {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}

/// How much of a run is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Rows that are written.
    pub rows: u64,
    /// Rows that were run.
    pub of_rows: u64,
    /// Waits that are written.
    pub waits: u64,
    /// Waits that there were.
    pub of_waits: u64,
}

impl Display for Part {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Part { rows, of_rows, waits, of_waits } = self;
        write!(
            out,
            "{rows} of {of_rows} operations and {waits} of {of_waits} waits, spread evenly; the rest is left out to keep \
             the file small enough for viewers"
        )
    }
}

impl Events<'_> {
    /// What is left out, if anything is.
    pub fn part(&self) -> Option<Part> {
        if self.noting.is_whole() {
            return None;
        }
        let lanes = || self.timeline.lanes.iter();
        Some(Part {
            rows: lanes().map(|lane| lane.executions.len() as u64).sum(),
            of_rows: self.schedule.traces.iter().map(|plan| u64::from(plan.end)).sum(),
            waits: lanes().map(|lane| self.waits(lane).count() as u64).sum(),
            of_waits: lanes().map(|lane| lane.waits.len() as u64).sum(),
        })
    }

    fn waits<'l>(&self, lane: &'l Lane) -> impl Iterator<Item = &'l Span> {
        let noting = self.noting;
        lane.waits.iter().filter(move |wait| noting.notes_wait(usize::from(wait.on), wait.rows))
    }

    /// Writes the file.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let written = self.part().map_or_else(|| "everything".to_owned(), |part| part.to_string());
        write!(
            out,
            "{{\"displayTimeUnit\":\"ns\",\"otherData\":{},\n\"traceEvents\":[\n\
             {{\"ph\":\"M\",\"pid\":1,\"tid\":0,\"ts\":0,\"name\":\"process_name\",\"args\":{{\"name\":\"quorate replay\"}}}}",
            json!({ "written": written })
        )?;
        self.threads(out)?;
        let mut got: HashMap<(&str, u32), &str> = HashMap::new();
        for mismatch in self.mismatches {
            got.entry((&mismatch.file, mismatch.line)).or_insert(&mismatch.got);
        }
        let mut flows = 0;
        for (number, lane) in self.timeline.lanes.iter().enumerate() {
            let trace = &self.history.traces[number];
            let file = trace.path.display().to_string();
            for execution in &lane.executions {
                let line = trace.rows.line(execution.row as usize);
                let got = got.get(&(file.as_str(), line)).copied();
                self.execution(out, number, execution, got)?;
            }
            for wait in self.waits(lane) {
                self.wait(out, number, wait, &mut flows)?;
            }
        }
        writeln!(out, "\n]}}")
    }

    /// What the threads are called, in the order of their names.
    fn threads(&self, out: &mut impl Write) -> io::Result<()> {
        for (place, trace) in names::order(self.names).into_iter().enumerate() {
            let name = json!({ "name": self.names[trace] });
            let place = json!({ "sort_index": place });
            for (what, args) in [("thread_name", name), ("thread_sort_index", place)] {
                let tid = trace + 1;
                write!(
                    out,
                    ",\n{{\"ph\":\"M\",\"pid\":1,\"tid\":{tid},\"ts\":0,\"name\":\"{what}\",\"args\":{args}}}"
                )?;
            }
        }
        Ok(())
    }

    fn execution(
        &self,
        out: &mut impl Write,
        trace: usize,
        execution: &Execution,
        got: Option<&str>,
    ) -> io::Result<()> {
        let of = &self.history.traces[trace];
        let row = of.written_row(execution.row as usize);
        let line = of.rows.line(execution.row as usize);
        let differs = execution.differs.then(|| got.unwrap_or("another one"));
        let args = arguments(self.history, row, line, differs);
        slice(out, trace, (execution.from, execution.to), "operation", row.op.name(), &args)
    }

    /// A wait, and the arrow that ends it.
    fn wait(&self, out: &mut impl Write, trace: usize, wait: &Span, flows: &mut u64) -> io::Result<()> {
        let on = usize::from(wait.on);
        let row = wait.rows.saturating_sub(1);
        let (name, file) = (self.names.get(on).map_or("", String::as_str), &self.history.traces[on]);
        let args = json!({ "for": format!("{name}:{}", line(file, row)) });
        slice(out, trace, (wait.from, wait.to), "wait", &format!("wait for {name}"), &args)?;
        let executions = &self.timeline.lanes[on].executions;
        let Ok(source) = executions.binary_search_by_key(&row, |execution| execution.row) else {
            return Ok(());
        };
        *flows += 1;
        let (told, heard) = ends(&executions[source], wait);
        for (phase, thread, at) in [("\"s\"", on, told), ("\"f\",\"bp\":\"e\"", trace, heard)] {
            write!(
                out,
                ",\n{{\"ph\":{phase},\"pid\":1,\"tid\":{},\"ts\":{},\"id\":{flows},\"cat\":\"wait\",\"name\":\"go on\"}}",
                thread + 1,
                Micros(at)
            )?;
        }
        Ok(())
    }
}

/// The moments at which an arrow begins and ends: the last ones that lie within the row and the wait, since viewers look for
/// the events around them. A row that is still under way when the wait ends is a traversal's start.
fn ends(source: &Execution, wait: &Span) -> (u64, u64) {
    let heard = wait.to.saturating_sub(1).max(wait.from);
    let told = source.to.saturating_sub(1).min(heard).max(source.from);
    (told, heard.max(told))
}

fn slice(
    out: &mut impl Write,
    trace: usize,
    (from, to): (u64, u64),
    category: &str,
    name: &str,
    args: &serde_json::Value,
) -> io::Result<()> {
    let (tid, ts, dur, name) = (trace + 1, Micros(from), Micros(to.saturating_sub(from)), json!(name));
    write!(
        out,
        ",\n{{\"ph\":\"X\",\"pid\":1,\"tid\":{tid},\"ts\":{ts},\"dur\":{dur},\"cat\":\"{category}\",\"name\":{name},\"args\":{args}}}"
    )
}

fn line(trace: &Trace, row: u32) -> u32 {
    if (row as usize) < trace.rows.len() { trace.rows.line(row as usize) } else { 0 }
}

/// Line, key and result of a row; `differs` is what the engine answered if it was something else.
fn arguments(history: &History, row: Row, line: u32, differs: Option<&str>) -> serde_json::Value {
    let mut args = serde_json::Map::new();
    args.insert("line".into(), line.into());
    if row.op == Op::Traversefn {
        args.insert("lines".into(), row.a.into());
        return args.into();
    }
    let mut room = [None];
    let (key, result) = key_and_result(&call_of(row, &history.records, &mut room));
    let recorded = result.map(|result| result.to_string());
    let key = key.map(|key| ("key", Recorded::Bytes(key).to_string()));
    let results = match differs {
        None => [recorded.map(|recorded| ("result", recorded)), None],
        Some(got) => [Some(("result", cut(got.as_bytes()))), recorded.map(|recorded| ("recorded", recorded))],
    };
    for (name, value) in key.into_iter().chain(results.into_iter().flatten()) {
        args.insert(name.into(), value.into());
    }
    args.into()
}

/// What a line says was answered.
enum Recorded<'a> {
    Number(i32),
    Bytes(Bytes<'a>),
}

impl Display for Recorded<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Recorded::Number(number) => number.fmt(out),
            Recorded::Bytes(None) => out.write_str("none"),
            Recorded::Bytes(Some(bytes)) => {
                write!(out, "{} bytes \"{}\"", bytes.len(), cut(bytes))
            }
        }
    }
}

/// Readable whatever the bytes are, and not too long.
fn cut(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(MOST_BYTES)];
    let dots = if shown.len() < bytes.len() { "..." } else { "" };
    format!("{}{dots}", shown.escape_ascii())
}

/// The key, if the operation has one, and the result, if the line has one.
fn key_and_result<'a>(call: &Call<'a>) -> (Option<Bytes<'a>>, Option<Recorded<'a>>) {
    match *call {
        Call::Result(_, number) => (None, Some(Recorded::Number(number))),
        Call::Key(_, key) | Call::Storev { key, .. } => (Some(key), None),
        Call::KeyResult(_, key, number) => (Some(key), Some(Recorded::Number(number))),
        Call::KeyRecord(_, key, found) => (Some(key), Some(Recorded::Bytes(found))),
        Call::Firstkey(found) => (None, Some(Recorded::Bytes(found))),
        Call::Store { key, result, .. } => (Some(key), Some(Recorded::Number(result))),
        Call::StoreParts { key, result, .. } => (Some(Some(key)), Some(Recorded::Number(result))),
        Call::Append { key, appended, .. } => (Some(key), Some(Recorded::Bytes(appended))),
        Call::Open(_) | Call::OpenExact(_) | Call::Bare(_) => (None, None),
    }
}
