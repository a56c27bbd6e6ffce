//! The other servers' processes, as this one knows them: once, however many databases are behind the port.
//!
//! A host has the address that is listed for it and those that it tells when it starts; what one database learns of them, or that a
//! host answers again, holds for all. OpenAFS's servers have a process for each database and a port for each process, so what
//! is shared is what shares a port.
//!
//! A server is known by the address that its calls come from, so what is learned here decides who a caller is. A server may
//! claim any address that is not another's, as in OpenAFS; in a cell with keys it has proven itself before it is asked.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};

use rx::ServiceId;
use ubik_proto::cell::ServerId;
use ubik_proto::messages::MAX_INTERFACES;

/// Where one server is.
#[derive(Debug)]
struct Host {
    /// As in the list that all servers share; the port is that of every address.
    listed: SocketAddr,
    /// What it told besides.
    others: Vec<Ipv4Addr>,
    /// Where it answered last.
    current: SocketAddr,
    /// A database asks whether it is there.
    probing: bool,
}

/// An address that a server claims is another's.
#[derive(Debug, PartialEq, Eq)]
pub struct Stranger;

/// Is told of a host that answers again.
type Watcher = Arc<dyn Fn(ServerId) + Send + Sync>;

/// All of them, shared by those who call and those who are called.
pub struct Hosts {
    /// This server's own, the listed one first.
    own: Vec<u32>,
    servers: Mutex<HashMap<ServerId, Host>>,
    /// The databases of this process, by the services of their votes.
    watchers: Mutex<Vec<(ServiceId, Watcher)>>,
}

impl fmt::Debug for Hosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hosts")
            .field("own", &self.own)
            .field("servers", &self.servers)
            .finish_non_exhaustive()
    }
}

impl Hosts {
    /// Every server is at its listed address, as far as is known; `own` are this server's, the listed one first.
    pub fn new(listed: HashMap<ServerId, SocketAddr>, own: Vec<u32>) -> Self {
        let known = |listed| Host { listed, others: Vec::new(), current: listed, probing: false };
        let servers = listed.into_iter().map(|(id, at)| (id, known(at))).collect();
        Hosts { own, servers: Mutex::new(servers), watchers: Mutex::default() }
    }

    fn servers(&self) -> MutexGuard<'_, HashMap<ServerId, Host>> {
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

    /// The database whose votes are at `database` wants to hear of hosts that answer again.
    pub fn watch(&self, database: ServiceId, watcher: impl Fn(ServerId) + Send + Sync + 'static) {
        self.watchers().push((database, Arc::new(watcher)));
    }

    fn watchers(&self) -> MutexGuard<'_, Vec<(ServiceId, Watcher)>> {
        self.watchers.lock().expect("no code here panics while it holds this lock")
    }

    /// Asks whether a host is there, by `ask`, for the database whose votes are at `database`, unless another is asking: one answer
    /// is every database's.
    pub fn probe(&self, id: ServerId, database: ServiceId, ask: impl FnOnce() -> bool) -> bool {
        let begun =
            self.servers().get_mut(&id).is_some_and(|host| !std::mem::replace(&mut host.probing, true));
        if !begun {
            return false;
        }
        let answered = ask();
        if let Some(host) = self.servers().get_mut(&id) {
            host.probing = false;
        }
        if answered {
            let others =
                self.watchers().iter().filter(|(of, _)| *of != database).cloned().collect::<Vec<_>>();
            others.iter().for_each(|(_, tell)| tell(id));
        }
        answered
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

fn owner(servers: &HashMap<ServerId, Host>, address: IpAddr) -> Option<ServerId> {
    let has = |known: &Host| known.listed.ip() == address || known.others.iter().any(|&ip| ip == address);
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
        let addresses = Hosts::new((0..2).map(|nth| (id(nth), at(nth as u8))).collect(), vec![1]);
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

    /// U53: one probe asks for all databases, and its answer is all databases'; the one that asked hears of it as an answer.
    #[test]
    fn one_probe_is_every_databases() {
        let at = SocketAddr::new(Ipv4Addr::new(10, 0, 0, 1).into(), 7002);
        let (peer, first, second) = (ServerId::new(1), ServiceId(50), ServiceId(30_003));
        let hosts = Arc::new(Hosts::new([(peer, at)].into(), vec![1]));
        let heard = Arc::new(Mutex::new(Vec::new()));
        for database in [first, second] {
            let heard = heard.clone();
            hosts.watch(database, move |id| heard.lock().unwrap().push((database, id)));
        }
        let answered = hosts.probe(peer, first, || {
            assert!(!hosts.probe(peer, second, || panic!("it is being asked")));
            true
        });
        assert!(answered);
        assert_eq!(*heard.lock().unwrap(), [(second, peer)]);
        assert!(!hosts.probe(peer, second, || false));
        assert_eq!(heard.lock().unwrap().len(), 1, "a silent host is no news");
    }
}
