//! The addresses of a cell's servers: the one that is listed for each, and those that it tells when it starts.
//!
//! A server is known by the address that its calls come from, so what is learned here decides who a caller is. A server may
//! claim any address that is not another's, as in OpenAFS; in a cell with keys it has proven itself before it is asked.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Mutex, MutexGuard};

use ubik_proto::cell::ServerId;
use ubik_proto::messages::MAX_INTERFACES;

/// Where one server is.
#[derive(Debug)]
struct Known {
    /// As in the list that all servers share; the port is that of every address.
    listed: SocketAddr,
    /// What it told besides.
    others: Vec<Ipv4Addr>,
    /// Where it answered last.
    current: SocketAddr,
}

/// An address that a server claims is another's.
#[derive(Debug, PartialEq, Eq)]
pub struct Stranger;

/// The addresses of all servers, shared by those who call and those who are called.
#[derive(Debug)]
pub struct Addresses {
    /// This server's own, the listed one first.
    own: Vec<u32>,
    servers: Mutex<HashMap<ServerId, Known>>,
}

impl Addresses {
    /// Every server is at its listed address, as far as is known; `own` are this server's, the listed one first.
    pub fn new(listed: HashMap<ServerId, SocketAddr>, own: Vec<u32>) -> Self {
        let known = |listed| Known { listed, others: Vec::new(), current: listed };
        let servers = listed.into_iter().map(|(id, at)| (id, known(at))).collect();
        Addresses { own, servers: Mutex::new(servers) }
    }

    fn servers(&self) -> MutexGuard<'_, HashMap<ServerId, Known>> {
        self.servers.lock().expect("no code here panics while it holds this lock")
    }

    /// This server's own addresses, the listed one first.
    pub fn own(&self) -> &[u32] {
        &self.own
    }

    /// Whose address this is.
    pub fn server_at(&self, address: IpAddr) -> Option<ServerId> {
        owner(&self.servers(), address)
    }

    /// Where to call a server.
    pub fn current(&self, id: ServerId) -> Option<SocketAddr> {
        self.servers().get(&id).map(|known| known.current)
    }

    /// Every address of a server, the listed one first.
    pub fn all(&self, id: ServerId) -> Vec<SocketAddr> {
        let servers = self.servers();
        let Some(known) = servers.get(&id) else { return Vec::new() };
        let port = known.listed.port();
        let others = known.others.iter().map(|&ip| SocketAddr::new(ip.into(), port));
        std::iter::once(known.listed).chain(others).collect()
    }

    /// The addresses of a server besides the listed one, as the wire has them.
    pub fn others(&self, id: ServerId) -> Vec<u32> {
        self.servers()
            .get(&id)
            .map_or_else(Vec::new, |known| known.others.iter().copied().map(u32::from).collect())
    }

    /// A server answered at `address`: it is called there from now on.
    pub fn answered_at(&self, id: ServerId, address: SocketAddr) {
        if let Some(known) = self.servers().get_mut(&id) {
            known.current = address;
        }
    }

    /// What a server tells of itself; zeros are room that was not needed.
    ///
    /// # Errors
    /// If one of them is another server's: then nothing is learned.
    pub fn learn(&self, id: ServerId, told: &[u32]) -> Result<(), Stranger> {
        let told: Vec<Ipv4Addr> = told
            .iter()
            .filter(|&&address| address != 0)
            .take(MAX_INTERFACES)
            .map(|&a| Ipv4Addr::from(a))
            .collect();
        // Held from the question to the answer: two servers that claim one address at once are told so.
        let mut servers = self.servers();
        if told.iter().any(|&ip| owner(&servers, ip.into()).is_some_and(|owner| owner != id)) {
            return Err(Stranger);
        }
        if let Some(known) = servers.get_mut(&id) {
            let mut others: Vec<Ipv4Addr> = Vec::new();
            for ip in told.into_iter().filter(|&ip| known.listed.ip() != ip) {
                if !others.contains(&ip) {
                    others.push(ip);
                }
            }
            let port = known.listed.port();
            let gone = !others.iter().any(|&ip| SocketAddr::new(ip.into(), port) == known.current);
            if gone {
                known.current = known.listed;
            }
            known.others = others;
        }
        Ok(())
    }
}

fn owner(servers: &HashMap<ServerId, Known>, address: IpAddr) -> Option<ServerId> {
    let has = |known: &Known| known.listed.ip() == address || known.others.iter().any(|&ip| ip == address);
    servers.iter().find(|(_, known)| has(known)).map(|(&id, _)| id)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// U24, U31: a server is known by every address that it told, and none of them may be another's.
    #[test]
    fn a_server_is_known_by_the_addresses_it_told() {
        let at = |last| SocketAddr::new(Ipv4Addr::new(10, 0, 0, last).into(), 7002);
        let id = ServerId::new;
        let addresses = Addresses::new((0..2).map(|nth| (id(nth), at(nth as u8))).collect(), vec![1]);
        let told = |last: u8| u32::from_be_bytes([10, 0, 0, last]);
        addresses.learn(id(1), &[told(1), told(9), 0, told(9), told(8), 0]).unwrap();
        assert_eq!(addresses.all(id(1)), [at(1), at(9), at(8)]);
        assert_eq!(addresses.server_at(at(8).ip()), Some(id(1)));
        assert_eq!(addresses.server_at(at(7).ip()), None);
        assert_eq!(addresses.learn(id(0), &[told(0), told(9)]), Err(Stranger), "it is the other's");
        assert_eq!(addresses.all(id(0)), [at(0)]);

        addresses.answered_at(id(1), at(8));
        assert_eq!(addresses.current(id(1)), Some(at(8)));
        addresses.learn(id(1), &[told(1)]).unwrap();
        assert_eq!(addresses.current(id(1)), Some(at(1)), "it has that address no more");
        assert_eq!(addresses.server_at(at(8).ip()), None);
    }
}
