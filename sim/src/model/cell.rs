//! The state of the cell, and what each server's outputs do to it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use ubik_proto::cell::{Cell as Servers, Dialect, Server as Member, ServerId, ServerKind};
use ubik_proto::changed::{Changed, Written};
use ubik_proto::code::AbortCode;
use ubik_proto::election::promise::PromiseRecord;
use ubik_proto::election::{Command, Election, Event};
use ubik_proto::log::Change;
use ubik_proto::messages::DiskCall;
use ubik_proto::profile::Profile;
use ubik_proto::replica::outputs::{Answer, AnswerId, CallError, CallToken, ClientId, Output, Reply, Told};
use ubik_proto::replica::{Context, Replica};
use ubik_proto::time::{Moment, Now};
use ubik_proto::version::Version;

/// The servers.
pub(super) const SERVERS: usize = 3;

/// All that was ever written to a copy, in order: what stands for its bytes.
pub(super) type History = Vec<u8>;

/// What a disk holds.
#[derive(Clone, Debug)]
pub(super) struct Disk {
    pub(super) version: Version,
    pub(super) history: History,
    pub(super) promise: PromiseRecord,
}

/// What a disk is at.
#[derive(Clone, Debug)]
pub(super) enum Work {
    Append(Version, History),
    Label(Version),
    Install(Version, History),
}

/// One server.
#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) election: Election,
    pub(super) replica: Replica<History>,
    pub(super) disk: Disk,
    pub(super) work: Option<Work>,
    /// What its votes tell its copy.
    pub(super) events: VecDeque<Event>,
    /// The last beacon to each server.
    pub(super) beacons: [Option<u64>; SERVERS],
}

/// What a call carries.
#[derive(Clone, Debug)]
pub(super) enum Request {
    Call(DiskCall),
    Database(Version, History),
}

/// How far a call is.
#[derive(Clone, Debug)]
pub(super) enum Progress {
    Sent,
    /// It waits for its answer.
    Taken,
    Answered(Result<Said, AbortCode>),
}

/// What a server answered.
#[derive(Clone, Debug)]
pub(super) enum Said {
    Done,
    Version(Version),
    Database(Version, History),
}

/// One call between two servers.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) token: CallToken,
    pub(super) request: Request,
    pub(super) progress: Progress,
}

/// The cell.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    pub(super) servers: Vec<Server>,
    pub(super) now: Moment,
    /// The calls from each server to each, in order; the first is under way.
    pub(super) calls: BTreeMap<(usize, usize), VecDeque<Call>>,
    /// Calls that were given up and may still arrive.
    pub(super) late: Vec<(usize, usize, Request)>,
    pub(super) elections: u8,
    pub(super) writes: u8,
    pub(super) crashes: u8,
    pub(super) losses: u8,
    /// A lease has passed in this epoch.
    pub(super) waited: bool,
    /// The newest version that was shown, and its history.
    shown: (Version, History),
    /// Writes that clients were told have failed.
    failed: BTreeSet<u8>,
    pub(super) violation: Option<String>,
}

fn servers(me: usize) -> Servers {
    let member = |address| Member { address, kind: ServerKind::Voter, dialect: Dialect::Quorate };
    Servers::new((0..SERVERS as u32).map(member).collect(), me as u32).expect("three servers are a cell")
}

impl Server {
    fn start(me: usize, disk: Disk, now: Moment) -> Self {
        let (cell, profile) = (servers(me), Profile::openafs());
        Server {
            election: Election::new(cell.clone(), profile.clone(), disk.promise, disk.version, now),
            replica: Replica::new(cell, profile, true, disk.version),
            disk,
            work: None,
            events: VecDeque::new(),
            beacons: [None; SERVERS],
        }
    }
}

impl Cell {
    /// Three new servers, one of which may be elected without the third: they were told to begin an empty cell.
    pub(super) fn new() -> Self {
        let promise = PromiseRecord { max_epoch: 1, to: None };
        let disk = Disk { version: Version::FRESH, history: Vec::new(), promise };
        let start = |me| Server::start(me, disk.clone(), Moment::START);
        Cell {
            servers: (0..SERVERS).map(start).collect(),
            now: Moment::START,
            calls: BTreeMap::new(),
            late: Vec::new(),
            elections: 0,
            writes: 0,
            crashes: 0,
            losses: 0,
            waited: false,
            shown: (Version::NONE, Vec::new()),
            failed: BTreeSet::new(),
            violation: None,
        }
    }

    /// How many writes were shown.
    pub(super) fn committed(&self) -> usize {
        self.shown.1.len()
    }

    pub(super) fn clock(&self) -> Now {
        Now { moment: self.now, wall: 1_700_000_000 }
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
    }

    /// Lets a server decide something, and carries out what comes of it.
    pub(super) fn input(
        &mut self,
        at: usize,
        act: impl FnOnce(&mut Replica<History>, &mut Context<'_, History>),
    ) {
        let now = self.clock();
        let server = &mut self.servers[at];
        let mut cx = Context::new(now, &mut server.election);
        act(&mut server.replica, &mut cx);
        let outputs = cx.outputs;
        for output in outputs {
            self.output(at, output);
        }
    }

    fn output(&mut self, at: usize, output: Output<History>) {
        match output {
            Output::Append { changes, version } => {
                let history = self.servers[at].disk.history.iter().copied().chain(values(&changes)).collect();
                self.servers[at].work = Some(Work::Append(version, history));
            }
            Output::Label(version) => self.servers[at].work = Some(Work::Label(version)),
            Output::Install { received, version } => {
                self.servers[at].work = Some(Work::Install(version, received));
            }
            Output::Reveal(version) => self.show(at, version),
            Output::Call { to, token, call } => self.send(at, to, token, Request::Call(call)),
            Output::Send { to, token, version } => {
                let history = self.servers[at].disk.history.clone();
                self.send(at, to, token, Request::Database(version, history));
            }
            Output::Fetch { to, token } => {
                self.send(at, to, token, Request::Call(DiskCall::GetFile { file: 0 }));
            }
            Output::LetWrite { client, .. } => {
                let change = Change::Write { position: 0, bytes: vec![client.0 as u8] };
                let written = Written { changes: vec![change], pages: Changed::default(), bytes: 1 };
                self.input(at, |replica, cx| replica.commit(cx, client, written));
            }
            Output::Tell(client, told) => self.tell(client, told),
            Output::Answer(id, answer) => self.answer(at, id, answer),
            Output::Election(command) => self.command(at, command),
            Output::LetRead(_) | Output::DiskFailed(_) => {}
        }
    }

    fn send(&mut self, from: usize, to: ServerId, token: CallToken, request: Request) {
        let call = Call { token, request, progress: Progress::Sent };
        self.calls.entry((from, to.index())).or_default().push_back(call);
    }

    fn answer(&mut self, at: usize, id: AnswerId, answer: Result<Answer, AbortCode>) {
        let disk = &self.servers[at].disk;
        let reply = answer.map(|answer| match answer {
            Answer::Done => Said::Done,
            Answer::Version(version) => Said::Version(version),
            Answer::Tail => Said::Database(disk.version, disk.history.clone()),
        });
        let calls = self.calls.get_mut(&(id.0 as usize, at));
        if let Some(call) = calls.and_then(|calls| calls.front_mut())
            && matches!(call.progress, Progress::Taken)
        {
            call.progress = Progress::Answered(reply);
        }
    }

    /// Beacons of a round are lost but those of an election, which is one step.
    pub(super) fn command(&mut self, at: usize, command: Command) {
        match command {
            Command::Beacon { to, number, .. } => self.servers[at].beacons[to.index()] = Some(number),
            Command::Notify(event) => {
                let server = &mut self.servers[at];
                if server.events.is_empty() && !matches!(event, Event::SteppedDown { .. }) {
                    self.input(at, |replica, cx| replica.on_event(cx, event));
                } else {
                    server.events.push_back(event);
                }
            }
            Command::Probe { .. } | Command::PersistOwnVote(_) | Command::Clock { .. } => {}
        }
    }

    fn tell(&mut self, client: ClientId, told: Told) {
        let value = client.0 as u8;
        match told {
            Told::Committed(_) if !self.shown.1.contains(&value) => {
                self.found(format!("write {value} is called committed, and was not shown"));
            }
            Told::WriteFailed(_) => {
                self.failed.insert(value);
            }
            _ => {}
        }
        self.check_failed();
    }

    /// A server shows its copy: what a newer version shows begins with what an older one does.
    fn show(&mut self, at: usize, version: Version) {
        let copy = (version, self.servers[at].disk.history.clone());
        let (older, newer) = if copy.0 < self.shown.0 { (&copy, &self.shown) } else { (&self.shown, &copy) };
        if !newer.1.starts_with(&older.1) {
            self.found(format!("server {at} shows {copy:?}, and {:?} was shown", self.shown));
        }
        if copy.0 > self.shown.0 {
            self.shown = copy;
        }
        self.check_failed();
    }

    fn check_failed(&mut self) {
        if let Some(value) = self.shown.1.iter().find(|value| self.failed.contains(value)) {
            self.found(format!("write {value} was called failed, and is shown"));
        }
    }

    /// A disk has done its work: copies of one version are one copy.
    pub(super) fn write(&mut self, at: usize, work: Work) {
        let disk = &mut self.servers[at].disk;
        match work {
            Work::Append(version, history) | Work::Install(version, history) => {
                (disk.version, disk.history) = (version, history);
            }
            Work::Label(version) => disk.version = version,
        }
        let disk = &self.servers[at].disk;
        let other = self
            .servers
            .iter()
            .find(|other| other.disk.version == disk.version && other.disk.history != disk.history);
        if let Some(other) = other {
            let (version, one, other) = (disk.version, &disk.history, &other.disk.history);
            self.found(format!("version {version} is {one:?} at server {at}, and {other:?} elsewhere"));
        }
    }

    pub(super) fn found(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }

    /// Whether a server has taken a call and not answered it.
    pub(super) fn owes_an_answer(&self, at: usize) -> bool {
        let mut calls = self.calls.iter().filter(|((_, to), _)| *to == at);
        calls.any(|(_, calls)| calls.front().is_some_and(|call| matches!(call.progress, Progress::Taken)))
    }

    /// A server loses power and starts again. Calls from it end; those that it had not answered end, too, or come again to its next
    /// life (`repeated`).
    pub(super) fn restart(&mut self, at: usize, repeated: bool) {
        let disk = self.servers[at].disk.clone();
        self.servers[at] = Server::start(at, disk, self.now);
        self.calls.retain(|&(from, _), _| from != at);
        for from in 0..SERVERS {
            let calls = self.calls.get_mut(&(from, at));
            let unanswered = |call: &mut Call| matches!(call.progress, Progress::Taken);
            let Some(mut call) = calls.and_then(|calls| calls.pop_front_if(unanswered)) else { continue };
            if repeated {
                call.progress = Progress::Sent;
                self.calls.entry((from, at)).or_default().push_front(call);
            } else {
                self.reply(from, call.token, None);
            }
        }
        self.calls.retain(|_, calls| !calls.is_empty());
    }

    pub(super) fn reply(&mut self, from: usize, token: CallToken, reply: Option<Result<Said, AbortCode>>) {
        let reply = match reply {
            None => Err(CallError::Unreachable),
            Some(Err(code)) => Err(CallError::Aborted(code)),
            Some(Ok(Said::Done)) => Ok(Reply::Done),
            Some(Ok(Said::Version(version))) => Ok(Reply::Version(version)),
            Some(Ok(Said::Database(version, history))) => Ok(Reply::Database(version, history)),
        };
        self.input(from, |replica, cx| replica.on_reply(cx, token, reply));
    }
}

fn values(changes: &[Change]) -> impl Iterator<Item = u8> + '_ {
    changes
        .iter()
        .flat_map(|change| match change {
            Change::Write { bytes, .. } => bytes.as_slice(),
            Change::Truncate { .. } => &[],
        })
        .copied()
}
