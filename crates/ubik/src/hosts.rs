//! The other servers' processes, as this one knows them: once, however many databases are behind the port.
//!
//! A host has the address that is listed for it and those that it tells when it starts; what one database learns of them, that a
//! host answers again, how its clock is off, or that it refuses this server's ticket holds for all. So do the connections to it, one for
//! each of its services, since that is what Rx has: when it is found at another address none to the old one is left. OpenAFS's servers have a process for each database and a port for each process, so what
//! is shared is what shares a port.
//!
//! A server is known by the address that its calls come from, so what is learned here decides who a caller is. A server may
//! claim any address that is not another's, as in OpenAFS; in a cell with keys it has proven itself before it is asked.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rx::{AbortCode, Connection, ServiceId};
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
    /// Its clock is farther off than the limit.
    skewed: bool,
    /// Why it refused this server's ticket last, if it did.
    refusal: Option<AbortCode>,
}

impl Host {
    fn new(listed: SocketAddr) -> Self {
        Host { listed, others: Vec::new(), current: listed, probing: false, skewed: false, refusal: None }
    }
}

/// An address that a server claims is another's.
#[derive(Debug, PartialEq, Eq)]
pub struct Stranger;

/// The connections to each service of each host, with the number of their series.
type Connections = HashMap<(ServerId, ServiceId), (u64, Arc<Connection>)>;

/// Is told of a host that answers again.
type Watcher = Arc<dyn Fn(ServerId) + Send + Sync>;

/// All of them, shared by those who call and those who are called.
pub struct Hosts {
    /// This server's own, the listed one first.
    own: Vec<u32>,
    /// Taken while a caller is looked up, so nothing is asked of the port under it.
    servers: Mutex<HashMap<ServerId, Host>>,
    connections: Mutex<Connections>,
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
        let servers = listed.into_iter().map(|(id, at)| (id, Host::new(at))).collect();
        Hosts { own, servers: Mutex::new(servers), connections: Mutex::default(), watchers: Mutex::default() }
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

    /// A server answered at `address`: it is called there from now on, by every database.
    pub fn answered_at(&self, id: ServerId, address: SocketAddr) {
        let moved = self
            .servers()
            .get_mut(&id)
            .is_some_and(|host| std::mem::replace(&mut host.current, address) != address);
        if moved {
            self.disconnect(id);
        }
    }

    fn connections(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock().expect("no code here panics while it holds this lock")
    }

    /// The connection of this series to a service of a host, made by `open` unless there is one.
    pub(crate) fn connection(
        &self,
        id: ServerId,
        service: ServiceId,
        series: u64,
        open: impl FnOnce(SocketAddr) -> Connection,
    ) -> Option<Arc<Connection>> {
        let mut connections = self.connections();
        if let Some((of, kept)) = connections.get(&(id, service))
            && *of == series
        {
            return Some(kept.clone());
        }
        // Read under the lock, so that a host that moves now finds the connection to drop.
        let opened = Arc::new(open(self.current(id)?));
        connections.insert((id, service), (series, opened.clone()));
        Some(opened)
    }

    /// Forgets a connection on which a call failed, unless another has taken its place: the next call opens a new one.
    pub(crate) fn give_up(&self, id: ServerId, service: ServiceId, failed: &Arc<Connection>) {
        let mut connections = self.connections();
        if connections.get(&(id, service)).is_some_and(|(_, kept)| Arc::ptr_eq(kept, failed)) {
            connections.remove(&(id, service));
        }
    }

    /// A database is served no more: nothing keeps its connections, nor the port that they are on.
    pub(crate) fn close(&self, services: &[ServiceId]) {
        self.connections().retain(|(_, service), _| !services.contains(service));
    }

    fn disconnect(&self, id: ServerId) {
        self.connections().retain(|&(of, _), _| of != id);
    }

    /// A host accepted this server's ticket, or refused it; returns whether a refusal is news.
    pub(crate) fn note_ticket(&self, id: ServerId, refusal: Option<AbortCode>) -> bool {
        let mut servers = self.servers();
        let Some(host) = servers.get_mut(&id) else { return false };
        std::mem::replace(&mut host.refusal, refusal) != refusal && refusal.is_some()
    }

    /// A host's clock is so far ahead of this one's; returns whether it is farther off than `limit`, and was not before.
    pub fn note_clock(&self, id: ServerId, ahead_secs: i64, limit: Duration) -> bool {
        let skewed = ahead_secs.unsigned_abs() > limit.as_secs();
        let mut servers = self.servers();
        servers.get_mut(&id).is_some_and(|host| !std::mem::replace(&mut host.skewed, skewed) && skewed)
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
        if self.keep_addresses(id, told)? {
            self.disconnect(id);
        }
        Ok(())
    }

    /// Returns whether the host moved.
    fn keep_addresses(&self, id: ServerId, told: Vec<Ipv4Addr>) -> Result<bool, Stranger> {
        // Held from the question to the answer: two servers that claim one address at once are told so.
        let mut servers = self.servers();
        if told.iter().any(|&ip| owner(&servers, ip.into()).is_some_and(|owner| owner != id)) {
            return Err(Stranger);
        }
        let Some(known) = servers.get_mut(&id) else { return Ok(false) };
        let mut others: Vec<Ipv4Addr> = Vec::new();
        for ip in told.into_iter().filter(|&ip| known.listed.ip() != ip) {
            if !others.contains(&ip) {
                others.push(ip);
            }
        }
        let port = known.listed.port();
        let gone = !others.iter().any(|&ip| SocketAddr::new(ip.into(), port) == known.current);
        known.others = others;
        let now = if gone { known.listed } else { known.current };
        Ok(std::mem::replace(&mut known.current, now) != now)
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

    /// U23, U53: a clock that is off is news once, whichever database hears of it, and again after it was right.
    #[test]
    fn a_clock_that_is_off_is_news_once() {
        let at = SocketAddr::new(Ipv4Addr::new(10, 0, 0, 1).into(), 7002);
        let (peer, limit) = (ServerId::new(1), Duration::from_secs(10));
        let hosts = Hosts::new([(peer, at)].into(), vec![1]);
        let news = [5, 11, 12, -300, 0, -11].map(|ahead| hosts.note_clock(peer, ahead, limit));
        assert_eq!(news, [false, true, false, false, false, true]);
        assert!(!hosts.note_clock(ServerId::new(2), 99, limit), "it is not in the cell");
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
