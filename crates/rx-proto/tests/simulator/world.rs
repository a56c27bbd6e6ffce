//! A client and a server on the simulated wire, the calls they make, and what must be true of them.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use rx_proto::admission::Everybody;
use rx_proto::rxkad::client::RxkadClient;
use rx_proto::rxkad::keys::{KeyFile, ServerKey};
use rx_proto::rxkad::server::RxkadServer;
use rx_proto::rxkad::ticket::Printed;
use rx_proto::rxkad::{Level, kerberos};
use rx_proto::security::{NullSecurity, Random, SecurityClass};
use rx_proto::{
    AbortCode, CallRef, ConnectionRef, Endpoint, EndpointConfig, Event, Read, ServiceId, Time, Timeouts,
};

use crate::network::{Faults, Network};

const SERVICE: ServiceId = ServiceId(50);
const UNIX_TIME: u64 = 1_800_000_000;
/// How seldom an application looks that reads late.
const LATE: Duration = Duration::from_millis(3);
/// Nothing in a simulation takes longer; a call that does hangs.
const LONGEST: Duration = Duration::from_secs(1200);

pub struct Seeded(pub Rng);

impl Random for Seeded {
    fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }
}

/// What a simulation is made of.
#[derive(Debug, Clone)]
pub struct Plan {
    pub faults: Faults,
    pub level: Option<Level>,
    pub calls: usize,
    pub connections: usize,
    pub largest: usize,
    /// When the server restarts, if it does, and the client.
    pub server_restart: Option<Duration>,
    pub client_restart: Option<Duration>,
    pub receive_windows: [u8; 2],
    pub send_window: u8,
    /// The client's application looks only now and then, when whole windows have arrived and been acked.
    pub reads_late: bool,
}

/// How a call went, for its client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Running,
    Replied,
    Failed(AbortCode),
    /// The client itself went away.
    Lost,
}

/// A call that is to be made: everything about it follows from its number.
#[derive(Debug)]
struct Job {
    request: Vec<u8>,
    reply: Vec<u8>,
    /// The server refuses with this code instead.
    refusal: Option<AbortCode>,
    at: Option<CallRef>,
    connection: usize,
    written: usize,
    read: Vec<u8>,
    outcome: Outcome,
}

/// A call that the server answers.
#[derive(Debug)]
struct Answer {
    read: Vec<u8>,
    job: Option<usize>,
    ended: bool,
    /// Not before this may the reply begin.
    ready_at: Option<Time>,
    written: usize,
}

pub struct World {
    plan: Plan,
    random: Rng,
    now: Time,
    network: Network,
    client: Endpoint,
    server: Endpoint,
    connections: Vec<ConnectionRef>,
    jobs: Vec<Job>,
    answers: BTreeMap<u64, (CallRef, Answer)>,
    answer_of: HashMap<CallRef, u64>,
    next_answer: u64,
    /// How often each job was answered by each incarnation of the server.
    executions: HashMap<(u32, usize), u32>,
    incarnation: u32,
    restarts: Vec<(Time, bool)>,
    /// When the client's application looks next.
    client_steps_at: Time,
    security: (Arc<dyn SecurityClass>, Arc<dyn SecurityClass>),
}

fn client_address() -> SocketAddr {
    "10.0.0.1:4000".parse().unwrap()
}

fn server_address() -> SocketAddr {
    "10.0.0.2:7002".parse().unwrap()
}

impl World {
    pub fn new(plan: Plan, seed: u64) -> World {
        let mut random = Rng::with_seed(seed);
        let security = security(plan.level, &mut random);
        let jobs = (0..plan.calls).map(|number| job(number, &plan, &mut random)).collect();
        let mut restarts = Vec::new();
        restarts.extend(plan.server_restart.map(|after| (Time::from_origin(after), true)));
        restarts.extend(plan.client_restart.map(|after| (Time::from_origin(after), false)));
        restarts.sort();
        let network = Network::new(plan.faults, random.fork());
        let mut world = World {
            client: endpoint(plan.receive_windows[0], plan.send_window, &mut random),
            server: endpoint(plan.receive_windows[1], plan.send_window, &mut random),
            plan,
            random,
            now: Time::ZERO,
            network,
            connections: Vec::new(),
            jobs,
            answers: BTreeMap::new(),
            answer_of: HashMap::new(),
            next_answer: 0,
            executions: HashMap::new(),
            incarnation: 0,
            restarts,
            client_steps_at: Time::ZERO,
            security,
        };
        world.server.add_service(SERVICE, vec![Arc::clone(&world.security.1)], Arc::new(Everybody));
        world.connect();
        world
    }

    fn connect(&mut self) {
        self.connections = (0..self.plan.connections)
            .map(|_| {
                self.client.connect(
                    self.now,
                    server_address(),
                    SERVICE,
                    &*self.security.0,
                    Timeouts::default(),
                )
            })
            .collect();
    }

    /// Runs until every call has an outcome. Returns the outcomes and how long it took.
    pub fn run(&mut self) -> (Vec<Outcome>, Duration) {
        loop {
            if self.now >= self.client_steps_at {
                self.step_client();
                self.client_steps_at = self.now + if self.plan.reads_late { LATE } else { Duration::ZERO };
            }
            self.step_server();
            self.carry();
            if self.jobs.iter().all(|job| job.outcome != Outcome::Running) {
                break;
            }
            self.advance();
        }
        let outcomes = self.jobs.iter().map(|job| job.outcome.clone()).collect();
        (outcomes, self.now.since_origin())
    }

    /// Goes to the next moment at which anything happens.
    fn advance(&mut self) {
        let ready =
            self.answers.values().filter_map(|(_, answer)| answer.ready_at).filter(|at| *at > self.now).min();
        let restart = self.restarts.first().map(|(at, _)| *at);
        let moments = [
            self.network.next_arrival(),
            self.client.poll_timeout(),
            self.server.poll_timeout(),
            ready,
            restart,
            self.plan.reads_late.then_some(self.client_steps_at),
        ];
        let next = moments.into_iter().flatten().min().expect("a call is running, so a timer is");
        assert!(next.since_origin() < LONGEST, "a call hangs: {}", self.describe());
        self.now = self.now.max(next);
        while let Some(delivery) = self.network.arrive(self.now) {
            let endpoint = if delivery.to == server_address() { &mut self.server } else { &mut self.client };
            endpoint.handle_datagram(self.now, delivery.from, None, &delivery.bytes);
        }
        for endpoint in [&mut self.client, &mut self.server] {
            if endpoint.poll_timeout().is_some_and(|at| at <= self.now) {
                endpoint.handle_timeout(self.now);
            }
        }
        while self.restarts.first().is_some_and(|(at, _)| *at <= self.now) {
            let (_, is_server) = self.restarts.remove(0);
            if is_server { self.restart_server() } else { self.restart_client() }
        }
    }

    fn restart_server(&mut self) {
        self.server = endpoint(self.plan.receive_windows[1], self.plan.send_window, &mut self.random);
        self.server.add_service(SERVICE, vec![Arc::clone(&self.security.1)], Arc::new(Everybody));
        self.answers.clear();
        self.answer_of.clear();
        self.incarnation += 1;
    }

    fn restart_client(&mut self) {
        self.client = endpoint(self.plan.receive_windows[0], self.plan.send_window, &mut self.random);
        for job in &mut self.jobs {
            if job.at.take().is_some() && job.outcome == Outcome::Running {
                job.outcome = Outcome::Lost;
            }
        }
        self.connect();
    }

    fn carry(&mut self) {
        while let Some(transmit) = self.client.poll_transmit(self.now) {
            self.network.send(self.now, client_address(), &transmit);
        }
        while let Some(transmit) = self.server.poll_transmit(self.now) {
            self.network.send(self.now, server_address(), &transmit);
        }
        // The steps look at every call each time, so events only matter where they bring new ones.
        while self.client.poll_event().is_some() {}
        while let Some(event) = self.server.poll_event() {
            if let Event::IncomingCall { call, .. } = event {
                let answer = Answer { read: Vec::new(), job: None, ended: false, ready_at: None, written: 0 };
                self.answer_of.insert(call, self.next_answer);
                self.answers.insert(self.next_answer, (call, answer));
                self.next_answer += 1;
                self.step_server();
                return self.carry();
            }
        }
    }

    // ---- the client ----------------------------------------------------------------------------------------

    fn step_client(&mut self) {
        for number in 0..self.jobs.len() {
            if self.jobs[number].outcome == Outcome::Running {
                self.step_job(number);
            }
        }
    }

    fn step_job(&mut self, number: usize) {
        let job = &mut self.jobs[number];
        let at = match job.at {
            Some(at) => at,
            None => match self.client.start_call(self.now, self.connections[job.connection]) {
                Ok(Some(at)) => *job.at.insert(at),
                Ok(None) => return,
                Err(error) => {
                    let rx_proto::StartError::Failed(code) = error else { panic!("{error}") };
                    job.outcome = Outcome::Failed(code);
                    return;
                }
            },
        };
        let result = drive_job(&mut self.client, self.now, at, job);
        match result {
            Ok(false) => {}
            Ok(true) => {
                self.client.end_call(self.now, at, None);
                job.outcome = Outcome::Replied;
                assert!(job.read == job.reply, "call {number}: a wrong reply of {} bytes", job.read.len());
                assert_eq!(job.refusal, None, "call {number} was to be refused");
                let executed = self.executions.get(&(self.incarnation, number)).copied().unwrap_or(0);
                assert!(executed == 1 || self.incarnation > 0, "call {number} was executed {executed} times");
            }
            Err(code) => {
                self.client.end_call(self.now, at, None);
                job.outcome = Outcome::Failed(code);
            }
        }
    }

    // ---- the server ----------------------------------------------------------------------------------------

    fn step_server(&mut self) {
        let numbers: Vec<u64> = self.answers.keys().copied().collect();
        for number in numbers {
            let (call, mut answer) = self.answers.remove(&number).unwrap();
            match self.step_answer(call, &mut answer) {
                Ok(false) => {
                    self.answers.insert(number, (call, answer));
                }
                Ok(true) => self.server.end_call(self.now, call, None),
                Err(code) => self.server.end_call(self.now, call, Some(code)),
            }
        }
    }

    fn step_answer(&mut self, call: CallRef, answer: &mut Answer) -> Result<bool, AbortCode> {
        while !answer.ended {
            let mut buffer = [0; 4096];
            match self.server.read(self.now, call, &mut buffer)? {
                Read::Bytes(count) => answer.read.extend_from_slice(&buffer[..count]),
                Read::Blocked => return Ok(false),
                Read::End => self.accept(call, answer),
            }
        }
        if answer.ready_at.is_some_and(|at| at > self.now) {
            return Ok(false);
        }
        let job = &self.jobs[answer.job.expect("set when the request ended")];
        if let Some(code) = job.refusal {
            return Err(code);
        }
        while answer.written < job.reply.len() {
            let taken = self.server.write(self.now, call, &job.reply[answer.written..])?;
            if taken == 0 {
                return Ok(false);
            }
            answer.written += taken;
        }
        Ok(true)
    }

    /// The whole request is here.
    fn accept(&mut self, call: CallRef, answer: &mut Answer) {
        answer.ended = true;
        let number = u32::from_be_bytes(answer.read[..4].try_into().unwrap()) as usize;
        answer.job = Some(number);
        assert!(answer.read == self.jobs[number].request, "the request of call {number} arrived wrong");
        let executed = self.executions.entry((self.incarnation, number)).or_default();
        *executed += 1;
        assert_eq!(*executed, 1, "call {number} was executed again");
        if self.plan.level.is_some() {
            let caller = self.server.caller(call).unwrap().identity.expect("rxkad tells who calls");
            assert!(caller.is_service);
        }
        // Mostly quick, now and then longer than the dead time: pings must keep the call alive.
        let delay_ms =
            if self.random.u32(0..20) == 0 { self.random.u64(0..30_000) } else { self.random.u64(0..20) };
        answer.ready_at = Some(self.now + Duration::from_millis(delay_ms));
    }

    fn describe(&self) -> String {
        let running: Vec<_> = self
            .jobs
            .iter()
            .enumerate()
            .filter(|(_, job)| job.outcome == Outcome::Running)
            .map(|(n, job)| {
                format!(
                    "call {n} {:?} wrote {}/{} read {}/{}",
                    job.at,
                    job.written,
                    job.request.len(),
                    job.read.len(),
                    job.reply.len()
                )
            })
            .collect();
        format!(
            "{running:?}\nserver {:?}\nclient {:?}\nserver {:?}",
            self.answers
                .values()
                .map(|(call, answer)| (call, answer.job, answer.written))
                .collect::<Vec<_>>(),
            self.client.counters(),
            self.server.counters()
        )
    }

    /// The codes that a call may fail with in this plan.
    pub fn may_fail_with(&self, number: usize, code: AbortCode) -> bool {
        self.jobs[number].refusal == Some(code)
            || (code == AbortCode::CALL_DEAD && (self.plan.faults.loss > 150 || self.incarnation > 0))
            // A restarted server has some packets of a request whose others it had acked before.
            || (code == AbortCode::CALL_TIMEOUT && self.incarnation > 0)
            || (code == AbortCode::MESSAGE_SIZE && (self.plan.faults.loss > 150 || self.incarnation > 0))
    }

    pub fn counters(&self) -> [rx_proto::debug::Counters; 2] {
        [self.client.counters(), self.server.counters()]
    }

    pub fn carried(&self) -> u64 {
        self.network.carried
    }
}

/// Writes, then reads; `true` when the reply has come whole.
fn drive_job(client: &mut Endpoint, now: Time, at: CallRef, job: &mut Job) -> Result<bool, AbortCode> {
    while job.written < job.request.len() {
        let taken = client.write(now, at, &job.request[job.written..])?;
        if taken == 0 {
            return Ok(false);
        }
        job.written += taken;
    }
    client.finish(now, at)?;
    let mut buffer = [0; 4096];
    loop {
        match client.read(now, at, &mut buffer)? {
            Read::Bytes(count) => job.read.extend_from_slice(&buffer[..count]),
            Read::Blocked => return Ok(false),
            Read::End => return Ok(true),
        }
    }
}

fn endpoint(receive_window: u8, send_window: u8, random: &mut Rng) -> Endpoint {
    let config = EndpointConfig { receive_window, send_window, ..EndpointConfig::default() };
    let mut endpoint = Endpoint::new(config, Box::new(Seeded(random.fork())));
    endpoint.set_unix_time(Time::ZERO, UNIX_TIME);
    endpoint
}

fn job(number: usize, plan: &Plan, random: &mut Rng) -> Job {
    let size = |random: &mut Rng| match random.u32(0..4) {
        0 => random.usize(0..plan.largest),
        1 => random.usize(0..5000),
        _ => random.usize(0..200),
    };
    let mut request = (number as u32).to_be_bytes().to_vec();
    request.resize_with(4 + size(random), || 0);
    let mut reply = vec![0; size(random)];
    random.fill(&mut request[4..]);
    random.fill(&mut reply);
    let refusal = (random.u32(0..10) == 0).then(|| AbortCode(random.i32(1..100_000)));
    let connection = random.usize(0..plan.connections);
    Job {
        request,
        reply,
        refusal,
        at: None,
        connection,
        written: 0,
        read: Vec::new(),
        outcome: Outcome::Running,
    }
}

fn security(level: Option<Level>, random: &mut Rng) -> (Arc<dyn SecurityClass>, Arc<dyn SecurityClass>) {
    let Some(level) = level else {
        return (Arc::new(NullSecurity), Arc::new(NullSecurity));
    };
    let key = ServerKey {
        version: 3,
        encryption_type: kerberos::AES128_CTS_HMAC_SHA1_96,
        material: (0..16).map(|_| random.u8(..)).collect(),
    };
    let printed = Printed::new(&key, &mut Seeded(random.fork())).unwrap();
    let server = RxkadServer { keys: Arc::new(KeyFile::from_keys(vec![key])), least_level: Level::Clear };
    (Arc::new(RxkadClient::printed(printed, level)), Arc::new(server))
}
