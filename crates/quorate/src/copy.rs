//! `quorate copy`: a consistent copy of a database that a running server has.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use rx::keys::Keys;
use rx::rpc::CallStream;
use rx::rxkad::Level;
use rx::security::{NullSecurity, SecurityClass};
use rx::{CallFailure, Port, PortConfig, Timeouts};
use ubik::over_rx::copy::CopyError;
use ubik::over_rx::{Services, copy};
use ubik::phys::encode_label;
use ubik_proto::messages::VoteCall;
use ubik_proto::stock::debug::SiteDebug;
use ubik_proto::version::Version;

use crate::Outcome;
use crate::afs::serve::cell::parse_database;
use crate::failure::Failure;
use crate::input::show;

/// Copy a database from a running server, OpenAFS's or ours, as a file that a server can start with.
///
/// The copy is one committed version: the command waits until the sync site vouches for it, for up to the patience, and
/// leaves no file otherwise. The server goes on meanwhile. In a cell with keys the command presents the cell's key; without,
/// one of our servers gives its database only to its own machine and to the other servers of the cell (--from).
#[derive(Args)]
#[command(after_help = "Examples:
  quorate copy db1.example.org prdb prdb.DB0
  quorate copy 192.0.2.7 vldb vldb.DB0 --config-dir /etc/openafs/server
  quorate copy 127.0.0.1 table:7100 table.DB0 --no-auth

To restore: stop every server of the database, put the copy in the place of NAME.DB0 on each (or on a majority, and remove
the file on the others), remove NAME.DBSYS1, start them.
Exit code 4 if the version that was copied could not be confirmed in time.")]
pub struct Arguments {
    /// Name or address of the server
    host: String,
    /// The database: prdb, vldb or budb, or NAME:PORT
    #[arg(value_name = "NAME[:PORT]")]
    database: String,
    /// The file to write, which must not exist
    file: PathBuf,
    /// Which database of that port, counted from 0, where several share it
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..1000))]
    nth: u16,
    /// Where KeyFileExt is
    #[arg(long, default_value = "/etc/openafs/server")]
    config_dir: PathBuf,
    /// Present no key
    #[arg(long)]
    no_auth: bool,
    /// Call from this address of the machine
    #[arg(long, default_value_t = Ipv4Addr::UNSPECIFIED, value_name = "ADDRESS")]
    from: Ipv4Addr,
    /// Seconds for the server to answer, and for the sync site to vouch for what was copied
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout_secs: u64,
}

/// How often it is asked whether a version is committed.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// The bytes of a database's header.
const HEADER_LEN: u64 = 64;

/// Runs the subcommand.
pub fn run(arguments: &Arguments) -> Outcome {
    let database = parse_database(&arguments.database)?;
    let peer = resolve(&arguments.host, database.port)?;
    let any = SocketAddr::new(arguments.from.into(), 0);
    let port = Port::open(any, PortConfig::default()).map_err(Failure::system)?;
    let source = Source {
        port,
        peer,
        services: Services::nth(arguments.nth),
        security: security(arguments)?,
        patience: Duration::from_secs(arguments.timeout_secs),
    };
    let file = &arguments.file;
    if file.exists() {
        return Err(Failure::input(format!("{} exists; name a new file", file.display())));
    }
    let mut partial = Partial::create(file).map_err(|error| file_failure(file, &error))?;
    let (version, length) = source.copy_committed(&mut partial)?;
    partial.finish(version).map_err(|error| file_failure(file, &error))?;
    show(&format!("{}: version {version}, {length} bytes\n", file.display()))
}

fn file_failure(file: &Path, error: &io::Error) -> Failure {
    Failure::system(format!("{}: {error}", file.display()))
}

fn resolve(host: &str, port: u16) -> Result<SocketAddr, Failure> {
    let found = (host, port).to_socket_addrs().map_err(|error| Failure::input(format!("{host}: {error}")))?;
    found
        .into_iter()
        .find(SocketAddr::is_ipv4)
        .ok_or_else(|| Failure::input(format!("{host} has no IPv4 address")))
}

fn security(arguments: &Arguments) -> Result<Arc<dyn SecurityClass>, Failure> {
    if arguments.no_auth {
        return Ok(Arc::new(NullSecurity));
    }
    let keys = Keys::open(&arguments.config_dir.join("KeyFileExt"), Box::new(|line| eprintln!("{line}")));
    let ticket = keys.and_then(|keys| keys.client(Level::Crypt));
    let failed =
        |error| Failure::input(format!("{error}; give --config-dir, or --no-auth where there are no keys"));
    Ok(Arc::new(ticket.map_err(failed)?))
}

/// The server that is copied from.
struct Source {
    port: Port,
    peer: SocketAddr,
    services: Services,
    security: Arc<dyn SecurityClass>,
    patience: Duration,
}

impl Source {
    /// Copies until what was copied is committed; returns the version and the length in bytes.
    fn copy_committed(&self, into: &mut Partial) -> Result<(Version, u64), Failure> {
        let begun = Instant::now();
        loop {
            into.restart().map_err(|error| file_failure(&into.path, &error))?;
            let timeouts = Timeouts { dead: self.patience, ..Timeouts::default() };
            let connection = self.port.connect(self.peer, self.services.disk, &*self.security, timeouts);
            let mut length = 0;
            let fetched = copy::fetch(&connection, |bytes| {
                length += bytes.len() as u64;
                into.file.write_all(bytes)
            });
            let version = fetched.map_err(|error| {
                let remedy = match error {
                    CopyError::NotAuthorized => {
                        "; call from one of those addresses (--from), or present the key (--config-dir)"
                    }
                    _ => "",
                };
                Failure::no(format!("{}: {error}{remedy}", self.peer))
            })?;
            // A version of an epoch that is over, or that was cut, is never vouched for: then there is a newer one to copy.
            let patience = self.patience / 2;
            if self.is_committed(version, patience) {
                return Ok((version, length));
            }
            if begun.elapsed() + patience > self.patience {
                return Err(Failure::gave_up(format!(
                    "no sync site vouches for version {version}, which {} has: it may not be committed; no copy was kept",
                    self.peer
                )));
            }
        }
    }

    fn is_committed(&self, version: Version, patience: Duration) -> bool {
        let begun = Instant::now();
        loop {
            if let Ok(site) = self.ask() {
                let covers =
                    |known: Version| known.epoch == version.epoch && known.counter >= version.counter;
                let is_alone = site.is_sync_site && site.servers == 1;
                if covers(site.sync_version) || (is_alone && covers(site.local_version)) {
                    return true;
                }
            }
            if begun.elapsed() + ASK_EVERY > patience {
                return false;
            }
            // Beacons bring the news; nothing tells this command.
            std::thread::sleep(ASK_EVERY);
        }
    }

    fn ask(&self) -> Result<SiteDebug, CallFailure> {
        let timeouts =
            Timeouts { dead: self.patience, hard_dead: Some(self.patience), ..Timeouts::default() };
        let connection = self.port.connect(self.peer, self.services.vote, &NullSecurity, timeouts);
        let mut call = connection.start()?;
        call.write(&VoteCall::DebugOld.encode())?;
        let (mut answer, mut buffer) = (Vec::new(), [0; 1024]);
        loop {
            match call.read(&mut buffer)? {
                0 => break,
                count if answer.len() + count > 1 << 16 => return Err(MALFORMED),
                count => answer.extend_from_slice(&buffer[..count]),
            }
        }
        SiteDebug::decode(&answer).map_err(|_| MALFORMED)
    }
}

/// An answer that cannot be read.
const MALFORMED: CallFailure = CallFailure::Unanswered(rx::AbortCode::CLIENT_UNMARSHAL);

/// The copy while it is written, beside its place; removed unless it is finished.
struct Partial {
    file: File,
    path: PathBuf,
    target: PathBuf,
    finished: bool,
}

impl Partial {
    fn create(target: &Path) -> io::Result<Partial> {
        let mut name = target.as_os_str().to_owned();
        name.push(format!(".{}.partial", std::process::id()));
        let path = PathBuf::from(name);
        let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
        Ok(Partial { file, path, target: target.to_owned(), finished: false })
    }

    /// Begins anew, after the header's place.
    fn restart(&mut self) -> io::Result<()> {
        self.file.set_len(HEADER_LEN)?;
        self.file.seek(SeekFrom::Start(HEADER_LEN)).map(drop)
    }

    /// Writes the label and puts the file into its place, safe on disk.
    fn finish(mut self, version: Version) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&encode_label(version))?;
        self.file.sync_all()?;
        std::fs::hard_link(&self.path, &self.target)?;
        std::fs::remove_file(&self.path)?;
        self.finished = true;
        let parent = self.target.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.finished {
            // There is nothing better to do with what is not a copy.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
