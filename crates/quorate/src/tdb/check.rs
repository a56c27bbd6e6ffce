//! `quorate tdb check`: is it sound?

use std::path::{Path, PathBuf};

use clap::Args;

use super::{failure, open_to_read};
use crate::Outcome;
use crate::failure::Failure;

/// Check that databases are sound: header, every chain, the freelist, every byte accounted for.
///
/// Writers wait while a check runs. Exit code 1 if any is damaged. Space that belongs to nothing is no damage, and
/// is reported.
#[derive(Args)]
pub struct Arguments {
    /// The databases.
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

/// Checks every file, also after a damaged one.
pub fn run(arguments: &Arguments) -> Outcome {
    let mut last_failure: Option<Failure> = None;
    for file in &arguments.files {
        if let Err(failure) = check(file)
            && let Some(earlier) = last_failure.replace(failure)
        {
            earlier.report();
        }
    }
    last_failure.map_or(Ok(()), Err)
}

fn check(file: &Path) -> Outcome {
    let database = open_to_read(file)?;
    let report = database.check(|_, _| true).map_err(|error| failure(file, &error))?;
    println!(
        "{}: sound, {} records, {} free, {} dead",
        file.display(),
        report.used,
        report.free,
        report.dead
    );
    if report.lost_bytes > 0 {
        println!(
            "{}: {} bytes belong to nothing, left by a commit that did not end; libtdb's check may call that damage, \
             'quorate tdb repack' makes them free",
            file.display(),
            report.lost_bytes
        );
    }
    Ok(())
}
