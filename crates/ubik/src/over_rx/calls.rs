//! The way to the peers: one connection for votes and one for everything else to each, given up when a call on it fails. They are
//! kept with what else is known of a host ([`Hosts`]).

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use rx::multi::Next;
use rx::rpc::CallStream;
use rx::security::SecurityClass;
use rx::{Connection, Port, Timeouts};
use ubik_proto::cell::{Cell, Dialect, ServerId};
use ubik_proto::code::AbortCode;
use ubik_proto::election::beacon::VoteReply;
use ubik_proto::election::epochs::EpochRange;
use ubik_proto::messages::{Beacon, DiskCall, VoteCall};
use ubik_proto::profile::Profile;
use ubik_proto::version::Version;

use super::Services;
use super::streams::{MAX_CALL, read_database, read_exactly, read_rest, wire_length, write_database};
use crate::effect::{CallError, Reply};
use crate::hosts::{Hosts, Stranger};
use crate::phys::Replacement;
use crate::snapshot::Snapshot;
use crate::transport::Transport;
use crate::watch::{self, Log};

/// How far a C voter's clock may be from this one's before its answer is taken for an error: as C has it.
const PLAUSIBLE_SECS: i64 = 3600;

/// Calls of transactions belong to no series.
const ONE_SERIES: u64 = 0;

/// Calls to the peers.
pub struct RxTransport {
    port: Arc<Port>,
    cell: Cell,
    hosts: Arc<Hosts>,
    services: Services,
    security: Arc<dyn SecurityClass>,
    timeouts: Timeouts,
    disk_timeouts: Timeouts,
    log: Log,
}

impl RxTransport {
    /// Calls from `port` to the `services` of the peers of `cell` at `hosts`. Keep the port until the server is gone.
    pub fn new(
        port: Arc<Port>,
        services: Services,
        cell: Cell,
        hosts: Arc<Hosts>,
        security: Arc<dyn SecurityClass>,
        profile: &Profile,
    ) -> Self {
        let timeouts = Timeouts { dead: profile.call_timeout, ..Timeouts::default() };
        let disk_timeouts = Timeouts { dead: profile.disk_timeout, ..Timeouts::default() };
        RxTransport { port, cell, hosts, services, security, timeouts, disk_timeouts, log: watch::silent() }
    }

    /// The same, and says to `log` when a peer does not accept this server's ticket.
    #[must_use]
    pub fn telling(mut self, log: Log) -> Self {
        self.log = log;
        self
    }

    /// A call on a connection to `to` was answered, or was not: says once why a peer refuses this server's ticket.
    fn note_refusal(&self, to: ServerId, connection: &Connection, answered: bool) {
        let refusal = connection.failure().filter(|code| code.is_rxkad());
        if refusal.is_none() && !answered {
            return;
        }
        if let (true, Some(code)) = (self.hosts.note_ticket(to, refusal), refusal) {
            let peer = Ipv4Addr::from(self.cell.server(to).address);
            let key = self
                .security
                .key_version()
                .map_or(String::new(), |version| format!(" (key version {version})"));
            (self.log)(&format!(
                "{peer} does not accept this server's ticket{key}: {code}; give both the same keys, and this one SIGHUP"
            ));
        }
    }

    fn vote_connection(&self, to: ServerId, series: u64) -> Option<Arc<Connection>> {
        // A beacon must be answered well within the time between two.
        let timeouts = Timeouts { hard_dead: Some(self.timeouts.dead), ..self.timeouts };
        let service = self.services.vote;
        let open = |at| self.port.connect(at, service, &*self.security, timeouts);
        self.hosts.connection(to, service, series, open)
    }

    fn disk_connection(&self, to: ServerId) -> Option<Arc<Connection>> {
        let service = self.services.disk;
        let open = |at| self.port.connect(at, service, &*self.security, self.disk_timeouts);
        self.hosts.connection(to, service, ONE_SERIES, open)
    }

    /// Tells a peer this server's addresses, which also tells it that this server has started anew; learns and returns the
    /// peer's own, the one it is listed with first.
    ///
    /// # Errors
    /// No answer, or that the peer's list differs ([`AbortCode::BAD_HOST`]).
    pub fn exchange_addresses(&self, to: ServerId) -> Result<Vec<u32>, CallError> {
        let request = DiskCall::UpdateInterfaceAddr(self.hosts.own().to_vec()).encode();
        let answer = self.on_disk(to, |begun| exchange(begun, &request).map_err(failed))?;
        let words =
            answer.chunks_exact(4).map(|word| u32::from_be_bytes([word[0], word[1], word[2], word[3]]));
        let told: Vec<u32> = words.filter(|&address| address != 0).collect();
        let learned = self.hosts.learn(to, &told);
        learned.map_err(|Stranger| CallError::Aborted(AbortCode::BAD_HOST))?;
        Ok(told)
    }

    /// Asks at all of a server's addresses at once whether it is there; calls go to the first that answers from now on.
    fn probe_everywhere(&self, to: ServerId, all: &[SocketAddr]) -> bool {
        let connect = |&at| self.port.connect(at, self.services.disk, &*self.security, self.disk_timeouts);
        let connections: Vec<Connection> = all.iter().map(connect).collect();
        let connections: Vec<&Connection> = connections.iter().collect();
        let mut found = None;
        let request = rx::rpc::Request::<()>::new(DiskCall::Probe.opcode(), &());
        rx::multi::call_all(&connections, &request, |index, answer| match answer {
            Ok(()) => {
                found = Some(all[index]);
                Next::Stop
            }
            Err(_) => Next::Continue,
        });
        let Some(found) = found else { return false };
        self.hosts.answered_at(to, found);
        true
    }

    /// Makes a call on the DISK connection; a connection on which one failed is given up.
    fn on_disk<R>(
        &self,
        to: ServerId,
        call: impl FnOnce(&mut rx::ClientCall) -> Result<R, CallError>,
    ) -> Result<R, CallError> {
        let connection = self.disk_connection(to).ok_or(CallError::Unreachable)?;
        let made = connection.start().map_err(failed).and_then(|mut begun| call(&mut begun));
        self.note_refusal(to, &connection, !matches!(made, Err(CallError::Unreachable)));
        if matches!(made, Err(CallError::Unreachable)) {
            self.hosts.give_up(to, self.services.disk, &connection);
        }
        made
    }

    /// What an abort that answers a beacon means: positive is yes, as long as it is not an error code in disguise. The
    /// code of a connection that failed is not such an answer, whatever it looks like.
    fn vote_of(&self, to: ServerId, beacon: &Beacon, code: i32) -> VoteReply {
        let plausible = match self.cell.server(to).dialect {
            Dialect::Quorate => code == beacon.start,
            Dialect::OpenAfs => {
                let wall = crate::driver::wall_seconds();
                code > 0 && (i64::from(code) - wall).abs() <= PLAUSIBLE_SECS
            }
        };
        if plausible { VoteReply::Yes(code) } else { VoteReply::Failed }
    }
}

impl Drop for RxTransport {
    fn drop(&mut self) {
        self.hosts.close(&[self.services.vote, self.services.disk]);
    }
}

/// Only what the peer said about this very call is an answer; negative codes above those of the stubs are Rx's own.
pub(super) fn failed(failure: rx::CallFailure) -> CallError {
    match failure {
        rx::CallFailure::Aborted(code) if !(-100..0).contains(&code.0) => {
            CallError::Aborted(AbortCode(code.0))
        }
        _ => CallError::Unreachable,
    }
}

fn exchange(call: &mut rx::ClientCall, request: &[u8]) -> Result<Vec<u8>, rx::CallFailure> {
    call.write(request)?;
    call.finish()?;
    read_rest(call, MAX_CALL)
}

impl Transport for RxTransport {
    fn beacon(&self, to: ServerId, series: u64, beacon: &Beacon) -> VoteReply {
        let Some(connection) = self.vote_connection(to, series) else {
            return VoteReply::Failed;
        };
        let request = VoteCall::Beacon(*beacon).encode();
        let answer = connection.start().and_then(|mut call| exchange(&mut call, &request));
        self.note_refusal(to, &connection, answer.is_ok());
        match answer {
            Ok(answer) => VoteReply::No(EpochRange::decode(&answer)),
            Err(rx::CallFailure::Aborted(code)) => self.vote_of(to, beacon, code.0),
            Err(rx::CallFailure::Unanswered(_) | rx::CallFailure::NotSent(_)) => {
                self.hosts.give_up(to, self.services.vote, &connection);
                VoteReply::Failed
            }
        }
    }

    fn probe(&self, to: ServerId) -> bool {
        self.hosts.probe(to, self.services.vote, || match &self.hosts.all(to)[..] {
            [] => false,
            [_] => self.call(to, &DiskCall::Probe).is_ok(),
            several => self.probe_everywhere(to, several),
        })
    }

    fn call(&self, to: ServerId, call: &DiskCall) -> Result<Reply, CallError> {
        let answer = self.on_disk(to, |begun| exchange(begun, &call.encode()).map_err(failed))?;
        match call {
            DiskCall::GetVersion => {
                let version =
                    Version::decode(&answer).map_err(|_| CallError::Aborted(AbortCode::UNMARSHAL))?;
                Ok(Reply::Version(version))
            }
            _ => Ok(Reply::Done),
        }
    }

    fn send(&self, to: ServerId, database: &Snapshot) -> Result<(), CallError> {
        let length = wire_length(database)?;
        let request = DiskCall::SendFile { file: 0, length, version: database.version() }.encode();
        self.on_disk(to, |call| {
            call.write(&request).map_err(failed)?;
            write_database(call, database)?;
            call.finish().map_err(failed)?;
            read_rest(call, MAX_CALL).map(drop).map_err(failed)
        })
    }

    fn fetch(&self, to: ServerId, into: &mut dyn Replacement) -> Result<Version, CallError> {
        let request = DiskCall::GetFile { file: 0 }.encode();
        self.on_disk(to, |call| {
            call.write(&request).map_err(failed)?;
            call.finish().map_err(failed)?;
            let mut length = [0; 4];
            read_exactly(call, &mut length).map_err(failed)?;
            read_database(call, u32::from_be_bytes(length), into)?;
            let version = read_rest(call, MAX_CALL).map_err(failed)?;
            Version::decode(&version).map_err(|_| CallError::Aborted(AbortCode::UNMARSHAL))
        })
    }
}
