//! The report as one HTML page that needs nothing else: no script, no font, no picture from elsewhere.
//!
//! Owns what the page shows and in which order. Colours are CSS variables, for light and dark; pictures are SVG. A script
//! of its own names the wait under the pointer, zooms and searches; without it the page lacks nothing else.
//!
//! * [`lanes`]: the timeline of the traces with waits and the critical path. [`names`]: the order of its rows.
//! * [`waits`]: who waited for whom.
//! * [`bars`]: latency histograms.

mod bars;
mod lanes;
pub(crate) mod names;
mod waits;

use crate::words::counted;
use std::fmt::{self, Display, Write};

use lanes::Rows;

use crate::replay::timeline::{Segment, Timeline};
use crate::report::Report;
use crate::stat::Statistics;

/// What the page is made of.
pub struct Page<'a> {
    /// The numbers.
    pub report: &'a Report,
    /// The last run's time, worker by worker.
    pub timeline: &'a Timeline,
    /// What the traces consist of.
    pub statistics: &'a Statistics,
    /// The traces' names, in order.
    pub names: &'a [String],
}

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("timeline.js");

/// Text as it must stand in HTML.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0.chars() {
            match letter {
                '&' => out.write_str("&amp;")?,
                '<' => out.write_str("&lt;")?,
                '>' => out.write_str("&gt;")?,
                '"' => out.write_str("&quot;")?,
                letter => out.write_char(letter)?,
            }
        }
        Ok(())
    }
}

impl Display for Page<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.timeline.critical_path();
        let rows = Rows::new(self.names);
        writeln!(out, "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">")?;
        writeln!(out, "<meta name=\"viewport\" content=\"width=device-width\">")?;
        writeln!(
            out,
            "<title>Replay of {}</title>\n<style>{STYLE}</style></head><body>",
            counted(self.report.traces, "trace")
        )?;
        self.summary(out)?;
        self.lanes(out, &path, &rows)?;
        self.limits(out, &path, &rows)?;
        self.latencies(out)?;
        self.keys(out)?;
        self.details(out)?;
        writeln!(out, "<script>{SCRIPT}</script></body></html>")
    }
}

impl Page<'_> {
    fn summary(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = self.report;
        let verdict = match (report.checked, report.mismatches) {
            (false, _) => "results were not compared".to_owned(),
            (true, 0) => format!("all {} results match the recording", grouped(report.compared)),
            (true, some) => format!("{} of {} results differed", grouped(some), grouped(report.compared)),
        };
        let class = if report.checked && report.mismatches == 0 { "good" } else { "bad" };
        writeln!(
            out,
            "<h1>Replay of {} on {}</h1>",
            counted(report.traces, "trace"),
            Escaped(&report.engine)
        )?;
        writeln!(out, "<p class=\"{class}\">{verdict}</p><dl class=\"cards\">")?;
        let cards = [
            ("operations", grouped(report.operations)),
            ("keys", grouped(report.keys as u64)),
            ("replayed in", duration(report.replay_median_seconds)),
            ("operations a second", grouped(report.operations_per_second as u64)),
            ("read in", duration(report.parse_seconds)),
            ("ordered in", duration(report.order_seconds)),
            ("planted records", grouped(report.planted as u64)),
            ("split traversals", grouped(report.splits as u64)),
        ];
        for (name, value) in cards {
            writeln!(out, "<div><dt>{name}</dt><dd>{value}</dd></div>")?;
        }
        writeln!(out, "</dl>")
    }

    fn lanes(&self, out: &mut fmt::Formatter<'_>, path: &[Segment], rows: &Rows<'_>) -> fmt::Result {
        writeln!(out, "<h2>Timeline</h2>")?;
        writeln!(
            out,
            "<p>Each row is a trace, from the start to its last operation. <span class=\"key work\"></span> at work, \
             <span class=\"key wait\"></span> waiting for another trace; a shade between the two: both, within one of \
             the slices that the run is cut into; <span class=\"key\"></span> ended. <span class=\"key path\"></span> above a \
             row: the critical path, work that the run's length comes from. Below: how many traces were at work.</p>"
        )?;
        writeln!(
            out,
            "<p class=\"script\" hidden>Point at a row to see whom it waited for: \
             <span class=\"key waiter\"></span> the wait, <span class=\"key awaited\"></span> the trace waited for. Drag across \
             the rows to zoom in, double-click to see everything; or use the buttons, or <kbd>+</kbd> <kbd>-</kbd> <kbd>0</kbd> \
             <kbd>\u{2190}</kbd> <kbd>\u{2192}</kbd>.</p>"
        )?;
        writeln!(
            out,
            "<div class=\"script tools\" hidden><button id=\"closer\">Zoom in</button><button id=\"farther\">Zoom out</button>\
             <button id=\"earlier\" aria-label=\"Earlier\">\u{2190}</button><button id=\"later\" aria-label=\"Later\">\u{2192}</button>\
             <button id=\"reset\" disabled>Show all</button><input id=\"find\" type=\"search\" placeholder=\"Find a trace\" \
             aria-label=\"Find a trace\"><span id=\"found\" role=\"status\"></span><span id=\"shown\" role=\"status\"></span></div>"
        )?;
        lanes::draw(out, self.timeline, path, rows)?;
        waits::data(out, self.timeline, rows)?;
        writeln!(out, "<div id=\"tip\" hidden></div>")
    }

    fn limits(&self, out: &mut fmt::Formatter<'_>, path: &[Segment], rows: &Rows<'_>) -> fmt::Result {
        let order = &self.report.order;
        let parallel = f64::from(order.events) / f64::from(order.critical_path.max(1));
        writeln!(out, "<h2>What limits parallelism</h2>")?;
        writeln!(
            out,
            "<p>The order has {} steps; the longest chain of steps that must follow one another has {}, so at most \
             <b>{parallel:.1}</b> can run at the same time on average. {} waits blocked, {} in all workers together.</p>",
            grouped(order.events.into()),
            grouped(order.critical_path.into()),
            grouped(self.report.waits.unsatisfied),
            duration(self.report.waits.seconds),
        )?;
        writeln!(out, "<div class=\"beside\">")?;
        self.traces(out, path, rows)?;
        waits::table(out, self.timeline, rows)?;
        writeln!(out, "</div>")
    }

    /// What each trace's time went to.
    fn traces(&self, out: &mut fmt::Formatter<'_>, path: &[Segment], rows: &Rows<'_>) -> fmt::Result {
        let end = self.timeline.end().max(1) as f64;
        writeln!(out, "<div><h3>Where the time went</h3>")?;
        writeln!(out, "<table id=\"spent\"><tr><th>trace<th>on the critical path<th>waiting<th>waits</tr>")?;
        for &trace in &rows.order {
            let Some(lane) = self.timeline.lanes.get(trace) else { continue };
            let on_path = path.iter().filter(|segment| usize::from(segment.trace) == trace);
            let share = on_path.map(|segment| (segment.to - segment.from) as f64).sum::<f64>() / end;
            let waited = lane.waits.iter().map(|wait| (wait.to - wait.from) as f64).sum::<f64>()
                / lane.end.max(1) as f64;
            writeln!(
                out,
                "<tr><td>{}<td class=\"n\">{:.1} %<td class=\"n\">{:.1} %<td class=\"n\">{}</tr>",
                Escaped(rows.name(trace)),
                share * 100.0,
                waited * 100.0,
                grouped(lane.waits.len() as u64)
            )?;
        }
        writeln!(out, "</table></div>")
    }

    fn latencies(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.report.latency.is_empty() {
            return Ok(());
        }
        writeln!(out, "<h2>Latency by operation</h2>")?;
        writeln!(
            out,
            "<p>Microseconds; waits for other traces are not in them. Bars: one for each doubling, from below 0.1 \
             \u{b5}s on the left to above a second on the right; heights are relative within a row.</p>"
        )?;
        writeln!(
            out,
            "<table><tr><th>operation<th>count<th>p50<th>p90<th>p99<th>p99.9<th>max<th>distribution</tr>"
        )?;
        for (name, latency) in &self.report.latency {
            write!(out, "<tr><td>{name}<td class=\"n\">{}", grouped(latency.count))?;
            for value in [latency.p50, latency.p90, latency.p99, latency.p999, latency.max] {
                write!(out, "<td class=\"n\">{value:.1}")?;
            }
            write!(out, "<td>")?;
            bars::draw(out, &latency.doublings)?;
            writeln!(out, "</tr>")?;
        }
        writeln!(out, "</table>")
    }

    fn keys(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = &self.statistics.keys;
        writeln!(out, "<h2>Keys</h2>")?;
        writeln!(
            out,
            "<p>{} keys were used, {} changed, {} of them by several traces; {} changed by one and read by others.</p>",
            grouped(keys.used as u64),
            grouped(keys.changed as u64),
            grouped(keys.changed_by_several as u64),
            grouped(keys.changed_and_read_by_others as u64)
        )?;
        writeln!(out, "<div class=\"beside\">")?;
        for (title, rows) in [("Hot keys", &keys.hot), ("Contended keys", &keys.contended)] {
            writeln!(out, "<div><h3>{title}</h3><table>")?;
            writeln!(out, "<tr><th>key<th>operations<th>changes<th>traces<th>writers</tr>")?;
            for key in rows {
                writeln!(
                    out,
                    "<tr><td><code>{}</code><td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{}</tr>",
                    Escaped(&key.key),
                    grouped(key.operations.into()),
                    grouped(key.changes.into()),
                    key.traces,
                    key.writers
                )?;
            }
            writeln!(out, "</table></div>")?;
        }
        writeln!(out, "</div>")
    }

    fn details(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = self.report;
        list(out, "Notes", report.notes.iter().cloned())?;
        let mismatches = report.mismatch_list.iter();
        list(
            out,
            "Results that differed",
            mismatches
                .map(|one| format!("{}:{}: expected {}, got {}", one.file, one.line, one.expected, one.got)),
        )?;
        list(out, "Split traversals", report.split_list.iter().cloned())?;
        let planted = report.planted_list.iter();
        list(
            out,
            "Records that were there before",
            planted.map(|one| format!("{}: {} bytes, found at {}", one.key, one.value_bytes, one.found_at)),
        )
    }
}

/// A list that can be opened; nothing if it is empty.
fn list(
    out: &mut fmt::Formatter<'_>,
    title: &str,
    rows: impl ExactSizeIterator<Item = String>,
) -> fmt::Result {
    if rows.len() == 0 {
        return Ok(());
    }
    writeln!(out, "<details><summary>{title} ({})</summary><ul>", rows.len())?;
    for row in rows {
        writeln!(out, "<li>{}</li>", Escaped(&row))?;
    }
    writeln!(out, "</ul></details>")
}

/// A number with spaces between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (nth, digit) in digits.chars().enumerate() {
        if nth > 0 && (digits.len() - nth).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// Seconds in the unit that suits them.
fn duration(seconds: f64) -> String {
    match seconds {
        seconds if seconds >= 0.9995 => format!("{seconds:.2} s"),
        seconds if seconds >= 0.9995e-3 => format!("{:.1} ms", seconds * 1e3),
        seconds if seconds >= 9.95e-6 => format!("{:.0} \u{b5}s", seconds * 1e6),
        seconds if seconds >= 0.95e-7 => format!("{:.1} \u{b5}s", seconds * 1e6),
        seconds => format!("{:.0} ns", seconds * 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R24: nothing in a trace can become markup.
    #[test]
    fn text_from_traces_is_escaped() {
        assert_eq!(Escaped("<a href=\"x\">&").to_string(), "&lt;a href=&quot;x&quot;&gt;&amp;");
    }

    /// R24: numbers are readable.
    #[test]
    fn numbers_and_times_are_written_for_people() {
        assert_eq!(grouped(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(grouped(12), "12");
        assert_eq!(duration(0.0123), "12.3 ms");
        assert_eq!(duration(2.5), "2.50 s");
        assert_eq!(duration(256e-9), "0.3 \u{b5}s");
        assert_eq!(duration(64e-9), "64 ns");
        assert_eq!(duration(0.9997e-3), "1.0 ms");
        assert_eq!(duration(12.4e-6), "12 \u{b5}s");
    }
}
