//! A history drawn around its contradiction: one self-contained HTML page without a script.
//!
//! Owns the drawing: a lane for each client or process, a bar for each operation from its call to its return. What is
//! drawn, and at which places of the axis, the caller decides.

use std::fmt::{self, Display, Write};
use std::path::Path;
use tdb_replay::words::counted;

use crate::Outcome;
use crate::failure::Failure;

/// One operation.
pub struct Bar {
    /// The lane, from 0.
    pub lane: usize,
    /// Where it begins on the axis.
    pub from: u64,
    /// Where it ends; an operation without an end is drawn to the edge.
    pub to: Option<u64>,
    /// From when to when, in words.
    pub when: String,
    /// What it did, in a few words.
    pub text: String,
    /// Where it stands: file and line.
    pub place: String,
    /// It is one of those that contradict each other.
    pub contradicts: bool,
    /// Its position in the order that explains what comes before the contradiction, from 1.
    pub position: Option<usize>,
}

/// One contradiction with what happened around it.
pub struct Panel {
    /// What it is about.
    pub title: String,
    /// The names of the lanes.
    pub lanes: Vec<String>,
    /// The operations, in any order.
    pub bars: Vec<Bar>,
    /// What the axis counts.
    pub axis: &'static str,
    /// The place up to which the history can be explained.
    pub until: Option<u64>,
    /// Operations on the same key that are not drawn.
    pub left_out: usize,
}

/// The page.
pub struct Picture {
    /// The heading.
    pub title: String,
    /// The verdict in words.
    pub verdict: String,
    /// Whether it is a good one.
    pub is_good: bool,
    /// The contradictions.
    pub panels: Vec<Panel>,
}

/// Writes the page into `file`.
pub fn write_page(file: &Path, picture: &Picture) -> Outcome {
    std::fs::write(file, picture.to_string())
        .map_err(|error| Failure::system(format!("cannot write {}: {error}", file.display())))
}

const STYLE: &str = include_str!("picture.css");
/// Widths and heights in units of the picture.
const NAMES: f64 = 150.0;
const WIDTH: f64 = 1000.0;
const ROW: f64 = 34.0;
const BAR: f64 = 22.0;
/// No bar is drawn narrower than this, so that short operations can be seen.
const NARROWEST: f64 = 6.0;
/// The width of a letter in a label, about.
const LETTER: f64 = 6.2;
/// Names of lanes longer than this are cut in front, where paths are alike.
const NAME_LETTERS: usize = 20;

impl Display for Picture {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let class = if self.is_good { "good" } else { "bad" };
        writeln!(out, "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">")?;
        writeln!(out, "<meta name=\"viewport\" content=\"width=device-width\">")?;
        writeln!(out, "<title>{}</title>\n<style>{STYLE}</style></head><body>", Escaped(&self.title))?;
        writeln!(
            out,
            "<h1>{}</h1>\n<p class=\"{class}\">{}</p>",
            Escaped(&self.title),
            Escaped(&self.verdict)
        )?;
        if !self.panels.is_empty() {
            self.legend(out)?;
        }
        self.panels.iter().try_for_each(|panel| panel.fmt(out))?;
        writeln!(out, "</body></html>")
    }
}

impl Picture {
    fn legend(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "<p>Each row is a client, each bar an operation, from its call to its return. \
             <span class=\"key contradicts\"></span> operations that contradict each other. \
             <span class=\"key\"></span> other operations on the same key."
        )?;
        if self.panels.iter().any(|panel| panel.bars.iter().any(|bar| bar.to.is_none())) {
            write!(out, " <span class=\"key open\"></span> an operation whose outcome is unknown.")?;
        }
        if self.panels.iter().any(|panel| panel.until.is_some()) {
            write!(out, " Numbers above bars are an order that explains everything up to the dashed line.")?;
        }
        writeln!(out, "</p>")
    }
}

impl Panel {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "<h2>{}</h2>", Escaped(&self.title))?;
        let scale = Scale::of(self);
        let height = ROW * self.lanes.len() as f64 + 44.0;
        writeln!(
            out,
            "<div class=\"scroll\"><svg viewBox=\"0 0 {} {height}\" role=\"img\">",
            NAMES + WIDTH + 20.0
        )?;
        for (nth, name) in self.lanes.iter().enumerate() {
            lane(out, nth, name)?;
        }
        for bar in &self.bars {
            bar.fmt(out, &scale)?;
        }
        if let Some(until) = self.until {
            let x = scale.x(until);
            writeln!(
                out,
                "<line class=\"until\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"4\" y2=\"{:.1}\"/>",
                height - 26.0
            )?;
        }
        self.axis(out, height)?;
        writeln!(out, "</svg></div>")?;
        if self.left_out > 0 {
            writeln!(
                out,
                "<p>Not drawn: {} on this key, further away.</p>",
                counted(self.left_out, "operation")
            )?;
        }
        self.table(out)
    }

    fn axis(&self, out: &mut fmt::Formatter<'_>, height: f64) -> fmt::Result {
        let (x, y) = (NAMES + WIDTH / 2.0, height - 10.0);
        writeln!(
            out,
            "<text class=\"axis\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{}</text>",
            self.axis
        )
    }

    /// The operations that contradict each other, as text: for screen readers, and for copying.
    fn table(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bars: Vec<&Bar> = self.bars.iter().filter(|bar| bar.contradicts).collect();
        bars.sort_by_key(|bar| (bar.from, bar.lane));
        writeln!(out, "<table><tr><th>where<th>client<th>operation<th>when</tr>")?;
        for bar in bars {
            let (place, lane) =
                (Escaped(&bar.place), Escaped(self.lanes.get(bar.lane).map_or("", String::as_str)));
            let (text, when) = (Escaped(&bar.text), Escaped(&bar.when));
            writeln!(out, "<tr><td>{place}<td>{lane}<td>{text}<td>{when}</tr>")?;
        }
        writeln!(out, "</table>")
    }
}

/// From places to units of the picture. Places are spread evenly by rank: times of a contradiction often lie far apart, and a
/// bar that cannot be seen explains nothing.
struct Scale {
    places: Vec<u64>,
}

impl Scale {
    fn of(panel: &Panel) -> Scale {
        let ends = panel.bars.iter().flat_map(|bar| [Some(bar.from), bar.to]).flatten();
        let mut places: Vec<u64> = ends.chain(panel.until).collect();
        places.sort_unstable();
        places.dedup();
        Scale { places }
    }

    fn x(&self, place: u64) -> f64 {
        let rank = self.places.partition_point(|&other| other < place);
        NAMES + (rank as f64 + 0.5) / self.places.len().max(1) as f64 * WIDTH
    }
}

fn lane(out: &mut fmt::Formatter<'_>, nth: usize, name: &str) -> fmt::Result {
    let y = ROW * nth as f64 + ROW / 2.0 + 8.0;
    let letters = name.chars().count();
    let shown: String = name.chars().skip(letters.saturating_sub(NAME_LETTERS)).collect();
    let dots = if letters > NAME_LETTERS { "\u{2026}" } else { "" };
    let right = NAMES + WIDTH + 10.0;
    writeln!(out, "<line class=\"row\" x1=\"{NAMES}\" x2=\"{right}\" y1=\"{y}\" y2=\"{y}\"/>")?;
    writeln!(
        out,
        "<text class=\"name\" x=\"{}\" y=\"{y}\"><title>{}</title>{dots}{}</text>",
        NAMES - 8.0,
        Escaped(name),
        Escaped(&shown)
    )
}

impl Bar {
    fn fmt(&self, out: &mut fmt::Formatter<'_>, scale: &Scale) -> fmt::Result {
        let from = scale.x(self.from);
        let to = self.to.map_or(NAMES + WIDTH + 10.0, |to| scale.x(to));
        let width = (to - from).max(NARROWEST);
        let y = ROW * self.lane as f64 + (ROW - BAR) / 2.0 + 8.0;
        let class = match (self.contradicts, self.to) {
            (true, None) => "contradicts open",
            (true, Some(_)) => "contradicts",
            (false, None) => "open",
            (false, Some(_)) => "",
        };
        let (place, text, when) = (Escaped(&self.place), Escaped(&self.text), Escaped(&self.when));
        writeln!(out, "<g class=\"{class}\"><title>{place}: {text} [{when}]</title>")?;
        writeln!(
            out,
            "<rect class=\"bar\" x=\"{from:.1}\" y=\"{y}\" width=\"{width:.1}\" height=\"{BAR}\" rx=\"3\"/>"
        )?;
        let room = ((width - 6.0) / LETTER) as usize;
        if room >= 2 {
            let cut: String = self.text.chars().take(room).collect();
            let (x, y) = (from + 4.0, y + BAR / 2.0);
            writeln!(out, "<text class=\"label\" x=\"{x:.1}\" y=\"{y}\">{}</text>", Escaped(&cut))?;
        }
        if let Some(position) = self.position {
            writeln!(
                out,
                "<text class=\"order\" x=\"{:.1}\" y=\"{}\">{position}</text>",
                from + width / 2.0,
                y - 2.0
            )?;
        }
        writeln!(out, "</g>")
    }
}

/// Text as it must stand in HTML.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|letter| match letter {
            '&' => out.write_str("&amp;"),
            '<' => out.write_str("&lt;"),
            '>' => out.write_str("&gt;"),
            '"' => out.write_str("&quot;"),
            letter if letter.is_control() => write!(out, "{}", letter.escape_default()),
            letter => out.write_char(letter),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(lane: usize, from: u64, to: Option<u64>, text: &str) -> Bar {
        let place = format!("h.jsonl:{}", from + 1);
        Bar {
            lane,
            from,
            to,
            when: String::new(),
            text: text.into(),
            place,
            contradicts: to == Some(1),
            position: None,
        }
    }

    /// R40: nothing in a history can become markup, and nothing is loaded from elsewhere.
    #[test]
    fn a_page_is_self_contained_and_escaped() {
        let bars = vec![bar(0, 0, Some(1), "write <script>\"&"), bar(1, 2, None, "read\u{1b}[31m")];
        let panel = Panel {
            title: "register <b>".into(),
            lanes: vec!["<i>".into(), "b".into()],
            bars,
            axis: "time",
            until: Some(1),
            left_out: 3,
        };
        let page = Picture { title: "t".into(), verdict: "v".into(), is_good: false, panels: vec![panel] }
            .to_string();
        assert!(
            page.contains("write &lt;script&gt;&quot;&amp;") && page.contains("register &lt;b&gt;"),
            "{page}"
        );
        for absent in ["<script", "http", "<i>", "\u{1b}", "src="] {
            assert!(!page.contains(absent), "{absent}");
        }
    }
}
