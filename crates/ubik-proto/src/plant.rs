//! Faults that the simulator plants in the shipped code, to prove that it would find them.
//!
//! Without the feature `plant` every question here is answered with a constant `false`.

/// A rule left out or bent. The ids are those of `docs/ubik-protocol.md`, Faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A voter says yes though its promise to another has not run out.
    PromiseIgnored,
    /// A voter that starts anew takes itself to be free at once.
    PromiseForgotten,
    /// A voter agrees to an epoch that is not above all it agreed to.
    OldEpochAccepted,
    /// The versions of servers that have promised nothing to this mandate count.
    VersionsOfTheUnbound,
    /// The mandate outlasts the promise.
    MandateTooLong,
    /// A new epoch is the wall clock, whatever was seen.
    EpochFromWallClock,
    /// A commit does not wait for the leases of servers that missed it.
    LeasesNotAwaited,
    /// A new sync site ignores the leases that earlier ones granted.
    OlderLeasesIgnored,
    /// A lease counts from the receipt of the last beacon.
    LeaseFromReceipt,
    /// A follower with a lease reads whatever version it holds.
    ReadsBehind,
    /// The sync site shows a commit before a quorum has it.
    ShownBeforeQuorum,
    /// A follower shows a commit before it is decided.
    FollowerShowsPending,
    /// The new sync site serves what it adopted without a quorum taking its label.
    NoRelabel,
    /// The new sync site serves its own copy without asking a quorum.
    OwnCopyOnly,
    /// An empty copy counts as an answer.
    EmptyCopyCounts,
    /// A follower serves the calls of any member.
    NoFence,
    /// A server whose commit call failed is still taken to be in step.
    FailedTakerKept,
    /// A commit that a quorum has not taken is reported as failed.
    UndecidedCalledFailed,
    /// A server takes a database older than its own.
    OlderDatabaseTaken,
    /// The log is not synced before the commit is acknowledged.
    LogNotSynced,
    /// A sync site that stops is free at once, whatever its mandates promised.
    OwnPromiseFreed,
    /// A renewed yes does not lengthen the promise.
    RenewalsBindNobody,
    /// A yes is sent without its record on disk.
    PromiseNotSaved,
    /// A renewed yes does not wait for the record of the first.
    RenewalNotAwaited,
    /// Any yes, also to a beacon that grants, ends what its server may read.
    GrantsForgotten,
    /// A server is told of a transaction whatever version it holds.
    TakersOutOfStep,
    /// A server that receives a database voids its own first (C: label 0).
    OldDatabaseDropped,
    /// A follower of OpenAFS's sync site begins a transaction though it holds less than a beacon has named.
    BegunBehind,
    /// A sync site that stops is free when its mandate is over.
    OwnPromiseShort,
    /// A wall clock, or a candidate, takes a voter to any epoch.
    EpochsUnbounded,
    /// A server tells its version while its disk works on the next one.
    VersionToldEarly,
    /// What was made over a commit goes on when that commit has not come about.
    DependentsKept,
    /// The sync site counts itself among those that hold a commit before its own log does.
    OwnLogAssumed,
    /// All databases that a server receives go through one file, whoever sends them.
    TransfersMixed,
    /// A lease counts from a yes to a beacon that was sent to an earlier life.
    RepeatedYesCounts,
}

impl Fault {
    /// All of them.
    pub const ALL: [Fault; 35] = [
        Fault::PromiseIgnored,
        Fault::PromiseForgotten,
        Fault::OldEpochAccepted,
        Fault::VersionsOfTheUnbound,
        Fault::MandateTooLong,
        Fault::EpochFromWallClock,
        Fault::LeasesNotAwaited,
        Fault::OlderLeasesIgnored,
        Fault::LeaseFromReceipt,
        Fault::ReadsBehind,
        Fault::ShownBeforeQuorum,
        Fault::FollowerShowsPending,
        Fault::NoRelabel,
        Fault::OwnCopyOnly,
        Fault::EmptyCopyCounts,
        Fault::NoFence,
        Fault::FailedTakerKept,
        Fault::UndecidedCalledFailed,
        Fault::OlderDatabaseTaken,
        Fault::LogNotSynced,
        Fault::OwnPromiseFreed,
        Fault::RenewalsBindNobody,
        Fault::PromiseNotSaved,
        Fault::RenewalNotAwaited,
        Fault::GrantsForgotten,
        Fault::TakersOutOfStep,
        Fault::OldDatabaseDropped,
        Fault::BegunBehind,
        Fault::OwnPromiseShort,
        Fault::EpochsUnbounded,
        Fault::VersionToldEarly,
        Fault::DependentsKept,
        Fault::OwnLogAssumed,
        Fault::TransfersMixed,
        Fault::RepeatedYesCounts,
    ];
}

#[cfg(feature = "plant")]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Fault>> = const { std::cell::Cell::new(None) };
}

#[cfg(feature = "plant")]
static PLANTED_EVERYWHERE: std::sync::OnceLock<Fault> = std::sync::OnceLock::new();

/// Plants the fault of this name in the whole process, for good; false if there is none. Only the first counts.
#[cfg(feature = "plant")]
pub fn plant_everywhere(name: &str) -> bool {
    let fault = Fault::ALL.into_iter().find(|fault| format!("{fault:?}") == name);
    fault.is_some_and(|fault| PLANTED_EVERYWHERE.set(fault).is_ok())
}

/// Plants a fault in everything that runs on this thread from now on; `None` takes it out.
#[cfg(feature = "plant")]
pub fn plant(fault: Option<Fault>) {
    PLANTED.set(fault);
}

/// Whether this fault is planted.
#[cfg(feature = "plant")]
pub fn planted(fault: Fault) -> bool {
    PLANTED.get() == Some(fault) || PLANTED_EVERYWHERE.get() == Some(&fault)
}

/// Never.
#[cfg(not(feature = "plant"))]
#[inline(always)]
pub fn planted(_fault: Fault) -> bool {
    false
}
