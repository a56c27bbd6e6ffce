//! The `quorate` binary: one file a subcommand, each of which turns arguments into types and hands them to a crate.
//!
//! * [`failure`]: how a subcommand ends when it does not end well, and with which exit code.
//! * [`rx`]: questions to Rx servers, and measurements.
//! * [`tdb`]: tools for TDB files.
#![forbid(unsafe_code)]

mod failure;
mod rx;
mod tdb;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use failure::Failure;

/// Small, important data kept identical on a handful of machines and shared by many processes on each.
#[derive(Parser)]
#[command(version, propagate_version = true, arg_required_else_help = true, after_help = failure::EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Tools for TDB files: dump, restore, backup, check, repack, rescue, keys, info, shell.
    #[command(subcommand)]
    Tdb(tdb::Command),
    /// Ask any Rx server what it is and does; measure calls and transfers.
    #[command(subcommand)]
    Rx(rx::Command),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Tdb(command) => tdb::run(command),
        Command::Rx(command) => rx::run(command),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// What a subcommand comes to.
type Outcome = Result<(), Failure>;
