//! Recorded speed: when a line may be run at the earliest.

use std::time::{Duration, Instant};

use crate::trace::History;

/// A shorter wait is not worth a sleep, which would take longer.
const SHORTEST: Duration = Duration::from_micros(60);

/// The recorded times, moved to this run and stretched.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    begun: Instant,
    /// The first recorded time.
    first: u64,
    speed: f64,
}

impl Pace {
    /// Counts from now, and from the first time of any trace; none if there are no times.
    pub fn new(history: &History, speed: f64) -> Option<Pace> {
        let first = history.traces.iter().flat_map(|trace| {
            let rows = 0..trace.rows.len();
            let first = rows.into_iter().find_map(|row| trace.rows.stamp(row));
            first.into_iter().chain(trace.opened_stamp).map(|stamp| stamp.start_ns)
        });
        first.min().map(|first| Pace { begun: Instant::now(), first, speed })
    }

    /// Sleeps until what was called at `start_ns` is due. What is late is run at once.
    pub fn wait_for(&self, start_ns: u64) {
        let nanos = start_ns.saturating_sub(self.first) as f64 / self.speed;
        let due = Duration::from_nanos(nanos as u64);
        let left = due.saturating_sub(self.begun.elapsed());
        if left >= SHORTEST {
            std::thread::sleep(left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Tolerance;

    /// R18: what is due later is waited for, twice as long at half the speed; without times there is no pace.
    #[test]
    fn lines_wait_for_their_recorded_time() {
        let text = b"0 tdb_open 7 0x0 0x42 #1000000+1\n0 tdb_close #31000000+1\n";
        let history =
            History::read_texts(&[text], Tolerance::default()).unwrap_or_else(|error| panic!("{error}"));
        for (speed, least) in [(1.0, 30), (0.5, 60), (10.0, 3)] {
            let pace = Pace::new(&history, speed).expect("there are times");
            pace.wait_for(31_000_000);
            assert!(pace.begun.elapsed() >= Duration::from_millis(least), "{speed}");
        }
        let plain = b"0 tdb_open 7 0x0 0x42\n0 tdb_close\n";
        let history =
            History::read_texts(&[plain], Tolerance::default()).unwrap_or_else(|error| panic!("{error}"));
        assert!(Pace::new(&history, 1.0).is_none());
    }
}
