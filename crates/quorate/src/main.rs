//! The `quorate` binary: one file a subcommand, each of which turns arguments into types and hands them to a crate.
#![forbid(unsafe_code)]

mod check;
mod generate;
mod input;
mod reduce;
mod slice;
mod stat;

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
    Stat(stat::Arguments),
    Check(check::Arguments),
    Reduce(reduce::Arguments),
    Slice(slice::Arguments),
    Generate(generate::Arguments),
}

fn main() -> ExitCode {
    let (name, ended) = match Arguments::parse().command {
        Command::Stat(arguments) => ("stat", stat::run(arguments)),
        Command::Check(arguments) => ("check", check::run(arguments)),
        Command::Reduce(arguments) => ("reduce", reduce::run(arguments)),
        Command::Slice(arguments) => ("slice", slice::run(arguments)),
        Command::Generate(arguments) => ("generate", generate::run(arguments)),
    };
    ended.unwrap_or_else(|error| input::fail(name, &error))
}
