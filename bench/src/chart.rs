//! Line charts as SVG: a few panels side by side, both axes logarithmic.
//!
//! Owns the drawing only. On logarithmic axes what grows in proportion is a straight line that rises by one step for each
//! step to the right; every panel shows such a line, dotted, for comparison.

use std::fmt::Write;

/// One panel.
pub struct Panel {
    /// What it shows.
    pub title: String,
    /// What lies to the right.
    pub x: &'static str,
    /// Its lines.
    pub lines: Vec<Line>,
    /// Draw the dotted line of what grows in proportion.
    pub proportional: bool,
}

/// One line of a panel.
pub struct Line {
    /// What it is.
    pub name: String,
    /// Its points, by x; x and y above 0.
    pub points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 440.0;
const HEIGHT: f64 = 340.0;
/// Room for titles and numbers.
const LEFT: f64 = 60.0;
const TOP: f64 = 46.0;
const RIGHT: f64 = 14.0;
const BOTTOM: f64 = 46.0;
/// Distinct to people who see red and green alike, too.
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];

/// The panels in rows of two.
pub fn svg(panels: &[Panel]) -> String {
    let rows = panels.len().div_ceil(2);
    let (width, height) = (2.0 * WIDTH, rows as f64 * HEIGHT);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    for (nth, panel) in panels.iter().enumerate() {
        let (x, y) = ((nth % 2) as f64 * WIDTH, (nth / 2) as f64 * HEIGHT);
        let _ = writeln!(out, "<g transform=\"translate({x} {y})\">");
        draw(panel, &mut out);
        out.push_str("</g>\n");
    }
    out.push_str("</svg>\n");
    out
}

/// Powers that bound an axis, of ten, or of two where everything is within a thousand.
struct Axis {
    base: f64,
    low: i32,
    high: i32,
    from: f64,
    to: f64,
}

impl Axis {
    fn new(numbers: impl Iterator<Item = f64> + Clone, from: f64, to: f64) -> Axis {
        let least = numbers.clone().fold(f64::INFINITY, f64::min).max(1e-9);
        let most = numbers.fold(least, f64::max);
        let base: f64 = if most / least >= 50.0 { 10.0 } else { 2.0 };
        let power = |number: f64| number.ln() / base.ln();
        let low = (power(least) + 1e-9).floor() as i32;
        let high = ((power(most) - 1e-9).ceil() as i32).max(low + 1);
        Axis { base, low, high, from, to }
    }

    fn place(&self, number: f64) -> f64 {
        let power = number.ln() / self.base.ln();
        let share = (power - f64::from(self.low)) / f64::from(self.high - self.low);
        self.from + share * (self.to - self.from)
    }

    fn ticks(&self) -> impl Iterator<Item = f64> + '_ {
        (self.low..=self.high).map(|power| self.base.powi(power))
    }
}

fn draw(panel: &Panel, out: &mut String) {
    let points = || panel.lines.iter().flat_map(|line| &line.points);
    let (left, right, top, bottom) = (LEFT, WIDTH - RIGHT, TOP, HEIGHT - BOTTOM);
    let x = Axis::new(points().map(|point| point.0), left, right);
    let y = Axis::new(points().map(|point| point.1), bottom, top);
    let _ = writeln!(out, "<text x=\"{left}\" y=\"18\" font-size=\"13\">{}</text>", panel.title);
    for tick in x.ticks() {
        let at = x.place(tick);
        let _ = writeln!(
            out,
            "<path d=\"M{at:.1} {top}V{bottom}\" stroke=\"#e4e4e4\"/>\
             <text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            bottom + 15.0,
            number(tick)
        );
    }
    for tick in y.ticks() {
        let at = y.place(tick);
        let _ = writeln!(
            out,
            "<path d=\"M{left} {at:.1}H{right}\" stroke=\"#e4e4e4\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            left - 5.0,
            at + 4.0,
            number(tick)
        );
    }
    let middle = f64::midpoint(left, right);
    let _ = writeln!(
        out,
        "<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
        bottom + 32.0,
        panel.x
    );
    if panel.proportional {
        proportional(panel, &x, &y, out);
    }
    for (nth, line) in panel.lines.iter().enumerate() {
        draw_line(line, nth, &x, &y, out);
    }
}

/// A dotted line from the first point of the first line on, as far as the panel goes.
fn proportional(panel: &Panel, x: &Axis, y: &Axis, out: &mut String) {
    let Some(&(x0, y0)) = panel.lines.first().and_then(|line| line.points.first()) else { return };
    let (most_x, most_y) = (x.base.powi(x.high), y.base.powi(y.high));
    let times = (most_x / x0).min(most_y / y0);
    let _ = writeln!(
        out,
        "<path d=\"M{:.1} {:.1}L{:.1} {:.1}\" stroke=\"#888888\" stroke-dasharray=\"2 4\"/>",
        x.place(x0),
        y.place(y0),
        x.place(x0 * times),
        y.place(y0 * times)
    );
}

fn draw_line(line: &Line, nth: usize, x: &Axis, y: &Axis, out: &mut String) {
    let colour = COLOURS[nth % COLOURS.len()];
    let mut path = String::new();
    for (index, &(at, value)) in line.points.iter().enumerate() {
        let step = if index == 0 { 'M' } else { 'L' };
        let (at, value) = (x.place(at), y.place(value));
        let _ = write!(path, "{step}{at:.1} {value:.1}");
        let _ = writeln!(out, "<circle cx=\"{at:.1}\" cy=\"{value:.1}\" r=\"3\" fill=\"{colour}\"/>");
    }
    let _ = writeln!(out, "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.8\"/>");
    let (at, top) = (LEFT + (nth % 4) as f64 * 92.0, 34.0 + (nth / 4) as f64 * 12.0);
    let _ = writeln!(out, "<text x=\"{at}\" y=\"{top}\" fill=\"{colour}\">● {}</text>", line.name);
}

/// A tick's number, short.
fn number(number: f64) -> String {
    match number {
        n if n >= 1e6 => format!("{}M", n / 1e6),
        n if n >= 1e4 => format!("{}k", n / 1e3),
        n if n >= 1.0 => format!("{n}"),
        n => format!("{}", (n * 1e6).round() / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// P10: what grows in proportion is drawn as a straight line along the dotted one.
    #[test]
    fn what_is_proportional_is_straight() {
        let line = Line { name: "one".into(), points: vec![(1e4, 0.1), (1e5, 1.0), (1e6, 10.0)] };
        let panel = Panel { title: "seconds".into(), x: "operations", lines: vec![line], proportional: true };
        let drawn = svg(&[panel]);
        assert!(drawn.contains("M60.0 294.0L243.0 170.0L426.0 46.0"), "{drawn}");
        assert!(drawn.contains("M60.0 294.0L426.0 46.0\" stroke=\"#888888\""), "{drawn}");
    }
}
