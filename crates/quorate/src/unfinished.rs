//! What the program is making and has not finished: it is removed when it fails or a signal ends it, so that nothing
//! half-made is taken for whole.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::failure::Failure;

/// What a signal must not leave behind.
static UNFINISHED: Mutex<Vec<Unfinished>> = Mutex::new(Vec::new());

/// A file or directory that a signal removes; so does dropping its [`Guard`], unless it was [kept](Guard::keep).
struct Unfinished {
    path: PathBuf,
    /// The directory around it, if it was made for it.
    around: Option<PathBuf>,
}

impl Unfinished {
    /// Nothing better can be done about a failure here: the program ends, or an earlier failure is being reported.
    fn remove(&self) {
        let _ = match fs::symlink_metadata(&self.path) {
            Ok(found) if found.is_dir() => fs::remove_dir_all(&self.path),
            _ => fs::remove_file(&self.path),
        };
        if let Some(around) = &self.around {
            // It stays if somebody has put something else into it.
            let _ = fs::remove_dir(around);
        }
    }
}

fn unfinished() -> MutexGuard<'static, Vec<Unfinished>> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The file at `path` is removed when this is dropped, or when a signal ends the program.
pub struct Guard(PathBuf);

impl Guard {
    /// Guards a file that is about to be made.
    ///
    /// # Errors
    /// Signals cannot be watched for.
    pub fn new(path: &Path) -> Result<Guard, Failure> {
        Guard::around(path, None)
    }

    fn around(path: &Path, around: Option<PathBuf>) -> Result<Guard, Failure> {
        static WATCH: Once = Once::new();
        let mut watched = Ok(());
        WATCH.call_once(|| watched = watch_signals());
        unfinished().push(Unfinished { path: path.to_owned(), around });
        let guard = Guard(path.to_owned());
        watched.map_err(Failure::system)?;
        Ok(guard)
    }

    /// It is finished, and has left `path`.
    pub fn keep(self) {
        unfinished().retain(|one| one.path != self.0);
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut all = unfinished();
        if let Some(at) = all.iter().position(|one| one.path == self.0) {
            all.swap_remove(at).remove();
        }
    }
}

fn watch_signals() -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            unfinished().iter().for_each(Unfinished::remove);
            let _ = signal_hook::low_level::emulate_default_handler(signal);
        }
    })?;
    Ok(())
}

/// A directory of traces in the making: files are written into a directory inside it and moved to their places at the end.
pub struct TraceFolder {
    inside: PathBuf,
    target: PathBuf,
    guard: Guard,
}

impl TraceFolder {
    /// Prepares to fill `target`, which is made if it is not there.
    ///
    /// # Errors
    /// It holds traces already, or cannot be made.
    pub fn create(target: &Path) -> Result<TraceFolder, Failure> {
        if target.is_dir() && tdb_replay::trace::source::expand(target).is_ok() {
            return Err(Failure::input(format!(
                "{}: holds traces already; name an empty directory",
                target.display()
            )));
        }
        let inside = target.join(format!(".unfinished.{}", std::process::id()));
        let around = (!target.exists()).then(|| target.to_owned());
        let guard = Guard::around(&inside, around)?;
        let made = fs::create_dir_all(&inside);
        made.map_err(|error| Failure::system(format!("{}: {error}", target.display())))?;
        Ok(TraceFolder { inside, target: target.to_owned(), guard })
    }

    /// Where to write the files.
    pub fn inside(&self) -> &Path {
        &self.inside
    }

    /// Moves the files to their places.
    ///
    /// # Errors
    /// The system refuses; what was moved stays, the rest is removed.
    pub fn finish(self, files: &[PathBuf]) -> Result<(), Failure> {
        let place = || -> io::Result<()> {
            for file in files {
                fs::rename(file, self.target.join(file.file_name().unwrap_or_default()))?;
            }
            fs::remove_dir(&self.inside)
        };
        place().map_err(|error| Failure::system(format!("{}: {error}", self.target.display())))?;
        self.guard.keep();
        Ok(())
    }
}
