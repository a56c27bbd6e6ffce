//! A run as Chrome's trace events, for Perfetto and other viewers of them.
//!
//! Owns the format: one JSON object with a list of events, times in microseconds. Each trace is a thread of one process; its
//! waits and the stretches of work between them are complete events (`X`), and each wait ends with a flow (`s` to `f`) from
//! the trace that was waited for. Times are those of the timeline, so that writing them costs the replay nothing.

use std::fmt::{self, Display};
use std::io::{self, Write};

use crate::page::names;
use crate::replay::timeline::{Lane, Timeline};

/// Nanoseconds as microseconds, exactly.
struct Micros(u64);

impl Display for Micros {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}

/// Writes the last run of traces called `names`.
///
/// # Errors
/// Those of `out`.
pub fn write(out: &mut impl Write, timeline: &Timeline, names: &[String]) -> io::Result<()> {
    write!(
        out,
        "{{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n\
         {{\"ph\":\"M\",\"pid\":1,\"tid\":0,\"ts\":0,\"name\":\"process_name\",\"args\":{{\"name\":\"quorate replay\"}}}}"
    )?;
    for (place, trace) in names::order(names).into_iter().enumerate() {
        let name = serde_json::to_string(&names[trace])?;
        let tid = trace + 1;
        for (what, argument, value) in
            [("thread_name", "name", name), ("thread_sort_index", "sort_index", place.to_string())]
        {
            write!(
                out,
                ",\n{{\"ph\":\"M\",\"pid\":1,\"tid\":{tid},\"ts\":0,\"name\":\"{what}\",\"args\":{{\"{argument}\":{value}}}}}"
            )?;
        }
    }
    let mut flows = 0u64;
    for (trace, lane) in timeline.lanes.iter().enumerate() {
        slices(out, trace, lane, names)?;
        for wait in &lane.waits {
            flows += 1;
            let on = usize::from(wait.on);
            let told = told_at(timeline, on, wait.to);
            let common = format!("\"pid\":1,\"id\":{flows},\"cat\":\"wait\",\"name\":\"go on\"");
            write!(out, ",\n{{\"ph\":\"s\",\"tid\":{},\"ts\":{},{common}}}", on + 1, Micros(told))?;
            write!(
                out,
                ",\n{{\"ph\":\"f\",\"bp\":\"e\",\"tid\":{},\"ts\":{},{common}}}",
                trace + 1,
                Micros(wait.to)
            )?;
        }
    }
    writeln!(out, "\n]}}")
}

/// One trace's waits, and the work before, between and after them.
fn slices(out: &mut impl Write, trace: usize, lane: &Lane, names: &[String]) -> io::Result<()> {
    let mut slice = |what: fmt::Arguments<'_>, from: u64, to: u64| {
        let (ts, dur) = (Micros(from), Micros(to - from));
        write!(out, ",\n{{\"ph\":\"X\",\"pid\":1,\"tid\":{},\"ts\":{ts},\"dur\":{dur},{what}}}", trace + 1)
    };
    let mut at = 0;
    for wait in &lane.waits {
        if at < wait.from {
            slice(format_args!("\"cat\":\"work\",\"name\":\"work\""), at, wait.from)?;
        }
        let on = names.get(usize::from(wait.on)).map_or("", String::as_str);
        let name = serde_json::to_string(&format!("wait for {on}"))?;
        slice(format_args!("\"cat\":\"wait\",\"name\":{name}"), wait.from, wait.to)?;
        at = wait.to;
    }
    if at < lane.end {
        slice(format_args!("\"cat\":\"work\",\"name\":\"work\""), at, lane.end)?;
    }
    Ok(())
}

/// When a trace can have announced what somebody saw at `time`: then, or, if it waited itself or was done, the moment before
/// that, when it worked.
fn told_at(timeline: &Timeline, trace: usize, time: u64) -> u64 {
    let Some(lane) = timeline.lanes.get(trace) else { return time };
    let next = lane.waits.partition_point(|wait| wait.to <= time);
    let own = lane.waits.get(next).map_or(u64::MAX, |wait| wait.from);
    if own.min(lane.end) <= time { own.min(lane.end).saturating_sub(1) } else { time }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::timeline::Span;

    /// R40: what Perfetto reads: every event whole, slices that fill the lanes, an arrow from who was waited for to who
    /// waited.
    #[test]
    fn waits_and_work_fill_the_lanes_and_flows_pair() {
        let lanes = vec![
            Lane { waits: vec![Span { from: 41_000, to: 60_500, on: 1 }], end: 70_000 },
            Lane { waits: vec![Span { from: 10_001, to: 41_002, on: 0 }], end: 60_000 },
        ];
        let names = ["a \"<b".to_owned(), "c".to_owned()];
        let mut text = Vec::new();
        write(&mut text, &Timeline { lanes }, &names).expect("a vector takes everything");
        let json: serde_json::Value = serde_json::from_slice(&text).expect("it is JSON");
        let events = json["traceEvents"].as_array().expect("a list");
        let of = |ph: &str| events.iter().filter(|event| event["ph"] == ph).collect::<Vec<_>>();
        let span = |event: &serde_json::Value| {
            let number = |field: &str| (event[field].as_f64().expect("a number") * 1000.0).round() as u64;
            (event["tid"].as_u64().expect("a thread"), number("ts"), number("dur"), event["name"].clone())
        };
        let slices: Vec<_> = of("X").into_iter().map(span).collect();
        let expected = [
            (1, 0, 41_000, "work".into()),
            (1, 41_000, 19_500, "wait for c".into()),
            (1, 60_500, 9_500, "work".into()),
            (2, 0, 10_001, "work".into()),
            (2, 10_001, 31_001, "wait for a \"<b".into()),
            (2, 41_002, 18_998, "work".into()),
        ];
        assert_eq!(slices, expected);
        let ends = |ph: &str| {
            let end = |event: &serde_json::Value| {
                (event["id"].as_u64(), event["tid"].as_u64(), event["ts"].as_f64().expect("a number"))
            };
            of(ph).into_iter().map(end).collect::<Vec<_>>()
        };
        assert_eq!(ends("s"), [(Some(1), Some(2), 59.999), (Some(2), Some(1), 40.999)]);
        assert_eq!(ends("f"), [(Some(1), Some(1), 60.5), (Some(2), Some(2), 41.002)]);
    }
}
