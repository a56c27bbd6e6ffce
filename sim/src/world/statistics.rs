//! What a run counted.

/// What a run counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Events.
    pub events: u64,
    /// Elections won.
    pub elections: u64,
    /// Writes acknowledged.
    pub commits: u64,
    /// Writes whose fate was not known when they ended.
    pub undecided: u64,
    /// Writes and reads refused.
    pub refused: u64,
    /// Reads of the newest version.
    pub reads: u64,
    /// Of these, at followers.
    pub follower_reads: u64,
    /// Reads of any version.
    pub any_reads: u64,
    /// Power failures.
    pub crashes: u64,
    /// Whole databases sent or fetched.
    pub transfers: u64,
}

impl Statistics {
    /// Adds another run's.
    pub fn add(&mut self, other: &Statistics) {
        self.events += other.events;
        self.elections += other.elections;
        self.commits += other.commits;
        self.undecided += other.undecided;
        self.refused += other.refused;
        self.reads += other.reads;
        self.follower_reads += other.follower_reads;
        self.any_reads += other.any_reads;
        self.crashes += other.crashes;
        self.transfers += other.transfers;
    }
}
