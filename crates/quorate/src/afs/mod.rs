//! `quorate afs`: what concerns cells of OpenAFS's servers.

pub mod serve;

use clap::Subcommand;

use crate::Outcome;

/// Take part in cells of OpenAFS's database servers.
#[derive(Subcommand)]
pub enum Command {
    Serve(serve::Arguments),
}

/// Runs one of them.
pub fn run(command: &Command) -> Outcome {
    match command {
        Command::Serve(arguments) => serve::run(arguments),
    }
}
