//! The configuration file: its keys, their defaults, and what makes no sense.
//!
//! docs/configuration.md describes each key; a test holds that none is missing there.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::{SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::time::Duration;

use kv_server::{Level, Limits, Settings, TlsFiles};
use serde::Deserialize;

use super::log::Format;
use super::suggest::with_suggestion;

/// What a server is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it keeps its databases.
    pub data: PathBuf,
    /// How many databases SELECT knows.
    pub databases: usize,
    /// The most bytes of a database.
    pub quota_bytes: u64,
    /// The other servers, if it has any.
    pub cell: Option<Cell>,
    /// What the front end is told.
    pub settings: Settings,
    /// What is logged, and how.
    pub log: Log,
    /// The file as it was read, to see what has changed.
    file: File,
}

/// What is logged, and how.
#[derive(Clone, Copy, Debug)]
pub struct Log {
    /// Lines of this level and above.
    pub level: Level,
    /// How they look.
    pub format: Format,
}

/// The cell of which a server is one.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Cell {
    /// This server's name among `servers`.
    pub server: String,
    /// All servers by name, with the addresses on which they talk to each other.
    pub servers: BTreeMap<String, SocketAddrV4>,
    /// The key that they share.
    pub key_file: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    data: PathBuf,
    #[serde(default = "one")]
    databases: usize,
    #[serde(default = "quota")]
    quota_bytes: u64,
    #[serde(default)]
    clients: ClientsTable,
    tls: Option<TlsTable>,
    #[serde(default)]
    users: BTreeMap<String, UserTable>,
    #[serde(default)]
    limits: LimitsTable,
    #[serde(default)]
    page: PageTable,
    #[serde(default)]
    log: LogTable,
    cell: Option<Cell>,
}

fn one() -> usize {
    1
}

fn quota() -> u64 {
    kv_cell::DEFAULT_QUOTA
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct ClientsTable {
    listen: Vec<SocketAddr>,
    listen_tls: Vec<SocketAddr>,
    without_authentication: bool,
    threads: Option<usize>,
}

impl Default for ClientsTable {
    fn default() -> ClientsTable {
        let Settings { listen, .. } = Settings::default();
        ClientsTable { listen, listen_tls: Vec::new(), without_authentication: false, threads: None }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct TlsTable {
    certificate: PathBuf,
    key: PathBuf,
    client_ca: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct UserTable {
    password_hash: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct PageTable {
    listen: Vec<SocketAddr>,
}

impl Default for PageTable {
    fn default() -> PageTable {
        PageTable { listen: vec![SocketAddr::from(([127, 0, 0, 1], 9379))] }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct LogTable {
    level: LogLevel,
    format: Format,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum LogLevel {
    Debug,
    #[default]
    Info,
    Warning,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct LimitsTable {
    clients: usize,
    request_bytes: usize,
    string_bytes: usize,
    pipeline: usize,
    transaction_commands: usize,
    output_bytes: usize,
    total_bytes: usize,
    output_timeout_secs: u64,
    idle_timeout_secs: u64,
    authentication_timeout_secs: u64,
    subscriptions: usize,
    scripts_bytes: usize,
}

impl Default for LimitsTable {
    fn default() -> LimitsTable {
        let limits = Limits::default();
        LimitsTable {
            clients: limits.clients,
            request_bytes: limits.request_bytes,
            string_bytes: limits.string_bytes,
            pipeline: limits.pipeline,
            transaction_commands: limits.transaction_commands,
            output_bytes: limits.output_bytes,
            total_bytes: limits.total_bytes,
            output_timeout_secs: limits.output_timeout.as_secs(),
            idle_timeout_secs: limits.idle_timeout.map_or(0, |timeout| timeout.as_secs()),
            authentication_timeout_secs: limits.authentication_timeout.as_secs(),
            subscriptions: limits.subscriptions,
            scripts_bytes: limits.scripts_bytes,
        }
    }
}

impl Config {
    /// Reads `path`; an error says where in it, what, and what to do. Paths in it are relative to its directory.
    pub fn read(path: &Path) -> Result<Config, String> {
        let shown = path.display();
        let mut text = String::new();
        let read =
            std::fs::File::open(path).and_then(|file| file.take(LONGEST + 1).read_to_string(&mut text));
        read.map_err(|error| format!("{shown}: {error}"))?;
        if text.len() as u64 > LONGEST {
            return Err(format!("{shown}: is longer than {LONGEST} bytes: not a configuration"));
        }
        let file: File = toml::from_str(&text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start.min(text.len()));
            let line = text.as_bytes()[..start].iter().filter(|byte| **byte == b'\n').count() + 1;
            // What the file says is shown as it is, but for what would act on a terminal.
            let said = with_suggestion(error.message());
            let said: String =
                said.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
            format!("{shown}:{line}: {said}")
        })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        Config::of(file.in_folder(folder)).map_err(|error| format!("{shown}: {error}"))
    }

    /// A server by itself, with the defaults.
    pub fn alone(data: PathBuf, listen: Option<SocketAddr>, page: Option<SocketAddr>) -> Config {
        let mut clients = ClientsTable::default();
        clients.listen = listen.map_or(clients.listen, |address| vec![address]);
        let mut page_table = PageTable::default();
        page_table.listen = page.map_or(page_table.listen, |address| vec![address]);
        let file = File {
            data,
            databases: one(),
            quota_bytes: quota(),
            clients,
            tls: None,
            users: BTreeMap::new(),
            limits: LimitsTable::default(),
            page: page_table,
            log: LogTable::default(),
            cell: None,
        };
        Config::of(file).expect("the defaults make sense")
    }

    /// Whether something differs from `old` that is only looked at when a server starts.
    pub fn needs_restart(&self, old: &Config) -> bool {
        let fixed = |config: &Config| File {
            users: BTreeMap::new(),
            tls: None,
            log: LogTable { level: LogLevel::Info, ..config.file.log.clone() },
            ..config.file.clone()
        };
        fixed(self) != fixed(old) || self.file.tls.is_some() != old.file.tls.is_some()
    }

    fn of(file: File) -> Result<Config, String> {
        file.check()?;
        let level = match file.log.level {
            LogLevel::Debug => Level::Debug,
            LogLevel::Info => Level::Info,
            LogLevel::Warning => Level::Warning,
        };
        Ok(Config {
            data: file.data.clone(),
            databases: file.databases,
            quota_bytes: file.quota_bytes,
            cell: file.cell.clone(),
            settings: file.settings(),
            log: Log { level, format: file.log.format },
            file,
        })
    }
}

impl File {
    /// With paths that are relative to `folder`.
    fn in_folder(mut self, folder: &Path) -> File {
        if !self.data.as_os_str().is_empty() {
            self.data = folder.join(&self.data);
        }
        if let Some(tls) = &mut self.tls {
            tls.certificate = folder.join(&tls.certificate);
            tls.key = folder.join(&tls.key);
            tls.client_ca = tls.client_ca.as_ref().map(|file| folder.join(file));
        }
        if let Some(cell) = &mut self.cell {
            cell.key_file = cell.key_file.as_ref().map(|file| folder.join(file));
        }
        self
    }

    fn check(&self) -> Result<(), String> {
        if self.data.as_os_str().is_empty() {
            return Err("data = \"\" names no directory".to_owned());
        }
        if self.quota_bytes < LEAST_QUOTA {
            return Err(format!(
                "quota-bytes = {} is out of range: at least {LEAST_QUOTA}",
                self.quota_bytes
            ));
        }
        if let Some(threads) = self.clients.threads.filter(|threads| !(1..=MOST_THREADS).contains(threads)) {
            return Err(format!("clients.threads = {threads} is out of range: 1 to {MOST_THREADS}"));
        }
        let all = self.clients.listen.iter().chain(&self.clients.listen_tls).chain(&self.page.listen);
        let mut seen = std::collections::BTreeSet::new();
        if let Some(twice) = all.filter(|address| address.port() != 0).find(|address| !seen.insert(**address))
        {
            return Err(format!(
                "{twice} is to be listened on twice; clients, TLS and the page need one each"
            ));
        }
        if !(1..=MOST_DATABASES).contains(&self.databases) {
            return Err(format!("databases = {} is out of range: 1 to {MOST_DATABASES}", self.databases));
        }
        if self.clients.listen.is_empty() && self.clients.listen_tls.is_empty() {
            return Err(
                "clients.listen and clients.listen-tls are both empty: nobody could connect".to_owned()
            );
        }
        if !self.clients.listen_tls.is_empty() && self.tls.is_none() {
            return Err("clients.listen-tls needs a certificate: add tls.certificate and tls.key".to_owned());
        }
        self.limits.check()?;
        self.cell.as_ref().map_or(Ok(()), Cell::check)
    }

    fn settings(&self) -> Settings {
        let limits = &self.limits;
        let seconds = Duration::from_secs;
        Settings {
            listen: self.clients.listen.clone(),
            listen_tls: self.clients.listen_tls.clone(),
            page: self.page.listen.clone(),
            tls: self.tls.as_ref().map(|tls| TlsFiles {
                certificate: tls.certificate.clone(),
                key: tls.key.clone(),
                client_ca: tls.client_ca.clone(),
            }),
            users: self.users.iter().map(|(name, user)| (name.clone(), user.password_hash.clone())).collect(),
            without_authentication: self.clients.without_authentication,
            limits: Limits {
                clients: limits.clients,
                request_bytes: limits.request_bytes,
                string_bytes: limits.string_bytes,
                pipeline: limits.pipeline,
                transaction_commands: limits.transaction_commands,
                output_bytes: limits.output_bytes,
                total_bytes: limits.total_bytes,
                output_timeout: seconds(limits.output_timeout_secs),
                idle_timeout: (limits.idle_timeout_secs > 0).then(|| seconds(limits.idle_timeout_secs)),
                authentication_timeout: seconds(limits.authentication_timeout_secs),
                subscriptions: limits.subscriptions,
                scripts_bytes: limits.scripts_bytes,
            },
            threads: self.clients.threads,
        }
    }
}

impl LimitsTable {
    fn check(&self) -> Result<(), String> {
        let least = [
            ("clients", self.clients, 1),
            ("request-bytes", self.request_bytes, 1024),
            ("string-bytes", self.string_bytes, 1024),
            ("pipeline", self.pipeline, 1),
            ("transaction-commands", self.transaction_commands, 1),
            ("output-bytes", self.output_bytes, 1024),
            ("total-bytes", self.total_bytes, 1 << 20),
            ("output-timeout-secs", usize::try_from(self.output_timeout_secs).unwrap_or(usize::MAX), 1),
            (
                "authentication-timeout-secs",
                usize::try_from(self.authentication_timeout_secs).unwrap_or(usize::MAX),
                1,
            ),
        ];
        for (name, value, least) in least {
            if value < least {
                return Err(format!("limits.{name} = {value} is out of range: at least {least}"));
            }
        }
        // Times are added to clocks.
        let longest =
            self.output_timeout_secs.max(self.idle_timeout_secs).max(self.authentication_timeout_secs);
        match longest > YEAR_SECS {
            true => Err(format!("a timeout of {longest} s in limits is out of range: at most {YEAR_SECS}")),
            false => Ok(()),
        }
    }
}

impl Cell {
    fn check(&self) -> Result<(), String> {
        if !self.servers.contains_key(&self.server) {
            let names: Vec<&str> = self.servers.keys().map(String::as_str).collect();
            return Err(format!(
                "cell.server = {:?} is not among cell.servers ({})",
                self.server,
                names.join(", ")
            ));
        }
        let mut seen = BTreeMap::new();
        for (name, address) in &self.servers {
            if address.port() == 0 || address.ip().is_multicast() || address.ip().is_broadcast() {
                return Err(format!("cell.servers: {name} = \"{address}\" is not the address of one server"));
            }
            // Ubik knows servers by their IP addresses alone.
            if let Some(other) = seen.insert(address.ip(), name) {
                return Err(format!(
                    "cell.servers: {other} and {name} have the same address {}; each server needs one of its own \
                     (on one machine 127.0.0.1, 127.0.0.2, ...)",
                    address.ip()
                ));
            }
        }
        let open = self.servers.values().find(|address| !address.ip().is_loopback());
        match open {
            Some(address) if self.key_file.is_none() => Err(format!(
                "cell.servers: {address} can be reached from other machines, where anybody could write as a server: \
                 give cell.key-file"
            )),
            _ => Ok(()),
        }
    }
}

const MOST_DATABASES: usize = 256;
const MOST_THREADS: usize = 256;
const LEAST_QUOTA: u64 = 1 << 16;
/// Bytes of a configuration file.
const LONGEST: u64 = 1 << 20;
const YEAR_SECS: u64 = 366 * 86_400;
