//! How the demo ends early: a signal, or nobody who reads what it prints. Its servers must not outlive it then.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::record::Record;
use crate::Outcome;
use crate::failure::Failure;

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Signals that have come.
pub struct Control {
    /// The last signal; 0 if none.
    signal: Arc<AtomicUsize>,
}

impl Control {
    /// Signals end the demo in order from here on.
    ///
    /// # Errors
    /// They cannot be watched for.
    pub fn new() -> Result<Control, Failure> {
        let signal = Arc::new(AtomicUsize::new(0));
        for number in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register_usize(number, signal.clone(), number as usize)
                .map_err(Failure::system)?;
        }
        Ok(Control { signal })
    }

    /// Waits until `look` finds something.
    ///
    /// # Errors
    /// A signal has come, standard output is gone, or `patience` is over; `what` was waited for.
    pub fn until<T>(
        &self,
        record: &Record,
        patience: Duration,
        what: &str,
        mut look: impl FnMut() -> Result<Option<T>, Failure>,
    ) -> Result<T, Failure> {
        let begun = Instant::now();
        loop {
            self.check(record)?;
            if let Some(found) = look()? {
                return Ok(found);
            }
            if begun.elapsed() > patience {
                return Err(Failure::system(format!(
                    "{what} did not happen within {patience:?}; the logs say why"
                )));
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Lets time pass.
    ///
    /// # Errors
    /// A signal has come, or standard output is gone.
    pub fn pause(&self, record: &Record, time: Duration) -> Outcome {
        let begun = Instant::now();
        while begun.elapsed() < time {
            self.check(record)?;
            std::thread::sleep(LOOK.min(time));
        }
        self.check(record)
    }

    fn check(&self, record: &Record) -> Outcome {
        if self.signal.load(Ordering::Relaxed) != 0 {
            return Err(Failure::system("interrupted"));
        }
        record.printed()
    }

    /// Ends the process as the signal that has come would have, if one has.
    pub fn end(&self) {
        let signal = self.signal.load(Ordering::Relaxed);
        if signal != 0 {
            // If it fails, the exit code says what happened.
            let _ = signal_hook::low_level::emulate_default_handler(signal as i32);
        }
    }
}
