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
pub(crate) mod line;
pub(crate) mod tail;

use std::cell::{Cell, RefCell};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use crate::ofd;
use line::{Call, Text, decimal};
use tail::Tail;

/// The name of the variable that turns recording on: a folder for the traces.
pub(crate) const VARIABLE: &str = "QUORATE_TDB_RECORD";

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
    /// Where its duration belongs.
    duration_at: usize,
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
        number: u32,
    ) -> io::Result<Box<Recorder>> {
        std::fs::create_dir_all(folder)?;
        let database = database.file_name().unwrap_or(database.as_os_str()).to_owned();
        let recorder = Recorder {
            trace: RefCell::new(None),
            folder: folder.into(),
            database,
            opened,
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
        let now = tail::now();
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
        let now = tail::now();
        self.started.set(now);
        Some(Called(now))
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
    fn put(&self, call: &Call<'_>, stamp: &Stamp) -> io::Result<()> {
        let mut trace = self.trace.borrow_mut();
        let Some(tail) = trace.as_mut() else {
            return Ok(());
        };
        self.lines.set(self.lines.get() + 1);
        let (mut text, first) = begin(tail, call, stamp.number, stamp.start)?;
        end(&mut text, stamp);
        let len = text.at;
        tail.publish(len, first);
        Ok(())
    }

    /// Writes what is about to be done behind the end of the trace.
    fn announce(&self, call: &Call<'_>, number: u32) -> io::Result<()> {
        let mut trace = self.trace.borrow_mut();
        let Some(tail) = trace.as_mut() else {
            return Ok(());
        };
        let (mut text, _) = begin(tail, call, number, self.started.get())?;
        let duration_at = text.at;
        text.bytes(b"?\n");
        let digits = number.checked_ilog10().unwrap_or(0) as usize + 1;
        self.announced.set(Some(Announced { digits, duration_at }));
        tail.set_first(UNDER_WAY);
        Ok(())
    }

    /// Writes the line of what was announced and is done; false if its number has become longer.
    fn fulfil(&self, announced: Announced, stamp: &Stamp) -> bool {
        let mut trace = self.trace.borrow_mut();
        let Some(tail) = trace.as_mut() else {
            return true;
        };
        let mut digits = [0; 20];
        let from = decimal(stamp.number.into(), &mut digits);
        let digits = &digits[from..];
        if digits.len() != announced.digits {
            return false;
        }
        self.lines.set(self.lines.get() + 1);
        let room = tail.line();
        room[1..digits.len()].copy_from_slice(&digits[1..]);
        let mut text = Text::new(room, announced.duration_at);
        end(&mut text, stamp);
        let len = text.at;
        tail.publish(len, digits[0]);
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

/// The first byte of a line that says what is under way.
const UNDER_WAY: u8 = b'?';

/// Everything of a line up to its duration, but its first byte, which is returned.
fn begin<'a>(tail: &'a mut Tail, call: &Call<'_>, number: u32, start: u64) -> io::Result<(Text<'a>, u8)> {
    let room = tail.room(call.bound())?;
    let mut digits = [0; 20];
    let from = decimal(number.into(), &mut digits);
    let digits = &digits[from..];
    room[1..digits.len()].copy_from_slice(&digits[1..]);
    let mut text = Text::new(room, digits.len());
    text.bytes(b" ");
    text.call(call);
    text.bytes(b" #");
    text.decimal(start);
    text.bytes(b"+");
    Ok((text, digits[0]))
}

fn end(text: &mut Text<'_>, stamp: &Stamp) {
    text.decimal(stamp.end.saturating_sub(stamp.start));
    if let Some(version) = stamp.version {
        text.bytes(b" v");
        text.decimal(version.into());
    }
    text.bytes(b"\n");
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
