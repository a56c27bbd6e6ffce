//! `quorate tdb info`: figures about a database.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};
use tdb::{Database, HashFunction, Spread, Summary};

use super::{Locking, failure, open_failure, open_to_read};
use crate::Outcome;
use crate::input::for_programs;

/// Print figures: records, sizes, chains, free space.
///
/// Writers wait while it runs. Long chains make every operation slow: a new hash size (`quorate tdb backup -n`) mends them.
#[derive(Args)]
pub struct Arguments {
    /// The database.
    file: PathBuf,
    /// For programs: one JSON object; sizes in bytes.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    locking: Locking,
}

/// Prints the figures.
pub fn run(arguments: &Arguments) -> Outcome {
    for_programs(arguments.json, print(arguments))
}

fn print(arguments: &Arguments) -> Outcome {
    let database = open_to_read(&arguments.file, arguments.locking).map_err(|error| open_failure(&error))?;
    let summary = database.summary().map_err(|error| failure(&arguments.file, &error))?;
    if arguments.json {
        writeln!(io::stdout(), "{}", to_json(&database, &summary))?;
        return Ok(());
    }
    let mut out = io::stdout().lock();
    write!(out, "{summary}")?;
    let percent = summary.recovery_area as f64 * 100.0 / summary.file_size.max(1) as f64;
    writeln!(out, "Size of recovery area: {}", summary.recovery_area)?;
    writeln!(out, "Percentage recovery area: {percent:.0}")?;
    Ok(out.flush()?)
}

fn to_json(database: &Database, summary: &Summary) -> Value {
    json!({
        "file": database.name().display().to_string(),
        "file_size": summary.file_size,
        "byte_order": format!("{:?}", database.byte_order()).to_lowercase(),
        "hash_function": if matches!(database.hash_function(), HashFunction::Old) { "old" } else { "jenkins" },
        "records": summary.keys.count,
        "keys": spread(&summary.keys),
        "values": spread(&summary.values),
        "padding": spread(&summary.padding),
        "dead": spread(&summary.dead),
        "free": spread(&summary.free),
        "recovery_area": summary.recovery_area,
        "chains": spread(&summary.chains),
        "uncoalesced": spread(&summary.uncoalesced),
    })
}

fn spread(spread: &Spread) -> Value {
    json!({
        "count": spread.count,
        "total": spread.total,
        "smallest": spread.smallest,
        "average": spread.average(),
        "largest": spread.largest,
    })
}
