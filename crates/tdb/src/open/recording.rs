//! Whether a handle that is opened is recorded, and the first line of its trace.

use std::path::PathBuf;

use super::OpenOptions;
use crate::database::{Database, LogLevel};
use crate::error::OpenError;
use crate::file::format::SEQNUM_AT;
use crate::flags::Flags;
use crate::hash::HashFunction;
use crate::record::line::Call;
use crate::record::{self, Recorder, TraceForm};

impl OpenOptions {
    /// Records what this handle does, as a trace in `folder` (made if need be), for `quorate check` and `quorate replay`.
    /// Turns the sequence number on. All who change the database should be recorded; databases in memory are not. The
    /// variable `QUORATE_TDB_RECORD` does the same, but there a folder that cannot be written to is only logged.
    pub fn record(&mut self, folder: impl Into<PathBuf>) -> &mut Self {
        self.record = Some(folder.into());
        self
    }

    /// In which form it is recorded, if it is. By default the variable `QUORATE_TDB_RECORD_FORM` says it (`plain`,
    /// `exact` or `extended`), or else it is the extended one.
    pub fn record_form(&mut self, form: TraceForm) -> &mut Self {
        self.record_form = Some(form);
        self
    }

    /// Begins the trace, if one is wanted; nobody commits meanwhile, since the open lock is held.
    pub(super) fn begin_recording(&self, database: &mut Database) -> Result<(), OpenError> {
        let (folder, asked) = match (&self.record, record::tail::environment(record::VARIABLE)) {
            (Some(folder), _) => (folder.clone(), true),
            (None, Some(folder)) => (folder, false),
            (None, None) => return Ok(()),
        };
        // A number that recovery will take back says nothing.
        let sound = matches!(database.needs_recovery(), Ok(false));
        let number = if sound { database.space.word(SEQNUM_AT).unwrap_or(0) } else { 0 };
        let form = self.record_form.unwrap_or_else(|| form_by_environment(database));
        match Recorder::begin(&folder, &database.name, self.open_line(database, form), (number, form)) {
            Ok(recorder) => {
                database.recorder = Some(recorder);
                database.enable_seqnum();
                Ok(())
            }
            Err(source) if asked => Err(OpenError::Io { path: folder, source }),
            Err(error) => {
                let folder = folder.display();
                database.say(LogLevel::Error, || format!("{folder}: nothing is recorded: {error}"));
                Ok(())
            }
        }
    }

    /// The trace's first line: what was asked for, but how the keys are hashed as it is, since the order of chain
    /// locks depends on it.
    fn open_line(&self, database: &Database, form: TraceForm) -> Call<'static> {
        let jenkins = Flags::INCOMPATIBLE_HASH;
        let flags = match database.hash {
            HashFunction::Old => self.flags - jenkins,
            HashFunction::Jenkins => self.flags | jenkins,
            HashFunction::Custom(_) => self.flags,
        };
        let asked =
            [(self.create, libc::O_CREAT), (self.exclusive, libc::O_EXCL), (self.truncate, libc::O_TRUNC)];
        let mode = if self.read_only { libc::O_RDONLY } else { libc::O_RDWR };
        let open_flags = asked.iter().filter(|(on, _)| *on).fold(mode, |flags, (_, flag)| flags | flag);
        // Without a lock a number is read at any moment.
        let exact = form == TraceForm::Exact && !database.has_no_lock();
        Call::Open { hash_size: database.hash_size, tdb_flags: flags.0, open_flags: open_flags as u32, exact }
    }
}

/// A word that is no form's name is only logged: the program that runs here has not written it.
fn form_by_environment(database: &Database) -> TraceForm {
    let Some(name) = record::tail::environment(record::FORM_VARIABLE) else {
        return TraceForm::default();
    };
    name.to_string_lossy().parse().unwrap_or_else(|error| {
        let variable = record::FORM_VARIABLE;
        database.say(LogLevel::Error, || format!("{variable}: {error}; it is extended now"));
        TraceForm::default()
    })
}
