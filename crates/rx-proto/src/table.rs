//! The endpoint's connections, found by their place and by what is in a packet's header.
//!
//! A place is used again, but with a new generation: a reference to a connection that is gone finds nothing.

use std::collections::HashMap;
use std::net::SocketAddr;

use crate::call::Side;
use crate::connection::Connection;
use crate::names::ConnectionRef;
use crate::packet::Header;

/// Peers whose epoch has the top bit have drawn it at random.
const EPOCH_IS_RANDOM: u32 = 0x8000_0000;

/// What in a header tells to which connection it belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    epoch: u32,
    connection_id: u32,
    security_index: u8,
    we_are_client: bool,
    /// Of a connection that the peer opened, always: a call is attributed to the address that its packets come from, so
    /// the same header from elsewhere belongs to another connection. Of ours, only when the epoch says little: a server
    /// with several addresses answers from any of them, as OpenAFS's do.
    peer: Option<SocketAddr>,
}

impl Key {
    /// Of a packet that came from `peer`.
    pub fn of(header: &Header, peer: SocketAddr) -> Key {
        let side = if header.client_initiated() { Side::Server } else { Side::Client };
        Key::new(header.epoch, header.connection_id(), header.security_index, side, peer)
    }

    pub fn new(epoch: u32, connection_id: u32, security_index: u8, side: Side, peer: SocketAddr) -> Key {
        Key {
            epoch,
            connection_id,
            security_index,
            we_are_client: side == Side::Client,
            peer: (side == Side::Server || epoch & EPOCH_IS_RANDOM == 0).then_some(peer),
        }
    }
}

#[derive(Default)]
struct Place {
    generation: u32,
    connection: Option<Box<Connection>>,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Table {
    places: Vec<Place>,
    free: Vec<u32>,
    by_key: HashMap<Key, u32>,
}

impl Table {
    /// Adds the connection that `make` builds for its reference.
    pub fn insert(&mut self, key: Key, make: impl FnOnce(ConnectionRef) -> Connection) -> ConnectionRef {
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place::default());
            u32::try_from(self.places.len() - 1)
                .expect("limits keep the number of connections far below 2^32")
        });
        let place = &mut self.places[index as usize];
        place.generation = place.generation.wrapping_add(1);
        let me = ConnectionRef { index, generation: place.generation };
        place.connection = Some(Box::new(make(me)));
        self.by_key.insert(key, index);
        me
    }

    pub fn get_mut(&mut self, at: ConnectionRef) -> Option<&mut Connection> {
        let place = self.places.get_mut(at.index as usize)?;
        place.connection.as_deref_mut().filter(|_| place.generation == at.generation)
    }

    pub fn get(&self, at: ConnectionRef) -> Option<&Connection> {
        let place = self.places.get(at.index as usize)?;
        place.connection.as_deref().filter(|_| place.generation == at.generation)
    }

    pub fn find(&self, key: &Key) -> Option<ConnectionRef> {
        let index = *self.by_key.get(key)?;
        Some(ConnectionRef { index, generation: self.places[index as usize].generation })
    }

    pub fn remove(&mut self, at: ConnectionRef) -> Option<Box<Connection>> {
        self.get(at)?;
        let connection = self.places[at.index as usize].connection.take()?;
        let identity = connection.identity;
        let key = Key::new(
            identity.epoch,
            identity.connection_id,
            identity.security_index.0,
            connection.side,
            connection.peer,
        );
        self.by_key.remove(&key);
        self.free.push(at.index);
        Some(connection)
    }

    /// All connections, in the order of their places.
    pub fn iter(&self) -> impl Iterator<Item = &Connection> {
        self.places.iter().filter_map(|place| place.connection.as_deref())
    }

    pub fn len(&self) -> usize {
        self.by_key.len()
    }
}
