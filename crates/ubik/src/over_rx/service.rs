//! Who may call this server, and what it answers.
//!
//! A peer is known by the address that its call comes from, as in OpenAFS. In a cell with keys that is not enough: it must
//! have proven that it holds the cell's key, for its beacons too, which OpenAFS takes from anybody. Membership is asked at
//! the first packet of a call, before the request is read: votes, the calls of members and those of strangers have threads
//! and memory of their own ([`Share`]).

use std::net::IpAddr;
use std::sync::Arc;

use rx::admission::{Admission, Begins, Share};
use rx::rpc::ServedCall;
use rx::rxkad::Level;
use rx::security::SecurityClass;
use rx::service::Service;
use rx::{Caller, Port};
use ubik_proto::cell::{ServerId, ServerSet};
use ubik_proto::code::AbortCode;
use ubik_proto::election::beacon::VoteReply;
use ubik_proto::messages::{DiskCall, MAX_INTERFACES, VoteCall};
use ubik_proto::version::Version;
use ubik_proto::xdr::XdrError;

use super::Services;
use super::streams::{MAX_CALL, read_database, read_exactly, read_rest, wire_length, write_database};
use crate::driver::PeerService;
use crate::effect::{Answer, CallError};
use crate::hosts::{Hosts, Stranger};
use crate::snapshot::Snapshot;

/// What C answers when a debug call asks about a server past the end of the list.
const NO_SUCH_SERVER: rx::AbortCode = rx::AbortCode(2);
/// The longest request to the votes' service, in bytes: a beacon has 28.
const MAX_VOTE_CALL: usize = 1024;
/// The one call of the DISK service that strangers may make.
const PROBE: u32 = 20010;
/// The one that is answered while it is still coming.
const SEND_FILE: u32 = 20006;
/// The one that holders of the cell's key may make from anywhere, to copy the database.
const GET_FILE: u32 = 20005;

/// Who may call, and how it proves that it is who it seems.
#[derive(Clone, Debug)]
pub struct Membership {
    /// The servers' addresses, and this server's own.
    pub hosts: Arc<Hosts>,
    /// Whether a server must also prove that it holds the cell's key. Anybody may probe and ask debug questions.
    pub needs_key: bool,
    /// Servers whose calls must be sealed, in a cell with keys: our own. OpenAFS's send theirs in the clear.
    pub sealed: ServerSet,
}

impl Membership {
    /// Which server this caller is, if it is one and has proven it as far as it must.
    pub fn member(&self, caller: &Caller) -> Option<ServerId> {
        let from = self.hosts.server_at(caller.address.ip())?;
        let least = if self.sealed.contains(from) { Level::Crypt } else { Level::Clear };
        let identity = caller.identity.as_ref();
        let proven = identity.is_some_and(|identity| identity.is_service && identity.level >= least as u8);
        (proven || !self.needs_key).then_some(from)
    }

    /// Whether this caller may copy the database without being one of the other servers: it holds the cell's key, or calls
    /// from this server's own machine where there are no keys.
    fn may_copy(&self, caller: &Caller) -> bool {
        let holds_key = caller.identity.as_ref().is_some_and(|identity| identity.is_service);
        let is_here = match caller.address.ip() {
            IpAddr::V4(ip) => self.hosts.own().contains(&u32::from(ip)),
            IpAddr::V6(_) => false,
        };
        if self.needs_key { holds_key && (is_here || self.member(caller).is_none()) } else { is_here }
    }
}

/// Puts a server's `services` on a port, for the members of its cell. `open` are the security classes of the votes' service,
/// where anybody may ask debug questions; `closed` those of the DISK service.
pub fn serve(
    port: &Port,
    services: Services,
    peers: PeerService,
    members: Membership,
    open: &[Arc<dyn SecurityClass>],
    closed: &[Arc<dyn SecurityClass>],
) {
    peers.know_hosts(&members.hosts, services.vote);
    let members = Arc::new(members);
    let votes = Votes { peers: peers.clone(), members: members.clone() };
    port.serve(services.vote, open.to_vec(), Arc::new(votes));
    port.serve(services.disk, closed.to_vec(), Arc::new(Disk { peers, members }));
}

fn refused(code: AbortCode) -> rx::AbortCode {
    rx::AbortCode(code.0)
}

fn bad_request(error: XdrError) -> rx::AbortCode {
    refused(if let XdrError::Opcode(_) = error { AbortCode::OPCODE } else { AbortCode::UNMARSHAL })
}

/// The service of votes and debug questions.
struct Votes {
    peers: PeerService,
    members: Arc<Membership>,
}

impl Service for Votes {
    fn admit(&self, caller: &Caller, _first: &[u8]) -> Result<Admission, rx::AbortCode> {
        let is_member = self.members.member(caller).is_some();
        let share = if is_member { Share::Votes } else { Share::Strangers };
        Ok(Admission { share, begins: Begins::Whole { most: MAX_VOTE_CALL } })
    }

    fn answer(&self, call: &mut dyn ServedCall) -> Result<(), rx::AbortCode> {
        let request = read_rest(call, MAX_VOTE_CALL)?;
        let beacon = match VoteCall::decode(&request).map_err(bad_request)? {
            VoteCall::Beacon(beacon) => beacon,
            // C answers this with nothing, by a mistake in the call's definition, and reads nothing (U18).
            VoteCall::SyncSite => return Ok(call.write(&self.peers.sync_site_address().to_be_bytes())?),
            debug => return Ok(call.write(&self.peers.serve_debug(debug).ok_or(NO_SUCH_SERVER)?)?),
        };
        // An unknown host gets no vote, which is an empty answer.
        let Some(from) = self.members.member(call.caller()) else {
            return Ok(());
        };
        match self.peers.serve_beacon(from, call.caller().channel, &beacon) {
            Some(VoteReply::Yes(code)) => Err(rx::AbortCode(code)),
            Some(VoteReply::No(Some(range))) => Ok(call.write(&range.encode())?),
            Some(VoteReply::No(None) | VoteReply::Failed) => Ok(()),
            None => Err(rx::AbortCode::RESTARTING),
        }
    }
}

/// The service of transactions and transfers.
struct Disk {
    peers: PeerService,
    members: Arc<Membership>,
}

impl Service for Disk {
    fn admit(&self, caller: &Caller, first: &[u8]) -> Result<Admission, rx::AbortCode> {
        let opcode = first.first_chunk().map(|bytes| u32::from_be_bytes(*bytes));
        let (share, begins) = match opcode {
            Some(PROBE) => (Share::Strangers, Begins::Whole { most: size_of::<u32>() }),
            Some(GET_FILE) if self.members.may_copy(caller) => {
                (Share::Members, Begins::Whole { most: MAX_CALL })
            }
            _ if self.members.member(caller).is_none() => return Err(refused(AbortCode::NOT_AUTHORIZED)),
            Some(SEND_FILE) => (Share::Members, Begins::AtOnce),
            _ => (Share::Members, Begins::Whole { most: MAX_CALL }),
        };
        Ok(Admission { share, begins })
    }

    fn answer(&self, call: &mut dyn ServedCall) -> Result<(), rx::AbortCode> {
        let mut opcode = [0; 4];
        read_exactly(call, &mut opcode)?;
        let mut request = opcode.to_vec();
        if u32::from_be_bytes(opcode) == SEND_FILE {
            request.resize(20, 0);
            read_exactly(call, &mut request[4..])?;
        } else {
            request.append(&mut read_rest(call, MAX_CALL)?);
        }
        let decoded = DiskCall::decode(&request).map_err(bad_request)?;
        if decoded == DiskCall::Probe {
            return Ok(());
        }
        if matches!(decoded, DiskCall::GetFile { file: 0 }) && self.members.may_copy(call.caller()) {
            let database = self.peers.committed().ok_or(refused(AbortCode::NO_QUORUM))?;
            return answer_database(call, &database);
        }
        // It was one when the call was admitted; its addresses may have changed since.
        let from = self.members.member(call.caller()).ok_or(refused(AbortCode::NOT_AUTHORIZED))?;
        self.answer_member(from, decoded, call)
    }
}

impl Disk {
    fn answer_member(
        &self,
        from: ServerId,
        asked: DiskCall,
        call: &mut dyn ServedCall,
    ) -> Result<(), rx::AbortCode> {
        if let DiskCall::SendFile { file, length, version } = asked {
            return self.receive(from, call, file, length, version);
        }
        let tells_addresses = matches!(asked, DiskCall::UpdateInterfaceAddr(_));
        if let DiskCall::UpdateInterfaceAddr(told) = &asked {
            let learned = self.members.hosts.learn(from, told);
            learned.map_err(|Stranger| refused(AbortCode::BAD_HOST))?;
        }
        match self.peers.serve_call(from, asked).map_err(refused)? {
            // C stops if the first of these is not the address that it has listed.
            Answer::Done if tells_addresses => {
                call.write(&encode_addresses(self.members.hosts.own()))?;
            }
            Answer::Done => {}
            Answer::Version(version) => call.write(&version.encode())?,
            Answer::Database(database) => answer_database(call, &database)?,
        }
        Ok(())
    }

    fn receive(
        &self,
        from: ServerId,
        call: &mut dyn ServedCall,
        file: u32,
        length: u32,
        version: Version,
    ) -> Result<(), rx::AbortCode> {
        if file != 0 {
            return Err(refused(AbortCode::NO_ENTRY));
        }
        let mut received = self.peers.begin_receive(from, version).map_err(refused)?;
        read_database(call, length, &mut *received).map_err(|_| refused(AbortCode::IO))?;
        self.peers.serve_database(from, version, received).map(drop).map_err(refused)
    }
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

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::net::{Ipv4Addr, SocketAddr};

    use rx::security::{Identity, SecurityIndex};

    use super::*;

    fn caller(last: u8, level: Option<Level>) -> Caller {
        let identity = level.map(|level| {
            Arc::new(Identity {
                name: "afs".to_owned(),
                instance: String::new(),
                cell: String::new(),
                expires: u32::MAX,
                level: level as u8,
                is_service: true,
            })
        });
        let address = SocketAddr::new(Ipv4Addr::new(10, 0, 0, last).into(), 7002);
        Caller { address, local: None, security: SecurityIndex::RXKAD, identity, channel: 0 }
    }

    /// X12, U31: in a cell with keys a server of ours is known only by sealed calls, OpenAFS's also by calls in the clear, and
    /// nobody by an address alone; whoever holds the key may copy from anywhere.
    #[test]
    fn members_prove_themselves_as_far_as_they_can() {
        let id = ServerId::new;
        let at = |last| SocketAddr::new(Ipv4Addr::new(10, 0, 0, last).into(), 7002);
        let listed = HashMap::from([(id(0), at(1)), (id(1), at(2)), (id(2), at(3))]);
        let hosts = Arc::new(Hosts::new(listed, vec![u32::from_be_bytes([10, 0, 0, 1])]));
        let sealed: ServerSet = [id(0), id(1)].into_iter().collect();
        let members = Membership { hosts: hosts.clone(), needs_key: true, sealed };
        assert_eq!(members.member(&caller(2, Some(Level::Crypt))), Some(id(1)));
        assert_eq!(members.member(&caller(2, Some(Level::Clear))), None);
        assert_eq!(members.member(&caller(3, Some(Level::Clear))), Some(id(2)));
        assert_eq!(members.member(&caller(3, None)), None);
        assert_eq!(members.member(&caller(9, Some(Level::Crypt))), None);
        assert!(members.may_copy(&caller(9, Some(Level::Clear))) && !members.may_copy(&caller(9, None)));
        assert!(!members.may_copy(&caller(3, Some(Level::Clear))), "a peer recovers, and gets the tail");
        let open = Membership { hosts, needs_key: false, sealed };
        assert_eq!(open.member(&caller(2, None)), Some(id(1)));
        assert!(open.may_copy(&caller(1, None)) && !open.may_copy(&caller(9, None)));
    }
}
