//! Which fault is done when, and how long writes stood still for it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::clients::Load;
use crate::cluster::Cluster;

/// No fault that leaves a quorum may stop writes for longer: a hang, not slowness, is what this finds.
const HANG: Duration = Duration::from_secs(90);

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    KillSyncSite,
    /// Killed, and started again at once.
    FlapSyncSite,
    KillFollower,
    KillTwo,
    CutOffSyncSite,
    RefuseSyncSite,
    CutInTwo,
    DumbSyncSite,
    DeafSyncSite,
    StopSyncSite,
    StopFollower,
    LossAtSyncSite,
    SlowDisk,
    FullDisk,
    ClockForward,
    ClockBack,
}

const ALL: [Fault; 16] = [
    Fault::KillSyncSite,
    Fault::FlapSyncSite,
    Fault::KillFollower,
    Fault::KillTwo,
    Fault::CutOffSyncSite,
    Fault::RefuseSyncSite,
    Fault::CutInTwo,
    Fault::DumbSyncSite,
    Fault::DeafSyncSite,
    Fault::StopSyncSite,
    Fault::StopFollower,
    Fault::LossAtSyncSite,
    Fault::SlowDisk,
    Fault::FullDisk,
    Fault::ClockForward,
    Fault::ClockBack,
];

/// For each fault, how long it took from it to the next write, called after it, that was acknowledged.
pub type Recoveries = BTreeMap<String, Vec<Duration>>;

/// Does faults, one after the other in a random order, every one before any comes again.
pub fn run(cluster: &mut Cluster, load: &Load, random: &mut Rng, length: Duration) -> Recoveries {
    let begun = Instant::now();
    let mut recoveries = Recoveries::new();
    let mut waiting = Vec::new();
    while begun.elapsed() < length {
        if waiting.is_empty() {
            waiting = ALL.to_vec();
            random.shuffle(&mut waiting);
        }
        let fault = waiting.pop().expect("it was filled above");
        wait_for_write(cluster, load, load.now(), "before a fault");
        let Some(sync_site) = cluster.sync_site() else { continue };
        if !inflict(cluster, fault, sync_site, random) {
            continue;
        }
        // Only a write that is called when the fault is there says that it was overcome.
        let took = wait_for_write(cluster, load, load.now(), &format!("{fault:?}"));
        eprintln!(
            "{:6.1} s: {fault:?} at {sync_site}: {:.2} s",
            begun.elapsed().as_secs_f64(),
            took.as_secs_f64()
        );
        recoveries.entry(format!("{fault:?}")).or_default().push(took);
        // The fault lasts on a while, so that the others go on without whom it hit.
        std::thread::sleep(Duration::from_millis(random.u64(200..3000)));
        mend(cluster, fault, sync_site);
        std::thread::sleep(Duration::from_millis(random.u64(200..3000)));
    }
    recoveries
}

fn wait_for_write(cluster: &Cluster, load: &Load, moment: u64, what: &str) -> Duration {
    let begun = Instant::now();
    while !load.has_written_since(moment) {
        if begun.elapsed() > HANG {
            cluster.tell_all();
            panic!("{what}: nothing was written for {HANG:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    begun.elapsed()
}

/// Does the fault; `false` if it cannot be done here.
fn inflict(cluster: &mut Cluster, fault: Fault, sync_site: usize, random: &mut Rng) -> bool {
    if fault == Fault::FlapSyncSite {
        cluster.restart(sync_site);
        return true;
    }
    let servers = cluster.servers();
    let follower = (sync_site + 1 + random.usize(..servers - 1)) % servers;
    let others: Vec<usize> = (0..servers).filter(|&node| node != sync_site).collect();
    let lab = &mut cluster.lab;
    match fault {
        Fault::KillSyncSite => lab.nodes[sync_site].kill(),
        Fault::KillFollower => lab.nodes[follower].kill(),
        Fault::KillTwo => {
            lab.nodes[sync_site].kill();
            lab.nodes[follower].kill();
        }
        Fault::CutOffSyncSite => lab.split(&[sync_site], &others, false),
        Fault::RefuseSyncSite => lab.split(&[sync_site], &others, true),
        Fault::CutInTwo => {
            let rest: Vec<usize> = others.iter().copied().filter(|&node| node != follower).collect();
            lab.split(&[sync_site, follower], &rest, false);
        }
        Fault::DumbSyncSite => lab.cut(&[sync_site], &others, false),
        Fault::DeafSyncSite => lab.cut(&others, &[sync_site], false),
        Fault::StopSyncSite => lab.nodes[sync_site].signal("STOP"),
        Fault::StopFollower => lab.nodes[follower].signal("STOP"),
        Fault::LossAtSyncSite => lab.lose(sync_site, 25),
        Fault::SlowDisk => return cluster.slow_disk(sync_site, random.u32(20_000..400_000)),
        Fault::FullDisk => cluster.fill_disk(sync_site),
        Fault::ClockForward if cluster.can_step_clocks() => {
            cluster.set_clock(sync_site, random.i64(20..100_000))
        }
        Fault::ClockBack if cluster.can_step_clocks() => {
            cluster.set_clock(sync_site, -random.i64(20..100_000))
        }
        Fault::FlapSyncSite | Fault::ClockForward | Fault::ClockBack => return false,
    }
    true
}

fn mend(cluster: &mut Cluster, fault: Fault, sync_site: usize) {
    match fault {
        Fault::SlowDisk => cluster.restore_disk(sync_site),
        // A server whose disk failed within a commit asks to be started again.
        Fault::FullDisk => {
            cluster.empty_disk(sync_site);
            cluster.restart(sync_site);
        }
        // Clocks stay where they are for a while: the next faults meet servers that disagree about the time.
        Fault::ClockForward | Fault::ClockBack => {}
        _ => cluster.mend_network_and_processes(),
    }
}

/// Prints how long writes stood still for each fault.
pub fn report(recoveries: &Recoveries) {
    eprintln!("from a fault to the next acknowledged write (times, median, worst):");
    for (fault, times) in recoveries {
        let mut sorted = times.clone();
        sorted.sort();
        let (median, worst) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() - 1]);
        let (median, worst) = (median.as_secs_f64(), worst.as_secs_f64());
        eprintln!("  {fault:16} {:4} {median:7.2} s {worst:7.2} s", sorted.len());
    }
}
