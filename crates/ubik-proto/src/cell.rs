//! Who is in the cell.

use std::fmt;
use std::net::Ipv4Addr;

use thiserror::Error;

/// The most servers one cell can have: C's MAXSERVERS.
pub const MAX_SERVERS: usize = 20;

/// A server's place in the sorted list of the cell; a lower id is a lower address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId(u8);

impl ServerId {
    /// The server at `index` of the list.
    ///
    /// # Panics
    /// If no cell can have that many servers.
    pub fn new(index: usize) -> Self {
        assert!(index < MAX_SERVERS, "a cell has at most {MAX_SERVERS} servers");
        ServerId(index as u8)
    }

    /// Its place in the list.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "server {}", self.0)
    }
}

/// A set of servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerSet(u32);

impl ServerSet {
    /// Nobody.
    pub const EMPTY: ServerSet = ServerSet(0);

    /// Adds one.
    pub fn insert(&mut self, id: ServerId) {
        self.0 |= 1 << id.0;
    }

    /// Takes one out.
    pub fn remove(&mut self, id: ServerId) {
        self.0 &= !(1 << id.0);
    }

    /// Whether it is in.
    pub fn contains(self, id: ServerId) -> bool {
        self.0 & (1 << id.0) != 0
    }

    /// Keeps those that are `wanted`.
    pub fn retain(&mut self, wanted: impl Fn(ServerId) -> bool) {
        *self = self.iter().filter(|&id| wanted(id)).collect();
    }

    /// How many there are.
    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those in both.
    pub fn and(self, other: ServerSet) -> ServerSet {
        ServerSet(self.0 & other.0)
    }

    /// Its members, lowest address first.
    pub fn iter(self) -> impl Iterator<Item = ServerId> {
        (0..MAX_SERVERS as u8).map(ServerId).filter(move |&id| self.contains(id))
    }
}

impl FromIterator<ServerId> for ServerSet {
    fn from_iter<I: IntoIterator<Item = ServerId>>(ids: I) -> Self {
        let mut set = ServerSet::EMPTY;
        for id in ids {
            set.insert(id);
        }
        set
    }
}

/// Whether a server takes part in elections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerKind {
    /// Votes, and may become sync site.
    Voter,
    /// Follows only.
    Clone,
}

/// Whose program a server runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// This one: it keeps the rules of `docs/ubik-protocol.md`.
    Quorate,
    /// OpenAFS: leases by its wall clock, no ballots.
    OpenAfs,
}

/// One server of the cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its primary address, as an integer in host order: decides rank and the tie breaker.
    pub address: u32,
    /// Voter or clone.
    pub kind: ServerKind,
    /// Whose program it runs.
    pub dialect: Dialect,
}

/// The servers of one cell, sorted by address, and which of them this is.
#[derive(Clone, Debug)]
pub struct Cell {
    servers: Vec<Server>,
    me: ServerId,
    name: String,
    stands: bool,
}

/// Why a list of servers is not a cell.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum CellError {
    /// Too many for the wire and the vote tables.
    #[error("the cell lists {0} servers; at most {MAX_SERVERS} are possible")]
    TooMany(usize),
    /// The same address twice.
    #[error("address {} is listed twice; list each server once", Ipv4Addr::from(*.0))]
    Duplicate(u32),
    /// This server is not in the list.
    #[error("this server's address {} is not in the list; add it on every server", Ipv4Addr::from(*.0))]
    NotListed(u32),
    /// Nobody can be elected.
    #[error("the cell has no voter; list at least one server that is not a clone")]
    NoVoter,
}

impl Cell {
    /// The cell of `servers`, seen from the one whose primary address is `own`.
    ///
    /// # Errors
    /// If the list is empty of voters, too long, has an address twice, or lacks `own`.
    pub fn new(mut servers: Vec<Server>, own: u32) -> Result<Self, CellError> {
        if servers.len() > MAX_SERVERS {
            return Err(CellError::TooMany(servers.len()));
        }
        servers.sort_by_key(|server| server.address);
        if let Some(pair) = servers.windows(2).find(|pair| pair[0].address == pair[1].address) {
            return Err(CellError::Duplicate(pair[0].address));
        }
        if !servers.iter().any(|server| server.kind == ServerKind::Voter) {
            return Err(CellError::NoVoter);
        }
        let me = servers.iter().position(|server| server.address == own).ok_or(CellError::NotListed(own))?;
        Ok(Cell { servers, me: ServerId::new(me), name: String::new(), stands: true })
    }

    /// The same with a name: what is kept under one name counts for nothing under another.
    pub fn named(self, name: impl Into<String>) -> Self {
        Cell { name: name.into(), ..self }
    }

    /// The same, with this server only voting: it never asks to be sync site, since it has no application that could serve as one.
    pub fn only_voting(self) -> Self {
        Cell { stands: false, ..self }
    }

    /// Whether this server may ask to be sync site, if it votes at all.
    pub fn stands(&self) -> bool {
        self.stands
    }

    /// A number that tells cells apart by their names (FNV-1a, 64 bits).
    pub fn name_hash(&self) -> u64 {
        let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        self.name.as_bytes().iter().fold(0xcbf2_9ce4_8422_2325, step)
    }

    /// This server.
    pub fn me(&self) -> ServerId {
        self.me
    }

    /// How many servers there are, clones too.
    pub fn len(&self) -> usize {
        self.servers.len()
    }

    /// Never: a cell has a voter.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// What is known of one server.
    pub fn server(&self, id: ServerId) -> &Server {
        &self.servers[id.index()]
    }

    /// Every server, lowest address first.
    pub fn ids(&self) -> impl Iterator<Item = ServerId> + use<> {
        (0..self.servers.len()).map(ServerId::new)
    }

    /// Every server but this one.
    pub fn peers(&self) -> impl Iterator<Item = ServerId> + use<> {
        let me = self.me;
        self.ids().filter(move |&id| id != me)
    }

    /// The servers that vote.
    pub fn voters(&self) -> ServerSet {
        self.ids().filter(|&id| self.is_voter(id)).collect()
    }

    /// Whether `id` votes.
    pub fn is_voter(&self, id: ServerId) -> bool {
        self.server(id).kind == ServerKind::Voter
    }

    /// The other servers that keep no epochs: OpenAFS's.
    pub fn foreign_peers(&self) -> ServerSet {
        self.peers().filter(|&id| !self.server(id).dialect.keeps_epochs()).collect()
    }

    /// Whether a server of OpenAFS's votes.
    pub fn has_foreign_voters(&self) -> bool {
        self.voters().iter().any(|id| !self.server(id).dialect.keeps_epochs())
    }

    /// The server with this primary address.
    pub fn by_address(&self, address: u32) -> Option<ServerId> {
        self.servers.iter().position(|server| server.address == address).map(ServerId::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voter(address: u32) -> Server {
        Server { address, kind: ServerKind::Voter, dialect: Dialect::Quorate }
    }

    /// U14: the order of addresses is the order of ids.
    #[test]
    fn servers_are_ranked_by_address() {
        let cell = Cell::new(vec![voter(30), voter(10), voter(20)], 20).unwrap();
        assert_eq!(cell.me(), ServerId::new(1));
        assert_eq!(cell.server(ServerId::new(0)).address, 10);
    }

    #[test]
    fn a_list_that_is_no_cell_is_refused_with_the_reason() {
        assert_eq!(Cell::new(vec![voter(1), voter(1)], 1).unwrap_err(), CellError::Duplicate(1));
        let unlisted = Cell::new(vec![voter(1)], 0x0102_0304).unwrap_err();
        assert_eq!(unlisted, CellError::NotListed(0x0102_0304));
        assert!(unlisted.to_string().contains("1.2.3.4 is not in the list"), "{unlisted}");
        let clone = Server { kind: ServerKind::Clone, ..voter(1) };
        assert_eq!(Cell::new(vec![clone], 1).unwrap_err(), CellError::NoVoter);
        assert_eq!(Cell::new((0..21).map(voter).collect(), 1).unwrap_err(), CellError::TooMany(21));
    }
}
