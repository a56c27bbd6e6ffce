//! One handle's trace, written as the handle works.
//!
//! Owns the lines from the handle's opening to its close or its process's death. A line is written after its operation. What
//! changes something for others is *announced* before: its line stands behind the end of the trace, marked as under way. A
//! process that dies in between leaves it there, and the reader knows that it may have happened.

use std::cell::{Cell, RefCell};
use std::io;
use std::path::Path;

use tdb::{Event, Moment, Observer, Opening, Operation, Stopped};

use crate::call::Call;
use crate::clock;
use crate::file::new_name;
use crate::form::TraceForm;
use crate::operations::{open_line, trace_name, with_call};
use crate::print::Text;
use crate::tail::Tail;

/// Room for a line's number.
const NUMBER: usize = 24;
/// The first byte of a line that says what is under way.
const UNDER_WAY: u8 = b'?';

/// A line that says what is under way.
#[derive(Clone, Copy)]
struct Announced {
    /// How many digits its number has.
    digits: usize,
    /// Where its duration belongs; in the forms without times, where it ends.
    at: usize,
}

/// The numbers of a line.
struct Numbers {
    number: u32,
    start: u64,
    end: u64,
    version: Option<u32>,
}

/// A handle's recorder.
pub(crate) struct Recorder {
    /// Whether lines say when they were: the extended form.
    timed: bool,
    /// When the operation on the last line had ended.
    ended: Cell<u64>,
    announced: Cell<Option<Announced>>,
    trace: RefCell<Tail>,
    /// A child has this in its memory, too, but the trace is not its own.
    process: u32,
}

impl Recorder {
    /// Begins a trace in `folder`, which is made if need be.
    pub fn begin(folder: &Path, opening: &Opening, form: TraceForm) -> io::Result<Recorder> {
        std::fs::create_dir_all(folder)?;
        let process = std::process::id();
        // It has another name before it has its first line, so that nobody ever finds a trace without one.
        let recorder = Recorder {
            timed: form == TraceForm::Extended,
            ended: Cell::new(0),
            announced: Cell::new(None),
            trace: RefCell::new(new_name(&trace_name(folder, opening, "begun"), Tail::create)?),
            process,
        };
        let end = recorder.now().0;
        let numbers =
            Numbers { number: opening.number, start: opening.called.0.min(end), end, version: None };
        recorder.put(&open_line(opening, form == TraceForm::Exact), &numbers)?;
        let name = trace_name(folder, opening, "trace");
        new_name(&name, |path| recorder.trace.borrow_mut().rename(path))?;
        Ok(recorder)
    }

    /// Writes a line.
    #[inline(always)]
    fn put(&self, call: &Call<'_>, numbers: &Numbers) -> io::Result<()> {
        let mut tail = self.trace.borrow_mut();
        let (mut text, (first, _)) = begin_line(&mut tail, call, numbers.number)?;
        if self.timed {
            text.start(numbers.start);
            text.end(numbers.end.saturating_sub(numbers.start), numbers.version);
        } else {
            text.end_plain();
        }
        let len = text.at;
        tail.publish(len, first);
        Ok(())
    }

    /// Writes what is about to be done behind the end of the trace.
    #[inline(always)]
    fn announce(&self, call: &Call<'_>, called: Moment, number: u32) -> io::Result<()> {
        let mut tail = self.trace.borrow_mut();
        let (mut text, (_, digits)) = begin_line(&mut tail, call, number)?;
        let at;
        if self.timed {
            text.start(called.0);
            at = text.at;
            text.under_way();
        } else {
            text.end_plain();
            at = text.at;
        }
        self.announced.set(Some(Announced { digits, at }));
        tail.set_first(UNDER_WAY);
        Ok(())
    }

    /// Writes the line of what was announced and is done; false if its number has become longer.
    fn fulfil(&self, announced: Announced, numbers: &Numbers) -> bool {
        let mut tail = self.trace.borrow_mut();
        let mut number = [0; NUMBER];
        let (first, digits) = Text::new(&mut number, 0).number(numbers.number);
        if digits != announced.digits {
            return false;
        }
        let room = tail.line();
        room[1..digits].copy_from_slice(&number[1..digits]);
        let mut len = announced.at;
        if self.timed {
            let mut text = Text::new(room, len);
            text.end(numbers.end.saturating_sub(numbers.start), numbers.version);
            len = text.at;
        }
        tail.publish(len, first);
        true
    }

    /// Writes a line, or completes the one that announced it.
    #[inline(always)]
    fn write(&self, call: &Call<'_>, numbers: &Numbers) -> io::Result<()> {
        if let Some(announced) = self.announced.get() {
            if call.succeeded() && self.fulfil(announced, numbers) {
                self.announced.set(None);
                return Ok(());
            }
            self.not_done();
        }
        self.put(call, numbers)
    }

    #[cold]
    fn stopped(&self, error: &io::Error) -> Stopped {
        let trace = self.trace.borrow();
        Stopped { why: format!("{}: the trace ends here: {error}", trace.path().display()) }
    }
}

impl Observer for Recorder {
    #[inline]
    fn now(&self) -> Moment {
        Moment(if self.timed { clock::now() } else { 0 })
    }

    fn about_to(&self, operation: &Operation<'_>, called: Moment, number: u32) -> Result<(), Stopped> {
        let announced = with_call(operation, |call| self.announce(call, called, number));
        announced.map_err(|error| self.stopped(&error))
    }

    fn not_done(&self) {
        if self.announced.take().is_some() {
            self.trace.borrow_mut().set_first(0);
        }
    }

    fn done(&self, event: &Event<'_>) -> Result<(), Stopped> {
        // A trace's lines end in their order.
        let end = event.answered.map_or_else(|| self.now().0, |answered| answered.0.max(self.ended.get()));
        self.ended.set(end);
        let numbers = Numbers { number: event.number, start: event.called.0, end, version: event.version };
        let mut written = with_call(&event.operation, |call| self.write(call, &numbers));
        if written.is_ok() && event.operation == Operation::Close {
            written = self.trace.borrow().check();
        }
        written.map_err(|error| self.stopped(&error))
    }
}

impl Drop for Recorder {
    /// Ends the trace where it is.
    fn drop(&mut self) {
        if self.process == std::process::id() {
            // The reader also takes a trace that is longer than its lines.
            let _ = self.trace.get_mut().finish();
        }
    }
}

/// The plain part of a line, but its first byte, which is returned with how many digits its number has, and its end.
#[inline(always)]
fn begin_line<'a>(tail: &'a mut Tail, call: &Call<'_>, number: u32) -> io::Result<(Text<'a>, (u8, usize))> {
    let mut text = Text::new(tail.room(call.bound())?, 0);
    let number = text.number(number);
    text.call(call);
    Ok((text, number))
}
