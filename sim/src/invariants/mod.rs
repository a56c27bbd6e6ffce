//! What must hold, one property a file. Each is told what happens and says what it found wrong.

mod committed_survives;
mod failed_never_happened;
mod one_sync_site;
mod promises_kept;
mod reads_are_fresh;
mod replicas_equal;
mod versions_grow;

pub use committed_survives::CommittedSurvives;
pub use failed_never_happened::FailedNeverHappened;
pub use one_sync_site::OneSyncSite;
pub use promises_kept::PromisesKept;
pub use reads_are_fresh::ReadsAreFresh;
pub use replicas_equal::ReplicasEqual;
pub use versions_grow::VersionsGrow;

/// What a property says that does not hold.
pub type Found = Result<(), String>;

/// All properties of one run.
#[derive(Debug)]
pub struct Invariants {
    /// At most one server holds a mandate.
    pub one_sync_site: OneSyncSite,
    /// No voter promises two servers at once.
    pub promises_kept: PromisesKept,
    /// What was shown or acknowledged is in every later version that is shown.
    pub committed_survives: CommittedSurvives,
    /// One label, one content.
    pub replicas_equal: ReplicasEqual,
    /// No server's version goes back.
    pub versions_grow: VersionsGrow,
    /// A read finds everything that was known when it began.
    pub reads_are_fresh: ReadsAreFresh,
    /// What was called failed never happened.
    pub failed_never_happened: FailedNeverHappened,
}

impl Invariants {
    /// The properties of a cell of `nodes` whose promises last `promise` microseconds.
    pub fn new(nodes: usize, promise: u64) -> Self {
        Invariants {
            one_sync_site: OneSyncSite,
            promises_kept: PromisesKept::new(nodes, promise),
            committed_survives: CommittedSurvives::default(),
            replicas_equal: ReplicasEqual::default(),
            versions_grow: VersionsGrow::new(nodes),
            reads_are_fresh: ReadsAreFresh::default(),
            failed_never_happened: FailedNeverHappened::default(),
        }
    }
}
