//! `quorate afs serve`: replicas of databases in a cell of OpenAFS's or our own servers.
//!
//! * `cell`: what the configuration directory says, turned into types;
//! * `log`: where the log goes;
//! * `replica`: one database, its port and its services;
//! * `peers`: whether the peers are what they are listed as.

pub mod cell;
pub mod log;
mod peers;
mod replica;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;
use ubik_proto::profile::Profile;

use crate::Outcome;
use crate::failure::Failure;
use cell::Setting;
use log::LogFile;
use replica::{Ports, Replica};

/// Keep replicas of databases in a cell of database servers, OpenAFS's and ours.
///
/// A replica votes, takes and sends databases, and keeps the bytes that the sync site writes. It does not answer the clients
/// of a protection or volume location server, so in a cell with OpenAFS's servers, and for prdb, vldb and budb anywhere, it
/// never becomes sync site: pts and vos could not write there. `--stand` changes that. At least one server of such a cell must be
/// OpenAFS's, and with one alone nothing can be written while that one is down.
#[derive(Args)]
#[command(after_help = "Examples:
  quorate afs serve --database prdb
  quorate afs serve --database prdb --database vldb --config-dir /etc/openafs/server
  quorate afs serve --database table:7100 --ours all --timing brisk --no-auth --registers-at 0

It logs each election and recovery with its reason. Signals:
  SIGHUP   read KeyFileExt and CellServDB again, compare the peers' lists, open the log file again
  SIGUSR1  open the log file again
  SIGTERM  stop
Keys are used at once. A new list of servers is reported, and used after a restart.
Files: ThisCell, CellServDB and KeyFileExt in the configuration directory, as OpenAFS has them.")]
pub struct Arguments {
    /// A database to serve: prdb, vldb or budb on OpenAFS's ports, or NAME:PORT; may be given several times
    ///
    /// Several may share a port where all servers run this program. Give them in the same order on each.
    #[arg(long = "database", required = true, value_name = "NAME[:PORT]")]
    databases: Vec<String>,
    /// Where ThisCell, CellServDB and KeyFileExt are
    #[arg(long, default_value = "/etc/openafs/server")]
    config_dir: PathBuf,
    /// Where the databases' files are
    #[arg(long, default_value = "/var/lib/openafs/db")]
    database_dir: PathBuf,
    /// This server's address in CellServDB; detected if exactly one of those is local
    #[arg(long)]
    address: Option<Ipv4Addr>,
    /// Another address of this server; its peers try all of them when it does not answer. May be given several times
    ///
    /// With one the port is opened on all of the machine's addresses.
    #[arg(long = "other-address", value_name = "ADDRESS")]
    other_addresses: Vec<Ipv4Addr>,
    /// The other servers of the cell that run this program, by address, or `all`; every other one is OpenAFS's
    ///
    /// Name the same ones on all of them. Among our own servers promises are bound to epochs and leases need no clocks.
    /// Naming an OpenAFS server here is safe, but its votes will not count.
    #[arg(long, value_name = "ADDRESS,...|all", value_delimiter = ',')]
    ours: Vec<String>,
    /// Serve without keys: anybody who can send packets from a server's address can vote, write and replace databases as it
    #[arg(long)]
    no_auth: bool,
    /// Let this server become sync site of OpenAFS's databases too, for which only a program that writes through it is of use
    #[arg(long)]
    stand: bool,
    /// Append the log to this file instead of writing it to standard error
    #[arg(long, value_name = "FILE")]
    log_file: Option<PathBuf>,
    /// Timing; every server of a cell must have the same
    #[arg(long, value_enum, default_value_t = Timing::Openafs)]
    timing: Timing,
    /// Let a quorum of servers with empty databases begin an empty cell, instead of all voters
    #[arg(long)]
    bootstrap: bool,
    /// Pages of 1024 bytes to keep in memory, for each database
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1 << 22))]
    cache_pages: u32,
    /// Also serve a table of numbers that begins at this position of the database; for tests and measurements
    ///
    /// To holders of the cell's key, or with --no-auth to anybody.
    #[arg(long, value_name = "POSITION")]
    registers_at: Option<u32>,
}

/// Which constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Timing {
    /// OpenAFS's: needed as soon as one server of the cell is
    Openafs,
    /// A twentieth of it, for cells of our own servers on one network
    Brisk,
}

impl Timing {
    fn profile(self) -> Profile {
        match self {
            Timing::Openafs => Profile::openafs(),
            Timing::Brisk => Profile::brisk(),
        }
    }
}

/// How long a stopping server waits for its threads. A stop at any moment is safe; this is for a tidy log.
const STOPPING: Duration = Duration::from_secs(2);

/// Reads the configuration, starts every replica, and does what signals ask for until one says stop.
pub fn run(arguments: &Arguments) -> Outcome {
    let log = LogFile::open(arguments.log_file.clone()).map_err(|error| {
        let path = arguments.log_file.as_deref().unwrap_or(Path::new("")).display();
        Failure::system(format!("cannot open log file {path}: {error}"))
    })?;
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1]).map_err(Failure::system)?;
    let setting = cell::read(arguments, &log)?;
    let mut ports = Ports::default();
    let replicas = setting
        .databases
        .iter()
        .map(|database| Replica::start(&setting, database, &mut ports, log.of(&database.name)));
    let replicas: Vec<Replica> = replicas.collect::<Result<_, Failure>>()?;
    drop(ports);
    replicas.iter().for_each(Replica::announce);
    for signal in signals.forever() {
        match signal {
            SIGUSR1 => log.reopen(),
            SIGHUP => {
                log.reopen();
                reread(arguments, &setting, &log);
                replicas.iter().for_each(Replica::check_peers);
            }
            stop => {
                log.say(&format!("stopping at signal {stop}"));
                break;
            }
        }
    }
    stop(replicas);
    Ok(())
}

/// Reads keys and the list of servers again. Keys are used at once; a list needs a restart, since promises that were given
/// count servers of the old one.
fn reread(arguments: &Arguments, setting: &Setting, log: &LogFile) {
    match setting.keys.as_ref().map(|keys| keys.reload()) {
        Some(Ok(version)) => {
            log.say(&format!("read the keys again: this server presents key version {version}"))
        }
        Some(Err(error)) => log.say(&format!("{error}; the keys that were read before stay in use")),
        None => {}
    }
    match cell::reread_list(arguments, setting) {
        Ok(None) => log.say("read CellServDB again: the list of servers is the same"),
        Ok(Some(servers)) => log.say(&format!(
            "CellServDB lists {servers} now; this server keeps the list that it started with until it is restarted"
        )),
        Err(error) => log.say(&format!("{error}; the list that was read before stays in use")),
    }
}

/// Ends the replicas' threads, as far as they end in time.
fn stop(replicas: Vec<Replica>) {
    let (done, wait) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        drop(replicas);
        // Nobody may be waiting any more.
        let _ = done.send(());
    });
    let _ = wait.recv_timeout(STOPPING);
}
