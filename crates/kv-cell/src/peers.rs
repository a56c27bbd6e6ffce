//! The way to the other servers of the cell: steps that this one cannot carry out are sent to the sync site, in a call of
//! Rx with the keys that the servers have among themselves, and what other servers send is taken in.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kv::{Step, StepError};
use rx::admission::{Admission, Begins, Share};
use rx::rpc::{CallStream, ServedCall};
use rx::security::SecurityClass;
use rx::service::Service;
use rx::{AbortCode, CallFailure, Caller, Connection, Dialer, ServiceId, Timeouts};
use ubik::hosts::Hosts;
use ubik::over_rx::Membership;
use ubik_proto::cell::ServerId;
use ubik_proto::code;

use crate::queue::{Item, Queue, Together};
use crate::wire::{MOST_BYTES, Outcomes, decode_outcomes, decode_steps, encode_outcomes, encode_steps};

/// A server that has not been heard of for so long has fallen silent. Longer than the disk's calls have: a step that was
/// sent and not answered is undecided, which is worse for a client than waiting.
const SILENCE: Duration = Duration::from_secs(3);
/// The longest that a call may take while its server is alive.
const LONGEST: Duration = Duration::from_secs(60);
/// How long a server may take to say that it is there.
const PROBE: Duration = Duration::from_millis(600);
/// A server that answered so short a time ago is taken to be there still.
const FRESH: Duration = Duration::from_millis(100);
/// The procedure: the incarnation of the server that is meant and steps in; its incarnation and outcomes out.
const CARRY_OUT: u32 = 2;
/// The incarnation of whichever process answers; only for a call without steps.
const ANY: u64 = 0;
/// The process that is meant does not run any more.
const OTHER_INCARNATION: AbortCode = AbortCode(0x6b76_0001);

/// Connections to the other servers.
pub struct Peers {
    dialer: Dialer,
    hosts: Arc<Hosts>,
    service: ServiceId,
    security: Arc<dyn SecurityClass>,
    links: Mutex<HashMap<ServerId, Link>>,
    others: Vec<ServerId>,
    /// Counts on with each [`Peers::next_other`].
    next: AtomicUsize,
}

/// Connections to a server, and when it answered last.
///
/// A server that is killed and started again knows nothing of the calls that it had begun, and what is sent again of one would
/// be carried out a second time. So each call says which incarnation of the server it is for.
#[derive(Clone)]
struct Link {
    /// Which it was when it answered last.
    incarnation: u64,
    connection: Arc<Connection>,
    /// The same, and less patient: for the question whether the server is there.
    probe: Arc<Connection>,
    /// `None` before the first time.
    heard: Option<Instant>,
}

/// What became of steps that were to be sent.
pub enum Sent {
    /// They were answered.
    Answered(Outcomes),
    /// They did not leave this server.
    Unsent(String),
    /// They left, and what came of them is not known.
    Lost(String),
}

impl Peers {
    /// Connections by `dialer` to `service` of the servers `others`, at `hosts`.
    pub fn new(
        others: Vec<ServerId>,
        dialer: Dialer,
        hosts: Arc<Hosts>,
        service: ServiceId,
        security: Arc<dyn SecurityClass>,
    ) -> Peers {
        Peers { dialer, hosts, service, security, links: Mutex::default(), others, next: AtomicUsize::new(0) }
    }

    /// One server after the other, for whoever knows no sync site: a server that cannot vote, as when its disk is full, hears
    /// of none, while the others have one. Who is not sync site refuses writes, and answers reads if it has a lease.
    pub fn next_other(&self) -> Option<ServerId> {
        let nth = self.next.fetch_add(1, Ordering::Relaxed);
        self.others.get(nth % self.others.len().max(1)).copied()
    }

    /// Has `items` carried out at `to`, in order.
    ///
    /// What is sent to a server that has died is undecided, and a client cannot do much with that. So a server that was not
    /// heard of just now is asked first whether it is there.
    pub fn carry_out(&self, to: ServerId, items: &[Item]) -> Sent {
        let Some(link) = self.link(to) else {
            return Sent::Unsent("the sync site has no address".to_owned());
        };
        let mut incarnation = link.incarnation;
        if link.heard.is_none_or(|heard| heard.elapsed() >= FRESH) {
            match self.call(to, &link, &link.probe, ANY, &encode_steps([].into_iter())) {
                Ok((found, _)) => incarnation = found,
                Err(failure) => return Sent::Unsent(format!("the sync site does not answer ({failure})")),
            }
        }
        let request = encode_steps(items.iter().map(|item| &item.step));
        match self.call(to, &link, &link.connection, incarnation, &request) {
            Ok((_, reply)) => match decode_outcomes(&reply) {
                Ok(outcomes) if outcomes.len() == items.len() => {
                    if outcomes.iter().any(|outcome| matches!(outcome, Err(StepError::Unavailable(_)))) {
                        self.distrust(to);
                    }
                    Sent::Answered(outcomes)
                }
                _ => Sent::Lost("the sync site's answer cannot be read".to_owned()),
            },
            // Of any other failure: what a server says that is started again, says nothing of the one before.
            Err(failure @ CallFailure::NotSent(_)) => Sent::Unsent(failure.to_string()),
            Err(failure) => Sent::Lost(format!("the sync site fell silent ({failure})")),
        }
    }

    /// A server that refuses may be about to end: it is asked whether it is there before it is sent anything more.
    fn distrust(&self, to: ServerId) {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(link) = links.get_mut(&to) {
            link.heard = None;
        }
    }

    /// Makes a call; connections on which one fails are given up.
    fn call(
        &self,
        to: ServerId,
        link: &Link,
        on: &Connection,
        incarnation: u64,
        request: &[u8],
    ) -> Result<(u64, Vec<u8>), CallFailure> {
        let answered = call(on, incarnation, request);
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok((incarnation, _)) = answered {
            links.insert(to, Link { heard: Some(Instant::now()), incarnation, ..link.clone() });
        } else {
            links.remove(&to);
        }
        answered
    }

    fn link(&self, to: ServerId) -> Option<Link> {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        let is_sound = |link: &&Link| link.connection.failure().is_none() && link.probe.failure().is_none();
        if let Some(known) = links.get(&to).filter(is_sound) {
            return Some(known.clone());
        }
        let (connection, probe) = (self.connect(to, SILENCE, LONGEST)?, self.connect(to, PROBE, PROBE)?);
        let (connection, probe) = (Arc::new(connection), Arc::new(probe));
        let link = Link { incarnation: ANY, connection, probe, heard: None };
        links.insert(to, link.clone());
        Some(link)
    }

    fn connect(&self, to: ServerId, dead: Duration, hard_dead: Duration) -> Option<Connection> {
        let timeouts = Timeouts { dead, hard_dead: Some(hard_dead), ..Timeouts::default() };
        self.dialer.connect(self.hosts.current(to)?, self.service, &*self.security, timeouts)
    }
}

fn call(connection: &Connection, incarnation: u64, request: &[u8]) -> Result<(u64, Vec<u8>), CallFailure> {
    let mut call = connection.start()?;
    call.write(&CARRY_OUT.to_be_bytes())?;
    call.write(&incarnation.to_be_bytes())?;
    call.write(request)?;
    let reply = read_all(&mut call)?;
    let (incarnation, outcomes) =
        reply.split_first_chunk().ok_or(CallFailure::Unanswered(AbortCode::CLIENT_UNMARSHAL))?;
    Ok((u64::from_be_bytes(*incarnation), outcomes.to_vec()))
}

fn read_all(call: &mut (impl CallStream + ?Sized)) -> Result<Vec<u8>, CallFailure> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 16 << 10];
    loop {
        match call.read(&mut buffer)? {
            0 => return Ok(bytes),
            count if bytes.len() + count > MOST_BYTES => {
                return Err(CallFailure::Unanswered(AbortCode::SERVER_UNMARSHAL));
            }
            count => bytes.extend_from_slice(&buffer[..count]),
        }
    }
}

/// What the other servers call.
pub struct StepService {
    members: Membership,
    /// Which process this is, of those that are this server one after the other.
    incarnation: u64,
    writes: Arc<Queue>,
    reads: Arc<Queue>,
}

impl StepService {
    /// A service for `members`, which puts steps into the queues of this server's threads.
    pub fn new(members: Membership, writes: Arc<Queue>, reads: Arc<Queue>) -> StepService {
        StepService { members, incarnation: fastrand::u64(1..), writes, reads }
    }

    /// The reply to a request after its opcode.
    fn reply(&self, request: &[u8]) -> Result<Vec<u8>, AbortCode> {
        let (incarnation, steps) = request.split_first_chunk().ok_or(AbortCode::SERVER_UNMARSHAL)?;
        let incarnation = u64::from_be_bytes(*incarnation);
        let steps = decode_steps(steps).map_err(|_| AbortCode::SERVER_UNMARSHAL)?;
        if incarnation != self.incarnation && !(incarnation == ANY && steps.is_empty()) {
            return Err(OTHER_INCARNATION);
        }
        let outcomes = encode_outcomes(self.carry_out(steps));
        Ok([&self.incarnation.to_be_bytes()[..], &outcomes].concat())
    }

    /// Carries steps of another server out, in order; they go no further from here.
    fn carry_out(&self, steps: Vec<Step>) -> Outcomes {
        let (sender, outcomes) = channel();
        let count = steps.len();
        let together = Together::default();
        for (nth, step) in steps.into_iter().enumerate() {
            let sender = sender.clone();
            // Nobody waits any more if the caller's call has ended.
            let done = Box::new(move |outcome| drop(sender.send((nth, outcome))));
            let queue = if step.writes() { &self.writes } else { &self.reads };
            queue.push(Item::new(step, done, Some(together.clone())));
        }
        drop(sender);
        let mut gathered: Outcomes = Vec::new();
        gathered.resize(count, Err(StepError::Undecided("the server stopped within the command".to_owned())));
        for (nth, outcome) in outcomes {
            gathered[nth] = outcome;
        }
        gathered
    }
}

impl Service for StepService {
    fn admit(&self, caller: &Caller, _first: &[u8]) -> Result<Admission, AbortCode> {
        match self.members.member(caller) {
            Some(_) => Ok(Admission { share: Share::Members, begins: Begins::AtOnce }),
            None => Err(AbortCode(code::AbortCode::NOT_AUTHORIZED.0)),
        }
    }

    fn answer(&self, call: &mut dyn ServedCall) -> Result<(), AbortCode> {
        let request = read_all(call)?;
        let Some((&opcode, request)) = request.split_first_chunk() else {
            return Err(AbortCode::DECODE);
        };
        if u32::from_be_bytes(opcode) != CARRY_OUT {
            return Err(AbortCode::OPCODE);
        }
        Ok(call.write(&self.reply(request)?)?)
    }
}

#[cfg(test)]
mod tests {
    use kv::Body;
    use resp::Version;

    use super::*;
    use crate::queue::Work;

    /// S6: what was sent to a server before it was killed, and is sent again to the one that was started in its place, is not carried
    /// out there: the first may have done it. (It was done twice.)
    #[test]
    fn a_call_for_an_earlier_process_is_not_begun() {
        let writes = Arc::new(Queue::default());
        let members = Membership {
            hosts: Arc::new(Hosts::new(Default::default(), Vec::new())),
            needs_key: false,
            sealed: Default::default(),
        };
        let service = StepService::new(members, writes.clone(), Arc::default());
        let words = vec![b"INCR".to_vec(), b"n".to_vec()];
        let step =
            Step { database: 0, body: Body::Command(words), watched: Vec::new(), protocol: Version::Resp3 };
        let request = |incarnation: u64, steps: &[Step]| {
            [&incarnation.to_be_bytes()[..], &encode_steps(steps.iter())].concat()
        };
        let asked = service.reply(&request(ANY, &[])).unwrap();
        assert_eq!(asked[..8], service.incarnation.to_be_bytes());
        for other in [service.incarnation ^ 1, ANY] {
            let refused = service.reply(&request(other, std::slice::from_ref(&step)));
            assert_eq!(refused, Err(OTHER_INCARNATION));
            assert!(matches!(writes.take(1, 1 << 20, Duration::ZERO), Work::Nothing), "it was begun");
        }
        std::thread::scope(|scope| {
            let reply = scope.spawn(|| service.reply(&request(service.incarnation, &[step])));
            let Work::Steps(items) = writes.take(1, 1 << 20, Duration::from_secs(60)) else {
                panic!("nothing")
            };
            items.into_iter().for_each(|item| item.answer(Ok(b":1\r\n".to_vec())));
            let reply = reply.join().unwrap().unwrap();
            assert_eq!(decode_outcomes(&reply[8..]).unwrap(), [Ok(b":1\r\n".to_vec())]);
        });
    }
}
