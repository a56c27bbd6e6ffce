//! A client of a replicated service: it finds the servers, sends writes to the sync site and reads to any, tries again
//! where that is safe, and gives up in time. It remembers who is down (`servers`), and asks all at once who is sync
//! site, so that nobody waits for the dead.
//!
//! It works with our servers and OpenAFS's: who is sync site it asks with the debug call, which both answer.

mod servers;

use std::collections::{HashMap, HashSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rx::rpc::CallStream;
use rx::security::SecurityClass;
use rx::{AbortCode, CallFailure, Connection, Port, ServiceId, Timeouts};
use thiserror::Error;
use ubik_proto::code;
use ubik_proto::messages::VoteCall;
use ubik_proto::stock::debug::SiteDebug;
use ubik_proto::version::Version;

use crate::cell_files::CellFileError;
use crate::over_rx::VOTE;
use servers::Servers;

/// Whether a call may be made again when nobody knows whether the first was carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// Twice is as good as once.
    Safe,
    /// It must not happen twice. If the server's process may be replaced by another on the same port meanwhile, the call must name the
    /// process that it is for, as the table of registers does: the next one would take a call that comes again for a new one.
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

/// A client of one service of a cell. Any number of threads may use it.
pub struct Client {
    shared: Arc<Shared>,
    votes: ServiceId,
}

/// What calls share, and questions that outlast them.
struct Shared {
    port: Arc<Port>,
    service: ServiceId,
    security: Arc<dyn SecurityClass>,
    patience: Patience,
    servers: Mutex<Servers>,
    connections: Mutex<HashMap<(SocketAddr, ServiceId), Arc<Connection>>>,
    sync_site: Mutex<Option<SocketAddr>>,
    /// Servers that are being asked who is sync site.
    asking: Mutex<HashSet<SocketAddr>>,
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
        // A process that has just been started says so also of a call that the one before it has carried out.
        AbortCode::INVALID_OPERATION | AbortCode::RESTARTING | AbortCode(-7..=-1) => Fate::Unknown,
        _ => Fate::Answer,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no code here panics while it holds this lock")
}

impl Shared {
    fn connection(&self, server: SocketAddr, service: ServiceId) -> Arc<Connection> {
        let mut connections = lock(&self.connections);
        let connection = connections.entry((server, service)).or_insert_with(|| {
            let dead = self.patience.silence;
            let hard_dead = (service != self.service).then_some(dead);
            let timeouts = Timeouts { dead, hard_dead, ..Timeouts::default() };
            Arc::new(self.port.connect(server, service, &*self.security, timeouts))
        });
        connection.clone()
    }

    /// A connection on which a call was not answered is given up.
    fn give_up(&self, server: SocketAddr, service: ServiceId) {
        lock(&self.connections).remove(&(server, service));
    }

    fn note(&self, server: SocketAddr, answered: bool) {
        lock(&self.servers).note(Instant::now(), server, answered);
    }

    fn in_turn(&self) -> Vec<SocketAddr> {
        lock(&self.servers).in_turn(Instant::now())
    }

    /// Asks `server` who is sync site.
    fn ask(&self, server: SocketAddr, votes: ServiceId) -> Result<Option<SocketAddr>, CallFailure> {
        let connection = self.connection(server, votes);
        let asked = connection.start().and_then(|mut call| {
            call.write(&VoteCall::DebugOld.encode())?;
            let mut answer = Vec::new();
            let mut buffer = [0; 256];
            loop {
                match call.read(&mut buffer)? {
                    0 => return Ok(answer),
                    _ if answer.len() > MAX_ANSWER => return Err(MALFORMED),
                    count => answer.extend_from_slice(&buffer[..count]),
                }
            }
        });
        let answer = asked.inspect_err(|_| self.give_up(server, votes))?;
        let debug = SiteDebug::decode(&answer).map_err(|_| MALFORMED)?;
        if debug.is_sync_site {
            return Ok(Some(server));
        }
        Ok(lock(&self.servers).at(Ipv4Addr::from(debug.sync_host)))
    }
}

/// The longest answer to the question who is sync site, in bytes.
const MAX_ANSWER: usize = 4096;
/// An answer that cannot be read.
const MALFORMED: CallFailure = CallFailure::Unanswered(AbortCode::CLIENT_UNMARSHAL);
/// When a server has answered that it knows no sync site, the others get this long to know better.
const SETTLE: Duration = Duration::from_secs(1);

impl Client {
    /// A client of `service` on these servers, which all have it on the same port.
    pub fn new(
        port: Arc<Port>,
        servers: Vec<SocketAddr>,
        service: ServiceId,
        security: Arc<dyn SecurityClass>,
        patience: Patience,
    ) -> Self {
        Self::on(port, Servers::fixed(servers), service, security, patience)
    }

    /// A client of `service` on the servers that `ThisCell` and `CellServDB` in `directory` name, at this UDP port. The files are
    /// read again when they change.
    ///
    /// # Errors
    /// The files cannot be read.
    pub fn of_cell(
        port: Arc<Port>,
        directory: PathBuf,
        udp_port: u16,
        service: ServiceId,
        security: Arc<dyn SecurityClass>,
        patience: Patience,
    ) -> Result<Self, CellFileError> {
        Ok(Self::on(port, Servers::of_cell(directory, udp_port)?, service, security, patience))
    }

    fn on(
        port: Arc<Port>,
        servers: Servers,
        service: ServiceId,
        security: Arc<dyn SecurityClass>,
        patience: Patience,
    ) -> Self {
        let shared = Shared {
            port,
            service,
            security,
            patience,
            servers: Mutex::new(servers),
            connections: Mutex::default(),
            sync_site: Mutex::default(),
            asking: Mutex::default(),
        };
        Client { shared: Arc::new(shared), votes: VOTE }
    }

    /// The same, of a database whose votes are another service than OpenAFS's, since it shares its port.
    #[must_use]
    pub fn with_votes(self, votes: ServiceId) -> Self {
        Client { votes, ..self }
    }

    /// Who is sync site, by the word of the first server that knows; `None` if none does. All are asked at once, and nobody
    /// waits for those that are silent when another has answered.
    pub fn find_sync_site(&self) -> Option<SocketAddr> {
        lock(&self.shared.servers).refresh();
        let (sender, answers) = channel();
        let mut left = 0;
        for server in self.shared.in_turn() {
            let is_down = lock(&self.shared.servers).is_down(Instant::now(), server);
            if lock(&self.shared.asking).insert(server) {
                let asked = self.ask_aside(server, sender.clone());
                // Whoever is down is asked all the same, for the next time.
                left += usize::from(asked && !is_down);
            }
        }
        let mut until = Instant::now() + self.shared.patience.silence;
        let mut found = None;
        while left > 0 && found.is_none() {
            let Ok(answer) = answers.recv_timeout(until.saturating_duration_since(Instant::now())) else {
                break;
            };
            left -= 1;
            if let Ok(known) = answer {
                found = known;
                until = until.min(Instant::now() + SETTLE);
            }
        }
        *lock(&self.shared.sync_site) = found;
        found
    }

    /// Asks a server from a thread of its own; whether that could be started.
    fn ask_aside(
        &self,
        server: SocketAddr,
        answers: Sender<Result<Option<SocketAddr>, CallFailure>>,
    ) -> bool {
        let (shared, votes) = (self.shared.clone(), self.votes);
        let asked = std::thread::Builder::new().name("ubik-client".to_owned()).spawn(move || {
            let answer = shared.ask(server, votes);
            shared.note(server, answer.is_ok());
            lock(&shared.asking).remove(&server);
            // Nobody may be waiting any more.
            let _ = answers.send(answer);
        });
        if asked.is_err() {
            lock(&self.shared.asking).remove(&server);
        }
        asked.is_ok()
    }

    /// The servers for a call that any may answer; who is up is found out before the first.
    fn servers_in_turn(&self) -> Vec<SocketAddr> {
        lock(&self.shared.servers).refresh();
        if !lock(&self.shared.servers).any_answered() {
            self.find_sync_site();
        }
        self.shared.in_turn()
    }

    /// Makes a call that any server may answer, at each in turn until one does.
    ///
    /// # Errors
    /// As [`ClientError`] says; never [`ClientError::Unknown`], since a read may be made twice.
    pub fn read<R>(
        &self,
        mut call: impl FnMut(&Connection) -> Result<R, CallFailure>,
    ) -> Result<R, ClientError> {
        self.read_until(&mut call, |_| true)
    }

    /// As [`Client::read`], but from a server that has at least this version: what the caller has seen before is not taken
    /// back. `version_of` tells the version of an answer.
    ///
    /// # Errors
    /// As there; [`ClientError::TimedOut`] if no server came so far in time.
    pub fn read_at_least<R>(
        &self,
        least: Version,
        mut call: impl FnMut(&Connection) -> Result<R, CallFailure>,
        version_of: impl Fn(&R) -> Version,
    ) -> Result<R, ClientError> {
        self.read_until(&mut call, |answer| version_of(answer) >= least)
    }

    fn read_until<R>(
        &self,
        call: &mut impl FnMut(&Connection) -> Result<R, CallFailure>,
        is_enough: impl Fn(&R) -> bool,
    ) -> Result<R, ClientError> {
        self.until_answered(|client| {
            let mut last = Err(Try::Nobody);
            for server in client.servers_in_turn() {
                last = client.try_at(server, Again::Safe, call);
                match &last {
                    Ok(answer) if !is_enough(answer) => last = Err(Try::Behind),
                    Err(Try::Elsewhere(_)) => {}
                    _ => break,
                }
            }
            last
        })
    }

    /// Makes a call at one server after the other, as the caller asks for more: at those that are up first, at each once.
    pub fn iterate<'a, R: 'a>(
        &'a self,
        mut call: impl FnMut(&Connection) -> Result<R, CallFailure> + 'a,
    ) -> impl Iterator<Item = (SocketAddr, Result<R, CallFailure>)> + 'a {
        self.servers_in_turn().into_iter().map(move |server| (server, self.call_at(server, &mut call)))
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
            let known = *lock(&client.shared.sync_site);
            let server = known.or_else(|| client.find_sync_site()).ok_or(Try::Nobody)?;
            let tried = client.try_at(server, again, &mut call);
            if matches!(tried, Err(Try::Elsewhere(_) | Try::Over(ClientError::Unknown(_)))) {
                *lock(&client.shared.sync_site) = None;
            }
            tried
        })
    }

    fn until_answered<R>(&self, mut attempt: impl FnMut(&Self) -> Result<R, Try>) -> Result<R, ClientError> {
        let begun = Instant::now();
        let Patience { in_all, pause, .. } = self.shared.patience;
        loop {
            let last = match attempt(self) {
                Ok(answer) => return Ok(answer),
                Err(Try::Over(error)) => return Err(error),
                Err(Try::Elsewhere(code)) => code.to_string(),
                Err(Try::Nobody) => "no server knows a sync site".to_owned(),
                Err(Try::Behind) => "no server has the wanted version yet".to_owned(),
            };
            if begun.elapsed() + pause > in_all {
                return Err(ClientError::TimedOut { patience: in_all, last });
            }
            std::thread::sleep(pause);
        }
    }

    /// Makes one call at one server; on a new connection if the one that was there had failed before.
    fn call_at<R>(
        &self,
        server: SocketAddr,
        call: &mut impl FnMut(&Connection) -> Result<R, CallFailure>,
    ) -> Result<R, CallFailure> {
        let shared = &self.shared;
        let mut made = call(&shared.connection(server, shared.service));
        if let Err(CallFailure::NotSent(_)) = made {
            shared.give_up(server, shared.service);
            made = call(&shared.connection(server, shared.service));
        }
        let answered = matches!(made, Ok(_) | Err(CallFailure::Aborted(_)));
        if !answered {
            shared.give_up(server, shared.service);
        }
        shared.note(server, answered);
        made
    }

    fn try_at<R>(
        &self,
        server: SocketAddr,
        again: Again,
        call: &mut impl FnMut(&Connection) -> Result<R, CallFailure>,
    ) -> Result<R, Try> {
        let failure = match self.call_at(server, call) {
            Ok(answer) => return Ok(answer),
            Err(failure) => failure,
        };
        let (fate, code) = (fate(failure), failure.code());
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
    /// What was read is older than the caller wants.
    Behind,
    Over(ClientError),
}
