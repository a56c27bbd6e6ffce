//! What each trace is known to have seen of the others.
//!
//! Owns one vector clock a trace: how many rows of every other trace have certainly finished when this trace's next
//! row starts. A dependency that the clock knows already need not be waited for, and taking dependencies latest first
//! makes that the exact transitive reduction: what remains is implied by nothing else.

/// The clocks of all traces.
pub struct Clocks {
    traces: usize,
    /// `known[f * traces + g]`: rows of g that have finished when f's next row starts.
    known: Vec<u32>,
    /// For each trace the rows where its clock advanced, ascending, and the clock after that, `traces` numbers each.
    rows: Vec<Vec<u32>>,
    past: Vec<Vec<u32>>,
}

impl Clocks {
    /// Clocks that know nothing.
    pub fn new(traces: usize) -> Clocks {
        Clocks {
            traces,
            known: vec![0; traces * traces],
            rows: vec![Vec::new(); traces],
            past: vec![Vec::new(); traces],
        }
    }

    /// Whether trace `of` knows that the first `count` rows of `other` have finished.
    pub fn knows(&self, of: usize, other: usize, count: u32) -> bool {
        self.known[of * self.traces + other] >= count
    }

    /// Trace `of` waits for the first `count` rows of `other`: it then knows what `other` knew at the last of them.
    pub fn learn(&mut self, of: usize, other: usize, count: u32) {
        let at = self.rows[other].partition_point(|&row| row < count);
        if at > 0 {
            let clock = &self.past[other][(at - 1) * self.traces..at * self.traces];
            let own = &mut self.known[of * self.traces..(of + 1) * self.traces];
            for (mine, theirs) in own.iter_mut().zip(clock) {
                *mine = (*mine).max(*theirs);
            }
        }
        let mine = &mut self.known[of * self.traces + other];
        *mine = (*mine).max(count);
    }

    /// Remembers what trace `of` knows when its row `row` starts; to be called when it waited there.
    pub fn keep(&mut self, of: usize, row: u32) {
        self.rows[of].push(row);
        let clock = self.known[of * self.traces..(of + 1) * self.traces].to_vec();
        self.past[of].extend(clock);
    }
}
