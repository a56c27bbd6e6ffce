//! What happens next, and when.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use ubik::disk_work::{DiskDone, DiskWork};
use ubik::effect::{AnswerId, CallToken};
use ubik::phys::Replacement;
use ubik_proto::cell::ServerId;
use ubik_proto::code::AbortCode;
use ubik_proto::election::Event as ElectionEvent;
use ubik_proto::election::beacon::VoteReply;
use ubik_proto::election::promise::PromiseRecord;
use ubik_proto::messages::{Beacon, DiskCall};
use ubik_proto::version::Version;

use crate::client::ClientStep;
use crate::openafs::Wake;
use crate::scenario::Trouble;

/// One machine of the cell.
pub type NodeId = usize;

/// What a server is told in answer to a call.
#[derive(Clone, Debug)]
pub enum Said {
    /// It was done.
    Done,
    /// The version.
    Version(Version),
    /// The database.
    Database(Version, Vec<u8>),
}

/// What a call between servers carries.
#[derive(Clone, Debug)]
pub enum Request {
    /// Any but the transfers.
    Call(DiskCall),
    /// `SendFile`, with the bytes.
    Database(Version, Vec<u8>),
}

/// A database that a server is being sent.
#[derive(Debug)]
pub struct Incoming {
    /// The call.
    pub answer: AnswerId,
    /// Whose.
    pub from: ServerId,
    /// What it is.
    pub version: Version,
    /// Where its bytes go.
    pub into: Box<dyn Replacement>,
    /// What has not come yet.
    pub rest: Vec<u8>,
}

/// Something that happens at a server, unless it has crashed since.
#[derive(Debug)]
pub enum Local {
    /// A timer of the votes.
    ElectionTimer,
    /// A timer of the copy.
    ReplicaTimer,
    /// Its votes told its copy something.
    Notify(ElectionEvent),
    /// Its disk begins to work.
    Disk(DiskWork),
    /// Its disk has done its work.
    DiskDone(DiskDone),
    /// The disk is about to have its own vote.
    SaveOwnVote(PromiseRecord),
    /// The disk is about to have a promise; then the vote is sent.
    SavePromise { record: PromiseRecord, to: NodeId, number: u64, asked_by: u64, vote: VoteReply, given: u64 },
    /// A beacon of its own was answered, or not.
    Vote { from: NodeId, number: u64, reply: VoteReply },
    /// A probe of its own was answered, or not.
    Probe { to: NodeId, answered: bool },
    /// A call of its own was answered, or not.
    Reply { token: CallToken, reply: Option<Result<Said, AbortCode>> },
    /// More of a database has come.
    Piece(Incoming),
    /// A server of OpenAFS's is woken.
    Wake(Wake),
    /// An answer leaves, the disk being done.
    SendReply { to: NodeId, token: CallToken, asked_by: u64, reply: Result<Said, AbortCode> },
}

/// Something that happens.
#[derive(Debug)]
pub enum Event {
    /// At a server, in this life of it.
    Local { node: NodeId, life: u64, what: Local },
    /// A beacon arrives, whichever life the server is in.
    Beacon { to: NodeId, from: NodeId, life: u64, series: u64, number: u64, beacon: Beacon },
    /// A probe arrives.
    Probe { to: NodeId, from: NodeId, life: u64 },
    /// A call arrives.
    Request { to: NodeId, from: NodeId, life: u64, token: CallToken, request: Request },
    /// A client does something.
    Client(ClientStep),
    /// Something goes wrong or right again.
    Trouble(Trouble),
}

/// Events by time; those of one time in the order in which they were put in.
#[derive(Debug, Default)]
pub struct Queue {
    heap: BinaryHeap<Reverse<(u64, u64, usize)>>,
    slots: Vec<Option<Event>>,
    free: Vec<usize>,
    sequence: u64,
}

impl Queue {
    /// Puts an event in, at `time` in microseconds.
    pub fn push(&mut self, time: u64, event: Event) {
        self.sequence += 1;
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot] = Some(event);
                slot
            }
            None => {
                self.slots.push(Some(event));
                self.slots.len() - 1
            }
        };
        self.heap.push(Reverse((time, self.sequence, slot)));
    }

    /// The next event, if it is not after `end`.
    pub fn pop(&mut self, end: u64) -> Option<(u64, Event)> {
        let &Reverse((time, _, slot)) = self.heap.peek()?;
        if time > end {
            return None;
        }
        self.heap.pop();
        self.free.push(slot);
        let event = self.slots[slot].take().expect("a slot in the heap holds its event");
        Some((time, event))
    }
}
