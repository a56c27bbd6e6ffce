//! Every key's state while the merge runs.
//!
//! Owns, for each key, how far its own order has been followed, its value, and who touched it last: what decides
//! whether a unit may run now, and whom it depends on.

use super::clock::{Clocks, Mark};
use super::conflicts::Needs;
use super::solve::Solution;
use super::units::Units;

const NONE: u32 = u32::MAX;

/// A reader of a key since its last write, in a list.
#[derive(Clone, Copy)]
struct Reader {
    mark: Mark,
    next: u32,
    trace: u16,
}

#[derive(Clone, Copy)]
struct Key {
    /// Units done so far.
    done: u32,
    value: u32,
    /// The last write, by `writer`.
    written: Mark,
    readers: u32,
    writer: u16,
    /// Some trace waits for the key's turn to come on.
    awaited: bool,
}

/// The state of all keys.
pub struct Keys<'a> {
    units: &'a Units,
    keys: Vec<Key>,
    /// For each unit how many of its key's units must have been done: for a write all before it, for a read all up to
    /// the last write before it.
    turns: Vec<u32>,
    readers: Vec<Reader>,
    free: u32,
}

/// In a turn's place: the unit takes no part.
const LEFT_OUT: u32 = u32::MAX;

impl<'a> Keys<'a> {
    /// Before the first unit.
    pub fn new(units: &'a Units, solution: &Solution) -> Keys<'a> {
        let mut turns = vec![LEFT_OUT; units.rows.len()];
        let left_out: hashbrown::HashSet<u32> = solution.left_out.iter().copied().collect();
        for key in 0..solution.initial.len() as u32 {
            let (mut done, mut written) = (0, 0);
            for &id in solution.of_key(key) {
                if !left_out.is_empty() && left_out.contains(&id) {
                    continue;
                }
                let keeps = units.rows[id as usize].keeps();
                turns[id as usize] = if keeps { written } else { done };
                done += 1;
                if !keeps {
                    written = done;
                }
            }
        }
        let key = |&value: &u32| Key {
            done: 0,
            value,
            written: Mark::default(),
            readers: NONE,
            writer: 0,
            awaited: false,
        };
        Keys {
            units,
            keys: solution.initial.iter().map(key).collect(),
            turns,
            readers: Vec::new(),
            free: NONE,
        }
    }

    /// The key whose turn this unit must wait for, if it is not its turn.
    pub fn waits_for(&self, unit: usize) -> Option<u32> {
        let (turn, row) = (self.turns[unit], &self.units.rows[unit]);
        // A read's turn cannot be over: the write after it waits for it.
        let ready = turn == LEFT_OUT || self.keys[row.key as usize].done >= turn;
        (!ready).then_some(row.key)
    }

    /// Somebody waits for this key.
    pub fn await_turn(&mut self, key: u32) {
        self.keys[key as usize].awaited = true;
    }

    /// The key of a unit if somebody waited for it, who should look again.
    pub fn take_awaited(&mut self, unit: usize) -> Option<u32> {
        let key = self.units.rows[unit].key;
        std::mem::take(&mut self.keys[key as usize].awaited).then_some(key)
    }

    /// Names whom the unit depends on; `known` is the clock of its trace.
    pub fn before(&self, unit: usize, needs: &mut Needs, known: &[u32]) {
        let row = &self.units.rows[unit];
        if self.turns[unit] == LEFT_OUT {
            return;
        }
        let key = &self.keys[row.key as usize];
        if key.written.finished > 0 && key.writer != row.trace {
            needs.add(key.writer as usize, key.written, known);
        }
        if row.keeps() {
            return;
        }
        let mut at = key.readers;
        while at != NONE {
            let reader = &self.readers[at as usize];
            if reader.trace != row.trace {
                needs.add(reader.trace as usize, reader.mark, known);
            }
            at = reader.next;
        }
    }

    /// Runs the unit as row `mark` of its trace; false if the key does not hold what it needs.
    pub fn run(&mut self, unit: usize, mark: Mark, clocks: &mut Clocks) -> bool {
        let row = &self.units.rows[unit];
        if self.turns[unit] == LEFT_OUT {
            return true;
        }
        let key = &mut self.keys[row.key as usize];
        let after = row.applied_to(key.value);
        key.value = after.unwrap_or(key.value);
        key.done += 1;
        if row.keeps() {
            self.read(row.key as usize, row.trace, mark, clocks);
        } else {
            self.write(row.key as usize, row.trace, mark, clocks);
        }
        after.is_some()
    }

    /// The value of each key now.
    pub fn values(&self) -> impl Iterator<Item = u32> + '_ {
        self.keys.iter().map(|key| key.value)
    }

    fn read(&mut self, key: usize, trace: u16, mark: Mark, clocks: &mut Clocks) {
        let first = self.keys[key].readers;
        let mut at = first;
        while at != NONE {
            let reader = &mut self.readers[at as usize];
            if reader.trace == trace {
                clocks.replace(&mut reader.mark, mark);
                return;
            }
            at = reader.next;
        }
        let mut reader = Reader { mark: Mark::default(), next: first, trace };
        clocks.replace(&mut reader.mark, mark);
        self.keys[key].readers = match self.free {
            NONE => {
                self.readers.push(reader);
                self.readers.len() as u32 - 1
            }
            free => {
                self.free = self.readers[free as usize].next;
                self.readers[free as usize] = reader;
                free
            }
        };
    }

    fn write(&mut self, key: usize, trace: u16, mark: Mark, clocks: &mut Clocks) {
        let state = &mut self.keys[key];
        state.writer = trace;
        clocks.replace(&mut state.written, mark);
        let mut at = std::mem::replace(&mut state.readers, NONE);
        while at != NONE {
            let reader = &mut self.readers[at as usize];
            clocks.replace(&mut reader.mark, Mark::default());
            let next = std::mem::replace(&mut reader.next, self.free);
            self.free = at;
            at = next;
        }
    }
}
