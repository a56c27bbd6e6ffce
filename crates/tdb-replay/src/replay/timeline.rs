//! When each worker waited, for whom, and which chain of work and waits the run's length comes from.
//!
//! Times are nanoseconds since the run began. A worker that does not wait works; how long it worked on what is not
//! kept, so that noting costs only those who wait anyway; unless rows are noted too.

use super::noting::Execution;

/// A wait of one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Span {
    /// When it began.
    pub from: u64,
    /// When it ended.
    pub to: u64,
    /// The trace that was waited for.
    pub on: u16,
    /// How many of its rows had to be finished.
    pub rows: u32,
}

/// One worker's time.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Lane {
    /// Its waits, in order.
    pub waits: Vec<Span>,
    /// What it ran, in the order of rows, as far as that is noted ([`super::noting`]).
    pub executions: Vec<Execution>,
    /// When it was done.
    pub end: u64,
}

/// All workers' time in one run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timeline {
    /// By trace.
    pub lanes: Vec<Lane>,
}

/// A stretch of work that the run's length comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Who worked.
    pub trace: u16,
    /// From when.
    pub from: u64,
    /// Until when: the end of the run, or the moment at which the next segment's worker could go on.
    pub to: u64,
}

impl Timeline {
    /// When the last worker was done.
    pub fn end(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.end).max().unwrap_or(0)
    }

    /// The stretches of work that, one after the other, fill the run: backwards from the worker that was done last, to
    /// the end of its latest wait, over to the one it waited for, and so on. In the order of time.
    ///
    /// Speeding up anything else would not have made this run shorter.
    pub fn critical_path(&self) -> Vec<Segment> {
        let Some(last) = (0..self.lanes.len()).max_by_key(|&trace| self.lanes[trace].end) else {
            return Vec::new();
        };
        let (mut trace, mut to) = (last, self.lanes[last].end);
        let mut path = Vec::new();
        // Each step goes back in time; at most all waits are passed.
        while let Some(wait) = self.wait_before(trace, to) {
            path.push(Segment { trace: trace as u16, from: wait.to, to });
            (trace, to) = (usize::from(wait.on), wait.to);
        }
        path.push(Segment { trace: trace as u16, from: 0, to });
        path.retain(|segment| segment.from < segment.to);
        path.reverse();
        path
    }

    /// The latest wait of `trace` that ended before `time`.
    fn wait_before(&self, trace: usize, time: u64) -> Option<Span> {
        let waits = &self.lanes[trace].waits;
        let after = waits.partition_point(|wait| wait.to < time);
        after.checked_sub(1).map(|nth| waits[nth])
    }

    /// Of `slices` equal parts of the run, how many traces were at work in each, on average.
    pub fn at_work(&self, slices: usize) -> Vec<f64> {
        let width = (self.end() as f64 / slices as f64).max(1.0);
        let mut at_work = vec![0.0; slices];
        for (trace, lane) in self.lanes.iter().enumerate() {
            let waiting = self.waiting(trace, slices);
            let lived = lane.end as f64 / width;
            for (slice, (part, waited)) in at_work.iter_mut().zip(waiting).enumerate() {
                *part += ((lived - slice as f64).clamp(0.0, 1.0) - waited).max(0.0);
            }
        }
        at_work
    }

    /// Of `slices` equal parts of the run, the part of each that `trace` spent waiting, 0 to 1.
    pub fn waiting(&self, trace: usize, slices: usize) -> Vec<f64> {
        let width = (self.end() as f64 / slices as f64).max(1.0);
        let mut parts = vec![0.0; slices];
        for wait in &self.lanes[trace].waits {
            let (from, to) = (wait.from as f64 / width, wait.to as f64 / width);
            for (slice, part) in parts.iter_mut().enumerate().skip(from as usize) {
                if slice as f64 >= to {
                    break;
                }
                *part += to.min(slice as f64 + 1.0) - from.max(slice as f64);
            }
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_lanes() -> Timeline {
        // The first works until 40; the second waits for it from 10 to 41, then works until 100.
        let wait = Span { from: 10, to: 41, on: 0, rows: 1 };
        Timeline {
            lanes: vec![
                Lane { end: 60, ..Lane::default() },
                Lane { waits: vec![wait], end: 100, ..Lane::default() },
            ],
        }
    }

    /// R23, R24: the critical path leads from the last worker over its waits to the start.
    #[test]
    fn the_critical_path_follows_waits_back_to_the_start() {
        let path = two_lanes().critical_path();
        let expected = [Segment { trace: 0, from: 0, to: 41 }, Segment { trace: 1, from: 41, to: 100 }];
        assert_eq!(path, expected);
    }

    /// R24: slices show how much of them was spent waiting.
    #[test]
    fn waiting_is_spread_over_the_slices_it_covers() {
        let timeline = two_lanes();
        let parts = timeline.waiting(1, 10);
        assert_eq!(&parts[..2], &[0.0, 1.0]);
        assert!((parts[4] - 0.1).abs() < 1e-9);
        assert_eq!(&parts[5..], &[0.0; 5]);
        assert_eq!(timeline.waiting(0, 10), vec![0.0; 10]);
    }

    /// R40: who waits is not at work, nor who is done.
    #[test]
    fn traces_at_work_are_counted_slice_by_slice() {
        let at_work = two_lanes().at_work(10);
        let expected = [2.0, 1.0, 1.0, 1.0, 1.9, 2.0, 1.0, 1.0, 1.0, 1.0];
        assert!(
            at_work.iter().zip(expected).all(|(found, wanted)| (found - wanted).abs() < 1e-9),
            "{at_work:?}"
        );
    }
}
