//! The `quorate` binary: one file a subcommand, each of which turns arguments into types and hands them to a crate.
//!
//! * [`failure`]: how a subcommand ends when it does not end well, and with which exit code.
//! * [`input`]: the traces that a subcommand is given.
//! * [`replay`]: traces run again.
//! * [`stat`], [`check`], [`order`], [`reduce`], [`slice`](mod@slice), [`generate`]: traces counted, explained, put in order, cut,
//!   made up.
//! * [`clients`]: histories of other stores' clients; [`picture`]: a history drawn around its contradiction.
//! * [`serve`]: replicas of databases; [`status`]: what a database server is and knows; [`copy`]: its database as a file.
//! * [`rx`]: questions to Rx servers, and measurements.
//! * [`tdb`]: tools for TDB files; [`shell_support`]: completions and man pages.
//! * [`unfinished`]: what must not be left half-made.
#![forbid(unsafe_code)]

mod check;
mod clients;
mod copy;
mod failure;
mod generate;
mod input;
mod order;
mod picture;
mod reduce;
mod replay;
mod rx;
mod serve;
mod shell_support;
mod slice;
mod stat;
mod status;
mod tdb;
mod unfinished;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use failure::Failure;

/// Small, important data kept identical on a handful of machines and shared by many processes on each.
#[derive(Parser)]
#[command(version = env!("QUORATE_VERSION"), propagate_version = true, arg_required_else_help = true, after_help = failure::EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Replay(replay::Arguments),
    Stat(stat::Arguments),
    Check(check::Arguments),
    Export(clients::export::Arguments),
    Order(order::Arguments),
    Reduce(reduce::Arguments),
    Slice(slice::Arguments),
    Generate(generate::Arguments),
    Serve(serve::Arguments),
    Status(status::Arguments),
    Copy(copy::Arguments),
    Completions(shell_support::Completions),
    Man(shell_support::Man),
    /// Tools for TDB files: dump, restore, backup, check, repack, rescue, keys, info, shell.
    #[command(subcommand)]
    Tdb(tdb::Command),
    /// Ask any Rx server what it is and does; measure calls and transfers.
    #[command(subcommand)]
    Rx(rx::Command),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Replay(arguments) => replay::run(&arguments),
        Command::Stat(arguments) => stat::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Export(arguments) => clients::export::run(&arguments),
        Command::Order(arguments) => order::run(&arguments),
        Command::Reduce(arguments) => reduce::run(&arguments),
        Command::Slice(arguments) => slice::run(&arguments),
        Command::Generate(arguments) => generate::run(&arguments),
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Status(arguments) => status::run(&arguments),
        Command::Copy(arguments) => copy::run(&arguments),
        Command::Completions(arguments) => arguments.run(),
        Command::Man(arguments) => arguments.run(),
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
