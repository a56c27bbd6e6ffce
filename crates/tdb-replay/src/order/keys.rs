//! Every key's state while the merge runs.
//!
//! Owns, for each key, how far its own order has been followed, its value, and who touched it last: what decides
//! whether a unit may run now, and whom it depends on.

use super::clock::{Clocks, Mark};
use super::conflicts::Needs;
use super::solve::{LEFT_OUT, Solution};
use super::units::Units;
use crate::prefetch;

const NONE: u32 = u32::MAX;

/// A row that read a key since its last write.
#[derive(Clone, Copy, Default)]
struct Reader {
    mark: Mark,
    /// The next one in a list.
    next: u32,
    trace: u16,
}

/// As large as a cache line, which most rows need nothing beside: few keys have more than one reader at a time.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Key {
    /// Units done so far.
    done: u32,
    value: u32,
    /// The last write, by `writer`.
    written: Mark,
    /// A reader, if its row is one; its list has the others.
    reader: Reader,
    writer: u16,
    /// Some trace waits for the key's turn to come on.
    awaited: bool,
}

/// The state of all keys.
pub struct Keys<'a> {
    units: &'a Units,
    keys: Vec<Key>,
    /// See [`Solution::turns`].
    turns: &'a [u32],
    /// Readers beyond each key's first, and those that are free.
    readers: Vec<Reader>,
    free: u32,
}

impl<'a> Keys<'a> {
    /// Before the first unit.
    pub fn new(units: &'a Units, solution: &'a Solution) -> Keys<'a> {
        let key = |&value: &u32| Key {
            done: 0,
            value,
            written: Mark::default(),
            reader: Reader { next: NONE, ..Reader::default() },
            writer: 0,
            awaited: false,
        };
        Keys {
            units,
            keys: solution.initial.iter().map(key).collect(),
            turns: &solution.turns,
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

    /// This unit comes soon.
    pub fn approach(&self, unit: usize) {
        prefetch::element(&self.keys, self.units.rows[unit].key as usize);
    }

    /// This unit, which was approached, comes next.
    pub fn approach_readers(&self, unit: usize, clocks: &Clocks) {
        let key = &self.keys[self.units.rows[unit].key as usize];
        prefetch::element(&self.readers, key.reader.next as usize);
        clocks.approach(key.reader.mark);
        clocks.approach(key.written);
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
        let mut reader = &key.reader;
        if reader.mark.finished == 0 {
            return;
        }
        loop {
            if reader.trace != row.trace {
                needs.add(reader.trace as usize, reader.mark, known);
            }
            if reader.next == NONE {
                return;
            }
            reader = &self.readers[reader.next as usize];
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
        let first = &mut self.keys[key].reader;
        if first.trace == trace || first.mark.finished == 0 {
            first.trace = trace;
            clocks.replace(&mut first.mark, mark);
            return;
        }
        let mut at = first.next;
        while at != NONE {
            let reader = &mut self.readers[at as usize];
            if reader.trace == trace {
                clocks.replace(&mut reader.mark, mark);
                return;
            }
            at = reader.next;
        }
        let mut reader = Reader { mark: Mark::default(), next: first.next, trace };
        clocks.replace(&mut reader.mark, mark);
        self.keys[key].reader.next = match self.free {
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
        clocks.replace(&mut state.reader.mark, Mark::default());
        let mut at = std::mem::replace(&mut state.reader.next, NONE);
        while at != NONE {
            let reader = &mut self.readers[at as usize];
            clocks.replace(&mut reader.mark, Mark::default());
            let next = std::mem::replace(&mut reader.next, self.free);
            self.free = at;
            at = next;
        }
    }
}
