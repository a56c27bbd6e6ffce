//! One run: carries out what the servers ask for, in the order of real time, and watches.

mod calls;
mod clients;
mod openafs;
mod servers;
mod statistics;
mod troubles;
mod watch;

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use ubik::effect::{AnswerId, CallToken};
use ubik::locks::{Held, Nothing};
use ubik::phys::Replacement;
use ubik::server_state::Config;

use crate::client::{Client, ClientStep};
use crate::event::{Event, Local, NodeId, Queue};
use crate::invariants::{Found, Invariants};
use crate::net::Net;
use crate::node::Node;
use crate::record::Record;
use crate::scenario::Scenario;

pub use statistics::Statistics;

/// A property that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// When, in microseconds of real time.
    pub at: u64,
    /// What.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {:.3} s: {}", self.at as f64 / 1e6, self.what)
    }
}

/// A cell and what is asked of it.
pub struct World {
    /// Real time in microseconds.
    pub now: u64,
    /// What was counted.
    pub statistics: Statistics,
    /// The machines.
    pub nodes: Vec<Node>,
    /// The network.
    pub net: Net,
    /// What happened, line by line, if it is wanted.
    pub story: Option<Vec<String>>,
    scenario: Scenario,
    queue: Queue,
    random: fastrand::Rng,
    invariants: Invariants,
    clients: Vec<Client>,
    record: Record,
    fetches: HashMap<(NodeId, u64, CallToken), Box<dyn Replacement>>,
    answers: HashMap<AnswerId, calls::Asked>,
    /// The last of each kind that came to a server from each other.
    taken: BTreeMap<(NodeId, NodeId, calls::Kind), Event>,
    last_answer: u64,
    violation: Option<Violation>,
    last_client: u64,
    /// When everything was mended.
    calm: Option<u64>,
    commits_since_calm: u64,
    /// The clients have gone home.
    closing: bool,
    held: Held<'static, Nothing>,
    /// Bytes a second that a transfer moves, if less than the network's.
    pub slow_transfers: Option<u64>,
}

impl World {
    /// The run of a scenario; `seed` decides all that the scenario leaves open.
    pub fn new(scenario: Scenario, seed: u64) -> Self {
        let count = scenario.servers.len();
        let config = |node| Config {
            cell: scenario.cell(node),
            profile: scenario.profile.clone(),
            cache_pages: 20,
            bootstrap: false,
        };
        let mut world = World {
            now: 0,
            statistics: Statistics::default(),
            nodes: (0..count).map(|node| Node::new(config(node))).collect(),
            net: Net::new(count),
            story: None,
            queue: Queue::default(),
            random: fastrand::Rng::with_seed(seed ^ 0x5eed_5eed),
            invariants: Invariants::new(count, scenario.profile.promise.as_micros() as u64),
            record: Record::default(),
            clients: (0..scenario.clients).map(|_| Client::default()).collect(),
            fetches: HashMap::new(),
            answers: HashMap::new(),
            taken: BTreeMap::new(),
            last_answer: 0,
            violation: None,
            last_client: 0,
            calm: None,
            commits_since_calm: 0,
            closing: false,
            held: Held::thread_entry(),
            slow_transfers: None,
            scenario,
        };
        for (at, trouble) in world.scenario.troubles.clone() {
            world.queue.push(at, Event::Trouble(trouble));
        }
        for client in 0..world.clients.len() {
            let at = world.random.u64(..world.scenario.think.max(1));
            world.queue.push(at, Event::Client(ClientStep::Begin(client)));
        }
        for node in 0..count {
            world.start(node);
        }
        world
    }

    /// Runs to the end; returns what was found wrong.
    pub fn run(&mut self) -> Option<Violation> {
        self.run_until(self.scenario.end);
        if self.calm.is_some() {
            // Nobody asks for anything any more: a few beacons later all servers hold and show the same.
            self.closing = true;
            let quiet = self.scenario.profile.beacon * 6 + self.scenario.profile.promise;
            self.run_until(self.scenario.end + quiet.as_micros() as u64);
        }
        if self.violation.is_none() {
            self.check_well();
        }
        if self.violation.is_none() {
            match self.record.check() {
                Ok(operations) => self.statistics.checked += operations,
                Err(what) => self.check(Err(what)),
            }
        }
        if self.violation.is_some() {
            self.tell_state();
        }
        self.violation.clone()
    }

    /// Runs to `end` or to the first violation.
    pub fn run_until(&mut self, end: u64) {
        while self.violation.is_none() {
            let Some((time, event)) = self.queue.pop(end) else {
                break;
            };
            self.now = time;
            self.statistics.events += 1;
            self.step(event);
        }
        self.now = self.now.max(end);
    }

    /// What was found wrong so far.
    pub fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    fn tell(&mut self, line: impl FnOnce() -> String) {
        if let Some(story) = &mut self.story {
            let seconds = self.now as f64 / 1e6;
            story.push(format!("{seconds:>11.3} s  {}", line()));
        }
    }

    fn check(&mut self, found: Found) {
        if let (Err(what), None) = (found, &self.violation) {
            self.tell(|| format!("VIOLATION: {what}"));
            self.violation = Some(Violation { at: self.now, what });
        }
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::Local { node, life, what } => {
                if self.nodes[node].life == life && self.nodes[node].is_up() {
                    self.local(node, what);
                }
            }
            Event::Beacon { to, from, life, series, number, beacon } => {
                self.beacon(to, from, life, series, number, &beacon);
            }
            Event::Probe { to, from, life } => {
                if self.nodes[to].is_up()
                    && let Some(delay) = self.net.delay(&mut self.random, to, from)
                {
                    let what = Local::Probe { to, answered: true };
                    self.queue.push(self.now + delay, Event::Local { node: from, life, what });
                }
            }
            Event::Request { to, from, life, token, request } => self.request(to, from, life, token, request),
            Event::Client(step) => self.client(step),
            Event::Trouble(trouble) => self.trouble(trouble),
        }
    }
}
