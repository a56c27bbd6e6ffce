//! What goes wrong in a run, drawn from its seed.

use std::fmt;
use std::time::Duration;

use clap::ValueEnum;
use ubik_proto::cell::{Cell, Dialect, Server, ServerKind};
use ubik_proto::profile::Profile;

use crate::event::NodeId;

/// Something that goes wrong, or right again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// A machine loses power.
    Crash(NodeId),
    /// It comes back.
    Restart(NodeId),
    /// It comes back with an empty disk.
    RestartEmpty(NodeId),
    /// A machine cannot send, cannot receive, or neither.
    Isolate {
        /// Which.
        node: NodeId,
        /// Whether it still can send.
        sends: bool,
        /// Whether it still can receive.
        receives: bool,
    },
    /// Two machines do not reach each other.
    CutPair(NodeId, NodeId),
    /// Those in the set and the others do not reach each other.
    Split(Vec<bool>),
    /// In a thousand messages so many are lost, and so many are late.
    BadNetwork {
        /// Lost.
        loss: u32,
        /// Late.
        late: u32,
    },
    /// The network is whole again.
    Heal,
    /// A clock runs so many parts per million fast.
    Drift(NodeId, i64),
    /// A wall clock is set so many seconds ahead of the truth.
    SetWall(NodeId, i64),
    /// A monotonic clock jumps ahead by so many microseconds, which no clock may.
    JumpClock(NodeId, u64),
    /// A disk takes so many times as long to sync; once as long if it is well again.
    SlowDisk(NodeId, u64),
    /// A disk is full, or not any more.
    FullDisk(NodeId, bool),
    /// Everything is mended; what follows must be quiet.
    Calm,
}

impl Trouble {
    /// Whether something goes wrong by it, rather than right again.
    pub fn is_bad(&self) -> bool {
        !matches!(
            self,
            Trouble::Restart(_)
                | Trouble::Heal
                | Trouble::SlowDisk(_, 1)
                | Trouble::FullDisk(_, false)
                | Trouble::Calm
        )
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Crash(node) => write!(f, "server {node}: the power is cut"),
            Trouble::Restart(node) => write!(f, "server {node}: the power is back"),
            Trouble::RestartEmpty(node) => {
                write!(f, "server {node}: the power is back, and its disk is new and empty")
            }
            Trouble::Isolate { node, sends, receives } => {
                let can = match (sends, receives) {
                    (false, false) => "is cut off from all others",
                    (true, _) => "can send and hears nothing",
                    (_, true) => "hears and cannot send",
                };
                write!(f, "server {node} {can}")
            }
            Trouble::CutPair(one, other) => write!(f, "servers {one} and {other} do not reach each other"),
            Trouble::Split(side) => {
                let of = |wanted| (0..side.len()).filter(|&node| side[node] == wanted).collect::<Vec<_>>();
                write!(f, "the network falls apart: {:?} and {:?}", of(true), of(false))
            }
            Trouble::BadNetwork { loss, late } => {
                write!(f, "of a thousand messages {loss} are lost and {late} come late from now on")
            }
            Trouble::Heal => f.write_str("the network is whole again"),
            Trouble::Drift(node, ppm) => {
                write!(f, "server {node}: its clock runs {ppm} parts in a million fast")
            }
            Trouble::SetWall(node, ahead) => write!(f, "server {node}: its wall clock is {ahead} s ahead"),
            Trouble::JumpClock(node, by) => {
                write!(f, "server {node}: its monotonic clock jumps {:.3} s ahead", *by as f64 / 1e6)
            }
            Trouble::SlowDisk(node, slow) => {
                write!(f, "server {node}: its disk takes {slow} times as long to sync")
            }
            Trouble::FullDisk(node, full) => {
                write!(f, "server {node}: its disk {}", if *full { "is full" } else { "has room again" })
            }
            Trouble::Calm => f.write_str("everything is mended; nothing goes wrong from here on"),
        }
    }
}

/// What a run is about: what may be relied upon in it, and so what must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Course {
    /// Monotonic clocks keep their rate within the bound: everything must hold.
    Usual,
    /// As above, and one server loses its disk while another is behind.
    LostDisk,
    /// Clocks run and jump as they like: what was committed must stay, and nothing else is promised.
    WildClocks,
    /// Some servers are OpenAFS's, and wall clocks show nearly the same: what was acknowledged must stay and be read.
    Mixed,
}

/// What is not left to the seed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wish {
    /// How many voters.
    pub voters: Option<usize>,
    /// C's timing and an hour, or a twentieth of both.
    pub brisk: Option<bool>,
    /// What it is about.
    pub course: Option<Course>,
}

/// One run: the cell, and what happens to it.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The servers, as each of them sees the cell.
    pub servers: Vec<Server>,
    /// The timing.
    pub profile: Profile,
    /// What it is about.
    pub course: Course,
    /// What goes wrong, by real time in microseconds.
    pub troubles: Vec<(u64, Trouble)>,
    /// When the run ends.
    pub end: u64,
    /// How many clients there are, and how long they wait between two transactions.
    pub clients: usize,
    /// As above, at most, in microseconds.
    pub think: u64,
    /// In a thousand events of a server's disk, how often power is lost in the middle.
    pub crash_per_mille: u32,
}

impl Scenario {
    /// The scenario of `seed`: an hour in C's time, or a twentieth of it at a twentieth of the times.
    pub fn random(seed: u64) -> Self {
        Scenario::drawn(seed, Wish::default())
    }

    /// The scenario of `seed` with what is wished.
    pub fn drawn(seed: u64, wish: Wish) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let brisk = random.bool();
        let brisk = wish.brisk.unwrap_or(brisk);
        let voters = [3, 3, 3, 3, 5, 5, 4, 2, 1][random.usize(..9)];
        let voters = wish.voters.unwrap_or(voters);
        let course = match random.u8(..10) {
            0 => Course::WildClocks,
            1 => Course::LostDisk,
            _ => Course::Usual,
        };
        let course = wish.course.unwrap_or(course);
        let brisk = brisk && course != Course::Mixed;
        let mut profile = if brisk { Profile::brisk() } else { Profile::openafs() };
        if course != Course::Mixed && random.u8(..3) == 0 {
            profile.epoch_commits = random.u32(5..40);
        }
        // Of an even cell, or of one server, the others may be no quorum: a lost disk stops it, as it must.
        let course = if course == Course::Mixed && voters < 2 { Course::Usual } else { course };
        let course = if course == Course::LostDisk && (voters < 3 || voters.is_multiple_of(2)) {
            Course::Usual
        } else {
            course
        };
        let clones = usize::from(random.u8(..6) == 0);
        let mut servers = servers(voters, clones);
        if course == Course::Mixed {
            for server in &mut servers {
                server.dialect = if random.bool() { Dialect::OpenAfs } else { Dialect::Quorate };
            }
            // At least one of each.
            let first = random.usize(..2);
            servers[first].dialect = Dialect::Quorate;
            servers[1 - first].dialect = Dialect::OpenAfs;
        }
        let scale = if brisk { 20 } else { 1 };
        let end = 3_600_000_000 / scale;
        let mut draw = Draw {
            random,
            course,
            nodes: servers.len(),
            voters,
            minute: 60_000_000 / scale,
            troubles: Vec::new(),
        };
        let troubles = draw.course(end);
        let mut random = draw.random;
        let crash_per_mille = if random.bool() { random.u32(..4) } else { 0 };
        let think = 20_000_000 / scale;
        Scenario { servers, profile, course, troubles, end, clients: 3, think, crash_per_mille }
    }

    /// A quiet cell of `voters` servers.
    pub fn quiet(voters: usize, profile: Profile, length: Duration) -> Self {
        let end = length.as_micros() as u64;
        let think = (profile.beacon.as_micros() / 2) as u64;
        let servers = servers(voters, 0);
        let course = Course::Usual;
        Scenario {
            servers,
            profile,
            course,
            troubles: Vec::new(),
            end,
            clients: 2,
            think,
            crash_per_mille: 0,
        }
    }

    /// How long after [`Trouble::Calm`] everything must be well again.
    pub fn patience(&self) -> Duration {
        self.profile.promise * 9
    }

    /// The cell as server `node` sees it.
    pub fn cell(&self, node: NodeId) -> Cell {
        Cell::new(self.servers.clone(), self.servers[node].address).expect("these servers are a cell")
    }
}

fn servers(voters: usize, clones: usize) -> Vec<Server> {
    let server = |nth: usize| Server {
        address: 0x0a00_0001 + nth as u32,
        kind: if nth < voters { ServerKind::Voter } else { ServerKind::Clone },
        dialect: Dialect::Quorate,
    };
    (0..voters + clones).map(server).collect()
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let voters = self.servers.iter().filter(|server| server.kind == ServerKind::Voter).count();
        let clones = self.servers.len() - voters;
        let about = match self.course {
            Course::Usual => "clocks keep their rate",
            Course::LostDisk => "clocks keep their rate, and a disk is lost",
            Course::WildClocks => "clocks run and jump as they like",
            Course::Mixed => "wall clocks are nearly right",
        };
        let beacon = self.profile.beacon;
        let foreign = (0..self.servers.len()).filter(|&node| self.servers[node].dialect == Dialect::OpenAfs);
        let foreign: Vec<NodeId> = foreign.collect();
        if !foreign.is_empty() {
            write!(f, "servers {foreign:?} run OpenAFS; ")?;
        }
        write!(f, "{voters} voters, {clones} clones, a beacon every {beacon:?}, ")?;
        write!(f, "{:.0} minutes; {about}", self.end as f64 / 6e7)
    }
}

/// Draws the troubles of one run.
struct Draw {
    random: fastrand::Rng,
    course: Course,
    nodes: usize,
    voters: usize,
    /// In microseconds, shorter where everything is.
    minute: u64,
    troubles: Vec<(u64, Trouble)>,
}

impl Draw {
    /// Troubles every few minutes, each undone after a while; calm for the last quarter.
    fn course(&mut self, end: u64) -> Vec<(u64, Trouble)> {
        let minute = self.minute;
        let calm = end - 13 * minute;
        for node in 0..self.nodes {
            let rate = self.rate();
            self.add(0, Trouble::Drift(node, rate));
            let far = if self.course == Course::Mixed { 4 } else { 60 };
            let ahead = self.random.i64(-far..far);
            self.add(0, Trouble::SetWall(node, ahead));
        }
        let lost_disk =
            (self.course == Course::LostDisk).then(|| self.random.u64(5 * minute..calm - 10 * minute));
        let mut at = self.random.u64(..4 * minute);
        while at < calm {
            if let Some(start) = lost_disk
                && (start..start + 9 * minute).contains(&at)
            {
                at = self.lost_disk(at);
                continue;
            }
            let over = (at + self.random.u64(minute / 30..4 * minute)).min(calm);
            self.one(at, over);
            at += self.random.u64(minute / 20..5 * minute);
        }
        self.add(calm, Trouble::Calm);
        self.troubles.sort_by_key(|&(at, _)| at);
        std::mem::take(&mut self.troubles)
    }

    fn add(&mut self, at: u64, trouble: Trouble) {
        self.troubles.push((at, trouble));
    }

    fn rate(&mut self) -> i64 {
        if self.course == Course::WildClocks {
            self.random.i64(-500_000..1_000_000)
        } else {
            self.random.i64(-9_900..9_900)
        }
    }

    fn one(&mut self, at: u64, over: u64) {
        let node = self.random.usize(..self.nodes);
        let nodes = self.nodes;
        match self.random.u8(..16) {
            0..=3 => {
                self.add(at, Trouble::Crash(node));
                let quick =
                    if self.random.bool() { at + self.random.u64(1_000..self.minute / 10) } else { over };
                self.add(quick, Trouble::Restart(node));
            }
            4..=6 => {
                let (sends, receives) =
                    [(false, false), (true, false), (false, true)][self.random.usize(..3)];
                self.passing(at, Trouble::Isolate { node, sends, receives }, over, Trouble::Heal);
            }
            7 => {
                let other = self.random.usize(..nodes);
                self.passing(at, Trouble::CutPair(node, other), over, Trouble::Heal);
            }
            8 | 9 => {
                let side = (0..nodes).map(|_| self.random.bool()).collect();
                self.passing(at, Trouble::Split(side), over, Trouble::Heal);
            }
            10 | 11 => {
                let (loss, late) = (self.random.u32(..200), self.random.u32(..60));
                self.passing(at, Trouble::BadNetwork { loss, late }, over, Trouble::Heal);
            }
            12 => {
                let rate = self.rate();
                self.add(at, Trouble::Drift(node, rate));
            }
            13 => self.set_clock(at, node),
            14 => self.passing(at, Trouble::FullDisk(node, true), over, Trouble::FullDisk(node, false)),
            _ => {
                let slow = if self.random.u8(..4) == 0 { self.minute / 12_000 } else { 100 };
                self.passing(at, Trouble::SlowDisk(node, slow), over, Trouble::SlowDisk(node, 1));
            }
        }
    }

    fn passing(&mut self, at: u64, trouble: Trouble, over: u64, mended: Trouble) {
        self.add(at, trouble);
        self.add(over, mended);
    }

    fn set_clock(&mut self, at: u64, node: NodeId) {
        match self.course {
            Course::Usual => {
                let ahead = match self.random.u8(..8) {
                    // A clock of 1970, and one that is past all epochs.
                    0 => [-1_690_000_000, 1_000_000_000][self.random.usize(..2)],
                    1 => self.random.i64(-100_000..100_000),
                    _ => self.random.i64(-200..200),
                };
                self.add(at, Trouble::SetWall(node, ahead));
            }
            // A lost disk and clocks set back may together undo what a promise remembers: one or the other. And OpenAFS's
            // servers count on their wall clocks.
            Course::LostDisk | Course::Mixed => {}
            Course::WildClocks => {
                let by = self.random.u64(..3 * self.minute);
                self.add(at, Trouble::JumpClock(node, by));
            }
        }
    }

    /// One server is cut off and misses commits; then another loses its disk, and who had it all is gone for a while:
    /// what is left must not take itself for a quorum. Returns when it is over.
    fn lost_disk(&mut self, at: u64) -> u64 {
        let minute = self.minute;
        let mut order: Vec<NodeId> = (0..self.voters).collect();
        self.random.shuffle(&mut order);
        let behind = self.voters / 2;
        let (stale, rest) = order.split_at(behind);
        let (wiped, holders) = (rest[0], &rest[1..]);
        let away = at + 3 * minute;
        for &node in stale {
            self.add(at, Trouble::Crash(node));
            self.add(away + minute / 30, Trouble::Restart(node));
        }
        let back = at + 7 * minute;
        self.add(away, Trouble::Crash(wiped));
        self.add(away + minute / 60, Trouble::RestartEmpty(wiped));
        for &node in holders {
            self.add(away, Trouble::Crash(node));
            self.add(back, Trouble::Restart(node));
        }
        at + 9 * minute
    }
}
