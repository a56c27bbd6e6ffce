//! `quorate serve`: replicas of databases in a cell of OpenAFS's or our own servers.
//!
//! * `cell`: what the configuration directory says, turned into types;
//! * `replica`: one database, its port and its services.

mod cell;
mod replica;

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, ValueEnum};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use ubik::watch::Log;
use ubik_proto::profile::Profile;

use crate::Outcome;
use crate::failure::Failure;
use replica::{Ports, Replica};

/// Keep replicas of databases in a cell of database servers, OpenAFS's and ours.
///
/// A replica votes, may be elected, takes and sends databases, and keeps the bytes that the sync site writes. It does not
/// answer the clients of a protection or volume location server: at least one server of such a cell must be OpenAFS's.
#[derive(Args)]
#[command(after_help = "Examples:
  quorate serve --database prdb
  quorate serve --database prdb --database vldb --config-dir /etc/openafs/server
  quorate serve --database table:7100 --ours all --timing brisk --no-auth --registers-at 0

It logs to stderr each election and recovery with its reason, and stops at SIGTERM.
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
    /// This server's address in CellServDB; found by itself if just one of those is this machine's
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
    /// Serve without keys: anybody who can send from a server's address is taken for that server
    #[arg(long)]
    no_auth: bool,
    /// Timing; every server of a cell must have the same
    #[arg(long, value_enum, default_value_t = Timing::Openafs)]
    timing: Timing,
    /// Let a quorum of servers with empty databases begin an empty cell, instead of all voters
    #[arg(long)]
    bootstrap: bool,
    /// Pages of 1024 bytes to keep in memory, for each database
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1 << 22))]
    cache_pages: u32,
    /// Also serve a table of numbers that begins at this position of the database, to anybody; for tests and measurements
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

/// Reads the configuration, starts every replica, and waits for the signal to stop.
pub fn run(arguments: &Arguments) -> Outcome {
    let setting = cell::read(arguments)?;
    let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(Failure::system)?;
    let mut ports = Ports::default();
    let replicas = setting
        .databases
        .iter()
        .map(|database| Replica::start(&setting, database, &mut ports, log_of(&database.name)));
    let replicas: Vec<Replica> = replicas.collect::<Result<_, Failure>>()?;
    drop(ports);
    for replica in &replicas {
        replica.announce();
        replica.check_programs();
    }
    let signal = signals.forever().next();
    eprintln!("{} stopping at signal {}", stamp(), signal.unwrap_or_default());
    stop(replicas);
    Ok(())
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

/// Seconds since 1970, with milliseconds.
fn stamp() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{}.{:03}", now.as_secs(), now.subsec_millis())
}

fn log_of(database: &str) -> Log {
    let database = database.to_owned();
    Arc::new(move |line: &str| eprintln!("{} {database}: {line}", stamp()))
}
