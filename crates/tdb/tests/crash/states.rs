//! The states that a crash can leave of a recorded run, enumerated within a bound.
//!
//! Three models, each harsher than the kernel in its own way:
//! * *killed*: the process dies; all events up to a point have happened, the last one perhaps only up to some byte
//!   (a copy into a mapping stops anywhere).
//! * *sectors*: the power goes; since the last sync each sector of 512 bytes may have reached the disk in any of
//!   the versions it had, independently of all others, and the file's size in any of its. This is what a shared
//!   mapping and the page cache promise (pages of 4096 bytes are groups of sectors, so they are included).
//! * *writes*: the power goes; since the last sync any subset of the writes is on the disk, one of them torn.
//!
//! An aligned word is never torn: it is one store of the processor, and no sector ends inside it.

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use fastrand::Rng;

use crate::recording::{Event, apply};

const SECTOR: usize = 512;

/// How many states of each kind are tried.
#[derive(Clone, Copy)]
pub struct Bound {
    /// Bytes at which a killed process's last write is cut.
    pub cuts: usize,
    /// All combinations between two syncs if they are at most so many; otherwise single ones and random ones.
    pub combinations: usize,
    pub random: usize,
}

/// Calls `found` with each state that is new, and with how many events were issued before the crash.
pub fn enumerate(
    base: &[u8],
    events: &[Event],
    bound: Bound,
    rng: &mut Rng,
    found: &mut impl FnMut(usize, Vec<u8>),
) {
    let mut seen = HashSet::new();
    let mut new = |at: usize, image: Vec<u8>| {
        let mut hasher = DefaultHasher::new();
        (at, &image).hash(&mut hasher);
        if seen.insert(hasher.finish()) {
            found(at, image);
        }
    };
    killed(base, events, bound, &mut new);
    let mut synced = base.to_vec();
    let mut start = 0;
    while start < events.len() {
        let len =
            events[start..].iter().position(|event| *event == Event::Sync).unwrap_or(events.len() - start);
        let epoch = &events[start..start + len];
        // The crash comes right before the sync is done.
        let at = start + len;
        sectors(&synced, epoch, bound, rng, &mut |image| new(at, image));
        writes(&synced, epoch, bound, rng, &mut |image| new(at, image));
        epoch.iter().for_each(|event| apply(&mut synced, event));
        start += len + 1;
    }
}

fn killed(base: &[u8], events: &[Event], bound: Bound, new: &mut impl FnMut(usize, Vec<u8>)) {
    let mut image = base.to_vec();
    new(0, image.clone());
    for (nth, event) in events.iter().enumerate() {
        if let Event::Write { at, bytes } = event
            && !is_word(*at, bytes)
        {
            let step = (bytes.len() / bound.cuts.max(1)).max(1);
            for cut in (1..bytes.len()).step_by(step) {
                let mut torn = image.clone();
                apply(&mut torn, &Event::Write { at: *at, bytes: bytes[..cut].to_vec() });
                new(nth, torn);
            }
        }
        apply(&mut image, event);
        new(nth + 1, image.clone());
    }
}

fn is_word(at: usize, bytes: &[u8]) -> bool {
    bytes.len() <= 1 || (bytes.len() == 4 && at.is_multiple_of(4))
}

/// The versions that each sector, and the size, had between two syncs; the first is the one before.
struct Versions {
    sectors: BTreeMap<usize, Vec<[u8; SECTOR]>>,
    sizes: Vec<usize>,
}

impl Versions {
    fn of(synced: &[u8], epoch: &[Event]) -> Versions {
        let mut image = synced.to_vec();
        let mut versions = Versions { sectors: BTreeMap::new(), sizes: vec![image.len()] };
        for event in epoch {
            if let Event::Write { at, bytes } = event {
                for number in at / SECTOR..(at + bytes.len()).div_ceil(SECTOR) {
                    versions.sectors.entry(number).or_insert_with(|| vec![sector(&image, number)]);
                }
            }
            apply(&mut image, event);
            for (number, history) in &mut versions.sectors {
                let now = sector(&image, *number);
                if history.last() != Some(&now) {
                    history.push(now);
                }
            }
            if versions.sizes.last() != Some(&image.len()) {
                versions.sizes.push(image.len());
            }
        }
        versions
    }

    /// How many choices there are at each place; the size is the last one.
    fn choices(&self) -> Vec<usize> {
        self.sectors.values().map(Vec::len).chain([self.sizes.len()]).collect()
    }

    fn image(&self, synced: &[u8], chosen: &[usize]) -> Vec<u8> {
        let mut image = synced.to_vec();
        let size = self.sizes[chosen[chosen.len() - 1]];
        image.resize(size.max(image.len()), 0);
        for ((number, history), choice) in self.sectors.iter().zip(chosen) {
            let start = number * SECTOR;
            let len = SECTOR.min(image.len().saturating_sub(start));
            if len > 0 {
                image[start..start + len].copy_from_slice(&history[*choice][..len]);
            }
        }
        image.truncate(size);
        image
    }
}

fn sector(image: &[u8], number: usize) -> [u8; SECTOR] {
    let mut bytes = [0; SECTOR];
    let start = (number * SECTOR).min(image.len());
    let end = (start + SECTOR).min(image.len());
    bytes[..end - start].copy_from_slice(&image[start..end]);
    bytes
}

fn sectors(synced: &[u8], epoch: &[Event], bound: Bound, rng: &mut Rng, new: &mut impl FnMut(Vec<u8>)) {
    let versions = Versions::of(synced, epoch);
    combine(&versions.choices(), bound, rng, |chosen| new(versions.image(synced, chosen)));
}

fn writes(synced: &[u8], epoch: &[Event], bound: Bound, rng: &mut Rng, new: &mut impl FnMut(Vec<u8>)) {
    // 0: lost, 1: done.
    combine(&vec![2; epoch.len()], bound, rng, |chosen| {
        let mut image = synced.to_vec();
        for (event, _) in epoch.iter().zip(chosen).filter(|(_, done)| **done == 1) {
            apply(&mut image, event);
        }
        new(image);
    });
    for _ in 0..if epoch.is_empty() { 0 } else { bound.random } {
        let torn = rng.usize(..epoch.len());
        let mut image = synced.to_vec();
        for (nth, event) in epoch.iter().enumerate() {
            match event {
                Event::Write { at, bytes } if nth == torn && !is_word(*at, bytes) => {
                    let cut = rng.usize(1..bytes.len());
                    // Either end of the write may be the one that is there.
                    let (at, part) =
                        if rng.bool() { (*at, &bytes[..cut]) } else { (at + cut, &bytes[cut..]) };
                    apply(&mut image, &Event::Write { at, bytes: part.to_vec() });
                }
                event if rng.u8(..4) > 0 => apply(&mut image, event),
                _ => {}
            }
        }
        new(image);
    }
}

/// Every choice at every place if that is within the bound; otherwise one place against all others, and random ones.
fn combine(choices: &[usize], bound: Bound, rng: &mut Rng, mut with: impl FnMut(&[usize])) {
    let all = choices.iter().try_fold(1usize, |product, count| product.checked_mul(*count));
    let mut chosen = vec![0; choices.len()];
    if all.is_some_and(|all| all <= bound.combinations) {
        loop {
            with(&chosen);
            let Some(place) = (0..chosen.len()).find(|place| chosen[*place] + 1 < choices[*place]) else {
                return;
            };
            chosen[..place].fill(0);
            chosen[place] += 1;
        }
    }
    let newest: Vec<usize> = choices.iter().map(|count| count - 1).collect();
    with(&chosen);
    with(&newest);
    for (place, count) in choices.iter().enumerate() {
        for choice in 0..*count {
            for others in [&chosen.clone(), &newest] {
                chosen.copy_from_slice(others);
                chosen[place] = choice;
                with(&chosen);
            }
            chosen.fill(0);
        }
    }
    for _ in 0..bound.random {
        // Mostly old, mostly new, or half and half.
        let bias = rng.u8(1..10);
        for (place, count) in choices.iter().enumerate() {
            chosen[place] = if rng.u8(..10) < bias { count - 1 } else { rng.usize(..*count) };
        }
        with(&chosen);
    }
}
