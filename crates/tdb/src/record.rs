//! Recording: what this handle does, as a trace that `quorate check` and `quorate replay` read.
//!
//! Owns the trace of one handle, from its opening to its close or its process's death. A line is written after its
//! operation with the sequence number that was read under the operation's lock, which makes the order of a key's
//! operations exact (docs/trace-extended.md). Three rules keep a trace true:
//!
//! * What changes something for others is *announced* before: its line stands behind the end of the trace, marked as
//!   under way. A process that dies in between leaves it there, and the reader knows that it may have happened.
//! * A copy that was made earlier (a traversal copies chains) is written with the number of its copy, and read again if
//!   the trace has said anything else meanwhile: what it would show then was so before, when others did not have the
//!   locks that they may have by now.
//! * Where no lock is held, the last known number is written: one read in the middle of somebody's commit would have
//!   to be taken back if that fails.
//!
//! Without a recorder all of this is one test of a pointer. If the trace cannot be written any more (a full disk) the
//! database goes on, and the log says so.

mod calls;
mod hex;
pub(crate) mod line;
pub(crate) mod tail;

use std::cell::{Cell, RefCell};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::lock::ofd;
use line::{Call, Text};
use tail::Tail;

/// The name of the variable that turns recording on: a folder for the traces.
pub(crate) const VARIABLE: &str = "QUORATE_TDB_RECORD";
/// The name of the variable that says in which form, by its name.
pub(crate) const FORM_VARIABLE: &str = "QUORATE_TDB_RECORD_FORM";

/// In which form a handle is recorded (docs/trace-extended.md).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TraceForm {
    /// As libtdb's tracer writes it, and nothing else: the cheaper one, since it asks no clock.
    Plain,
    /// Plain lines, of which the first ends with ` #v`: their numbers are versions, so the order of a key's operations is exact.
    /// It costs as much as the plain form, and is that form without this mark.
    Exact,
    /// Each line also says when the operation was called and answered, and, where a lock was held, at which number.
    #[default]
    Extended,
}

impl TraceForm {
    /// Every form with its name.
    pub const NAMES: [(&'static str, TraceForm); 3] =
        [("plain", TraceForm::Plain), ("exact", TraceForm::Exact), ("extended", TraceForm::Extended)];
}

impl FromStr for TraceForm {
    type Err = UnknownForm;

    fn from_str(name: &str) -> Result<TraceForm, UnknownForm> {
        let named = TraceForm::NAMES.iter().find(|(other, _)| *other == name);
        named.map(|(_, form)| *form).ok_or_else(|| UnknownForm { name: name.into() })
    }
}

/// No form of traces has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is no form of traces: write plain, exact or extended")]
pub struct UnknownForm {
    name: String,
}

/// When a recorded operation was called, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Called(u64);

/// Which sequence number belongs on a line.
#[derive(Clone, Copy, Debug)]
pub(crate) enum When {
    /// The one read just before the lock was given back; it is the line's version too.
    Under,
    /// The same, on a line that carries no version.
    Until,
    /// The present one: a lock is held.
    Now,
    /// The present one, as a transaction begins.
    Begin,
    /// The last one known: no lock is held.
    Last,
}

/// A line that says what is under way.
#[derive(Clone, Copy)]
struct Announced {
    /// How many digits its number has.
    digits: usize,
    /// Where its duration belongs; in the plain form, where it ends.
    at: usize,
}

/// The numbers of a line after its operation.
struct Stamp {
    number: u32,
    start: u64,
    end: u64,
    version: Option<u32>,
}

/// A handle's recorder.
pub(crate) struct Recorder {
    folder: PathBuf,
    database: OsString,
    /// The first line.
    opened: Call<'static>,
    /// Whether lines say when they were: the extended form.
    timed: bool,
    forks: Cell<u32>,
    /// When the operation that is under way was called.
    started: Cell<u64>,
    /// When the one on the last line had ended.
    ended: Cell<u64>,
    /// The number read before a lock was given back last.
    version: Cell<u32>,
    /// The largest number that is known to have been reached, open transactions aside.
    last: Cell<u32>,
    announced: Cell<Option<Announced>>,
    /// What an append found.
    before: RefCell<Option<Vec<u8>>>,
    /// The number before the wipe that is under way.
    wiping: Cell<Option<u32>>,
    /// How many lines were written.
    lines: Cell<u64>,
    /// None once it cannot be written any more.
    trace: RefCell<Option<Tail>>,
}

/// Calls `make` with names that differ, until it finds that one is new.
fn new_name<T>(first: &Path, mut make: impl FnMut(&Path) -> io::Result<T>) -> io::Result<T> {
    let mut path = first.to_owned();
    for nth in 2.. {
        match make(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let mut name = first.as_os_str().to_owned();
                name.push(format!(".{nth}"));
                path = name.into();
            }
            other => return other,
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

impl Recorder {
    /// Begins a trace in `folder`, which is made if need be, for a database that stands at `number`.
    pub fn begin(
        folder: &Path,
        database: &Path,
        opened: Call<'static>,
        (number, form): (u32, TraceForm),
    ) -> io::Result<Box<Recorder>> {
        std::fs::create_dir_all(folder)?;
        let database = database.file_name().unwrap_or(database.as_os_str()).to_owned();
        let recorder = Recorder {
            trace: RefCell::new(None),
            folder: folder.into(),
            database,
            opened,
            timed: form == TraceForm::Extended,
            forks: Cell::new(ofd::fork_generation()),
            started: Cell::new(0),
            ended: Cell::new(0),
            version: Cell::new(number),
            last: Cell::new(number),
            announced: Cell::new(None),
            before: RefCell::new(None),
            wiping: Cell::new(None),
            lines: Cell::new(0),
        };
        recorder.open_trace()?;
        Ok(Box::new(recorder))
    }

    /// A new trace of this process, with its first line. It has another name before it has that line, so that nobody
    /// ever finds a trace without one.
    fn open_trace(&self) -> io::Result<()> {
        let named = |what: &str| {
            let mut name = self.database.clone();
            name.push(format!(".{what}.{}", std::process::id()));
            self.folder.join(name)
        };
        let tail = new_name(&named("begun"), Tail::create)?;
        *self.trace.borrow_mut() = Some(tail);
        let now = self.now();
        let stamp = Stamp { number: self.last.get(), start: now, end: now, version: None };
        let opened = self.put(&self.opened, &stamp).and_then(|()| {
            let mut trace = self.trace.borrow_mut();
            let tail = trace.as_mut().ok_or(io::ErrorKind::NotFound)?;
            new_name(&named("trace"), |path| tail.rename(path))
        });
        if opened.is_err() {
            *self.trace.borrow_mut() = None;
        }
        opened
    }

    #[inline]
    fn called(&self) -> Option<Called> {
        self.trace.borrow().as_ref()?;
        if self.forks.get() != ofd::fork_generation() {
            self.begin_in_child();
        }
        let now = self.now();
        self.started.set(now);
        Some(Called(now))
    }

    /// The time if lines say it.
    #[inline]
    fn now(&self) -> u64 {
        if self.timed { tail::now() } else { 0 }
    }

    /// The file and its memory are the parent's: the child goes on in a file of its own.
    #[cold]
    fn begin_in_child(&self) {
        self.forks.set(ofd::fork_generation());
        self.announced.set(None);
        self.wiping.set(None);
        *self.trace.borrow_mut() = None;
        // Without one the child is not recorded; there is no caller to tell.
        let _ = self.open_trace();
    }

    fn reached(&self, number: u32) {
        if is_behind(number, self.last.get()) {
            self.last.set(number);
        }
    }

    /// Writes a line.
    #[inline(always)]
    fn put(&self, call: &Call<'_>, stamp: &Stamp) -> io::Result<()> {
        let mut trace = self.trace.borrow_mut();
        let Some(tail) = trace.as_mut() else {
            return Ok(());
        };
        self.lines.set(self.lines.get() + 1);
        let (mut text, (first, _)) = begin(tail, call, stamp.number)?;
        if self.timed {
            text.start(stamp.start);
            text.end(stamp.end.saturating_sub(stamp.start), stamp.version);
        } else {
            text.bytes(b"\n");
        }
        let len = text.at;
        tail.publish(len, first);
        Ok(())
    }

    /// Writes what is about to be done behind the end of the trace.
    #[inline(always)]
    fn announce(&self, call: &Call<'_>, number: u32) -> io::Result<()> {
        let mut trace = self.trace.borrow_mut();
        let Some(tail) = trace.as_mut() else {
            return Ok(());
        };
        let (mut text, (_, digits)) = begin(tail, call, number)?;
        let at;
        if self.timed {
            text.start(self.started.get());
            at = text.at;
            text.bytes(b"?\n");
        } else {
            text.bytes(b"\n");
            at = text.at;
        }
        self.announced.set(Some(Announced { digits, at }));
        tail.set_first(UNDER_WAY);
        Ok(())
    }

    /// Writes the line of what was announced and is done; false if its number has become longer.
    fn fulfil(&self, announced: Announced, stamp: &Stamp) -> bool {
        let mut trace = self.trace.borrow_mut();
        let Some(tail) = trace.as_mut() else {
            return true;
        };
        let mut number = [0; NUMBER];
        let (first, digits) = Text::new(&mut number, 0).number(stamp.number);
        if digits != announced.digits {
            return false;
        }
        self.lines.set(self.lines.get() + 1);
        let room = tail.line();
        room[1..digits].copy_from_slice(&number[1..digits]);
        let mut len = announced.at;
        if self.timed {
            let mut text = Text::new(room, len);
            text.end(stamp.end.saturating_sub(stamp.start), stamp.version);
            len = text.at;
        }
        tail.publish(len, first);
        true
    }

    /// Takes back what was announced.
    fn withdraw(&self) {
        if self.announced.take().is_some()
            && let Some(tail) = self.trace.borrow_mut().as_mut()
        {
            tail.set_first(0);
        }
    }

    /// Ends the trace where it is.
    fn stop(&self) {
        if let Some(tail) = self.trace.borrow_mut().take()
            && self.forks.get() == ofd::fork_generation()
        {
            // The reader also takes a trace that is longer than its lines.
            let _ = tail.finish();
        }
    }
}

/// Whether the counter comes from `before` to `number`; behind the last number there is it goes on with 0.
fn is_behind(number: u32, before: u32) -> bool {
    number.wrapping_sub(before).cast_signed() > 0
}

/// Room for a line's number.
const NUMBER: usize = 24;
/// The first byte of a line that says what is under way.
const UNDER_WAY: u8 = b'?';

/// The plain part of a line, but its first byte, which is returned with how many digits its number has, and its end.
#[inline(always)]
fn begin<'a>(tail: &'a mut Tail, call: &Call<'_>, number: u32) -> io::Result<(Text<'a>, (u8, usize))> {
    let mut text = Text::new(tail.room(call.bound())?, 0);
    let number = text.number(number);
    text.call(call);
    Ok((text, number))
}

/// A transaction that is asked to end.
pub(crate) struct Ending {
    called: Called,
    /// The number that it shows.
    number: u32,
    outermost: bool,
}

/// When a copy was made, and at which number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Copied {
    start: u64,
    end: u64,
    number: u32,
    /// How many lines there were, those about the copy aside.
    lines: u64,
}
