//! A distribution of numbers, in bounded memory.

use hdrhistogram::Histogram;
use serde::Serialize;

/// Numbers as they come.
#[derive(Clone)]
pub struct Distribution {
    histogram: Histogram<u64>,
    total: u128,
    least: u64,
    most: u64,
}

impl Default for Distribution {
    fn default() -> Self {
        let histogram = Histogram::new(3).expect("three significant digits are allowed");
        Distribution { histogram, total: 0, least: u64::MAX, most: 0 }
    }
}

impl Distribution {
    /// Counts one number.
    pub fn add(&mut self, number: u64) {
        // The histogram grows with its largest number; what is beyond u64's range cannot come.
        self.histogram.saturating_record(number);
        self.total += u128::from(number);
        self.least = self.least.min(number);
        self.most = self.most.max(number);
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.histogram.is_empty()
    }

    /// The few numbers that describe it; all 0 when nothing was counted.
    pub fn sizes(&self) -> Sizes {
        let count = self.histogram.len();
        let at =
            |share: f64| self.histogram.value_at_quantile(share).clamp(self.least.min(self.most), self.most);
        Sizes {
            count,
            total: u64::try_from(self.total).unwrap_or(u64::MAX),
            min: if count == 0 { 0 } else { self.least },
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            max: self.most,
        }
    }
}

/// A distribution in a few numbers. Percentiles are within a thousandth; the rest is exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Sizes {
    /// How many numbers.
    pub count: u64,
    /// Their sum.
    pub total: u64,
    /// The smallest.
    pub min: u64,
    /// Half are at most this.
    pub p50: u64,
    /// Nine tenths are at most this.
    pub p90: u64,
    /// All but a hundredth are at most this.
    pub p99: u64,
    /// The largest.
    pub max: u64,
}
