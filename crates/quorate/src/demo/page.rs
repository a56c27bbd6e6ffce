//! What the demo found, as one page: commands answered over time, and what happened to the servers.

use std::fmt::Write;
use std::time::Duration;

use client_history::Outcome;

use super::record::{Asked, Done, Note};
use super::servers::NAMES;
use super::verdict::Finding;

/// The width of a bar's time.
const BAR: Duration = Duration::from_millis(250);
/// The picture's size, in its own units.
const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 140.0;

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1a1d21; --paper: #fff; --faint: #6b7280; --line: #d5d9df;
  --a: #2563b0; --b: #c2571a; --c: #2f7d4f; --mark: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --paper: #15181c; --faint: #9aa3ae; --line: #39404a;
  --a: #6aa5ec; --b: #ee9a5f; --c: #6cc08f; --mark: #f2857d; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 62rem;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin: 1.6rem 0 .3rem; }
svg { width: 100%; height: auto; display: block; } pre { white-space: pre-wrap; font-size: .85rem; }
.dotted { border-left: 2px dotted var(--mark); padding-left: .4em; }
.scroll { overflow-x: auto; } .scroll svg { min-width: 34rem; }
text { fill: var(--faint); font-size: 12px; } .axis { stroke: var(--line); } .mark { stroke: var(--mark); stroke-dasharray: 3 3; }
.a { fill: var(--a); } .b { fill: var(--b); } .c { fill: var(--c); }
.key span { margin-right: 1.2rem; white-space: nowrap; } .key i { display: inline-block; width: .8em; height: .8em; margin-right: .4em; }
table { border-collapse: collapse; } td { padding: .15rem .8rem .15rem 0; vertical-align: top; } td:first-child { text-align: right; white-space: nowrap; color: var(--faint); }
";

/// The page; it needs nothing beside itself.
pub fn html(finding: &Finding, commands: &[Done], notes: &[Note], text: &str) -> String {
    let end = commands.iter().map(|done| done.end).max().unwrap_or_default();
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>quorate demo</title>\n\
         <meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style></head><body>\n\
         <h1>Three servers, one killed: {} commands, {}</h1>\n",
        commands.len(),
        match finding.verdict {
            client_history::Verdict::Explained => "none lost",
            client_history::Verdict::GaveUp => "not decided",
            client_history::Verdict::Impossible => "a contradiction",
        }
    );
    let key = |name: &&str| format!("<span><i style=\"background: var(--{name})\"></i>server {name}</span>");
    let servers = NAMES.iter().map(key).collect::<String>();
    let _ =
        writeln!(out, "<p class=\"key\">{servers}<span class=\"dotted\">an event, listed below</span></p>");
    for (title, reads) in [("Writes acknowledged", false), ("Reads answered", true)] {
        let _ = writeln!(out, "<h2>{title} in each {} ms</h2>", BAR.as_millis());
        let wanted =
            |done: &&Done| done.outcome == Outcome::Ok && matches!(done.asked, Asked::Read(_)) == reads;
        let wanted: Vec<&Done> = commands.iter().filter(wanted).collect();
        let _ = writeln!(out, "<div class=\"scroll\">{}</div>", picture(&wanted, notes, end));
    }
    out.push_str("<h2>What happened</h2>\n<table>");
    for note in notes {
        let _ =
            writeln!(out, "<tr><td>{:.2} s</td><td>{}</td></tr>", note.at.as_secs_f64(), escape(&note.what));
    }
    let _ = writeln!(out, "</table>\n<h2>Report</h2>\n<pre>{}</pre>\n</body></html>", escape(text));
    out
}

/// Bars of what ended in each interval, one server's upon the other's, and lines where something happened.
fn picture(done: &[&Done], notes: &[Note], end: Duration) -> String {
    let bars = (end.as_millis() / BAR.as_millis()) as usize + 1;
    let mut counts = vec![[0_u32; NAMES.len()]; bars];
    for done in done {
        counts[(done.end.as_millis() / BAR.as_millis()) as usize][done.server] += 1;
    }
    let most = counts.iter().map(|bar| bar.iter().sum::<u32>()).max().unwrap_or(0).max(1);
    let x = |at: Duration| at.as_secs_f64() / end.as_secs_f64().max(0.001) * WIDTH;
    let mut out = format!("<svg viewBox=\"0 -16 {WIDTH} {}\" role=\"img\">", HEIGHT + 36.0);
    let width = x(BAR) * 0.9;
    for (nth, bar) in counts.iter().enumerate() {
        let mut top = HEIGHT;
        for (name, &count) in NAMES.iter().zip(bar) {
            let height = f64::from(count) / f64::from(most) * HEIGHT;
            top -= height;
            if count > 0 {
                let left = x(BAR * nth as u32);
                let _ = write!(
                    out,
                    "<rect class=\"{name}\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/>"
                );
            }
        }
    }
    let _ = write!(out, "<line class=\"axis\" x1=\"0\" x2=\"{WIDTH}\" y1=\"{HEIGHT}\" y2=\"{HEIGHT}\"/>");
    let _ = write!(out, "<text x=\"0\" y=\"-4\">{most}</text>");
    for second in (0..=end.as_secs()).step_by(5) {
        let at = x(Duration::from_secs(second));
        let _ = write!(out, "<text x=\"{at:.1}\" y=\"{}\">{second} s</text>", HEIGHT + 15.0);
    }
    for note in notes.iter().filter(|note| note.mark) {
        let (at, what) = (x(note.at), escape(&note.what));
        let _ = write!(
            out,
            "<line class=\"mark\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"0\" y2=\"{HEIGHT}\"><title>{what}</title></line>"
        );
    }
    out.push_str("</svg>");
    out
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
