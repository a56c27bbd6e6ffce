//! What can be set, as types. Where it is written down, and under which names, is the program's.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// What a server is started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where clients connect; port 0 takes a free one.
    pub listen: Vec<SocketAddr>,
    /// Where clients connect with TLS.
    pub listen_tls: Vec<SocketAddr>,
    /// Where the page, the metrics and the health checks are.
    pub page: Vec<SocketAddr>,
    /// The certificate that `listen_tls` presents.
    pub tls: Option<TlsFiles>,
    /// Users and the hashes of their passwords ([`crate::hash_password`]). With none, nobody has to authenticate.
    pub users: BTreeMap<String, String>,
    /// Listen on addresses of the network although anybody there may then read and write everything.
    pub without_authentication: bool,
    /// Bounds on what clients can make the server hold.
    pub limits: Limits,
    /// Threads that serve clients; `None`: one for each core.
    pub threads: Option<usize>,
}

impl Default for Settings {
    /// Redis's port on this machine alone.
    fn default() -> Settings {
        Settings {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 6379))],
            listen_tls: Vec::new(),
            page: Vec::new(),
            tls: None,
            users: BTreeMap::new(),
            without_authentication: false,
            limits: Limits::default(),
            threads: None,
        }
    }
}

/// Files in PEM form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate, and those between it and the root.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Who signs the certificates that clients must present; `None`: they need none.
    pub client_ca: Option<PathBuf>,
}

/// Bounds on what clients can make the server hold or do. What exceeds one gets an error that names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at the same time; a further one gets an error and is closed.
    pub clients: usize,
    /// Bytes of one request, and of the commands of one transaction.
    pub request_bytes: usize,
    /// Bytes of one string in a request: of a key or a value.
    pub string_bytes: usize,
    /// Requests of one connection that wait for their replies at the same time; more are not read meanwhile.
    pub pipeline: usize,
    /// Commands between MULTI and EXEC.
    pub transaction_commands: usize,
    /// Bytes of replies that a connection has not taken; beyond it is cut off.
    pub output_bytes: usize,
    /// Bytes of requests and replies of all connections together; the one that exceeds it is cut off.
    pub total_bytes: usize,
    /// How long a connection may take no byte of its replies before it is cut off.
    pub output_timeout: Duration,
    /// How long a connection may be silent; `None`: forever.
    pub idle_timeout: Option<Duration>,
    /// How long a connection may take to authenticate, the TLS handshake included.
    pub authentication_timeout: Duration,
    /// Channels and patterns that one connection may subscribe to.
    pub subscriptions: usize,
    /// Bytes of the texts of scripts that are kept for EVALSHA.
    pub scripts_bytes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            clients: 10_000,
            request_bytes: 64 << 20,
            string_bytes: 16 << 20,
            pipeline: 128,
            transaction_commands: 100_000,
            output_bytes: 64 << 20,
            total_bytes: 1 << 30,
            output_timeout: Duration::from_secs(60),
            idle_timeout: None,
            authentication_timeout: Duration::from_secs(30),
            subscriptions: 1000,
            scripts_bytes: 16 << 20,
        }
    }
}

impl Limits {
    /// The bounds on one request.
    pub(crate) fn request(&self) -> resp::Limits {
        resp::Limits {
            message_bytes: self.request_bytes,
            string_bytes: self.string_bytes.min(self.request_bytes),
            ..resp::Limits::default()
        }
    }
}
