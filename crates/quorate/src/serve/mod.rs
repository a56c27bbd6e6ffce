//! `quorate serve`: one server of the service.
//!
//! * `config`: the configuration file, as types; `suggest`: what a misspelled key may mean
//! * `log`: where its lines go
//! * `store`: what it keeps its keys in

mod config;
mod log;
mod store;
mod suggest;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{ArgGroup, Args};
use kv_server::{Level, Server};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::Outcome;
use crate::failure::Failure;
use config::Config;
use log::ServiceLog;

/// Serve keys and values to clients that speak the Redis protocol.
///
/// One process is one server: alone, or one of a cell that keeps the same keys on each. A write that is answered is on disk at
/// a quorum of them.
#[derive(Args)]
#[command(group = ArgGroup::new("what").required(true).args(["config", "data"]), after_help = "Examples:
  quorate serve --data /var/lib/quorate          # one server on this machine, no configuration
  quorate serve --config /etc/quorate.toml
  redis-cli SET greeting hello

docs/configuration.md has every key of the file. Signals:
  SIGHUP   read users, certificates, the servers' keys and the log level again
  SIGTERM  answer what was read, then stop
The form for cells of OpenAFS's servers is `quorate afs serve`.")]
pub struct Arguments {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Serve alone, with the keys in this directory; created if missing
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where clients connect, with --data [default: 127.0.0.1:6379]
    #[arg(long, value_name = "ADDRESS:PORT", conflicts_with = "config")]
    listen: Option<SocketAddr>,
    /// Where the page and the metrics are, with --data [default: 127.0.0.1:9379]
    #[arg(long, value_name = "ADDRESS:PORT", conflicts_with = "config")]
    page: Option<SocketAddr>,
    /// Check the configuration and end
    #[arg(long)]
    check: bool,
}

/// How long clients may take to accept their last replies.
const PATIENCE: Duration = Duration::from_secs(10);

/// Starts the server, and does what signals ask for until one says stop.
pub fn run(arguments: &Arguments) -> Outcome {
    let config = read(arguments)?;
    let log = Arc::new(ServiceLog::new(config.log.level, config.log.format));
    Server::check(&config.settings).map_err(|error| Failure::input(error.to_string()))?;
    store::settings(&config, &log).check().map_err(|error| Failure::input(error.to_string()))?;
    if arguments.check {
        return Ok(());
    }
    #[cfg(feature = "plant")]
    if let Ok(fault) = std::env::var("QUORATE_PLANT") {
        assert!(kv_cell::plant::plant(&fault), "{fault} is not a fault that can be planted");
    }
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP]).map_err(Failure::system)?;
    let store = store::open(&config, &log)?;
    let said = Arc::clone(&log);
    let server = Server::start(
        config.settings.clone(),
        Arc::clone(&store) as Arc<dyn kv::Store>,
        Arc::new(move |level, line| said.say(level, line)),
    )
    .map_err(|error| Failure::system(error.to_string()))?;
    announce(&server, &log);
    warn_of_few_files(config.settings.limits.clients, &log);
    for signal in signals.forever() {
        if signal == SIGHUP {
            reload(arguments, &config, &server, &log);
            reload_keys(&store, &log);
        } else {
            log.say(Level::Info, &format!("stopping at signal {signal}"));
            break;
        }
    }
    server.stop(PATIENCE);
    store.stop();
    drop(store);
    log.say(Level::Info, "stopped");
    Ok(())
}

fn read(arguments: &Arguments) -> Result<Config, Failure> {
    match (&arguments.config, &arguments.data) {
        (Some(file), _) => Config::read(file).map_err(Failure::input),
        (None, Some(data)) => Ok(Config::alone(data.clone(), arguments.listen, arguments.page)),
        (None, None) => Err(Failure::input("give --config FILE or --data DIR")),
    }
}

fn announce(server: &Server, log: &ServiceLog) {
    for address in server.addresses() {
        log.say(Level::Info, &format!("clients connect to {address}"));
    }
    for address in server.tls_addresses() {
        log.say(Level::Info, &format!("clients connect with TLS to {address}"));
    }
    for address in server.page_addresses() {
        log.say(Level::Info, &format!("page and metrics are at http://{address}/"));
    }
}

/// Each connection is an open file.
fn warn_of_few_files(clients: usize, log: &ServiceLog) {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let files = line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok());
    if let Some(files) = files.filter(|files| *files < clients + OTHER_FILES) {
        log.say(
            Level::Warning,
            &format!(
                "this process may open {files} files, which is too few for {clients} clients: raise it (ulimit -n, \
                 LimitNOFILE) or lower limits.clients"
            ),
        );
    }
}

/// Files besides connections of clients.
const OTHER_FILES: usize = 100;

/// The keys of the servers among themselves.
fn reload_keys(store: &kv_cell::Cell, log: &ServiceLog) {
    match store.reload_keys() {
        None => {}
        Some(Ok(version)) => log.say(
            Level::Info,
            &format!("SIGHUP: read the servers' keys again; this one presents key version {version}"),
        ),
        Some(Err(error)) => {
            log.say(
                Level::Warning,
                &format!("SIGHUP: {error}; the servers' keys that were read before stay in use"),
            );
        }
    }
}

/// What can change while the server runs does; what cannot is named.
fn reload(arguments: &Arguments, old: &Config, server: &Server, log: &ServiceLog) {
    let Some(file) = &arguments.config else {
        log.say(Level::Info, "SIGHUP: there is no configuration file to read again");
        return;
    };
    let new = match Config::read(file) {
        Ok(new) => new,
        Err(error) => {
            log.say(Level::Warning, &format!("SIGHUP: {error}; nothing has changed"));
            return;
        }
    };
    log.set_level(new.log.level);
    match server.replace_users(&new.settings.users) {
        Ok(()) => log.say(
            Level::Info,
            &format!("SIGHUP: {} users; the log level is {}", new.settings.users.len(), new.log.level),
        ),
        Err(error) => log.say(Level::Warning, &format!("SIGHUP: {error}; the users stay as they were")),
    }
    if let Some(tls) = &new.settings.tls {
        match server.reload_certificates(tls) {
            Ok(()) => log.say(Level::Info, "SIGHUP: read the certificates again; new connections get them"),
            Err(error) => log.say(Level::Warning, &format!("SIGHUP: {error}; the certificates stay in use")),
        }
    }
    if new.needs_restart(old) {
        log.say(
            Level::Warning,
            "SIGHUP: keys other than users, tls and log.level differ; they need a restart",
        );
    }
}
