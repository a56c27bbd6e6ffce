//! What an endpoint and its connections speak of: services, references, events, datagrams, callers.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::codes::AbortCode;
use crate::security::{Identity, SecurityIndex};
use crate::shares::Share;

/// A service on a port; requests name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceId(pub u16);

/// Names a connection of an endpoint; finds nothing once that is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnectionRef {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

/// Names a call of an endpoint; finds nothing once the application has ended it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CallRef {
    pub(crate) connection: ConnectionRef,
    pub(crate) channel: u8,
    pub(crate) number: u32,
}

impl CallRef {
    /// The connection it is on.
    pub fn connection(&self) -> ConnectionRef {
        self.connection
    }
}

/// What has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A peer calls; the application now has the call and must end it.
    IncomingCall {
        /// The call.
        call: CallRef,
        /// The service it asks for.
        service: ServiceId,
        /// Whose it is.
        share: Share,
    },
    /// A read or write that had to wait may succeed now, or the call has failed.
    Progress(CallRef),
    /// A connection whose channels were all busy has a free one.
    ChannelFree(ConnectionRef),
}

/// Datagrams to send: one, or several of equal size (the last may be shorter) one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    /// Where to.
    pub to: SocketAddr,
    /// The address of ours to send from, if the peer knows us by a certain one.
    pub from: Option<IpAddr>,
    /// The datagrams.
    pub bytes: Vec<u8>,
    /// Length of each but the last.
    pub segment: usize,
}

impl Transmit {
    /// Adds a datagram if it fits after the others.
    pub(crate) fn append(&mut self, datagram: &[u8]) -> bool {
        let is_whole = self.bytes.len().is_multiple_of(self.segment);
        let fits = self.bytes.len() + datagram.len() <= MAX_BATCH_BYTES
            && self.bytes.len() / self.segment < MAX_BATCH_DATAGRAMS;
        let appended = is_whole && fits && datagram.len() <= self.segment;
        if appended {
            self.bytes.extend_from_slice(datagram);
        }
        appended
    }
}

/// What a read gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// So many bytes.
    Bytes(usize),
    /// Nothing yet; [`crate::Event::Progress`] will tell.
    Blocked,
    /// The peer's direction has ended.
    End,
}

/// What the driver tells of its threads, for `rxdebug`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ThreadReport {
    /// Threads that wait for a call.
    pub idle: u32,
    /// Calls that wait for a thread.
    pub waiting: u32,
    /// Calls that ever had to.
    pub waited: u32,
}

/// Why a connection was not opened or a call not started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The connection is closed.
    #[error("the connection is closed")]
    Closed,
    /// The connection has failed.
    #[error("the connection has failed: {0}")]
    Failed(AbortCode),
}

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The address that the call came from.
    pub address: SocketAddr,
    /// The address of ours that it came to, if the driver knows.
    pub local: Option<IpAddr>,
    /// The security class.
    pub security: SecurityIndex,
    /// Who it has proven to be.
    pub identity: Option<Arc<Identity>>,
    /// Which channel of which connection of this endpoint the call is on: of two calls with the same number here, the
    /// caller had the first answered, or gave it up, before it made the second.
    pub channel: u64,
}

/// Datagrams of one connection that are sent in one go: enough to make a system call cheap, few enough that other
/// connections get their turn.
const MAX_BATCH_DATAGRAMS: usize = 32;
/// And their bytes, which must fit a UDP datagram before the kernel cuts them apart.
const MAX_BATCH_BYTES: usize = 60_000;
