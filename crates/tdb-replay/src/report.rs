//! What came of a replay, as numbers for programs and as text for people.
//!
//! Owns the names of the fields in `--json`; they are listed in docs/trace-format.md and only ever added to.

use crate::words::counted;
use std::collections::BTreeMap;
use std::fmt::{self, Display, Write as _};
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::check::report::{Contradiction, disbelieved};
use crate::order::explain::{Explained, Planted, Unexplained};
use crate::order::solve::Effort;
use crate::replay::Run;
use crate::replay::tally::{Mismatch, Tally};
use crate::schedule::Schedule;
use crate::trace::History;
use crate::trace::dialect::Dialect;
use crate::trace::op::Op;
use crate::verdict::Verdict;

/// Planted records that are named one by one.
const NAMED: usize = 1000;

/// The whole result.
#[derive(Debug, serde::Serialize)]
pub struct Report {
    /// What the order makes of the history, whatever the replay came to.
    pub verdict: Verdict,
    /// What it ran on.
    pub engine: String,
    /// How many traces.
    pub traces: usize,
    /// Lines in them.
    pub lines: u64,
    /// Operations run: every line but `tdb_open`, callbacks and closes.
    pub operations: u64,
    /// Distinct keys.
    pub keys: usize,
    /// Who wrote the traces.
    pub dialect: Dialect,
    /// Bytes of trace text.
    pub text_bytes: u64,
    /// Bytes that the traces took in memory.
    pub memory_bytes: usize,
    /// Reading.
    pub parse_seconds: f64,
    /// Ordering.
    pub order_seconds: f64,
    /// Each run.
    pub replay_seconds: Vec<f64>,
    /// Their median.
    pub replay_median_seconds: f64,
    /// Operations a second in the median run.
    pub operations_per_second: f64,
    /// Whether results were compared at all.
    pub checked: bool,
    /// Results compared, over all runs.
    pub compared: u64,
    /// Results that were not the recorded ones, over all runs.
    pub mismatches: u64,
    /// The first of them.
    pub mismatch_list: Vec<Mismatch>,
    /// Traversals run to their end before their callbacks' work.
    pub splits: usize,
    /// Where they start.
    pub split_list: Vec<String>,
    /// Locks that could not be held as recorded and were not taken.
    pub locks_given_up: usize,
    /// Where they are taken in the traces.
    pub locks_given_up_list: Vec<String>,
    /// Records that were there before the traces began.
    pub planted: usize,
    /// The first of them, with the line that found each.
    pub planted_list: Vec<PlantedRecord>,
    /// How the order was found.
    pub order: OrderReport,
    /// Waiting, over all runs.
    pub waits: WaitReport,
    /// Lines that the engine was not asked about, over all runs.
    pub not_run: u64,
    /// Traversals that showed another number of records than recorded, over all runs.
    pub traversals_of_other_length: u64,
    /// By operation, over all runs.
    pub latency: BTreeMap<&'static str, Latency>,
    /// Lines whose sequence numbers were set aside; the first of them.
    pub disbelieved: Vec<Contradiction>,
    /// What people should know.
    pub notes: Vec<String>,
}

/// A record that was there before.
#[derive(Debug, serde::Serialize)]
pub struct PlantedRecord {
    /// The key, escaped.
    pub key: String,
    /// Its length.
    pub value_bytes: usize,
    /// The line that found it.
    pub found_at: String,
}

/// How the order was found.
#[derive(Debug, serde::Serialize)]
pub struct OrderReport {
    /// Keys by how they were solved.
    #[serde(flatten)]
    pub effort: Effort,
    /// Steps of the merge.
    pub events: u32,
    /// Dependencies between traces, before reduction.
    pub dependencies: u64,
    /// Waits that remain.
    pub waits: usize,
    /// Events that must follow one another: no number of cores makes it shorter.
    pub critical_path: u32,
}

/// What waiting came to.
#[derive(Debug, serde::Serialize)]
pub struct WaitReport {
    /// Waits that were not satisfied when they were reached.
    pub unsatisfied: u64,
    /// Of these, those that put the worker to sleep.
    pub parked: u64,
    /// Time spent in them, over all workers.
    pub seconds: f64,
}

/// How long an operation took, in microseconds.
#[derive(Debug, serde::Serialize)]
#[allow(missing_docs, reason = "the names are the whole story")]
pub struct Latency {
    pub count: u64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
    /// How many took from 2^n to 2^(n+1) nanoseconds, by n.
    pub doublings: Vec<u64>,
}

/// What was measured before the first run.
pub struct Prepared<'a> {
    /// The traces.
    pub history: &'a History,
    /// Their order.
    pub explained: &'a Explained,
    /// The plan made from it.
    pub schedule: &'a Schedule,
    /// Time to read.
    pub parse: Duration,
    /// Time to order and plan.
    pub order: Duration,
}

impl Report {
    /// Puts everything together.
    pub fn new(prepared: &Prepared<'_>, engine: &str, checked: bool, runs: Vec<Run>) -> Report {
        let Prepared { history, explained, schedule, .. } = *prepared;
        let mut times: Vec<f64> = runs.iter().map(|run| run.time.as_secs_f64()).collect();
        let replay_seconds = times.clone();
        times.sort_unstable_by(f64::total_cmp);
        let median = times.get(times.len() / 2).copied().unwrap_or(0.0);
        let operations = runs.first().map_or(0, |run| compared_of(&run.tally));
        let mut tally = Tally::default();
        runs.into_iter().for_each(|run| tally.add(run.tally));
        let merged = &explained.merged;
        let place = |of: &crate::order::merge::GroupOf| {
            let start = history.traces[of.trace as usize].groups[of.group as usize].start;
            history.place(of.trace as usize, start as usize)
        };
        Report {
            verdict: explained.verdict(),
            engine: engine.to_owned(),
            traces: history.traces.len(),
            lines: history.lines(),
            operations,
            keys: history.records.keys.len(),
            dialect: history.dialect,
            text_bytes: history.text_bytes,
            memory_bytes: history.memory(),
            parse_seconds: prepared.parse.as_secs_f64(),
            order_seconds: prepared.order.as_secs_f64(),
            replay_seconds,
            replay_median_seconds: median,
            operations_per_second: if median > 0.0 { operations as f64 / median } else { 0.0 },
            checked,
            compared: tally.compared,
            mismatches: tally.mismatches,
            splits: merged.splits.len(),
            split_list: merged.splits.iter().take(NAMED).map(place).collect(),
            locks_given_up: merged.given_up.len(),
            locks_given_up_list: merged.given_up.iter().take(NAMED).map(place).collect(),
            planted: schedule.planted.len(),
            planted_list: schedule
                .planted
                .iter()
                .take(NAMED)
                .map(|planted| PlantedRecord::of(history, planted))
                .collect(),
            order: OrderReport::of(explained, schedule),
            waits: WaitReport {
                unsatisfied: tally.waits,
                parked: tally.parked,
                seconds: tally.waited.as_secs_f64(),
            },
            not_run: tally.not_run,
            traversals_of_other_length: tally.other_length,
            latency: latencies(&tally),
            mismatch_list: tally.kept,
            disbelieved: disbelieved(history, explained),
            notes: history.warnings.iter().chain(&explained.notes).cloned().collect(),
        }
    }
}

/// How many waits a replay has left of the dependencies between steps.
pub fn stand_for(waits: usize, dependencies: u64) -> String {
    let stand = if waits == 1 { "stands" } else { "stand" };
    format!("{} {stand} for {}", counted(waits, "wait"), counted(dependencies, "dependency"))
}

fn compared_of(tally: &Tally) -> u64 {
    let counts = Op::ALL.iter().zip(&tally.operations);
    counts
        .filter(|(op, _)| !matches!(op, Op::Traverse | Op::Traversefn | Op::Close))
        .map(|(_, count)| count)
        .sum()
}

impl PlantedRecord {
    /// What is known of it.
    pub fn of(history: &History, planted: &Planted) -> PlantedRecord {
        PlantedRecord {
            key: history.records.keys.bytes(planted.key).escape_ascii().to_string(),
            value_bytes: history.records.values.bytes(planted.value).len(),
            found_at: history.place(planted.trace as usize, planted.row as usize),
        }
    }
}

impl OrderReport {
    /// Of an order and the plan made from it.
    pub fn of(explained: &Explained, schedule: &Schedule) -> OrderReport {
        let merged = &explained.merged;
        OrderReport {
            effort: explained.effort,
            events: merged.events,
            dependencies: merged.dependencies,
            waits: schedule.traces.iter().map(|plan| plan.waits.len()).sum(),
            critical_path: merged.critical_path,
        }
    }
}

fn latencies(tally: &Tally) -> BTreeMap<&'static str, Latency> {
    let measured = Op::ALL.iter().zip(&tally.latency);
    measured
        .filter_map(|(op, histogram)| {
            let histogram = histogram.as_ref()?;
            let micros = |nanos: u64| nanos as f64 / 1000.0;
            let at = |quantile| micros(histogram.value_at_quantile(quantile));
            let latency = Latency {
                count: histogram.len(),
                p50: at(0.5),
                p90: at(0.9),
                p99: at(0.99),
                p999: at(0.999),
                max: micros(histogram.max()),
                doublings: doublings(histogram),
            };
            Some((op.name(), latency))
        })
        .collect()
}

fn doublings(histogram: &Histogram<u32>) -> Vec<u64> {
    let mut counts = Vec::new();
    for value in histogram.iter_recorded() {
        let doubling = value.value_iterated_to().max(1).ilog2() as usize;
        counts.resize(counts.len().max(doubling + 1), 0);
        counts[doubling] += value.count_since_last_iteration();
    }
    counts
}

impl Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt_before_replay(out)?;
        self.replay_text(out)?;
        self.latency_text(out)?;
        self.result_text(out)
    }
}

impl Report {
    /// Prints what is the same on every engine.
    pub(crate) fn fmt_before_replay(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for note in &self.notes {
            writeln!(out, "note: {note}")?;
        }
        self.disbelieved.iter().try_for_each(|found| write!(out, "{found}"))?;
        writeln!(out, "verdict    {}", self.verdict)?;
        let dialect = match self.dialect {
            Dialect::Classic => "classic",
            Dialect::Today => "today's",
        };
        writeln!(
            out,
            "traces     {} with {}: {} on {}, {dialect} dialect",
            self.traces,
            counted(self.lines, "line"),
            counted(self.operations, "operation"),
            counted(self.keys, "key")
        )?;
        let rate = self.text_bytes as f64 / 1e6 / self.parse_seconds.max(1e-9);
        let mb = self.text_bytes as f64 / 1e6;
        writeln!(out, "read       {:.3} s: {mb:.1} MB, {rate:.0} MB/s", self.parse_seconds)?;
        self.order_text(out)
    }

    fn order_text(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let OrderReport { effort, events, dependencies, waits, critical_path } = &self.order;
        writeln!(
            out,
            "order      {:.3} s: {} without a choice, {} greedy, {} searched; {}",
            self.order_seconds,
            counted(effort.no_choice, "key"),
            effort.greedy,
            effort.searched,
            stand_for(*waits, *dependencies)
        )?;
        let parallel = f64::from(*events) / f64::from(*critical_path).max(1.0);
        writeln!(
            out,
            "           {}, {critical_path} on the critical path: {parallel:.1} at a time on average",
            counted(*events, "step")
        )?;
        if self.planted > 0 {
            let first = self
                .planted_list
                .first()
                .map_or(String::new(), |first| format!(", the first found at {}", first.found_at));
            writeln!(out, "           records that were there before: {}{first}", self.planted)?;
        }
        if self.splits > 0 {
            let first = self.split_list.first().map_or("", String::as_str);
            writeln!(out, "           {} traversals are split, the first at {first}", self.splits)?;
        }
        if self.locks_given_up > 0 {
            writeln!(
                out,
                "           {} locks overlap in a way that cannot be: not taken",
                self.locks_given_up
            )?;
        }
        Ok(())
    }

    fn replay_text(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (least, most) = self
            .replay_seconds
            .iter()
            .fold((f64::MAX, 0f64), |(least, most), &time| (least.min(time), most.max(time)));
        let spread = match self.replay_seconds.len() {
            0 | 1 => String::new(),
            runs => format!(" (median of {runs} runs, {least:.3} to {most:.3})"),
        };
        writeln!(
            out,
            "replay     {:.3} s{spread} on {}: {:.0} operations a second",
            self.replay_median_seconds, self.engine, self.operations_per_second
        )?;
        let WaitReport { unsatisfied, parked, seconds } = &self.waits;
        writeln!(
            out,
            "waits      {unsatisfied} blocked, {parked} slept, {seconds:.3} s in all workers together"
        )
    }

    fn latency_text(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.latency.is_empty() {
            return Ok(());
        }
        let mut text = String::new();
        writeln!(
            text,
            "{:<32} {:>10} {:>9} {:>9} {:>9} {:>9} {:>9}",
            "latency, us", "count", "p50", "p90", "p99", "p99.9", "max"
        )?;
        for (name, latency) in &self.latency {
            let Latency { count, p50, p90, p99, p999, max, .. } = latency;
            writeln!(
                text,
                "  {name:<30} {count:>10} {p50:>9.1} {p90:>9.1} {p99:>9.1} {p999:>9.1} {max:>9.1}"
            )?;
        }
        out.write_str(&text)
    }

    fn result_text(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.not_run > 0 {
            writeln!(
                out,
                "not run    {}: failed locks, refused changes, dead databases",
                counted(self.not_run, "line")
            )?;
        }
        if !self.checked {
            return writeln!(out, "results    not compared (--no-check)");
        }
        for mismatch in &self.mismatch_list {
            let place = match mismatch.line {
                0 => mismatch.file.clone(),
                line => format!("{}:{line}", mismatch.file),
            };
            writeln!(out, "mismatch: {place}: expected {}, got {}", mismatch.expected, mismatch.got)?;
        }
        writeln!(out, "results    {} compared, {} mismatches", self.compared, self.mismatches)
    }
}

/// Says why a history has no order, for people.
pub fn explain_failure(history: &History, failure: &Unexplained) -> String {
    let report = crate::check::report::Report::of_failure(history, failure);
    let mut text = format!("{}: no order explains these traces", report.verdict);
    report.contradictions.iter().for_each(|contradiction| text.push_str(&format!("\n{contradiction}")));
    if report.more_contradictions > 0 {
        text.push_str(&format!("\nand {} more", report.more_contradictions));
    }
    text
}
