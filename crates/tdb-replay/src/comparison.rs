//! Reports of the same traces on several engines, side by side.

use std::fmt::{self, Display};

use crate::report::{Latency, Report};

/// Reports in the order in which their engines were named; the first is what the others are compared with.
#[derive(serde::Serialize)]
pub struct Comparison {
    /// One for each engine.
    pub engines: Vec<Report>,
}

impl Comparison {
    /// Results that were not the recorded ones, on all engines.
    pub fn mismatches(&self) -> u64 {
        self.engines.iter().map(|report| report.mismatches).sum()
    }

    fn row(
        &self,
        out: &mut fmt::Formatter<'_>,
        name: &str,
        value: impl Fn(&Report) -> Option<f64>,
        digits: usize,
    ) -> fmt::Result {
        write!(out, "  {name:<36}")?;
        let values: Vec<Option<f64>> = self.engines.iter().map(value).collect();
        for (nth, value) in values.iter().enumerate() {
            match value {
                Some(value) => write!(out, " {value:>12.digits$}")?,
                None => write!(out, " {:>12}", "-")?,
            }
            if nth > 0 {
                match (value, values[0]) {
                    (Some(value), Some(first)) if first > 0.0 => write!(out, " {:>7.2}", value / first)?,
                    _ => write!(out, " {:>7}", "")?,
                }
            }
        }
        writeln!(out)
    }

    fn latency(&self, out: &mut fmt::Formatter<'_>, name: &str, at: fn(&Latency) -> f64) -> fmt::Result {
        let mut operations: Vec<&str> =
            self.engines.iter().flat_map(|report| report.latency.keys().copied()).collect();
        operations.sort_unstable();
        operations.dedup();
        for operation in operations {
            let value = |report: &Report| report.latency.get(operation).map(at);
            self.row(out, &format!("{operation}, {name}, us"), value, 1)?;
        }
        Ok(())
    }
}

impl Display for Comparison {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(first) = self.engines.first() else {
            return Ok(());
        };
        first.fmt_before_replay(out)?;
        write!(out, "  {:<36}", "side by side")?;
        for (nth, report) in self.engines.iter().enumerate() {
            write!(out, " {:>12}", report.engine)?;
            if nth > 0 {
                write!(out, " {:>7}", "ratio")?;
            }
        }
        writeln!(out)?;
        self.row(out, "replay, s", |report| Some(report.replay_median_seconds), 3)?;
        self.row(out, "operations a second", |report| Some(report.operations_per_second), 0)?;
        self.row(out, "results compared", |report| Some(report.compared as f64), 0)?;
        self.row(out, "mismatches", |report| Some(report.mismatches as f64), 0)?;
        self.row(out, "waits that slept", |report| Some(report.waits.parked as f64), 0)?;
        self.row(out, "waiting, s", |report| Some(report.waits.seconds), 3)?;
        self.latency(out, "p50", |latency| latency.p50)?;
        self.latency(out, "p99", |latency| latency.p99)?;
        for report in &self.engines {
            for mismatch in &report.mismatch_list {
                let (engine, file, line) = (&report.engine, &mismatch.file, mismatch.line);
                writeln!(
                    out,
                    "mismatch on {engine}: {file}:{line}: expected {}, got {}",
                    mismatch.expected, mismatch.got
                )?;
            }
        }
        Ok(())
    }
}
