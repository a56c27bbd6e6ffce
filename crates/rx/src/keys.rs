//! Key files, and the security classes that come from them. Both follow the file when it is read again.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use rx_proto::rxkad::Level;
use rx_proto::rxkad::client::RxkadClient;
use rx_proto::rxkad::kerberos::AES256_CTS_HMAC_SHA1_96;
use rx_proto::rxkad::keys::{KeyFile, KeyFileError, KeyStore, ServerKey};
use rx_proto::rxkad::server::RxkadServer;
use rx_proto::rxkad::ticket::Printed;
use rx_proto::security::{ConnectionIdentity, ConnectionSecurity, Random, SecurityClass, SecurityIndex};
use zeroize::Zeroizing;

use crate::random::SystemRandom;

/// Why a key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It cannot be read.
    #[error("cannot read key file {path}: {source}")]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Everybody on the machine may read it.
    #[error(
        "key file {path} has mode {mode:04o}: any user can read or change the keys of the cell; chmod 600 it"
    )]
    Exposed {
        /// Which.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is malformed.
    #[error("key file {path}: {source}")]
    Malformed {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        source: KeyFileError,
    },
    /// No key in it can seal tickets.
    #[error(
        "the key file holds no key of type aes256-cts or aes128-cts for rxkad; make a file with `quorate new-key`, or add one with `asetkey add rxkad_krb5`"
    )]
    NoKey,
    /// No random numbers.
    #[error("cannot read random numbers from the system: {0}")]
    Random(io::Error),
}

/// Reads a `KeyFileExt`.
///
/// # Errors
/// It cannot be read, is malformed, or is open to everybody on the machine.
pub fn read(path: &Path) -> Result<KeyFile, KeyError> {
    let failed = |source| KeyError::Read { path: path.to_owned(), source };
    let mode = mode(path).map_err(failed)?;
    if mode & 0o007 != 0 {
        return Err(KeyError::Exposed { path: path.to_owned(), mode });
    }
    let bytes = Zeroizing::new(std::fs::read(path).map_err(failed)?);
    KeyFile::parse(&bytes).map_err(|source| KeyError::Malformed { path: path.to_owned(), source })
}

/// Makes a `KeyFileExt` with one random key of type aes256-cts, which only its owner may read.
///
/// # Errors
/// There is such a file already, or it cannot be written.
pub fn create(path: &Path) -> io::Result<()> {
    let mut material = vec![0; AES256_KEY_LEN];
    SystemRandom::open()?.fill(&mut material);
    let key = ServerKey { version: 1, encryption_type: AES256_CTS_HMAC_SHA1_96, material };
    let bytes = KeyFile::from_keys(vec![key]).to_bytes();
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(&bytes)?;
    file.sync_all()
}

/// Adds a random key with the next version to a `KeyFileExt` in place of the file, whose other keys stay; that version.
///
/// # Errors
/// The file cannot be used ([`read`]) or written.
pub fn add(path: &Path) -> Result<i32, KeyError> {
    let failed = |source| KeyError::Read { path: path.to_owned(), source };
    let old = read(path)?;
    let version = old.newest().map_or(1, |key| key.version.saturating_add(1));
    let mut material = vec![0; AES256_KEY_LEN];
    SystemRandom::open().map_err(KeyError::Random)?.fill(&mut material);
    let mut keys = old.keys().to_vec();
    keys.push(ServerKey { version, encryption_type: AES256_CTS_HMAC_SHA1_96, material });
    let beside = path.with_added_extension("new");
    let write = || -> io::Result<()> {
        let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(&KeyFile::from_keys(keys).to_bytes())?;
        file.sync_all()?;
        std::fs::rename(&beside, path)
    };
    write().map_err(failed)?;
    Ok(version)
}

const AES256_KEY_LEN: usize = 32;

fn mode(path: &Path) -> io::Result<u32> {
    Ok(std::fs::metadata(path)?.permissions().mode() & 0o7777)
}

/// A client that calls as the service itself, with a ticket printed from its key.
///
/// # Errors
/// There is no suitable key.
pub fn client(keys: &KeyFile, level: Level) -> Result<RxkadClient, KeyError> {
    let mut random = SystemRandom::open().map_err(KeyError::Random)?;
    let key = keys.newest().ok_or(KeyError::NoKey)?;
    let printed = Printed::new(key, &mut random).ok_or(KeyError::NoKey)?;
    Ok(RxkadClient::printed(printed, level))
}

/// A server that accepts tickets sealed with these keys.
pub fn server(keys: KeyFile, least_level: Level) -> RxkadServer {
    RxkadServer { keys: Arc::new(keys), least_level }
}

/// What is worth telling an operator about keys.
pub type Notice = Box<dyn Fn(&str) + Send + Sync>;

/// The keys of a running server: the file as it was read last.
pub struct Keys {
    path: PathBuf,
    current: RwLock<Arc<KeyFile>>,
    /// How often the file was read.
    generation: AtomicU64,
    /// Versions and types that callers named and the file lacks, each told of once.
    missing: Mutex<BTreeSet<(i32, i32)>>,
    notice: Notice,
}

/// Versions that the file lacks are remembered up to this many: callers choose them.
const MAX_MISSING: usize = 16;

impl Keys {
    /// Reads the file. `notice` gets a line when its permissions are doubtful, and when a caller presents a key that it lacks.
    ///
    /// # Errors
    /// As [`read`], or no key in it can seal tickets.
    pub fn open(path: &Path, notice: Notice) -> Result<Arc<Keys>, KeyError> {
        let file = read(path)?;
        file.newest().ok_or(KeyError::NoKey)?;
        let keys = Keys {
            path: path.to_owned(),
            current: RwLock::new(Arc::new(file)),
            generation: AtomicU64::new(0),
            missing: Mutex::default(),
            notice,
        };
        keys.check_mode();
        Ok(Arc::new(keys))
    }

    /// Reads the file again. New connections use what is in it now; after an error, what was there before. Returns the
    /// version of the key that this server presents from now on.
    ///
    /// # Errors
    /// As [`Keys::open`].
    pub fn reload(&self) -> Result<i32, KeyError> {
        let file = read(&self.path)?;
        let version = file.newest().ok_or(KeyError::NoKey)?.version;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(file);
        self.generation.fetch_add(1, Ordering::SeqCst);
        self.missing.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.check_mode();
        Ok(version)
    }

    fn check_mode(&self) {
        if let Ok(mode) = mode(&self.path)
            && mode & 0o070 != 0
        {
            let path = self.path.display();
            (self.notice)(&format!(
                "key file {path} has mode {mode:04o}: its group can read or change it; chmod 600 it"
            ));
        }
    }

    fn current(&self) -> Arc<KeyFile> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What a server calls its peers with: a ticket printed from the newest key.
    ///
    /// # Errors
    /// It cannot be printed.
    pub fn client(self: &Arc<Self>, level: Level) -> Result<OwnTicket, KeyError> {
        let generation = self.generation.load(Ordering::SeqCst);
        let client = client(&self.current(), level)?;
        Ok(OwnTicket { keys: self.clone(), level, printed: Mutex::new((generation, client)) })
    }

    /// A server that accepts tickets sealed with any of the keys.
    pub fn server(self: &Arc<Self>, least_level: Level) -> RxkadServer {
        RxkadServer { keys: self.clone(), least_level }
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys({})", self.path.display())
    }
}

impl KeyStore for Keys {
    fn key(&self, version: i32, encryption_type: i32) -> Option<Zeroizing<Vec<u8>>> {
        let current = self.current();
        let found = current.key(version, encryption_type);
        if found.is_none() {
            let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
            if missing.len() < MAX_MISSING && missing.insert((version, encryption_type)) {
                let newest = current.newest().map_or(0, |key| key.version);
                (self.notice)(&format!(
                    "a caller presents a ticket sealed with key version {version} (encryption type {encryption_type}), which \
                     {} does not have (its newest is version {newest}); give the key file to this server and send it SIGHUP",
                    self.path.display()
                ));
            }
        }
        found
    }
}

/// A ticket that a server prints for itself, anew when its keys were read again.
#[derive(Debug)]
pub struct OwnTicket {
    keys: Arc<Keys>,
    level: Level,
    /// The generation of the keys that it was printed from.
    printed: Mutex<(u64, RxkadClient)>,
}

impl SecurityClass for OwnTicket {
    fn index(&self) -> SecurityIndex {
        SecurityIndex::RXKAD
    }

    fn key_version(&self) -> Option<i32> {
        self.keys.current().newest().map(|key| key.version)
    }

    fn connection(&self, identity: ConnectionIdentity) -> Box<dyn ConnectionSecurity> {
        let mut printed = self.printed.lock().unwrap_or_else(PoisonError::into_inner);
        let generation = self.keys.generation.load(Ordering::SeqCst);
        if printed.0 != generation {
            // The keys were checked when they were read; without random numbers the old ticket has to do.
            if let Ok(client) = client(&self.keys.current(), self.level) {
                *printed = (generation, client);
            }
        }
        printed.1.connection(identity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A key file with one AES-128 key of this version.
    fn key_file(version: u32) -> Vec<u8> {
        let words = [1, 16, 2, version, 17, 16];
        let mut bytes: Vec<u8> = words.iter().flat_map(|word: &u32| word.to_be_bytes()).collect();
        bytes.extend([7; 16]);
        bytes
    }

    fn write(path: &Path, version: u32, mode: u32) {
        fs::write(path, key_file(version)).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// X12, S15: a file that is made here has one key that servers accept, is its owner's alone, and takes no other's place.
    #[test]
    fn a_key_file_is_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cell.key");
        create(&path).unwrap();
        assert_eq!(mode(&path).unwrap(), 0o600);
        let made = read(&path).unwrap();
        assert_eq!(made.newest().map(|key| (key.version, key.material.len())), Some((1, 32)));
        assert_eq!(create(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(read(&path).unwrap().keys(), made.keys());
    }

    /// X12, S26: a key is added with the next version, the others stay, and the file is its owner's alone.
    #[test]
    fn a_key_is_added_to_those_that_are_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cell.key");
        create(&path).unwrap();
        let first = read(&path).unwrap().keys().to_vec();
        assert_eq!((add(&path).unwrap(), add(&path).unwrap()), (2, 3));
        let file = read(&path).unwrap();
        assert!(file.keys().len() == 3 && file.keys().contains(&first[0]));
        assert_eq!(file.newest().unwrap().version, 3);
        assert_eq!(mode(&path).unwrap(), 0o600);
        assert!(add(&folder.path().join("missing")).is_err());
    }

    /// X12: a key file that everybody can read is refused with the remedy, one that a group can read is complained of.
    #[test]
    fn the_mode_of_a_key_file_is_checked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("KeyFileExt");
        let said = Arc::new(Mutex::new(Vec::new()));
        let open = || {
            let said = said.clone();
            Keys::open(&path, Box::new(move |line| said.lock().unwrap().push(line.to_owned())))
        };
        write(&path, 1, 0o644);
        let message = open().unwrap_err().to_string();
        assert!(message.contains("has mode 0644") && message.ends_with("chmod 600 it"), "{message}");
        write(&path, 1, 0o640);
        open().unwrap();
        assert!(said.lock().unwrap()[0].contains("has mode 0640: its group can read"));
        said.lock().unwrap().clear();
        write(&path, 1, 0o600);
        open().unwrap();
        assert!(said.lock().unwrap().is_empty());
    }

    /// X12, U56: a file that is read again serves old and new keys at once, the ticket is printed from the newest, a bad file
    /// changes nothing, and a version that is not there is named once.
    #[test]
    fn keys_follow_their_file_when_it_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("KeyFileExt");
        write(&path, 1, 0o600);
        let said = Arc::new(Mutex::new(Vec::new()));
        let heard = said.clone();
        let keys =
            Keys::open(&path, Box::new(move |line| heard.lock().unwrap().push(line.to_owned()))).unwrap();
        let ticket = keys.client(Level::Crypt).unwrap();
        assert_eq!(ticket.key_version(), Some(1));
        assert!(keys.key(2, 17).is_none() && keys.key(2, 17).is_none());
        assert_eq!(said.lock().unwrap().len(), 1);
        assert!(said.lock().unwrap()[0].contains("key version 2 (encryption type 17)"));
        write(&path, 2, 0o600);
        assert_eq!(keys.reload().unwrap(), 2);
        assert!(keys.key(2, 17).is_some() && keys.key(1, 17).is_none());
        let identity =
            ConnectionIdentity { epoch: 1, connection_id: 4, security_index: SecurityIndex::RXKAD };
        ticket.connection(identity);
        let printed = ticket.printed.lock().unwrap().1.ticket.clone();
        assert!(
            rx_proto::rxkad::ticket::Ticket::open(&printed, 213, &*keys).is_ok(),
            "printed from version 2"
        );
        write(&path, 3, 0o604);
        assert!(keys.reload().is_err());
        assert!(keys.key(2, 17).is_some(), "the old keys stay");
    }
}
