//! The timeline: a row for each trace, slices of time from work to wait, the critical path above the rows.

use std::fmt::{self, Write};

use super::Escaped;
use crate::replay::timeline::{Segment, Timeline};

/// Equal parts that the run is cut into.
const SLICES: usize = 400;
/// Steps between "at work" and "waiting"; slices of one step side by side are one rectangle.
const LEVELS: f64 = 6.0;
/// Widths in units of the picture.
const LABEL: f64 = 130.0;
const WIDTH: f64 = 1000.0;
/// Names longer than this are cut in front, where paths are alike.
const NAME_LETTERS: usize = 18;

/// Draws the rows.
pub fn draw(
    out: &mut fmt::Formatter<'_>,
    timeline: &Timeline,
    path: &[Segment],
    names: &[String],
) -> fmt::Result {
    let row = match timeline.lanes.len() {
        0..=8 => 26.0,
        9..=24 => 18.0,
        _ => 13.0,
    };
    let height = row * timeline.lanes.len() as f64 + 24.0;
    let end = timeline.end().max(1) as f64;
    let x = |time: f64| LABEL + time / end * WIDTH;
    writeln!(out, "<svg viewBox=\"0 0 {} {height}\" role=\"img\">", LABEL + WIDTH + 10.0)?;
    for (trace, lane) in timeline.lanes.iter().enumerate() {
        let y = row * trace as f64 + 4.0;
        let name = names.get(trace).map_or("", String::as_str);
        label(out, name, y + row / 2.0)?;
        let slices = timeline.waiting(trace, SLICES);
        strip(out, &slices, (x(lane.end as f64) - LABEL) / WIDTH, y, row - 6.0)?;
    }
    for segment in path {
        let y = row * f64::from(segment.trace) + 2.0;
        let (from, to) = (x(segment.from as f64), x(segment.to as f64));
        writeln!(
            out,
            "<rect class=\"path\" x=\"{from:.2}\" y=\"{y}\" width=\"{:.2}\" height=\"2.5\"/>",
            to - from
        )?;
    }
    axis(out, end, height)?;
    writeln!(out, "</svg>")
}

fn label(out: &mut fmt::Formatter<'_>, name: &str, y: f64) -> fmt::Result {
    let letters = name.chars().count();
    let cut = letters.saturating_sub(NAME_LETTERS);
    let shown: String = name.chars().skip(cut).collect();
    let dots = if cut > 0 { "\u{2026}" } else { "" };
    writeln!(
        out,
        "<text x=\"{}\" y=\"{y}\" class=\"name\"><title>{}</title>{dots}{}</text>",
        LABEL - 6.0,
        Escaped(name),
        Escaped(&shown)
    )
}

/// One row: rectangles of slices that wait about equally much. `part` of the whole width is the worker's life.
fn strip(out: &mut fmt::Formatter<'_>, slices: &[f64], part: f64, y: f64, height: f64) -> fmt::Result {
    let lived = ((part * slices.len() as f64).ceil() as usize).min(slices.len());
    let level = |waiting: f64| (waiting.clamp(0.0, 1.0) * LEVELS).round();
    let mut from = 0;
    while from < lived {
        let this = level(slices[from]);
        let length = slices[from..lived].iter().take_while(|&&next| level(next) == this).count();
        let to = from + length;
        let width = |slices_count: usize| slices_count as f64 / slices.len() as f64 * WIDTH;
        let right = if to == lived { part * WIDTH } else { width(to) };
        writeln!(
            out,
            "<rect x=\"{:.1}\" y=\"{y}\" width=\"{:.1}\" height=\"{height}\" class=\"work\"/>",
            LABEL + width(from),
            (right - width(from)).max(0.1)
        )?;
        if this > 0.0 {
            writeln!(
                out,
                "<rect x=\"{:.1}\" y=\"{y}\" width=\"{:.1}\" height=\"{height}\" class=\"wait\" opacity=\"{:.2}\"/>",
                LABEL + width(from),
                (right - width(from)).max(0.1),
                this / LEVELS
            )?;
        }
        from = to;
    }
    Ok(())
}

fn axis(out: &mut fmt::Formatter<'_>, end: f64, height: f64) -> fmt::Result {
    for fifth in 0..=5 {
        let part = f64::from(fifth) / 5.0;
        let anchor = match fifth {
            0 => "start",
            5 => "end",
            _ => "middle",
        };
        let mut text = String::new();
        write!(text, "{}", super::duration(end * part / 1e9))?;
        writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" class=\"axis\" text-anchor=\"{anchor}\">{}</text>",
            LABEL + part * WIDTH,
            height - 6.0,
            if fifth == 0 { "0" } else { text.as_str() }
        )?;
    }
    Ok(())
}
