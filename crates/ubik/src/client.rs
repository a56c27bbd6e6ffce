//! A client of a replicated service: it finds the servers, sends writes to the sync site and reads to any, tries again
//! where that is safe, and gives up in time (U36).
//!
//! It works with our servers and OpenAFS's: who is sync site it asks with the debug call, which both answer.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rx::rpc::CallStream;
use rx::security::SecurityClass;
use rx::{AbortCode, CallFailure, Connection, Port, ServiceId, Timeouts};
use thiserror::Error;
use ubik_proto::code;
use ubik_proto::debug::SiteDebug;
use ubik_proto::messages::VoteCall;

use crate::over_rx::VOTE;

/// Whether a call may be made again when nobody knows whether the first was carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// Twice is as good as once.
    Safe,
    /// It must not happen twice.
    Unsafe,
}

/// Why a call was not made, or is not known to have been.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ClientError {
    /// No server could serve it in time; nothing was done.
    #[error("no server served the call within {patience:?}; the last answer was: {last}")]
    TimedOut {
        /// How long was tried.
        patience: Duration,
        /// What the last server that was asked said.
        last: String,
    },
    /// It was sent and not answered: it may have been carried out or not.
    #[error("the server fell silent during the call ({0}); it is not known whether the call was carried out")]
    Unknown(AbortCode),
    /// The service itself refused it.
    #[error("the service refused the call: {0}")]
    Refused(AbortCode),
}

/// How patient a client is.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// One call, all tries together.
    pub in_all: Duration,
    /// How long a server may be silent within a call.
    pub silence: Duration,
    /// The pause before the servers are asked again.
    pub pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Patience {
            in_all: Duration::from_secs(180),
            silence: Duration::from_secs(12),
            pause: Duration::from_millis(100),
        }
    }
}

/// A client of one service of a cell.
pub struct Client {
    port: Arc<Port>,
    servers: Vec<SocketAddr>,
    service: ServiceId,
    votes: ServiceId,
    security: Arc<dyn SecurityClass>,
    patience: Patience,
    connections: Mutex<HashMap<(SocketAddr, ServiceId), Arc<Connection>>>,
    sync_site: Mutex<Option<SocketAddr>>,
    next: AtomicUsize,
}

/// What becomes of a call after an error.
enum Fate {
    /// It was not carried out; another server, or a later time, may do.
    Elsewhere,
    /// Nobody knows.
    Unknown,
    /// It is the service's own answer.
    Answer,
}

fn fate(failure: CallFailure) -> Fate {
    let code = match failure {
        CallFailure::NotSent(_) => return Fate::Elsewhere,
        CallFailure::Unanswered(_) => return Fate::Unknown,
        CallFailure::Aborted(code) => code,
    };
    match code {
        AbortCode(code)
            if code == code::AbortCode::NO_QUORUM.0 || code == code::AbortCode::NOT_SYNC_SITE.0 =>
        {
            Fate::Elsewhere
        }
        AbortCode::INVALID_OPERATION | AbortCode::RESTARTING => Fate::Elsewhere,
        AbortCode(-7..=-1) => Fate::Unknown,
        _ => Fate::Answer,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no code here panics while it holds this lock")
}

impl Client {
    /// A client of `service` on these servers, which all have it on the same port.
    pub fn new(
        port: Arc<Port>,
        servers: Vec<SocketAddr>,
        service: ServiceId,
        security: Arc<dyn SecurityClass>,
        patience: Patience,
    ) -> Self {
        let (connections, sync_site, next) = (Mutex::default(), Mutex::default(), AtomicUsize::new(0));
        Client { port, servers, service, votes: VOTE, security, patience, connections, sync_site, next }
    }

    /// The same, of a database whose votes are another service than OpenAFS's, since it shares its port.
    #[must_use]
    pub fn with_votes(self, votes: ServiceId) -> Self {
        Client { votes, ..self }
    }

    fn connection(&self, server: SocketAddr, service: ServiceId) -> Arc<Connection> {
        let mut connections = lock(&self.connections);
        let connection = connections.entry((server, service)).or_insert_with(|| {
            let dead = self.patience.silence;
            let timeouts = Timeouts { dead, ..Timeouts::default() };
            Arc::new(self.port.connect(server, service, &*self.security, timeouts))
        });
        connection.clone()
    }

    /// A connection on which a call was not answered is given up.
    fn give_up(&self, server: SocketAddr, service: ServiceId) {
        lock(&self.connections).remove(&(server, service));
    }

    /// Asks `server` who is sync site.
    fn ask(&self, server: SocketAddr) -> Result<Option<SocketAddr>, CallFailure> {
        let connection = self.connection(server, self.votes);
        let asked = connection.start().and_then(|mut call| {
            call.write(&VoteCall::DebugOld.encode())?;
            let mut answer = Vec::new();
            let mut buffer = [0; 256];
            loop {
                match call.read(&mut buffer)? {
                    0 => return Ok(answer),
                    count => answer.extend_from_slice(&buffer[..count]),
                }
            }
        });
        let answer = asked.inspect_err(|_| self.give_up(server, self.votes))?;
        let debug =
            SiteDebug::decode(&answer).map_err(|_| CallFailure::Unanswered(AbortCode::CLIENT_UNMARSHAL))?;
        if debug.is_sync_site {
            return Ok(Some(server));
        }
        let host = IpAddr::V4(Ipv4Addr::from(debug.sync_host));
        Ok(self.servers.iter().copied().find(|address| address.ip() == host))
    }

    /// Who is sync site, by the word of the first server that knows; `None` if none does.
    pub fn find_sync_site(&self) -> Option<SocketAddr> {
        let found = self.servers_in_turn().find_map(|server| self.ask(server).ok().flatten());
        *lock(&self.sync_site) = found;
        found
    }

    /// All servers, each time another first, so that their load is spread.
    fn servers_in_turn(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        (0..self.servers.len()).map(move |nth| self.servers[(first + nth) % self.servers.len()])
    }

    /// Makes a call that any server may answer, at each in turn until one does.
    ///
    /// # Errors
    /// As [`ClientError`] says; never [`ClientError::Unknown`], since a read may be made twice.
    pub fn read<R>(
        &self,
        mut call: impl FnMut(&Connection) -> Result<R, CallFailure>,
    ) -> Result<R, ClientError> {
        self.until_answered(|client| {
            let mut last = Err(Try::Nobody);
            for server in client.servers_in_turn() {
                last = client.try_at(server, Again::Safe, &mut call);
                if !matches!(last, Err(Try::Elsewhere(_))) {
                    break;
                }
            }
            last
        })
    }

    /// Makes a call that only the sync site carries out, finding it as often as needed.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub fn write<R>(
        &self,
        again: Again,
        mut call: impl FnMut(&Connection) -> Result<R, CallFailure>,
    ) -> Result<R, ClientError> {
        self.until_answered(|client| {
            let known = *lock(&client.sync_site);
            let server = known.or_else(|| client.find_sync_site()).ok_or(Try::Nobody)?;
            let tried = client.try_at(server, again, &mut call);
            if matches!(tried, Err(Try::Elsewhere(_) | Try::Over(ClientError::Unknown(_)))) {
                *lock(&client.sync_site) = None;
            }
            tried
        })
    }

    fn until_answered<R>(&self, mut attempt: impl FnMut(&Self) -> Result<R, Try>) -> Result<R, ClientError> {
        let begun = Instant::now();
        loop {
            let last = match attempt(self) {
                Ok(answer) => return Ok(answer),
                Err(Try::Over(error)) => return Err(error),
                Err(Try::Elsewhere(code)) => code.to_string(),
                Err(Try::Nobody) => "no server knows a sync site".to_owned(),
            };
            if begun.elapsed() + self.patience.pause > self.patience.in_all {
                return Err(ClientError::TimedOut { patience: self.patience.in_all, last });
            }
            std::thread::sleep(self.patience.pause);
        }
    }

    fn try_at<R>(
        &self,
        server: SocketAddr,
        again: Again,
        call: &mut impl FnMut(&Connection) -> Result<R, CallFailure>,
    ) -> Result<R, Try> {
        let connection = self.connection(server, self.service);
        let failure = match call(&connection) {
            Ok(answer) => return Ok(answer),
            Err(failure) => failure,
        };
        let (fate, code) = (fate(failure), failure.code());
        if !matches!(fate, Fate::Answer) {
            self.give_up(server, self.service);
        }
        Err(match (fate, again) {
            (Fate::Answer, _) => Try::Over(ClientError::Refused(code)),
            (Fate::Unknown, Again::Unsafe) => Try::Over(ClientError::Unknown(code)),
            (Fate::Elsewhere | Fate::Unknown, _) => Try::Elsewhere(code),
        })
    }
}

/// How one try failed.
enum Try {
    Elsewhere(AbortCode),
    Nobody,
    Over(ClientError),
}
