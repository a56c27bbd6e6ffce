//! The configuration directory and the arguments, turned into what a replica is started with.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rx::keys::{KeyError, Keys};
use rx::rxkad::Level;
use rx::security::{NullSecurity, SecurityClass};
use ubik::cell_files::{self, CellFile, CellFileError};
use ubik_proto::cell::{Cell, Dialect, ServerKind};
use ubik_proto::profile::Profile;

use super::log::LogFile;
use super::{Arguments, Timing};
use crate::failure::Failure;

/// One database to serve.
pub struct Database {
    /// Its name, which its files begin with.
    pub name: String,
    /// Its UDP port.
    pub port: u16,
    /// How many databases on that port were given before it.
    pub nth_on_port: u16,
    /// Whether this server may become its sync site.
    pub stands: bool,
}

/// Everything that the replicas of this process have in common.
pub struct Setting {
    /// The cell's name.
    pub cell_name: String,
    /// Its servers, and which of them this is.
    pub cell: Cell,
    /// This server's address.
    pub address: Ipv4Addr,
    /// Its other addresses.
    pub other_addresses: Vec<Ipv4Addr>,
    /// The databases.
    pub databases: Vec<Database>,
    /// Where their files are.
    pub directory: PathBuf,
    /// The timing.
    pub profile: Profile,
    /// What it calls with, and may be called with.
    pub classes: Classes,
    /// The keys behind them, in a cell with keys.
    pub keys: Option<Arc<Keys>>,
    /// Whether the servers of the cell prove that they hold its key.
    pub needs_key: bool,
    /// As the argument.
    pub bootstrap: bool,
    /// As the argument.
    pub cache_pages: usize,
    /// As the argument.
    pub registers_at: Option<u32>,
}

/// OpenAFS's databases and their ports.
const KNOWN: [(&str, u16); 3] = [("prdb", 7002), ("vldb", 7003), ("budb", 7021)];

/// Reads and checks everything.
///
/// # Errors
/// What is wrong, where, and what to do.
pub fn read(arguments: &Arguments, log: &LogFile) -> Result<Setting, Failure> {
    let file = cell_files::read(&arguments.config_dir).map_err(Failure::input)?;
    let address = own_address(arguments, &file)?;
    let cell = cell_of(arguments, &file, address)?;
    let databases = databases(arguments, &cell)?;
    if !arguments.database_dir.is_dir() {
        let directory = arguments.database_dir.display();
        return Err(Failure::system(format!(
            "{directory} is not a directory; make it, or give --database-dir"
        )));
    }
    let (classes, keys) = classes(arguments, log)?;
    Ok(Setting {
        cell_name: file.name,
        cell,
        address,
        other_addresses: arguments.other_addresses.clone(),
        databases,
        directory: arguments.database_dir.clone(),
        profile: arguments.timing.profile(),
        classes,
        keys,
        needs_key: !arguments.no_auth,
        bootstrap: arguments.bootstrap,
        cache_pages: arguments.cache_pages as usize,
        registers_at: arguments.registers_at,
    })
}

/// The servers in CellServDB now, if they are others than those that this server started with.
///
/// # Errors
/// The files cannot be read.
pub fn reread_list(arguments: &Arguments, setting: &Setting) -> Result<Option<String>, CellFileError> {
    let name = |address, kind| match kind {
        ServerKind::Voter => Ipv4Addr::from(address).to_string(),
        ServerKind::Clone => format!("[{}]", Ipv4Addr::from(address)),
    };
    let mut listed = cell_files::read(&arguments.config_dir)?.servers;
    listed.sort_by_key(|server| server.address);
    let now: Vec<String> = listed.iter().map(|server| name(server.address, server.kind)).collect();
    let servers = setting.cell.ids().map(|id| setting.cell.server(id));
    let before: Vec<String> = servers.map(|server| name(server.address, server.kind)).collect();
    Ok((now != before).then(|| now.join(", ")))
}

/// The databases, each with its place on its port. Only the first there can be OpenAFS's too.
fn databases(arguments: &Arguments, cell: &Cell) -> Result<Vec<Database>, Failure> {
    let mut databases: Vec<Database> = Vec::new();
    for text in &arguments.databases {
        let mut database = parse_database(text)?;
        let name = &database.name;
        if databases.iter().any(|other| other.name == *name) {
            return Err(Failure::input(format!("database {name} is given twice")));
        }
        database.nth_on_port = databases.iter().filter(|other| other.port == database.port).count() as u16;
        let foreign = cell.ids().any(|id| cell.server(id).dialect == Dialect::OpenAfs);
        if database.nth_on_port > 0 && foreign {
            let port = database.port;
            return Err(Failure::input(format!(
                "database {name} shares port {port}, where OpenAFS's servers cannot find it; give it a port of its own, \
                 or name the servers that run this program with --ours"
            )));
        }
        let openafs = foreign || KNOWN.iter().any(|(known, _)| *known == database.name);
        database.stands = arguments.stand || !openafs;
        databases.push(database);
    }
    Ok(databases)
}

/// A database by its name, or by name and port.
///
/// # Errors
/// The text is neither.
pub fn parse_database(text: &str) -> Result<Database, Failure> {
    let (name, port) = match text.split_once(':') {
        Some((name, port)) => (name, port.parse().ok().filter(|&port| port != 0)),
        None => (text, KNOWN.iter().find(|(known, _)| *known == text).map(|&(_, port)| port)),
    };
    let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    match port {
        Some(port) if plain => Ok(Database { name: name.to_owned(), port, nth_on_port: 0, stands: true }),
        _ => Err(Failure::input(format!(
            "{text:?} is not a database: give prdb, vldb, budb, or NAME:PORT with a name of letters and digits"
        ))),
    }
}

fn own_address(arguments: &Arguments, file: &CellFile) -> Result<Ipv4Addr, Failure> {
    let list = arguments.config_dir.join("CellServDB");
    if let Some(address) = arguments.address {
        return Ok(address);
    }
    match cell_files::local_addresses(&file.servers)[..] {
        [address] => Ok(address),
        [] => Err(Failure::input(format!(
            "no address of cell {} in {} is this machine's; add it there on every server of the cell",
            file.name,
            list.display()
        ))),
        ref several => Err(Failure::input(format!(
            "several addresses of cell {} in {} are this machine's ({several:?}); say which with --address",
            file.name,
            list.display()
        ))),
    }
}

fn cell_of(arguments: &Arguments, file: &CellFile, own: Ipv4Addr) -> Result<Cell, Failure> {
    let mut servers = file.servers.clone();
    let all = arguments.ours.iter().any(|text| text == "all");
    let mut ours = vec![own];
    for text in arguments.ours.iter().filter(|text| *text != "all") {
        let address: Option<Ipv4Addr> = text.parse().ok();
        let listed = address.filter(|&ip| servers.iter().any(|server| server.address == u32::from(ip)));
        let unknown = || format!("--ours {text}: CellServDB lists no server of that address");
        ours.push(listed.ok_or_else(|| Failure::input(unknown()))?);
    }
    for server in &mut servers {
        if all || ours.contains(&Ipv4Addr::from(server.address)) {
            server.dialect = Dialect::Quorate;
        }
    }
    let foreign = servers.iter().find(|server| server.dialect == Dialect::OpenAfs);
    if let (Some(server), Timing::Brisk) = (foreign, arguments.timing) {
        return Err(Failure::input(format!(
            "--timing brisk is for cells of our own servers, and {} is OpenAFS's; leave it out, or name the servers \
             that run this program with --ours",
            Ipv4Addr::from(server.address)
        )));
    }
    let path = arguments.config_dir.join("CellServDB");
    let cell = Cell::new(servers, own.into()).map(|cell| cell.named(&file.name));
    cell.map_err(|error| Failure::input(format!("{}: {error}", path.display())))
}

/// The security classes of a server.
pub struct Classes {
    /// What it calls its peers with.
    pub own: Arc<dyn SecurityClass>,
    /// What it may be called with where anybody may ask questions.
    pub open: Vec<Arc<dyn SecurityClass>>,
    /// What it may be called with where something can be changed: in a cell with keys, only with one of them.
    pub closed: Vec<Arc<dyn SecurityClass>>,
}

fn classes(arguments: &Arguments, log: &LogFile) -> Result<(Classes, Option<Arc<Keys>>), Failure> {
    let null: Arc<dyn SecurityClass> = Arc::new(NullSecurity);
    if arguments.no_auth {
        return Ok((Classes { own: null.clone(), open: vec![null.clone()], closed: vec![null] }, None));
    }
    let path = arguments.config_dir.join("KeyFileExt");
    let log = log.clone();
    let keys = Keys::open(&path, Box::new(move |line| log.say(line)));
    let keys = keys.map_err(|error| key_failure(&path, &error))?;
    // Sealed, for OpenAFS's servers too: at level clear a packet can be forged after some ten thousand guesses.
    let client = keys.client(Level::Crypt).map_err(|error| key_failure(&path, &error))?;
    // OpenAFS's servers call in the clear.
    let server: Arc<dyn SecurityClass> = Arc::new(keys.server(Level::Clear));
    let classes = Classes { own: Arc::new(client), open: vec![null, server.clone()], closed: vec![server] };
    Ok((classes, Some(keys)))
}

fn key_failure(path: &Path, error: &KeyError) -> Failure {
    match error {
        KeyError::Exposed { .. } => Failure::input(error),
        KeyError::Read { .. } => Failure::input(format!(
            "{error}; give the cell's keys to this server, or serve without keys by --no-auth"
        )),
        _ => Failure::input(format!("{}: {error}", path.display())),
    }
}
