//! Where the log goes: lines with readable times, to standard error or to a file that can be opened again.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ubik::watch::Log;

/// The log of this process.
#[derive(Clone)]
pub struct LogFile(Arc<Inner>);

struct Inner {
    path: Option<PathBuf>,
    /// `None`: standard error.
    file: Mutex<Option<File>>,
}

impl LogFile {
    /// To this file, at its end; to standard error without one.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn open(path: Option<PathBuf>) -> io::Result<LogFile> {
        let file = open(&path)?;
        Ok(LogFile(Arc::new(Inner { path, file: Mutex::new(file) })))
    }

    /// Opens the file again, which may have been moved away. If that fails, the old one goes on.
    pub fn reopen(&self) {
        match open(&self.0.path) {
            Ok(file) => *self.0.file.lock().unwrap_or_else(PoisonError::into_inner) = file,
            Err(error) => self.say(&format!("cannot open the log file again: {error}; the old one goes on")),
        }
    }

    /// A line about the whole process.
    pub fn say(&self, line: &str) {
        self.write(&format!("{} {line}\n", stamp(SystemTime::now())));
    }

    /// The log of one database.
    pub fn of(&self, database: &str) -> Log {
        let (log, database) = (self.clone(), database.to_owned());
        Arc::new(move |line: &str| log.say(&format!("{database}: {line}")))
    }

    fn write(&self, line: &str) {
        let mut file = self.0.file.lock().unwrap_or_else(PoisonError::into_inner);
        // A log that cannot be written must not stop the server.
        let _ = match &mut *file {
            Some(file) => file.write_all(line.as_bytes()),
            None => io::stderr().write_all(line.as_bytes()),
        };
    }
}

fn open(path: &Option<PathBuf>) -> io::Result<Option<File>> {
    path.as_ref().map(|path| OpenOptions::new().create(true).append(true).open(path)).transpose()
}

/// A time as RFC 3339 has it, in UTC, with milliseconds.
pub fn stamp(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    // Years begin in March, so that leap days come last; 719,468 days lie between 0000-03-01 and 1970.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, year) =
        if month < 10 { (month + 3, year + 400 * era) } else { (month - 9, year + 400 * era + 1) };
    let (hour, minute) = (second / 3600, second / 60 % 60);
    let (second, milli) = (second % 60, since.subsec_millis());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// U56: times that people and programs can read.
    #[test]
    fn times_are_those_of_the_calendar() {
        let at = |seconds: u64| stamp(UNIX_EPOCH + Duration::from_millis(seconds * 1000 + 7));
        assert_eq!(at(0), "1970-01-01T00:00:00.007Z");
        assert_eq!(at(951_782_399), "2000-02-28T23:59:59.007Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00.007Z");
        assert_eq!(at(1_709_251_199), "2024-02-29T23:59:59.007Z");
        assert_eq!(at(1_796_083_200), "2026-12-01T00:00:00.007Z");
        assert_eq!(at(4_107_542_400), "2100-03-01T00:00:00.007Z");
    }

    /// U56: a log file that was moved away is followed only after it was opened again.
    #[test]
    fn a_log_file_can_be_rotated() {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("log"), folder.path().join("log.old"));
        let log = LogFile::open(Some(path.clone())).unwrap();
        log.of("prdb")("one");
        std::fs::rename(&path, &moved).unwrap();
        log.say("two");
        log.reopen();
        log.say("three");
        let read = |path| std::fs::read_to_string(path).unwrap();
        assert!(read(&moved).ends_with("Z two\n") && read(&moved).contains("Z prdb: one\n"));
        assert!(read(&path).ends_with("Z three\n"));
    }
}
