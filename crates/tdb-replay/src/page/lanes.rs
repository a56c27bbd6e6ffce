//! The timeline: a row for each trace, slices of time from work to wait, the critical path above the rows; below them, how many
//! traces were at work.
//!
//! Names and times are text beside the picture, so they keep their size on any screen; only the picture is stretched.

use std::fmt;

use super::{Escaped, duration, names};
use crate::replay::timeline::{Segment, Timeline};

/// Equal parts that the run is cut into.
const SLICES: usize = 400;
/// Steps between "at work" and "waiting"; slices of one step side by side are one rectangle.
const LEVELS: f64 = 6.0;
/// Width in units of the picture.
const WIDTH: f64 = 1000.0;
/// Names longer than this are cut in front, where paths are alike.
const NAME_LETTERS: usize = 18;
/// Height of the critical path's line, and room above and below a row's strip, in pixels.
const PATH: f64 = 2.5;
const ABOVE: f64 = 4.0;
const BELOW: f64 = 2.0;

/// Which trace stands in which row.
pub struct Rows<'a> {
    /// The traces, from the first row on.
    pub order: Vec<usize>,
    places: Vec<usize>,
    names: &'a [String],
}

impl<'a> Rows<'a> {
    /// In the order of names.
    pub fn new(names: &'a [String]) -> Rows<'a> {
        let order = names::order(names);
        let mut places = vec![0; order.len()];
        (0..).zip(&order).for_each(|(place, &trace)| places[trace] = place);
        Rows { order, places, names }
    }

    /// The row of a trace.
    pub fn place(&self, trace: usize) -> usize {
        self.places.get(trace).copied().unwrap_or(trace)
    }

    /// The name of a trace.
    pub fn name(&self, trace: usize) -> &'a str {
        self.names.get(trace).map_or("", String::as_str)
    }
}

/// Draws the rows.
pub fn draw(
    out: &mut fmt::Formatter<'_>,
    timeline: &Timeline,
    path: &[Segment],
    rows: &Rows<'_>,
) -> fmt::Result {
    let row = match timeline.lanes.len() {
        0..=8 => 26.0,
        9..=24 => 18.0,
        _ => 14.0,
    };
    let height = row * timeline.lanes.len() as f64;
    let end = timeline.end().max(1) as f64;
    let x = |time: f64| time / end * WIDTH;
    writeln!(out, "<div class=\"timeline\"><div class=\"names\" style=\"line-height:{row}px\">")?;
    rows.order.iter().try_for_each(|&trace| label(out, rows.name(trace)))?;
    writeln!(
        out,
        "</div><svg id=\"timeline\" viewBox=\"0 0 {WIDTH} {height}\" style=\"height:{height}px\" \
         preserveAspectRatio=\"none\" tabindex=\"0\" role=\"img\" aria-label=\"When each trace worked and waited\">"
    )?;
    for (trace, lane) in timeline.lanes.iter().enumerate() {
        let y = row * rows.place(trace) as f64 + ABOVE;
        let slices = timeline.waiting(trace, SLICES);
        strip(out, &slices, x(lane.end as f64) / WIDTH, y, row - ABOVE - BELOW)?;
    }
    for segment in path {
        let y = row * rows.place(usize::from(segment.trace)) as f64 + (ABOVE - PATH) / 2.0;
        let (from, to) = (x(segment.from as f64), x(segment.to as f64));
        writeln!(
            out,
            "<rect class=\"path\" x=\"{from:.2}\" y=\"{y}\" width=\"{:.2}\" height=\"{PATH}\"/>",
            (to - from).max(0.01)
        )?;
    }
    writeln!(out, "</svg>")?;
    utilization(out, timeline)?;
    writeln!(out, "<div></div><div class=\"axis\">")?;
    axis(out, end)?;
    writeln!(out, "</div></div>")
}

/// Height of the picture of how many traces were at work, in pixels.
const USE: f64 = 48.0;

/// How many traces were at work, slice by slice.
fn utilization(out: &mut fmt::Formatter<'_>, timeline: &Timeline) -> fmt::Result {
    let at_work = timeline.at_work(SLICES);
    let most = timeline.lanes.len().max(1) as f64;
    let average = at_work.iter().sum::<f64>() / SLICES as f64;
    writeln!(
        out,
        "<div class=\"names\" style=\"line-height:{USE}px\" title=\"How many traces were at work, of {most}\">at work: {average:.1}</div>\
         <svg id=\"use\" viewBox=\"0 0 {WIDTH} {USE}\" style=\"height:{USE}px\" preserveAspectRatio=\"none\" role=\"img\" \
         aria-label=\"How many traces were at work\"><path class=\"work\" d=\"M0 {USE}"
    )?;
    for (slice, traces) in at_work.iter().enumerate() {
        let left = slice as f64 / SLICES as f64 * WIDTH;
        let top = USE - traces / most * (USE - 2.0);
        write!(out, "V{top:.1}H{:.1}", left + WIDTH / SLICES as f64)?;
    }
    writeln!(out, "V{USE}Z\"/></svg>")
}

fn label(out: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
    let letters = name.chars().count();
    let cut = letters.saturating_sub(NAME_LETTERS);
    let shown: String = name.chars().skip(cut).collect();
    let dots = if cut > 0 { "\u{2026}" } else { "" };
    writeln!(out, "<div title=\"{}\">{dots}{}</div>", Escaped(name), Escaped(&shown))
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
        let left = from as f64 / slices.len() as f64 * WIDTH;
        let right = if to == lived { part * WIDTH } else { to as f64 / slices.len() as f64 * WIDTH };
        let width = (right - left).max(0.1);
        let place = format!("x=\"{left:.1}\" y=\"{y}\" width=\"{width:.1}\" height=\"{height}\"");
        writeln!(out, "<rect {place} class=\"work\"/>")?;
        if this > 0.0 {
            writeln!(out, "<rect {place} class=\"wait\" opacity=\"{:.2}\"/>", this / LEVELS)?;
        }
        from = to;
    }
    Ok(())
}

/// Times below the rows. A narrow screen shows every second one.
fn axis(out: &mut fmt::Formatter<'_>, end: f64) -> fmt::Result {
    write!(out, "<span>0</span>")?;
    for quarter in 1..=4 {
        write!(out, "<span>{}</span>", duration(end * f64::from(quarter) / 4.0 / 1e9))?;
    }
    Ok(())
}
