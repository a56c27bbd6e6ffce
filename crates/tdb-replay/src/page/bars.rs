//! A latency histogram: one bar for each doubling.

use std::fmt;

/// Doublings shown, from the first (2^6 ns and below) on.
const FIRST: usize = 6;
const BARS: usize = 25;
const WIDTH: f64 = 7.0;
const HEIGHT: f64 = 28.0;

/// Draws the bars; `doublings[n]` counts what took from 2^n to 2^(n+1) nanoseconds.
pub fn draw(out: &mut fmt::Formatter<'_>, doublings: &[u64]) -> fmt::Result {
    let mut bars = [0u64; BARS];
    for (doubling, count) in doublings.iter().enumerate() {
        bars[doubling.saturating_sub(FIRST).min(BARS - 1)] += count;
    }
    let highest = bars.iter().copied().max().unwrap_or(0).max(1) as f64;
    write!(out, "<svg class=\"bars\" viewBox=\"0 0 {} {HEIGHT}\" role=\"img\">", BARS as f64 * WIDTH)?;
    for (nth, count) in bars.into_iter().enumerate().filter(|(_, count)| *count > 0) {
        // A single slow operation among millions must still be seen.
        let height = (count as f64 / highest * (HEIGHT - 2.0)).max(1.5);
        write!(
            out,
            "<rect class=\"work\" x=\"{}\" y=\"{:.1}\" width=\"{}\" height=\"{height:.1}\"><title>{count} below {}</title></rect>",
            nth as f64 * WIDTH,
            HEIGHT - height,
            WIDTH - 1.0,
            super::duration((1u64 << (nth + FIRST + 1)) as f64 / 1e9)
        )?;
    }
    write!(out, "</svg>")
}
