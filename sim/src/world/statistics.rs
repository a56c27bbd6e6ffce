//! What a run counted.

use std::fmt;

/// How many numbers there are.
const COUNT: usize = 13;

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
    /// Things that went wrong: crashes, cuts, bad clocks and disks.
    pub troubles: u64,
    /// Operations whose order was found by the history checker.
    pub checked: u64,
    /// Calls that came again to a server's next life.
    pub repeated: u64,
}

impl Statistics {
    /// Adds another run's.
    pub fn add(&mut self, other: &Statistics) {
        let sums = self.numbers().into_iter().zip(other.numbers()).map(|(one, other)| one + other);
        let sums: Vec<u64> = sums.collect();
        *self = Statistics::from_numbers(&sums).expect("numbers gives as many as from_numbers takes");
    }

    /// All of them, in a fixed order.
    fn fields(&mut self) -> [&mut u64; COUNT] {
        [
            &mut self.events,
            &mut self.elections,
            &mut self.commits,
            &mut self.undecided,
            &mut self.refused,
            &mut self.reads,
            &mut self.follower_reads,
            &mut self.any_reads,
            &mut self.crashes,
            &mut self.transfers,
            &mut self.troubles,
            &mut self.checked,
            &mut self.repeated,
        ]
    }

    /// All of them, in a fixed order.
    pub fn numbers(mut self) -> [u64; COUNT] {
        self.fields().map(|number| *number)
    }

    /// What [`Statistics::numbers`] gave; `None` if these are too few or too many.
    pub fn from_numbers(numbers: &[u64]) -> Option<Self> {
        let numbers: &[u64; COUNT] = numbers.try_into().ok()?;
        let mut statistics = Statistics::default();
        for (field, number) in statistics.fields().into_iter().zip(numbers) {
            *field = *number;
        }
        Some(statistics)
    }
}

impl fmt::Display for Statistics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} elections, {} writes ({} undecided), ", self.elections, self.commits, self.undecided)?;
        write!(
            f,
            "{} reads ({} at followers, {} of any version), ",
            self.reads, self.follower_reads, self.any_reads
        )?;
        write!(f, "{} refused, {} crashes, {} faults, ", self.refused, self.crashes, self.troubles)?;
        write!(
            f,
            "{} transfers, {} calls repeated to another life, {} operations put in order, {} events",
            self.transfers, self.repeated, self.checked, self.events
        )
    }
}
