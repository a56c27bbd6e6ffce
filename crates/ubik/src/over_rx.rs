//! The way to the peers over Rx, and the services that they call: VOTE (50) and DISK (51), as OpenAFS has them.
//!
//! A peer is known by the address that a call comes from, as in OpenAFS. In a cell with keys that is not enough: it must
//! have proven that it holds the cell's key, for its beacons too, which OpenAFS takes from anybody ([`Membership`]).

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rx::multi::Next;
use rx::rpc::{CallStream, ServedCall};
use rx::security::SecurityClass;
use rx::{Connection, Port, ServiceId, Timeouts};
use ubik_proto::beacon::VoteReply;
use ubik_proto::cell::{Cell, Dialect, ServerId};
use ubik_proto::code::AbortCode;
use ubik_proto::epochs::EpochRange;
use ubik_proto::messages::{Beacon, DiskCall, MAX_INTERFACES, MAX_WRITE_BYTES, VoteCall};
use ubik_proto::profile::Profile;
use ubik_proto::version::Version;
use ubik_proto::xdr::XdrError;

use crate::addresses::{Addresses, Stranger};
use crate::driver::PeerService;
use crate::effect::{Answer, CallError, Reply};
use crate::phys::Replacement;
use crate::registers::table;
use crate::snapshot::Snapshot;
use crate::transport::Transport;

/// The service of votes.
pub const VOTE: ServiceId = ServiceId(50);
/// The service of transactions and transfers.
pub const DISK: ServiceId = ServiceId(51);
/// The services of one database on a port.
///
/// OpenAFS's calls name no database, so it has one a port. Several share one here by having services of their own: the
/// first is where OpenAFS's servers look for it, the others are for our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Services {
    /// Votes.
    pub vote: ServiceId,
    /// Transactions and transfers.
    pub disk: ServiceId,
    /// The table of registers, if it is served.
    pub table: ServiceId,
}

impl Services {
    /// OpenAFS's.
    pub const STOCK: Services = Services { vote: VOTE, disk: DISK, table: table::SERVICE };

    /// Those of the `nth` database on a port, counted from 0; the first has OpenAFS's.
    pub fn nth(nth: u16) -> Services {
        match nth {
            0 => Services::STOCK,
            _ => {
                let [vote, disk, table] = [0, 1, 2].map(|kind| ServiceId(SHARED + 3 * nth + kind));
                Services { vote, disk, table }
            }
        }
    }
}

/// Where the services of further databases on a port begin: OpenAFS has none there.
const SHARED: u16 = 30_000;
/// The most bytes of a call without a stream: a full `WriteV`, and room for its places.
const MAX_CALL: usize = MAX_WRITE_BYTES + 4096;
/// What C answers when a debug call asks about a server past the end of the list.
const NO_SUCH_SERVER: rx::AbortCode = rx::AbortCode(2);
/// How much of a transfer is moved at a time.
const CHUNK: usize = 64 << 10;
/// How far a C voter's clock may be from this one's before its answer is taken for an error: as C has it.
const PLAUSIBLE_SECS: i64 = 3600;

/// Connections to the peers.
pub struct RxTransport {
    port: Arc<Port>,
    cell: Cell,
    addresses: Arc<Addresses>,
    services: Services,
    security: Arc<dyn SecurityClass>,
    timeouts: Timeouts,
    disk_timeouts: Timeouts,
    votes: Mutex<HashMap<ServerId, (u64, Arc<Connection>)>>,
    disks: Mutex<HashMap<ServerId, Arc<Connection>>>,
}

impl RxTransport {
    /// Calls from `port` to the `services` of the peers of `cell` at `addresses`. Keep the port until the server is gone.
    pub fn new(
        port: Arc<Port>,
        services: Services,
        cell: Cell,
        addresses: Arc<Addresses>,
        security: Arc<dyn SecurityClass>,
        profile: &Profile,
    ) -> Self {
        let timeouts = Timeouts { dead: profile.call_timeout, ..Timeouts::default() };
        let disk_timeouts = Timeouts { dead: profile.disk_timeout, ..Timeouts::default() };
        let (votes, disks) = (Mutex::default(), Mutex::default());
        RxTransport { port, cell, addresses, services, security, timeouts, disk_timeouts, votes, disks }
    }

    fn connect(&self, to: ServerId, service: ServiceId, timeouts: Timeouts) -> Option<Connection> {
        let address = self.addresses.current(to)?;
        Some(self.port.connect(address, service, &*self.security, timeouts))
    }

    fn vote_connection(&self, to: ServerId, series: u64) -> Option<Arc<Connection>> {
        let mut votes = self.votes.lock().expect("no code here panics while it holds this lock");
        if let Some((of, connection)) = votes.get(&to)
            && *of == series
        {
            return Some(connection.clone());
        }
        // A beacon must be answered well within the time between two.
        let timeouts = Timeouts { hard_dead: Some(self.timeouts.dead), ..self.timeouts };
        let connection = Arc::new(self.connect(to, self.services.vote, timeouts)?);
        votes.insert(to, (series, connection.clone()));
        Some(connection)
    }

    fn disk_connection(&self, to: ServerId) -> Option<Arc<Connection>> {
        let mut disks = self.disks.lock().expect("no code here panics while it holds this lock");
        if let Some(connection) = disks.get(&to) {
            return Some(connection.clone());
        }
        let connection = Arc::new(self.connect(to, self.services.disk, self.disk_timeouts)?);
        disks.insert(to, connection.clone());
        Some(connection)
    }

    /// Tells a peer this server's addresses, which also tells it that this server has started anew; learns and returns the
    /// peer's own, the one it is listed with first.
    ///
    /// # Errors
    /// No answer, or that the peer's list differs ([`AbortCode::BAD_HOST`]).
    pub fn exchange_addresses(&self, to: ServerId) -> Result<Vec<u32>, CallError> {
        let request = DiskCall::UpdateInterfaceAddr(self.addresses.own().to_vec()).encode();
        let answer = self.on_disk(to, |begun| exchange(begun, &request).map_err(failed))?;
        let words =
            answer.chunks_exact(4).map(|word| u32::from_be_bytes([word[0], word[1], word[2], word[3]]));
        let told: Vec<u32> = words.filter(|&address| address != 0).collect();
        let learned = self.addresses.learn(to, &told);
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
        if self.addresses.current(to) != Some(found) {
            self.addresses.answered_at(to, found);
            self.votes.lock().expect("no code here panics while it holds this lock").remove(&to);
            self.disks.lock().expect("no code here panics while it holds this lock").remove(&to);
        }
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
        if matches!(made, Err(CallError::Unreachable)) {
            give_up(&self.disks, to, |kept| Arc::ptr_eq(kept, &connection));
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

/// Only what the peer said about this very call is an answer; negative codes above those of the stubs are Rx's own.
fn failed(failure: rx::CallFailure) -> CallError {
    match failure {
        rx::CallFailure::Aborted(code) if !(-100..0).contains(&code.0) => {
            CallError::Aborted(AbortCode(code.0))
        }
        _ => CallError::Unreachable,
    }
}

/// Forgets a connection on which a call failed, unless another has taken its place: the next call opens a new one.
fn give_up<T>(connections: &Mutex<HashMap<ServerId, T>>, to: ServerId, is_it: impl Fn(&T) -> bool) {
    let mut connections = connections.lock().expect("no code here panics while it holds this lock");
    if connections.get(&to).is_some_and(is_it) {
        connections.remove(&to);
    }
}

fn exchange(call: &mut rx::ClientCall, request: &[u8]) -> Result<Vec<u8>, rx::CallFailure> {
    call.write(request)?;
    call.finish()?;
    read_rest(call, MAX_CALL)
}

/// The stream is not what the protocol has there.
const MALFORMED: rx::CallFailure = rx::CallFailure::Unanswered(rx::AbortCode(AbortCode::UNMARSHAL.0));

/// Everything up to the end of the stream, at most `limit` bytes.
fn read_rest(call: &mut (impl CallStream + ?Sized), limit: usize) -> Result<Vec<u8>, rx::CallFailure> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match call.read(&mut buffer)? {
            0 => return Ok(bytes),
            count if bytes.len() + count > limit => return Err(MALFORMED),
            count => bytes.extend_from_slice(&buffer[..count]),
        }
    }
}

fn read_exactly(call: &mut (impl CallStream + ?Sized), mut out: &mut [u8]) -> Result<(), rx::CallFailure> {
    while !out.is_empty() {
        match call.read(out)? {
            0 => return Err(MALFORMED),
            count => out = &mut out[count..],
        }
    }
    Ok(())
}

/// Writes a database's bytes as a stream.
fn write_database(call: &mut (impl CallStream + ?Sized), database: &Snapshot) -> Result<(), CallError> {
    let mut buffer = vec![0; CHUNK];
    let mut position = 0;
    while position < database.length() {
        let count = CHUNK.min((database.length() - position) as usize);
        database.copy(position, &mut buffer[..count]).map_err(CallError::Local)?;
        call.write(&buffer[..count]).map_err(failed)?;
        position += count as u64;
    }
    Ok(())
}

/// Reads `length` bytes of a stream into a replacement.
fn read_database(
    call: &mut (impl CallStream + ?Sized),
    length: u32,
    into: &mut dyn Replacement,
) -> Result<(), CallError> {
    let mut buffer = vec![0; CHUNK];
    let mut left = length as usize;
    while left > 0 {
        let count = CHUNK.min(left);
        read_exactly(call, &mut buffer[..count]).map_err(failed)?;
        into.append(&buffer[..count]).map_err(CallError::Local)?;
        left -= count;
    }
    Ok(())
}

/// The wire carries lengths of 31 bits.
fn wire_length(database: &Snapshot) -> Result<u32, CallError> {
    i32::try_from(database.length())
        .map(|length| length as u32)
        .map_err(|_| CallError::Aborted(AbortCode::INTERNAL))
}

impl Transport for RxTransport {
    fn beacon(&self, to: ServerId, series: u64, beacon: &Beacon) -> VoteReply {
        let Some(connection) = self.vote_connection(to, series) else {
            return VoteReply::Failed;
        };
        let request = VoteCall::Beacon(*beacon).encode();
        match connection.start().and_then(|mut call| exchange(&mut call, &request)) {
            Ok(answer) => VoteReply::No(EpochRange::decode(&answer)),
            Err(rx::CallFailure::Aborted(code)) => self.vote_of(to, beacon, code.0),
            Err(rx::CallFailure::Unanswered(_) | rx::CallFailure::NotSent(_)) => {
                give_up(&self.votes, to, |(_, kept)| Arc::ptr_eq(kept, &connection));
                VoteReply::Failed
            }
        }
    }

    fn probe(&self, to: ServerId) -> bool {
        match &self.addresses.all(to)[..] {
            [] => false,
            [_] => self.call(to, &DiskCall::Probe).is_ok(),
            several => self.probe_everywhere(to, several),
        }
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

/// Who may call, and how it proves that it is who it seems.
#[derive(Clone, Debug)]
pub struct Membership {
    /// The servers' addresses, and this server's own.
    pub addresses: Arc<Addresses>,
    /// Whether a server must also prove that it holds the cell's key. Anybody may probe and ask debug questions.
    pub needs_key: bool,
}

impl Membership {
    /// Which server this caller is, if it is one and has proven it as far as it must.
    fn member(&self, caller: &rx::Caller) -> Option<ServerId> {
        let proven = caller.identity.as_ref().is_some_and(|identity| identity.is_service);
        let from = self.addresses.server_at(caller.address.ip());
        from.filter(|_| proven || !self.needs_key)
    }
}

/// Puts a server's `services` on a port, for the members of its cell.
pub fn serve(
    port: &Port,
    services: Services,
    peers: PeerService,
    members: Membership,
    security: &[Arc<dyn SecurityClass>],
) {
    peers.know_addresses(&members.addresses);
    let members = Arc::new(members);
    let votes = (peers.clone(), members.clone());
    port.serve(
        services.vote,
        security.to_vec(),
        Arc::new(move |call: &mut dyn ServedCall| serve_vote(&votes.0, &votes.1, call)),
    );
    port.serve(
        services.disk,
        security.to_vec(),
        Arc::new(move |call: &mut dyn ServedCall| serve_disk(&peers, &members, call)),
    );
}

fn refused(code: AbortCode) -> rx::AbortCode {
    rx::AbortCode(code.0)
}

fn bad_request(error: XdrError) -> rx::AbortCode {
    refused(if let XdrError::Opcode(_) = error { AbortCode::OPCODE } else { AbortCode::UNMARSHAL })
}

fn serve_vote(
    peers: &PeerService,
    members: &Membership,
    call: &mut dyn ServedCall,
) -> Result<(), rx::AbortCode> {
    let request = read_rest(call, MAX_CALL)?;
    let beacon = match VoteCall::decode(&request).map_err(bad_request)? {
        VoteCall::Beacon(beacon) => beacon,
        // C answers this with nothing, by a mistake in the call's definition, and reads nothing (U18).
        VoteCall::SyncSite => return Ok(call.write(&peers.sync_site_address().to_be_bytes())?),
        debug => return Ok(call.write(&peers.serve_debug(debug).ok_or(NO_SUCH_SERVER)?)?),
    };
    // An unknown host gets no vote, which is an empty answer.
    let Some(from) = members.member(call.caller()) else {
        return Ok(());
    };
    match peers.serve_beacon(from, call.caller().channel, &beacon) {
        Some(VoteReply::Yes(code)) => Err(rx::AbortCode(code)),
        Some(VoteReply::No(Some(range))) => Ok(call.write(&range.encode())?),
        Some(VoteReply::No(None) | VoteReply::Failed) => Ok(()),
        None => Err(rx::AbortCode::RESTARTING),
    }
}

fn serve_disk(
    peers: &PeerService,
    members: &Membership,
    call: &mut dyn ServedCall,
) -> Result<(), rx::AbortCode> {
    let from = members.member(call.caller());
    let mut opcode = [0; 4];
    read_exactly(call, &mut opcode)?;
    let is_transfer = u32::from_be_bytes(opcode) == 20006;
    let mut request = opcode.to_vec();
    if is_transfer {
        request.resize(20, 0);
        read_exactly(call, &mut request[4..])?;
    } else {
        request.append(&mut read_rest(call, MAX_CALL)?);
    }
    let decoded = DiskCall::decode(&request).map_err(bad_request)?;
    if decoded == DiskCall::Probe {
        return Ok(());
    }
    let from = from.ok_or(refused(AbortCode::NOT_AUTHORIZED))?;
    if let DiskCall::SendFile { file, length, version } = decoded {
        return receive(peers, from, call, file, length, version);
    }
    let tells_addresses = matches!(decoded, DiskCall::UpdateInterfaceAddr(_));
    if let DiskCall::UpdateInterfaceAddr(told) = &decoded {
        members.addresses.learn(from, told).map_err(|Stranger| refused(AbortCode::BAD_HOST))?;
    }
    match peers.serve_call(from, decoded).map_err(refused)? {
        // C stops if the first of these is not the address that it has listed.
        Answer::Done if tells_addresses => call.write(&encode_addresses(members.addresses.own()))?,
        Answer::Done => {}
        Answer::Version(version) => call.write(&version.encode())?,
        Answer::Database(database) => answer_database(call, &database)?,
    }
    Ok(())
}

fn encode_addresses(addresses: &[u32]) -> Vec<u8> {
    let all = addresses.iter().copied().chain(std::iter::repeat(0));
    all.take(MAX_INTERFACES).flat_map(u32::to_be_bytes).collect()
}

fn answer_database(call: &mut dyn ServedCall, database: &Snapshot) -> Result<(), rx::AbortCode> {
    let local = |error| match error {
        CallError::Aborted(code) => refused(code),
        _ => refused(AbortCode::IO),
    };
    call.write(&wire_length(database).map_err(local)?.to_be_bytes())?;
    write_database(call, database).map_err(local)?;
    Ok(call.write(&database.version().encode())?)
}

fn receive(
    peers: &PeerService,
    from: ServerId,
    call: &mut dyn ServedCall,
    file: u32,
    length: u32,
    version: Version,
) -> Result<(), rx::AbortCode> {
    if file != 0 {
        return Err(refused(AbortCode::NO_ENTRY));
    }
    let mut received = peers.begin_receive(from, version).map_err(refused)?;
    read_database(call, length, &mut *received).map_err(|_| refused(AbortCode::IO))?;
    peers.serve_database(from, version, received).map(drop).map_err(refused)
}
