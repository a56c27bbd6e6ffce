//! The `quorate` binary: one file a subcommand, each of which turns arguments into types and hands them to a crate.
//!
//! * [`failure`]: how a subcommand ends when it does not end well, and with which exit code.
//! * [`input`]: the traces that a subcommand is given.
//! * [`demo`]: servers, a kill and a verdict, on this machine.
//! * [`replay`]: traces run again.
//! * [`stat`], [`check`], [`order`], [`reduce`], [`slice`](mod@slice), [`generate`]: traces counted, explained, put in order, cut,
//!   made up.
//! * [`clients`]: histories of other stores' clients; [`picture`]: a history drawn around its contradiction.
//! * [`serve`]: a server of the service; [`service`]: its keys, locks and passwords.
//! * [`afs`]: replicas of databases of AFS; [`status`]: what a database server is and knows; [`copy`]: its database as a file.
//! * [`rx`]: questions to Rx servers, and measurements.
//! * [`tdb`]: tools for TDB files; [`shell_support`]: completions and man pages.
//! * [`unfinished`]: what must not be left half-made; [`outputs`]: what must not be overwritten.
#![forbid(unsafe_code)]

mod afs;
mod check;
mod clients;
mod copy;
mod demo;
mod failure;
mod generate;
mod input;
mod order;
mod outputs;
mod picture;
mod reduce;
mod replay;
mod rx;
mod serve;
mod service;
mod shell_support;
mod slice;
mod stat;
mod status;
mod tdb;
mod unfinished;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

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
    Demo(demo::Arguments),
    Replay(replay::Arguments),
    Stat(stat::Arguments),
    Check(check::Arguments),
    Export(clients::export::Arguments),
    Order(order::Arguments),
    Reduce(reduce::Arguments),
    Slice(slice::Arguments),
    Generate(generate::Arguments),
    Serve(serve::Arguments),
    Get(service::keys::Get),
    Set(service::keys::Set),
    Delete(service::keys::Delete),
    List(service::keys::List),
    Lock(service::lock::Arguments),
    HashPassword(service::password::Arguments),
    NewKey(service::new_key::Arguments),
    Status(status::Arguments),
    Copy(copy::Arguments),
    Completions(shell_support::Completions),
    Man(shell_support::Man),
    /// Take part in cells of OpenAFS's database servers.
    #[command(subcommand)]
    Afs(afs::Command),
    /// Tools for TDB files: dump, restore, backup, check, repack, rescue, keys, info, shell.
    #[command(subcommand)]
    Tdb(tdb::Command),
    /// Ask any Rx server what it is and does; measure calls and transfers.
    #[command(subcommand)]
    Rx(rx::Command),
}

fn main() -> ExitCode {
    let words = with_old_spellings(std::env::args_os().collect());
    let arguments = Arguments::from_arg_matches(&command().get_matches_from(words));
    let outcome = match arguments.unwrap_or_else(|error| error.exit()).command {
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Replay(arguments) => replay::run(&arguments),
        Command::Stat(arguments) => stat::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Export(arguments) => clients::export::run(&arguments),
        Command::Order(arguments) => order::run(&arguments),
        Command::Reduce(arguments) => reduce::run(&arguments),
        Command::Slice(arguments) => slice::run(&arguments),
        Command::Generate(arguments) => generate::run(&arguments),
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Get(arguments) => service::keys::get(&arguments),
        Command::Set(arguments) => service::keys::set(&arguments),
        Command::Delete(arguments) => service::keys::delete(&arguments),
        Command::List(arguments) => service::keys::list(&arguments),
        Command::Lock(arguments) => match service::lock::run(&arguments) {
            Ok(code) => return code,
            Err(failure) => Err(failure),
        },
        Command::HashPassword(arguments) => service::password::run(&arguments),
        Command::NewKey(arguments) => service::new_key::run(&arguments),
        Command::Afs(command) => afs::run(&command),
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

/// The whole command line. The help of every command ends with exit codes.
fn command() -> clap::Command {
    with_exit_codes(Arguments::command())
}

fn with_exit_codes(command: clap::Command) -> clap::Command {
    if command.has_subcommands() {
        return command.mut_subcommands(with_exit_codes);
    }
    let own = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    if own.contains("Exit codes:") {
        return command;
    }
    let gap = if own.is_empty() { "" } else { "\n\n" };
    command.after_help(format!("{own}{gap}{}", failure::EXIT_CODES))
}

/// `quorate serve --database ...` is what `quorate afs serve` was called until the service took the name.
fn with_old_spellings(mut words: Vec<OsString>) -> Vec<OsString> {
    let is_database =
        |word: &OsString| word == "--database" || word.as_encoded_bytes().starts_with(b"--database=");
    if words.get(1).is_some_and(|word| word == "serve") && words.iter().any(is_database) {
        failure::note(
            "`quorate serve --database` is now `quorate afs serve --database`; the old form goes with the next release",
        );
        words.insert(1, "afs".into());
    }
    words
}

/// What a subcommand comes to.
type Outcome = Result<(), Failure>;
