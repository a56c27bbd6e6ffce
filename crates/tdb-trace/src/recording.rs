//! Recording: what turns it on, and where its traces go.
//!
//! Owns the variables `QUORATE_TDB_RECORD` and `QUORATE_TDB_RECORD_FORM`. The C library and the tools look at them; the engine and
//! other programs do not.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

use tdb::{LogLevel, Moment, Observe, Observer, OpenError, Opening};

use crate::clock;
use crate::form::TraceForm;
use crate::packed::recorder::PackedRecorder;
use crate::recorder::Recorder;

/// The name of the variable that turns recording on: a directory for the traces.
pub const VARIABLE: &str = "QUORATE_TDB_RECORD";
/// The name of the variable that says in which form, by its name.
pub const FORM_VARIABLE: &str = "QUORATE_TDB_RECORD_FORM";

/// Records what handles do, each in a trace of its own, for `quorate check` and `quorate replay`:
/// [`tdb::OpenOptions::observe`] takes it.
///
/// All who change a database should be recorded.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// use tdb_trace::{Recording, TraceForm};
/// let recording = Recording::to(directory.path().join("traces")).form(TraceForm::Plain);
/// let database = tdb::OpenOptions::new().create(true).observe(recording).open(directory.path().join("test.tdb"))?;
/// database.store(b"key", b"value", tdb::StoreMode::Insert)?;
/// drop(database);
/// let trace = std::fs::read_dir(directory.path().join("traces"))?.next().expect("one handle was opened")?;
/// let text = std::fs::read_to_string(trace.path())?;
/// assert_eq!(text.lines().nth(1), Some("1 tdb_store 3:6b6579 5:76616c7565 0x2 = 0"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Recording {
    folder: PathBuf,
    form: TraceForm,
    /// What is wrong with the form that was asked for.
    complaint: Option<String>,
    /// A trace that cannot be begun is an error.
    required: bool,
}

impl Recording {
    /// Traces in the extended form in `folder`, which is made if need be. A trace that cannot be begun there is an error of the
    /// opening.
    pub fn to(folder: impl Into<PathBuf>) -> Recording {
        Recording { folder: folder.into(), form: TraceForm::default(), complaint: None, required: true }
    }

    /// Traces in another form.
    pub fn form(self, form: TraceForm) -> Recording {
        Recording { form, complaint: None, ..self }
    }

    /// Traces in the form that `QUORATE_TDB_RECORD_FORM` names; if it names none that there is, the log says so, and the form
    /// is the extended one.
    pub fn form_by_environment(self) -> Recording {
        let Some(name) = environment(FORM_VARIABLE) else {
            return self;
        };
        match name.to_string_lossy().parse() {
            Ok(form) => self.form(form),
            Err(error) => {
                let complaint = format!("{FORM_VARIABLE}: {error}; recording in the extended form");
                Recording { form: TraceForm::default(), complaint: Some(complaint), ..self }
            }
        }
    }

    /// What `QUORATE_TDB_RECORD` and `QUORATE_TDB_RECORD_FORM` ask for; none if they ask for nothing, or if this program runs with
    /// rights that its caller does not have. A trace that cannot be begun is only logged: the program has not asked for it.
    pub fn from_environment() -> Option<Recording> {
        let folder = environment(VARIABLE)?;
        Some(Recording { required: false, ..Recording::to(folder).form_by_environment() })
    }
}

impl Recording {
    fn recorder(&self, opening: &Opening) -> io::Result<Box<dyn Observer>> {
        Ok(match self.form {
            TraceForm::Plain | TraceForm::Exact | TraceForm::Extended => {
                Box::new(Recorder::begin(&self.folder, opening, self.form)?)
            }
            TraceForm::Packed | TraceForm::PackedExtended => {
                Box::new(PackedRecorder::begin(&self.folder, opening, self.form)?)
            }
        })
    }
}

impl Observe for Recording {
    fn now(&self) -> Moment {
        Moment(clock::now())
    }

    fn begin(&self, opening: &Opening) -> Result<Option<Box<dyn Observer>>, OpenError> {
        if let Some(complaint) = &self.complaint {
            opening.say(LogLevel::Warning, complaint);
        }
        match self.recorder(opening) {
            Ok(recorder) => Ok(Some(recorder)),
            Err(cause) if self.required => Err(OpenError::Io { path: self.folder.clone(), cause }),
            Err(error) => {
                let folder = self.folder.display();
                opening.say(LogLevel::Warning, &format!("{folder}: nothing is recorded: {error}"));
                Ok(None)
            }
        }
    }
}

/// What the environment says, unless this program runs with rights that its caller does not have.
#[allow(unsafe_code)]
fn environment(name: &str) -> Option<OsString> {
    // SAFETY: asks the kernel's table of facts; no pointer goes in or comes out.
    if unsafe { libc::getauxval(libc::AT_SECURE) } != 0 {
        return None;
    }
    std::env::var_os(name).filter(|value| !value.is_empty())
}
