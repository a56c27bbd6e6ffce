//! The `quorate` binary: one file a subcommand, each of which turns arguments into types and hands them to a crate.
#![forbid(unsafe_code)]

mod replay;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Small, important data kept identical on a handful of machines and shared by many processes on each.
#[derive(Parser)]
#[command(version, propagate_version = true, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Replay(replay::Arguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.command {
        Command::Replay(arguments) => replay::run(&arguments),
    }
}
