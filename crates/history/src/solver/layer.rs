//! The states of one layer of the search.
//!
//! Owns their storage: one flat array of heads, so that a layer is two allocations however many states it has.

/// Where the search stands on one path: everything but the heads.
#[derive(Clone, Copy, Debug)]
pub(super) struct State {
    /// The register's value (local code).
    pub value: u32,
    /// The last step of the path, in the search's nodes.
    pub node: u32,
    /// The cell reached.
    pub cell: u64,
    /// Sum of the head hashes: equal heads have equal sums.
    pub hash: u64,
    /// Steps done.
    pub done: u32,
    /// Choices that were not the first.
    pub strays: u32,
}

/// A set of states, each with the next step of every process.
#[derive(Default)]
pub(super) struct Layer {
    pub states: Vec<State>,
    heads: Vec<u32>,
    processes: usize,
    table: Vec<u32>,
}

/// Below this many states a scan is faster than a table.
const SCANNED: usize = 24;

impl Layer {
    pub fn reset(&mut self, processes: usize) {
        self.processes = processes;
        self.clear();
    }

    pub fn clear(&mut self) {
        self.states.clear();
        self.heads.clear();
    }

    pub fn heads(&self, at: usize) -> &[u32] {
        &self.heads[at * self.processes..(at + 1) * self.processes]
    }

    pub fn push(&mut self, state: State, heads: &[u32]) {
        self.states.push(state);
        self.heads.extend_from_slice(heads);
    }

    /// Forgets all but the first `count` states.
    pub fn truncate(&mut self, count: usize) {
        self.states.truncate(count);
        self.heads.truncate(count * self.processes);
    }

    /// How many heads all states have together.
    pub fn head_count(&self) -> usize {
        self.heads.len()
    }

    /// Moves `count` states from place `from` down to place `to`.
    pub fn shift(&mut self, from: usize, to: usize, count: usize) {
        self.states.copy_within(from..from + count, to);
        let heads = from * self.processes..(from + count) * self.processes;
        self.heads.copy_within(heads, to * self.processes);
    }

    /// Adds a state unless it is there; of two that differ in the cell only, the earlier can do all the other can.
    pub fn insert(&mut self, state: State, heads: &[u32]) {
        match self.find(&state, heads) {
            Some(at) => {
                if state.cell < self.states[at].cell {
                    self.states[at] = state;
                }
            }
            None => {
                self.push(state, heads);
                self.note_last();
            }
        }
    }

    fn find(&self, state: &State, heads: &[u32]) -> Option<usize> {
        let same = |at: usize| {
            let other = &self.states[at];
            other.hash == state.hash && other.value == state.value && self.heads(at) == heads
        };
        if self.states.len() <= SCANNED {
            return (0..self.states.len()).find(|&at| same(at));
        }
        let mask = self.table.len() - 1;
        let mut slot = place(state) & mask;
        while self.table[slot] != 0 {
            let at = self.table[slot] as usize - 1;
            if same(at) {
                return Some(at);
            }
            slot = (slot + 1) & mask;
        }
        None
    }

    /// Enters the state just pushed into the table, which exists beyond `SCANNED` states.
    fn note_last(&mut self) {
        let count = self.states.len();
        if count <= SCANNED {
            return;
        }
        if count == SCANNED + 1 || count * 2 > self.table.len() {
            self.rebuild_table(count.next_power_of_two() * 4);
        } else {
            self.enter(count - 1);
        }
    }

    fn rebuild_table(&mut self, size: usize) {
        self.table.clear();
        self.table.resize(size, 0);
        for at in 0..self.states.len() {
            self.enter(at);
        }
    }

    fn enter(&mut self, at: usize) {
        let mask = self.table.len() - 1;
        let mut slot = place(&self.states[at]) & mask;
        while self.table[slot] != 0 {
            slot = (slot + 1) & mask;
        }
        self.table[slot] = at as u32 + 1;
    }

    /// Keeps the `width` most promising states: those that got farthest in time with as many choices, then those
    /// with the fewest strays; as many again by chance.
    pub fn narrow(&mut self, width: usize, ranking: &mut Vec<(u64, u32, u32)>) {
        if self.states.len() <= width {
            return;
        }
        ranking.clear();
        let rank = |(at, state): (usize, &State)| (u64::MAX - state.cell, state.strays, at as u32);
        ranking.extend(self.states.iter().enumerate().map(rank));
        // Half by promise, half by chance: the most promising may all share one mistake.
        let promising = width.div_ceil(2);
        ranking.select_nth_unstable(promising);
        if promising < width {
            for entry in &mut ranking[promising..] {
                entry.0 = place(&self.states[entry.2 as usize]) as u64;
            }
            ranking[promising..].select_nth_unstable(width - promising);
        }
        ranking.truncate(width);
        ranking.sort_unstable_by_key(|entry| entry.2);
        for (to, &(_, _, from)) in ranking.iter().enumerate() {
            let from = from as usize;
            self.states[to] = self.states[from];
            self.heads.copy_within(from * self.processes..(from + 1) * self.processes, to * self.processes);
        }
        self.states.truncate(width);
        self.heads.truncate(width * self.processes);
    }
}

fn place(state: &State) -> usize {
    let mixed = (state.hash ^ u64::from(state.value)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 20) as usize
}

/// The hash of one head; a state's hash is the sum over its heads, so that a step changes it in constant time.
#[inline]
pub(super) fn head_hash(head: u32) -> u64 {
    // Step numbers are global, so the process is implied.
    let mut hash = u64::from(head).wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash ^= hash >> 29;
    hash.wrapping_mul(0x94d0_49bb_1331_11eb)
}
