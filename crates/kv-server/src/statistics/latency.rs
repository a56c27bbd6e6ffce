//! How long commands take: counts in buckets whose bounds grow by the square root of two.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Buckets: up to 20 microseconds, 28, 40 ... 21 seconds, and above.
const BUCKETS: usize = 42;
const FIRST_SECS: f64 = 20e-6;

/// Counts of one kind of command.
pub struct Latency {
    buckets: [AtomicU64; BUCKETS],
    total_micros: AtomicU64,
}

/// The counts at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts {
    buckets: [u64; BUCKETS],
    /// The sum of all times.
    pub total_micros: u64,
}

impl Default for Latency {
    fn default() -> Latency {
        Latency { buckets: std::array::from_fn(|_| AtomicU64::new(0)), total_micros: AtomicU64::new(0) }
    }
}

impl Latency {
    /// One more that took so long.
    pub fn observe(&self, took: Duration) {
        self.buckets[place(took.as_secs_f64())].fetch_add(1, Ordering::Relaxed);
        self.total_micros.fetch_add(took.as_micros() as u64, Ordering::Relaxed);
    }

    /// What was counted.
    pub fn counts(&self) -> Counts {
        Counts {
            buckets: self.buckets.each_ref().map(|count| count.load(Ordering::Relaxed)),
            total_micros: self.total_micros.load(Ordering::Relaxed),
        }
    }
}

impl Default for Counts {
    fn default() -> Counts {
        Counts { buckets: [0; BUCKETS], total_micros: 0 }
    }
}

impl Counts {
    /// How many there were.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Those since `earlier`.
    pub fn since(&self, earlier: &Counts) -> Counts {
        Counts {
            buckets: std::array::from_fn(|at| self.buckets[at].saturating_sub(earlier.buckets[at])),
            total_micros: self.total_micros.saturating_sub(earlier.total_micros),
        }
    }

    /// Seconds within which `share` of them ended, rounded up to a bucket's bound; `None` if there were none.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let wanted = (self.count() as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        let at = self.buckets.iter().position(|count| {
            seen += count;
            seen >= wanted
        })?;
        Some(bound_secs(at))
    }

    /// Bounds in seconds and how many took at most that long, for Prometheus.
    pub fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> {
        let mut seen = 0;
        self.buckets.iter().take(BUCKETS - 1).enumerate().map(move |(at, count)| {
            seen += count;
            (bound_secs(at), seen)
        })
    }
}

fn bound_secs(at: usize) -> f64 {
    FIRST_SECS * std::f64::consts::SQRT_2.powi(at as i32)
}

fn place(secs: f64) -> usize {
    let steps = ((secs / FIRST_SECS).log2() * 2.0 - 1e-9).ceil();
    (steps.max(0.0) as usize).min(BUCKETS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S10: quantiles are bounds that hold, and no more than a bucket too high.
    #[test]
    fn quantiles_are_close() {
        let latency = Latency::default();
        (1..=1000).for_each(|number| latency.observe(Duration::from_micros(number * 100)));
        let counts = latency.counts();
        for (share, secs) in [(0.5, 0.05), (0.99, 0.099), (1.0, 0.1)] {
            let found = counts.quantile(share).unwrap();
            assert!(found >= secs && found <= secs * 1.42, "{share}: {found}");
        }
        assert_eq!(counts.count(), 1000);
        assert_eq!(counts.since(&counts).quantile(0.5), None);
        latency.observe(Duration::from_secs(1000));
        latency.observe(Duration::ZERO);
        assert_eq!(latency.counts().count(), 1002);
    }
}
