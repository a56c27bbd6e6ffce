//! Every key's state while the merge runs.
//!
//! Owns, for each key, how far its own order has been followed, its value, and who touched it last: what decides
//! whether a unit may run now, and whom it depends on.

use super::conflicts::Needs;
use super::solve::Solution;
use super::units::Units;

const NONE: u32 = u32::MAX;

/// A reader of a key since its last write, in a list.
#[derive(Clone, Copy)]
struct Reader {
    finished: u32,
    next: u32,
    trace: u16,
}

#[derive(Clone, Copy)]
struct Key {
    /// Writes done so far.
    writes: u32,
    /// Reads done since the last write.
    reads: u32,
    value: u32,
    /// The last writer's rows, finished when it is; 0: none yet.
    written: u32,
    readers: u32,
    writer: u16,
}

/// Which units of its key a unit comes after.
#[derive(Clone, Copy)]
struct Turn {
    /// Writes before it.
    writes: u32,
    /// For a write: reads since the write before it.
    reads: u32,
}

/// The state of all keys.
pub struct Keys<'a> {
    units: &'a Units,
    keys: Vec<Key>,
    turns: Vec<Turn>,
    readers: Vec<Reader>,
    free: u32,
}

/// In a turn's place: the unit takes no part.
const LEFT_OUT: Turn = Turn { writes: NONE, reads: 0 };

impl<'a> Keys<'a> {
    /// Before the first unit.
    pub fn new(units: &'a Units, solution: &Solution) -> Keys<'a> {
        let mut turns = vec![LEFT_OUT; units.rows.len()];
        let left_out: hashbrown::HashSet<u32> = solution.left_out.iter().copied().collect();
        for key in 0..solution.initial.len() as u32 {
            let mut turn = Turn { writes: 0, reads: 0 };
            for &id in solution.of_key(key) {
                if !left_out.is_empty() && left_out.contains(&id) {
                    continue;
                }
                turns[id as usize] = turn;
                if units.rows[id as usize].keeps() {
                    turn.reads += 1;
                } else {
                    turn = Turn { writes: turn.writes + 1, reads: 0 };
                }
            }
        }
        let key = |&value: &u32| Key { writes: 0, reads: 0, value, written: 0, readers: NONE, writer: 0 };
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
        let key = &self.keys[row.key as usize];
        let ready =
            turn.writes == NONE || (key.writes == turn.writes && (row.keeps() || key.reads == turn.reads));
        (!ready).then_some(row.key)
    }

    /// The key of a unit.
    pub fn key_of(&self, unit: usize) -> u32 {
        self.units.rows[unit].key
    }

    /// Names whom the unit depends on.
    pub fn before(&self, unit: usize, needs: &mut Needs) {
        let row = &self.units.rows[unit];
        if self.turns[unit].writes == NONE {
            return;
        }
        let key = &self.keys[row.key as usize];
        if key.written > 0 && key.writer != row.trace {
            needs.add(key.writer as usize, key.written);
        }
        if row.keeps() {
            return;
        }
        let mut at = key.readers;
        while at != NONE {
            let reader = self.readers[at as usize];
            if reader.trace != row.trace {
                needs.add(reader.trace as usize, reader.finished);
            }
            at = reader.next;
        }
    }

    /// Runs the unit; false if the key does not hold what it needs. `finished` rows of its trace are.
    pub fn run(&mut self, unit: usize, finished: u32) -> bool {
        let row = self.units.rows[unit];
        if self.turns[unit].writes == NONE {
            return true;
        }
        let value = self.keys[row.key as usize].value;
        let after = row.applied_to(value);
        self.keys[row.key as usize].value = after.unwrap_or(value);
        if row.keeps() {
            self.read(row.key as usize, row.trace, finished);
        } else {
            self.write(row.key as usize, row.trace, finished);
        }
        after.is_some()
    }

    /// The value of each key now.
    pub fn values(&self) -> impl Iterator<Item = u32> + '_ {
        self.keys.iter().map(|key| key.value)
    }

    fn read(&mut self, key: usize, trace: u16, finished: u32) {
        self.keys[key].reads += 1;
        let mut at = self.keys[key].readers;
        while at != NONE {
            let reader = &mut self.readers[at as usize];
            if reader.trace == trace {
                reader.finished = finished;
                return;
            }
            at = reader.next;
        }
        let reader = Reader { finished, next: self.keys[key].readers, trace };
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

    fn write(&mut self, key: usize, trace: u16, finished: u32) {
        let state = &mut self.keys[key];
        state.writes += 1;
        state.reads = 0;
        state.writer = trace;
        state.written = finished;
        let mut at = std::mem::replace(&mut state.readers, NONE);
        while at != NONE {
            let next = self.readers[at as usize].next;
            self.readers[at as usize].next = self.free;
            self.free = at;
            at = next;
        }
    }
}
