//! `quorate tdb info`: figures about a database.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};
use tdb::{Database, HashFunction, Spread, Summary};

use super::{failure, open_to_read};
use crate::Outcome;

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
}

/// Prints the figures.
pub fn run(arguments: &Arguments) -> Outcome {
    let database = open_to_read(&arguments.file)?;
    let summary = database.summary().map_err(|error| failure(&arguments.file, &error))?;
    if arguments.json {
        println!("{}", to_json(&database, &summary));
    } else {
        print!("{summary}");
    }
    Ok(())
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
