//! What a server looks after in its peers: that they run the program they are listed with, and have the same list of servers.

use std::collections::{BTreeSet, HashMap};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Weak};
use std::time::Duration;

use rx::question::Asker;
use rx::rpc::CallStream;
use rx::security::NullSecurity;
use rx::{CallFailure, Port, ServiceId, Timeouts};
use ubik::watch::Log;
use ubik_proto::cell::{Cell, Dialect, ServerId};
use ubik_proto::messages::VoteCall;
use ubik_proto::stock::debug::{ServerDebug, SiteDebug};

/// How long a peer may take to answer.
const PATIENCE: Duration = Duration::from_secs(8);
/// How often peers are looked at: their lists change when they restart.
const EVERY: Duration = Duration::from_secs(300);
/// The longest answer to a debug call, in bytes.
const MAX_ANSWER: usize = 4096;

/// Looks at the peers of one database now and then, and when it is told to. Says what is wrong once, until it changes.
pub struct PeerCheck {
    cell: Cell,
    port: Weak<Port>,
    udp_port: u16,
    votes: ServiceId,
    log: Log,
    said: HashMap<(ServerId, &'static str), String>,
}

impl PeerCheck {
    /// Starts looking; whoever drops the sender ends it, and each `()` makes it look at once.
    pub fn start(cell: Cell, port: &Arc<Port>, udp_port: u16, votes: ServiceId, log: Log) -> Sender<()> {
        let (look, looks) = channel();
        let mut check =
            PeerCheck { cell, port: Arc::downgrade(port), udp_port, votes, log, said: HashMap::new() };
        std::thread::spawn(move || check.run(&looks));
        look
    }

    fn run(&mut self, looks: &Receiver<()>) {
        loop {
            for peer in self.cell.peers() {
                let program = self.program_of(peer);
                self.say(peer, "program", program);
                let list = self.list_of(peer);
                self.say(peer, "list", list);
            }
            if let Err(RecvTimeoutError::Disconnected) = looks.recv_timeout(EVERY) {
                return;
            }
        }
    }

    /// Says how a peer is, if that is news; a peer that does not answer changes nothing.
    fn say(&mut self, peer: ServerId, about: &'static str, found: Option<Option<String>>) {
        let Some(found) = found else { return };
        match found {
            None => drop(self.said.remove(&(peer, about))),
            Some(line) if self.said.get(&(peer, about)) == Some(&line) => {}
            Some(line) => {
                (self.log)(&line);
                self.said.insert((peer, about), line);
            }
        }
    }

    fn address(&self, id: ServerId) -> Ipv4Addr {
        Ipv4Addr::from(self.cell.server(id).address)
    }

    fn at(&self, id: ServerId) -> SocketAddr {
        SocketAddr::new(self.address(id).into(), self.udp_port)
    }

    /// Whether it runs another program than the arguments say.
    fn program_of(&self, peer: ServerId) -> Option<Option<String>> {
        let (version, _) = Asker::new(self.at(peer), PATIENCE).and_then(|mut asker| asker.version()).ok()?;
        let ours = self.cell.server(peer).dialect == Dialect::Quorate;
        let address = self.address(peer);
        Some(match (version.starts_with("Quorate"), ours) {
            (true, false) => Some(format!(
                "{address} runs this program too: name it with --ours, or its promises bind less"
            )),
            (false, true) => {
                Some(format!("{address} is named by --ours and runs {version:?}: its votes will not count"))
            }
            _ => None,
        })
    }

    /// Whether its list of servers is another: then two quorums are possible.
    fn list_of(&self, peer: ServerId) -> Option<Option<String>> {
        let theirs = self.servers_of(peer).ok()?;
        let own: BTreeSet<Ipv4Addr> = self.cell.ids().map(|id| self.address(id)).collect();
        let names = |set: BTreeSet<&Ipv4Addr>| {
            set.iter().map(|address| address.to_string()).collect::<Vec<_>>().join(", ")
        };
        let (more, less) =
            (names(theirs.difference(&own).collect()), names(own.difference(&theirs).collect()));
        let difference = match (more.is_empty(), less.is_empty()) {
            (true, true) => return Some(None),
            (false, true) => format!("it lists {more}, which this server does not"),
            (true, false) => format!("it does not list {less}"),
            (false, false) => format!("it lists {more} and does not list {less}"),
        };
        let address = self.address(peer);
        Some(Some(format!(
            "{address} has another list of servers: {difference}; two quorums are possible until CellServDB is the same \
             everywhere and every server was restarted"
        )))
    }

    /// The servers of a peer's list, by the addresses that they are listed with.
    fn servers_of(&self, peer: ServerId) -> Result<BTreeSet<Ipv4Addr>, CallFailure> {
        let site = SiteDebug::decode(&self.ask(peer, VoteCall::DebugOld)?).map_err(|_| MALFORMED)?;
        let mut servers = BTreeSet::from([self.address(peer)]);
        for which in 1..site.servers.clamp(1, ubik_proto::cell::MAX_SERVERS as i32) as u32 {
            let answer = self.ask(peer, VoteCall::ServerDebugOld(which - 1))?;
            let server = ServerDebug::decode(&answer).map_err(|_| MALFORMED)?;
            servers.insert(Ipv4Addr::from(server.address));
        }
        Ok(servers)
    }

    fn ask(&self, peer: ServerId, question: VoteCall) -> Result<Vec<u8>, CallFailure> {
        let port = self.port.upgrade().ok_or(CallFailure::NotSent(rx::AbortCode::RESTARTING))?;
        let timeouts = Timeouts { dead: PATIENCE, hard_dead: Some(PATIENCE), ..Timeouts::default() };
        let connection = port.connect(self.at(peer), self.votes, &NullSecurity, timeouts);
        let mut call = connection.start()?;
        call.write(&question.encode())?;
        let (mut answer, mut buffer) = (Vec::new(), [0; MAX_ANSWER]);
        loop {
            match call.read(&mut buffer)? {
                0 => return Ok(answer),
                count if answer.len() + count > MAX_ANSWER => return Err(MALFORMED),
                count => answer.extend_from_slice(&buffer[..count]),
            }
        }
    }
}

/// An answer that cannot be read.
const MALFORMED: CallFailure = CallFailure::Unanswered(rx::AbortCode::CLIENT_UNMARSHAL);
