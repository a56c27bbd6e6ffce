//! One handle's trace in the packed form, written as the handle works.

use std::cell::{Cell, RefCell};
use std::io;
use std::path::Path;

use tdb::{Event, Moment, Observer, Opening, Operation, Stopped};

use super::record::{self, Numbers, Parts};
use super::ring::Ring;
use crate::clock;
use crate::file::new_name;
use crate::form::TraceForm;
use crate::operations::{call_of, open_line, trace_name};

/// A handle's recorder.
pub(crate) struct PackedRecorder {
    timed: bool,
    /// When the last operation had ended.
    ended: Cell<u64>,
    /// How long the record is that says what is under way.
    announced: Cell<Option<usize>>,
    ring: RefCell<Ring>,
    /// A child has this in its memory, too, but the trace is not its own.
    process: u32,
}

impl PackedRecorder {
    /// Begins a trace in `folder`, which is made if need be; with times if `form` is the one that has them.
    pub fn begin(folder: &Path, opening: &Opening, form: TraceForm) -> io::Result<PackedRecorder> {
        std::fs::create_dir_all(folder)?;
        // It has another name before it has its first record, so that nobody ever finds a trace without one.
        let ring = new_name(&trace_name(folder, opening, "begun"), Ring::create)?;
        let timed = form == TraceForm::PackedExtended;
        let recorder = PackedRecorder {
            timed,
            ended: Cell::new(0),
            announced: Cell::new(None),
            ring: RefCell::new(ring),
            process: std::process::id(),
        };
        let (start, end) = (opening.called.0, recorder.now().0);
        let times = timed.then(|| (start, end.saturating_sub(start)));
        let numbers = Numbers { number: opening.number, times, versioned: false };
        recorder.put_open(opening, &numbers)?;
        let name = trace_name(folder, opening, "trace");
        new_name(&name, |path| recorder.ring.borrow_mut().rename(path))?;
        Ok(recorder)
    }

    fn put_open(&self, opening: &Opening, numbers: &Numbers) -> io::Result<()> {
        let call = open_line(opening, !self.timed);
        record::with_parts_of_call(&call, &|parts| self.put(parts, numbers))
    }

    #[inline(always)]
    fn put(&self, parts: &Parts<'_>, numbers: &Numbers) -> io::Result<()> {
        let mut ring = self.ring.borrow_mut();
        let len = record::encode(parts, numbers, ring.room(parts.bound())?);
        ring.publish(len)
    }

    /// Writes a record, or completes the one that announced it.
    #[inline(always)]
    fn write(&self, operation: &Operation<'_>, numbers: &Numbers) -> io::Result<()> {
        if let Some(len) = self.announced.get() {
            if call_of(operation).succeeded() {
                self.announced.set(None);
                let mut ring = self.ring.borrow_mut();
                record::renumber(ring.record(), numbers);
                return ring.publish(len);
            }
            self.not_done();
        }
        record::with_parts(operation, |parts| self.put(parts, numbers))
    }

    #[cold]
    fn stopped(&self, error: &io::Error) -> Stopped {
        let ring = self.ring.borrow();
        Stopped { why: format!("{}: the trace ends here: {error}", ring.path().display()) }
    }
}

impl Observer for PackedRecorder {
    #[inline]
    fn now(&self) -> Moment {
        Moment(if self.timed { clock::now() } else { 0 })
    }

    fn about_to(&self, operation: &Operation<'_>, called: Moment, number: u32) -> Result<(), Stopped> {
        let times = self.timed.then_some((called.0, 0));
        let numbers = Numbers { number, times, versioned: false };
        let ring = &self.ring;
        let announced = record::with_parts(operation, |parts| {
            let mut ring = ring.borrow_mut();
            let len = record::encode(parts, &numbers, ring.room(parts.bound())?);
            ring.announce(len).map(|()| len)
        });
        self.announced.set(Some(announced.map_err(|error| self.stopped(&error))?));
        Ok(())
    }

    fn not_done(&self) {
        if self.announced.take().is_some() {
            self.ring.borrow().withdraw();
        }
    }

    fn done(&self, event: &Event<'_>) -> Result<(), Stopped> {
        let mut times = None;
        if self.timed {
            // A trace's records end in their order.
            let end = event.answered.map_or_else(clock::now, |answered| answered.0.max(self.ended.get()));
            self.ended.set(end);
            times = Some((event.called.0, end.saturating_sub(event.called.0)));
        }
        let numbers = Numbers { number: event.number, times, versioned: event.version.is_some() };
        let mut written = self.write(&event.operation, &numbers);
        if written.is_ok() && event.operation == Operation::Close {
            written = self.ring.borrow_mut().finish();
        }
        written.map_err(|error| self.stopped(&error))
    }
}

impl Drop for PackedRecorder {
    fn drop(&mut self) {
        let ring = self.ring.get_mut();
        if self.process == std::process::id() {
            // The reader also takes a trace whose last records are in its ring.
            let _ = ring.finish();
        } else {
            ring.abandon();
        }
    }
}
