//! Small sets of units that are worth a look before a long search.
//!
//! Owns three patterns around values with one writer. Finding them takes one pass; whether one is a contradiction is
//! for the solver to say, which is quick for so few units. So a pattern that is none costs little, and what is not
//! covered by a pattern is left to the search.

use crate::register::{Effect, Need, Unit, ValueId};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// No more than this many sets are looked at.
const MOST: usize = 32;

/// Something about each value.
type ByValue<T> = HashMap<ValueId, T, BuildHasherDefault<Mixer>>;

/// Values are small numbers that callers gave: mixing their bits is enough.
#[derive(Default)]
struct Mixer(u64);

impl Hasher for Mixer {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u32(u32::from(byte)));
    }

    fn write_u32(&mut self, number: u32) {
        let mixed = (self.0 ^ u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ mixed >> 32;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Units; most often there is one.
enum Few {
    One(u32),
    More(Vec<u32>),
}

impl Few {
    fn list(&self) -> &[u32] {
        match self {
            Few::One(one) => std::slice::from_ref(one),
            Few::More(list) => list,
        }
    }

    fn note(by_value: &mut ByValue<Few>, value: ValueId, unit: u32) {
        by_value
            .entry(value)
            .and_modify(|few| match few {
                Few::One(one) => *few = Few::More(vec![*one, unit]),
                Few::More(list) => list.push(unit),
            })
            .or_insert(Few::One(unit));
    }
}

/// Who writes and who replaces each value.
#[derive(Default)]
struct Uses {
    writers: ByValue<Few>,
    replacers: ByValue<Few>,
}

impl Uses {
    fn writers(&self, value: ValueId) -> Option<&[u32]> {
        self.writers.get(&value).map(Few::list)
    }
}

/// What a unit shows the register to hold after it, if it shows that.
fn shows(unit: &Unit) -> Option<ValueId> {
    match (unit.need, unit.effect) {
        _ if unit.uncertain => None,
        (_, Effect::Put(value)) | (Need::Exactly(value), Effect::Keep) => Some(value),
        _ => None,
    }
}

/// Sets of units (ascending indexes) that may be contradictions.
pub(crate) fn suspects(units: &[Unit]) -> Vec<Vec<u32>> {
    let mut uses = Uses::default();
    for (index, unit) in units.iter().enumerate() {
        if let Effect::Put(value) = unit.effect {
            Few::note(&mut uses.writers, value, index as u32);
            if let (Need::Exactly(needed), false) = (unit.need, unit.uncertain) {
                Few::note(&mut uses.replacers, needed, index as u32);
            }
        }
    }
    let mut found = vec![];
    returns(units, &uses, &mut found);
    rivals(units, &uses, &mut found);
    strangers(units, &uses, &mut found);
    found
}

/// A process that saw a value, then another, then the first again, though it has one writer.
fn returns(units: &[Unit], uses: &Uses, found: &mut Vec<Vec<u32>>) {
    // Where the running process last saw each value, and where it last saw anything.
    let mut seen: ByValue<u32> = ByValue::default();
    let mut last: Option<(u32, ValueId)> = None;
    for (index, unit) in units.iter().enumerate() {
        if index > 0 && units[index - 1].process != unit.process {
            seen.clear();
            last = None;
        }
        if let (Need::Exactly(value), Some((between, other)), false) = (unit.need, last, unit.uncertain)
            && other != value
            && let Some(&first) = seen.get(&value)
            && let Some([writer]) = uses.writers(value)
        {
            add(found, uses, [first, between, index as u32, *writer], &[other]);
        }
        if let Some(value) = shows(unit) {
            seen.insert(value, index as u32);
            last = Some((index as u32, value));
        }
    }
}

/// Two units that replace the same value, which has one writer.
fn rivals(units: &[Unit], uses: &Uses, found: &mut Vec<Vec<u32>>) {
    let mut contested: Vec<_> = uses
        .replacers
        .iter()
        .map(|(value, few)| (*value, few.list()))
        .filter(|(_, list)| list.len() > 1)
        .collect();
    contested.sort_unstable();
    for (value, replacers) in contested {
        if found.len() >= MOST {
            return;
        }
        if let Some([writer]) = uses.writers(value) {
            let (one, two) = (replacers[0], replacers[1]);
            // After its own write a process cannot find what was there before the history.
            let before =
                |index: u32| before(units, index, |unit| unit.effect != Effect::Keep && !unit.uncertain);
            add(found, uses, [one, two, *writer, before(one), before(two)], &[]);
        }
    }
}

/// A unit that needs what nobody writes, after its process saw something else.
fn strangers(units: &[Unit], uses: &Uses, found: &mut Vec<Vec<u32>>) {
    let mut first: Option<u32> = None;
    for (index, unit) in units.iter().enumerate() {
        let Need::Exactly(value) = unit.need else { continue };
        if found.len() >= MOST {
            return;
        }
        if unit.uncertain || uses.writers.contains_key(&value) {
            continue;
        }
        let index = index as u32;
        let before = before(units, index, |unit| shows(unit).is_some());
        let shown = shows(&units[before as usize]).into_iter().collect::<Vec<_>>();
        add(found, uses, [index, before], &shown);
        let first = *first.get_or_insert(index);
        add(found, uses, [first, index], &[]);
    }
}

/// The last unit of the same process before `index` that is `wanted`; `index` itself if there is none.
fn before(units: &[Unit], index: u32, wanted: impl Fn(&Unit) -> bool) -> u32 {
    let process = units[index as usize].process;
    let own = (0..index).rev().take_while(|&at| units[at as usize].process == process);
    own.into_iter().find(|&at| wanted(&units[at as usize])).unwrap_or(index)
}

/// Adds a set, with the writers of `values` where there are few.
fn add<const N: usize>(found: &mut Vec<Vec<u32>>, uses: &Uses, set: [u32; N], values: &[ValueId]) {
    const FEW: usize = 3;
    if found.len() >= MOST {
        return;
    }
    let writers = values.iter().filter_map(|&value| uses.writers(value)).filter(|list| list.len() <= FEW);
    let mut set: Vec<u32> = set.into_iter().chain(writers.flatten().copied()).collect();
    set.sort_unstable();
    set.dedup();
    found.push(set);
}
