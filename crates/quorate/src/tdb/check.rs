//! `quorate tdb check`: is it sound?

use std::path::{Path, PathBuf};
use tdb_replay::words::counted;

use clap::Args;

use super::progress::Progress;
use super::{Locking, failure, for_each_file, open_failure, open_to_read};
use crate::Outcome;
use crate::input::show;

/// Check that databases are sound: header, every chain, the freelist, every byte accounted for.
///
/// Writers wait while a check runs. Exit code 1 if a database is damaged; of several files the highest exit code
/// counts. Space that belongs to nothing is not damage, and is reported.
#[derive(Args)]
pub struct Arguments {
    /// The databases.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    locking: Locking,
}

/// Checks every file, also after a damaged one.
pub fn run(arguments: &Arguments) -> Outcome {
    for_each_file(&arguments.files, |file| check(file, arguments.locking))
}

fn check(file: &Path, locking: Locking) -> Outcome {
    let database = open_to_read(file, locking).map_err(|error| open_failure(&error))?;
    let mut progress = Progress::start("checked");
    let report = database.check(|_, _| {
        progress.tick();
        true
    });
    drop(progress);
    let report = report.map_err(|error| failure(file, &error))?;
    show(&format!(
        "{}: sound, {}, {} free, {} dead\n",
        file.display(),
        counted(report.used, "record"),
        report.free,
        report.dead
    ))?;
    if report.lost_bytes > 0 {
        show(&format!(
            "{}: {} bytes belong to nothing, left by a commit that did not end; libtdb's check may call that damage, \
             'quorate tdb repack' makes them free\n",
            file.display(),
            report.lost_bytes
        ))?;
    }
    Ok(())
}
