//! What goes wrong in a run, drawn from its seed.

use std::time::Duration;

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
    /// A disk is slow, or not any more.
    SlowDisk(NodeId, bool),
    /// A disk is full, or not any more.
    FullDisk(NodeId, bool),
    /// Everything is mended; what follows must be quiet.
    Calm,
}

/// One run: the cell, and what happens to it.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The servers, as each of them sees the cell.
    pub servers: Vec<Server>,
    /// The timing.
    pub profile: Profile,
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
        let mut random = fastrand::Rng::with_seed(seed);
        let brisk = random.bool();
        let profile = if brisk { Profile::brisk() } else { Profile::openafs() };
        let voters = [3, 3, 3, 3, 5, 5, 4, 2, 1][random.usize(..9)];
        let clones = usize::from(random.u8(..6) == 0);
        let servers = servers(voters, clones);
        let scale = if brisk { 20 } else { 1 };
        let end = 3_600_000_000 / scale;
        let troubles = draw(&mut random, servers.len(), voters % 2 == 1 && voters > 1, scale, end);
        let crash_per_mille = if random.bool() { random.u32(..4) } else { 0 };
        Scenario { servers, profile, troubles, end, clients: 3, think: 20_000_000 / scale, crash_per_mille }
    }

    /// A quiet cell of `voters` servers.
    pub fn quiet(voters: usize, profile: Profile, length: Duration) -> Self {
        let end = length.as_micros() as u64;
        let think = (profile.beacon.as_micros() / 2) as u64;
        let servers = servers(voters, 0);
        Scenario { servers, profile, troubles: Vec::new(), end, clients: 2, think, crash_per_mille: 0 }
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

/// Troubles every few minutes, each undone after a while; calm for the last quarter.
fn draw(random: &mut fastrand::Rng, nodes: usize, odd: bool, scale: u64, end: u64) -> Vec<(u64, Trouble)> {
    let minute = 60_000_000 / scale;
    let mut troubles = Vec::new();
    let calm = end - 13 * minute;
    for node in 0..nodes {
        troubles.push((0, Trouble::Drift(node, random.i64(-9_900..9_900))));
        troubles.push((0, Trouble::SetWall(node, random.i64(-60..60))));
    }
    // A lost disk and clocks set back may together undo what a promise remembers: one or the other.
    let wipes = odd && random.u8(..5) == 0;
    let mut wiped = false;
    let mut at = random.u64(..4 * minute);
    while at < calm {
        let node = random.usize(..nodes);
        let lasts = random.u64(minute / 30..4 * minute);
        let over = (at + lasts).min(calm);
        match random.u8(..16) {
            0..=3 => {
                troubles.push((at, Trouble::Crash(node)));
                let quick = if random.bool() { at + random.u64(1_000..minute / 10) } else { over };
                let empty = wipes && !wiped;
                wiped |= empty;
                troubles
                    .push((quick, if empty { Trouble::RestartEmpty(node) } else { Trouble::Restart(node) }));
            }
            4..=6 => {
                let (sends, receives) = [(false, false), (true, false), (false, true)][random.usize(..3)];
                troubles.push((at, Trouble::Isolate { node, sends, receives }));
                troubles.push((over, Trouble::Heal));
            }
            7 => {
                troubles.push((at, Trouble::CutPair(node, random.usize(..nodes))));
                troubles.push((over, Trouble::Heal));
            }
            8 | 9 => {
                troubles.push((at, Trouble::Split((0..nodes).map(|_| random.bool()).collect())));
                troubles.push((over, Trouble::Heal));
            }
            10 | 11 => {
                let (loss, late) = (random.u32(..200), random.u32(..60));
                troubles.push((at, Trouble::BadNetwork { loss, late }));
                troubles.push((over, Trouble::Heal));
            }
            12 => troubles.push((at, Trouble::Drift(node, random.i64(-9_900..9_900)))),
            13 if !wipes => {
                let far = if random.u8(..4) == 0 { 100_000 } else { 200 };
                troubles.push((at, Trouble::SetWall(node, random.i64(-far..far))));
            }
            14 => {
                troubles.push((at, Trouble::FullDisk(node, true)));
                troubles.push((over, Trouble::FullDisk(node, false)));
            }
            _ => {
                troubles.push((at, Trouble::SlowDisk(node, true)));
                troubles.push((over, Trouble::SlowDisk(node, false)));
            }
        }
        at += random.u64(minute / 20..5 * minute);
    }
    troubles.push((calm, Trouble::Calm));
    troubles.sort_by_key(|&(at, _)| at);
    troubles
}
