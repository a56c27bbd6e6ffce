//! Histories of other stores' clients: `check` of one, and its [`export`](mod@export).
//!
//! A file is such a history by its name, or because `--form` says so.

pub mod export;
mod picture;
mod report;

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use client_history::{Form, History, Options, ReadError};
use history::solver::Limits;
use tdb_replay::verdict::Verdict;

use crate::Outcome;
use crate::failure::Failure;
use crate::input::{end_with, print_json, show};
use crate::picture::write_page;
use report::Report;

/// How a client history is written down.
#[derive(Clone, Copy, ValueEnum)]
pub enum FormName {
    /// Jepsen's history.edn
    Edn,
    /// Jepsen's events as JSON objects
    Json,
    /// One JSON object for each operation
    Jsonl,
}

impl From<FormName> for Form {
    fn from(name: FormName) -> Form {
        match name {
            FormName::Edn => Form::Edn,
            FormName::Json => Form::Json,
            FormName::Jsonl => Form::Lines,
        }
    }
}

/// How to read a client history.
#[derive(Args)]
#[command(next_help_heading = "Client histories")]
pub struct Reading {
    /// Read one file as the history of a store's clients (default: what its name ends in: .edn, .json, .jsonl)
    #[arg(long, value_enum)]
    form: Option<FormName>,
    /// The value of each event is a pair of key and value (Jepsen's independent tests)
    #[arg(long)]
    keyed: bool,
    /// The value of every register before the first operation, spelled as in the history (default: none)
    #[arg(long, value_name = "VALUE")]
    initial: Option<String>,
}

impl Reading {
    /// The client history among the arguments, if they name one.
    ///
    /// # Errors
    /// They name one and something else.
    pub fn recognize<'a>(&self, paths: &'a [PathBuf]) -> Result<Option<(&'a Path, Form)>, Failure> {
        let form = |path: &Path| match self.form {
            Some(form) => Some(form.into()),
            None => path.file_name().and_then(|name| name.to_str()).and_then(Form::of_name),
        };
        let found = paths.iter().find_map(|path| form(path).map(|form| (path.as_path(), form)));
        match found {
            Some((path, _)) if paths.len() > 1 => Err(Failure::input(format!(
                "{} is a whole history of clients; check it alone",
                path.display()
            ))),
            None if self.keyed || self.initial.is_some() => Err(Failure::input(
                "--keyed and --initial are about client histories; name the form with --form",
            )),
            found => Ok(found),
        }
    }

    /// Reads the history in `path`.
    pub fn read(&self, path: &Path, form: Form) -> Result<History, Failure> {
        let unreadable =
            |error: &dyn std::fmt::Display| Failure::unreadable(format!("{}: {error}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|error| unreadable(&error))?;
        let options = Options { keyed: self.keyed, initial: self.initial.clone() };
        client_history::read(&text, form, &options).map_err(|error| match error {
            ReadError::Initial { .. } => Failure::input(format!("--initial: {error}")),
            ReadError::Line { .. } => unreadable(&error),
        })
    }
}

/// Checks the history in `path`; draws it into `html`, if that is given.
pub fn check(
    (path, form): (&Path, Form),
    reading: &Reading,
    limits: Limits,
    json: bool,
    html: Option<&Path>,
) -> Outcome {
    let history = match reading.read(path, form) {
        Err(failure) if json => {
            print_json(&serde_json::json!({"verdict": Verdict::Unreadable, "error": failure.to_string()}))?;
            return Err(failure);
        }
        history => history?,
    };
    let checked = client_history::check(&history, limits);
    let hints = client_history::hints(&history, &checked, limits);
    let report = Report::of(path, &history, &checked, &hints);
    if let Some(file) = html {
        write_page(file, &picture::of(path, &history, &checked, limits))?;
    }
    if json {
        print_json(&report)?;
    } else {
        show(&report.to_string())?;
    }
    end_with(report.verdict)
}
