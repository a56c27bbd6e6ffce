//! What the demo found, as text.

use std::fmt::Write;

use client_history::{Outcome, Verdict};

use super::record::{Asked, Done};
use super::servers::NAMES;
use super::verdict::Finding;

/// The report.
pub fn text(finding: &Finding, commands: &[Done]) -> String {
    let mut out = String::new();
    let (reads, writes) = finding.answered;
    let mut line = |what: &str, text: String| {
        let _ = writeln!(out, "{what:<14}{text}");
    };
    line("commands", format!("{} recorded: {reads} reads and {writes} writes answered", commands.len()));
    line(
        "",
        format!(
            "{} refused (compare-and-sets that found another value among them), {} with unknown outcome",
            finding.refused, finding.unknown
        ),
    );
    for (server, name) in NAMES.iter().enumerate() {
        let ok = |reads| {
            let of = |done: &&Done| done.server == server && done.outcome == Outcome::Ok;
            commands.iter().filter(of).filter(|done| matches!(done.asked, Asked::Read(_)) == reads).count()
        };
        line(
            if server == 0 { "servers" } else { "" },
            format!("{name}: {} reads, {} writes", ok(true), ok(false)),
        );
    }
    if let Some((at, length)) = finding.standstill {
        line(
            "standstill",
            format!(
                "no write was acknowledged for {:.2} s, from {:.2} s on",
                length.as_secs_f64(),
                at.as_secs_f64()
            ),
        );
    }
    line(
        "latency",
        format!(
            "half of the reads took at most {:.2} ms, half of the writes {:.1} ms; the longest read took {:.2} s",
            finding.median.0.as_secs_f64() * 1e3,
            finding.median.1.as_secs_f64() * 1e3,
            finding.longest_read.as_secs_f64(),
        ),
    );
    line("verdict", verdict(finding.verdict).to_owned());
    for operation in &finding.contradiction {
        line("", operation.clone());
    }
    out
}

fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Explained => {
            "linearizable: one order of all commands explains every answer; no acknowledged write was lost, no read was stale"
        }
        Verdict::GaveUp => "unknown: the search for an order reached its bound",
        Verdict::Impossible => "NOT linearizable: no order explains these commands together:",
    }
}
