//! Which fault is done when.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::cell::Cell;
use crate::clients::Work;

/// No fault that leaves a quorum may stop writes for longer: a hang, not slowness, is what this finds.
const HANG: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    KillSyncSite,
    KillFollower,
    KillAll,
    EndSyncSite,
    CutOffSyncSite,
    CutOffFollower,
    DumbSyncSite,
    PauseSyncSite,
    PauseFollower,
    Loss,
    ClockAnHourOn,
    ClockAnHourBack,
}

const ALL: [Fault; 12] = [
    Fault::KillSyncSite,
    Fault::KillFollower,
    Fault::KillAll,
    Fault::EndSyncSite,
    Fault::CutOffSyncSite,
    Fault::CutOffFollower,
    Fault::DumbSyncSite,
    Fault::PauseSyncSite,
    Fault::PauseFollower,
    Fault::Loss,
    Fault::ClockAnHourOn,
    Fault::ClockAnHourBack,
];

/// How long it took from each fault to the next write, called after it, that was acknowledged.
pub type Gaps = BTreeMap<String, Vec<Duration>>;

/// Does faults for so long.
pub fn run(cell: &mut Cell, work: &Work, rng: &mut Rng, length: Duration, gaps: &mut Gaps) {
    let begun = Instant::now();
    while begun.elapsed() < length {
        std::thread::sleep(Duration::from_millis(rng.u64(300..1500)));
        let Some(sync_site) = cell.sync_site() else { continue };
        let fault = ALL[rng.usize(..ALL.len())];
        inflict(cell, fault, sync_site, rng);
        // Only a write that is called when the fault is there says that it was overcome.
        let at = work.now();
        let took = await_write(cell, work, at, fault);
        gaps.entry(format!("{fault:?}")).or_default().push(took);
        std::thread::sleep(Duration::from_millis(rng.u64(100..2500)));
        cell.mend();
    }
}

/// Waits for a write of a client that was called after the fault.
fn await_write(cell: &Cell, work: &Work, at: u64, fault: Fault) -> Duration {
    let begun = Instant::now();
    while !work.has_written_since(at) {
        assert!(begun.elapsed() < HANG, "{fault:?}: nothing was written for {HANG:?}\n{}", cell.said());
        std::thread::sleep(Duration::from_millis(2));
    }
    Duration::from_micros(work.now() - at)
}

fn inflict(cell: &mut Cell, fault: Fault, sync_site: usize, rng: &mut Rng) {
    let follower = (sync_site + 1 + rng.usize(..2)) % 3;
    let all_but = |node: usize| -> Vec<usize> { (0..3).filter(|&other| other != node).collect() };
    match fault {
        Fault::KillSyncSite => cell.lab.nodes[sync_site].kill(),
        Fault::KillFollower => cell.lab.nodes[follower].kill(),
        Fault::KillAll => {
            (0..3).for_each(|node| cell.lab.nodes[node].kill());
            // Without a quorum nothing is written until they are back.
            cell.mend();
        }
        Fault::EndSyncSite => drop(cell.lab.nodes[sync_site].stop()),
        Fault::CutOffSyncSite => cell.lab.split(&[sync_site], &all_but(sync_site), rng.bool()),
        Fault::CutOffFollower => cell.lab.split(&[follower], &all_but(follower), false),
        Fault::DumbSyncSite => cell.lab.cut(&[sync_site], &all_but(sync_site), false),
        Fault::PauseSyncSite => cell.lab.nodes[sync_site].signal("STOP"),
        Fault::PauseFollower => cell.lab.nodes[follower].signal("STOP"),
        Fault::Loss => cell.lab.lose(sync_site, 20),
        Fault::ClockAnHourOn => cell.set_clock(rng.usize(..3), 3600),
        Fault::ClockAnHourBack => cell.set_clock(rng.usize(..3), -3600),
    }
}
