//! What was found in a client history, in words and as JSON.

use std::fmt;
use std::path::Path;
use tdb_replay::words::counted;

use client_history::{Checked, Hint, History, Operation, Outcome};
use serde::Serialize;
use tdb_replay::verdict::Verdict;

/// The verdict and its reasons.
#[derive(Serialize)]
pub struct Report {
    /// The verdict.
    pub verdict: Verdict,
    operations: usize,
    unknown: usize,
    registers: u32,
    findings: Vec<Finding>,
    hints: Vec<String>,
    #[serde(skip)]
    path: String,
}

#[derive(Serialize)]
struct Finding {
    register: String,
    minimal: bool,
    gave_up_after_states: Option<u64>,
    operations: Vec<Named>,
    more_operations: usize,
}

/// Operations of one finding that are named, the earliest ones.
const MOST_OPERATIONS: usize = 30;

/// An operation of a contradiction.
#[derive(Serialize)]
struct Named {
    line: u32,
    return_line: Option<u32>,
    client: String,
    operation: String,
    outcome: &'static str,
    call: u64,
    #[serde(rename = "return")]
    end: Option<u64>,
}

impl Report {
    /// What `checked` says of the history in `path`.
    pub fn of(path: &Path, history: &History, checked: &Checked, hints: &[Hint]) -> Report {
        let findings = checked.findings.iter().map(|finding| {
            let mut operations: Vec<Named> = finding
                .operations
                .iter()
                .map(|&operation| Named::of(history, &history.operations[operation as usize]))
                .collect();
            operations.sort_by_key(|operation| (operation.call, operation.line));
            let more_operations = operations.len().saturating_sub(MOST_OPERATIONS);
            operations.truncate(MOST_OPERATIONS);
            Finding {
                more_operations,
                register: history.key_text(finding.key),
                minimal: finding.minimal,
                gave_up_after_states: finding.gave_up,
                operations,
            }
        });
        let unknown = |operation: &&Operation| operation.outcome == Outcome::Unknown;
        Report {
            verdict: match checked.verdict() {
                client_history::Verdict::Explained => Verdict::Explained,
                client_history::Verdict::GaveUp => Verdict::GaveUp,
                client_history::Verdict::Impossible => Verdict::Impossible,
            },
            operations: history.operations.len(),
            unknown: history.operations.iter().filter(unknown).count(),
            registers: history.keys(),
            findings: findings.collect(),
            hints: hints.iter().map(|&hint| in_words(path, history, hint)).collect(),
            path: path.display().to_string(),
        }
    }
}

impl Named {
    fn of(history: &History, operation: &Operation) -> Named {
        Named {
            line: operation.lines.call,
            return_line: operation.lines.end,
            client: history.client_text(operation.client),
            operation: history.describe(operation),
            outcome: match operation.outcome {
                Outcome::Ok => "ok",
                Outcome::Failed => "fail",
                Outcome::Unknown => "unknown",
            },
            call: operation.call,
            end: operation.end,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (operations, unknown, registers) = (self.operations, self.unknown, self.registers);
        writeln!(
            out,
            "{}: {} on {}, {unknown} with unknown outcome",
            self.path,
            counted(operations, "operation"),
            counted(registers, "register")
        )?;
        match self.verdict {
            Verdict::Explained => writeln!(out, "explained: every register is linearizable")?,
            Verdict::Impossible => writeln!(out, "impossible: not linearizable")?,
            verdict => writeln!(out, "{verdict}")?,
        }
        for finding in &self.findings {
            finding.fmt(out, &self.path)?;
        }
        self.hints.iter().try_for_each(|hint| writeln!(out, "  hint: {hint}"))
    }
}

fn in_words(path: &Path, history: &History, hint: Hint) -> String {
    match hint {
        Hint::Keyed => {
            "the value of every call is a pair, and was taken for one value of one register; if it is a key with its value, \
             add --keyed"
                .into()
        }
        Hint::Unwritten(index) => {
            let line = history.operations[index as usize].lines.call;
            format!(
                "{}:{line}: no operation writes the value that was found; part of the history may be missing, or the register \
                 held it before (--initial)",
                path.display()
            )
        }
        Hint::Clocks => {
            "without times there is an order that keeps each client's own; the clients' clocks may differ"
                .into()
        }
    }
}

impl Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>, path: &str) -> fmt::Result {
        let of =
            if self.register.is_empty() { String::new() } else { format!("register {}: ", self.register) };
        if let Some(states) = self.gave_up_after_states {
            return writeln!(
                out,
                "  {of}gave up after {}; --states raises the bound",
                counted(states, "state")
            );
        }
        let smallest = if self.minimal { "" } else { " (possibly more than necessary)" };
        writeln!(out, "  {of}no order explains these operations together{smallest}:")?;
        for named in &self.operations {
            let Named { line, client, operation, outcome, call, .. } = named;
            let end = named.end.map_or("no return".to_owned(), |end| format!("{end}"));
            let outcome = if *outcome == "ok" { String::new() } else { format!(", {outcome}") };
            writeln!(out, "    {path}:{line}: client {client}: {operation} [{call} to {end}{outcome}]")?;
        }
        match self.more_operations {
            0 => Ok(()),
            more => writeln!(out, "    and {more} more operations"),
        }
    }
}
