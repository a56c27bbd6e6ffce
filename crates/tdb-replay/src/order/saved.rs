//! An order in a file: found once, replayed many times.
//!
//! Owns the format. It is all little-endian: [`MAGIC`], which ends with the version; a hash of everything after it; a
//! fingerprint of the traces and of the target database; then the fields of [`Explained`], lists with their length
//! before them. After [`load`] every number in it is one that these traces have, and every wait is for something earlier
//! in the one order: no file makes workers wait for each other in a circle. What a load cannot see is a wait that was
//! taken out and the hash made to fit; locks could then stand against each other, so take orders from friends only.

use std::path::{Path, PathBuf};

use super::explain::{Explained, Planted};
use super::merge::{GroupOf, Merged, RowOf};
use super::solve::Effort;
use super::waits::Wait;
use crate::trace::History;
use crate::trace::chain::Hashing;
use crate::verdict::{Contradiction, Kind, Line};

/// What a file begins with; the digit is the format's version.
const MAGIC: &[u8; 16] = b"quorate order 4\n";

/// Why an order cannot be saved or loaded.
#[derive(Debug, thiserror::Error)]
pub enum SavedError {
    /// The file cannot be written or read.
    #[error("{}: {source}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// It is something else.
    #[error("{}: is not a saved order of version 4; --save-order writes one", path.display())]
    NotAnOrder {
        /// Which file.
        path: PathBuf,
    },
    /// It was cut short or changed.
    #[error("{}: the saved order is damaged: {what}; save it again", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// It is the order of something else.
    #[error("{}: the order was saved for {what}; give the same traces in the same order, or save it again", path.display())]
    Other {
        /// Which file.
        path: PathBuf,
        /// What differs.
        what: String,
    },
}

impl SavedError {
    /// Whether the system failed, rather than the file's content.
    pub fn is_io(&self) -> bool {
        matches!(self, SavedError::File { .. })
    }
}

/// Writes the order of `history` on a database like `target` to `path`.
pub fn save(
    path: &Path,
    history: &History,
    target: Hashing,
    explained: &Explained,
) -> Result<(), SavedError> {
    let mut out = Out::default();
    out.list(&fingerprint(history, target));
    put(&mut out, explained);
    let mut bytes = MAGIC.to_vec();
    bytes.extend(hash(&out.bytes).to_le_bytes());
    bytes.append(&mut out.bytes);
    std::fs::write(path, bytes).map_err(|source| SavedError::File { path: path.to_owned(), source })
}

/// Reads an order that was saved for the same traces and the same target.
pub fn load(path: &Path, history: &History, target: Hashing) -> Result<Explained, SavedError> {
    let bytes = std::fs::read(path).map_err(|source| SavedError::File { path: path.to_owned(), source })?;
    let path = || path.to_owned();
    let Some((sum, rest)) = bytes.strip_prefix(MAGIC).and_then(|rest| rest.split_first_chunk::<8>()) else {
        return Err(SavedError::NotAnOrder { path: path() });
    };
    let damaged = |what| SavedError::Damaged { path: path(), what };
    if u64::from_le_bytes(*sum) != hash(rest) {
        return Err(damaged("its hash is wrong"));
    }
    let mut rest = In { rest };
    let saved = rest.list().ok_or_else(|| damaged("it ends too early"))?;
    if let Some(what) = difference(&saved, &fingerprint(history, target)) {
        return Err(SavedError::Other { path: path(), what });
    }
    let explained = take(&mut rest).ok_or_else(|| damaged("it ends too early"))?;
    if !rest.rest.is_empty() {
        return Err(damaged("something follows its end"));
    }
    check(history, &explained).map_err(damaged)?;
    Ok(explained)
}

/// Numbers that differ when the traces or the target do: the target, the records, then three for each trace.
fn fingerprint(history: &History, target: Hashing) -> Vec<u32> {
    let mut numbers = vec![target.hash_size, u32::from(target.jenkins)];
    let mut records = Hash::default();
    let (keys, values) = (&history.records.keys, &history.records.values);
    records.word(keys.len() as u64);
    let keys = (0..keys.len() as u32).map(|id| keys.bytes(id));
    for bytes in keys.chain(values.ids().map(|id| values.bytes(id))) {
        records.word(bytes.len() as u64);
        records.bytes(bytes);
    }
    numbers.extend(halves(records.0));
    for trace in &history.traces {
        let mut rows = Hash::default();
        for index in 0..trace.rows.len() {
            let row = trace.rows.row(index);
            rows.word(u64::from(row.seq) << 8 | row.op as u64);
            rows.word(u64::from(row.key) << 32 | u64::from(row.a));
            rows.word(u64::from(row.b) << 32 | u64::from(trace.rows.line(index)));
        }
        numbers.push(trace.lines);
        numbers.extend(halves(rows.0));
    }
    numbers
}

fn halves(number: u64) -> [u32; 2] {
    [number as u32, (number >> 32) as u32]
}

/// What to tell people about two fingerprints that are not the same.
fn difference(saved: &[u32], now: &[u32]) -> Option<String> {
    if saved == now {
        return None;
    }
    if saved.len() != now.len() {
        return Some(format!("{} traces", saved.len().saturating_sub(4) / 3));
    }
    if saved[..2] != now[..2] {
        let hash = if saved[1] == 1 { "Jenkins'" } else { "the old" };
        return Some(format!("a database of {} chains with {hash} hash", saved[0]));
    }
    let traces = saved[4..].chunks_exact(3).zip(now[4..].chunks_exact(3));
    let first = (1..).zip(traces).find(|(_, (saved, now))| saved != now);
    Some(match first {
        Some((number, (saved, now))) if saved[0] != now[0] => {
            format!("a trace {number} of {} lines, and this one has {}", saved[0], now[0])
        }
        Some((number, _)) => format!("another trace {number}"),
        None => "traces with other keys or values".into(),
    })
}

/// Whether every number is one that the traces have, and every wait can end.
fn check(history: &History, explained: &Explained) -> Result<(), &'static str> {
    let Explained { merged, planted, dead, .. } = explained;
    let rows: Vec<usize> = history.traces.iter().map(|trace| trace.rows.len()).collect();
    let keys = history.records.keys.len();
    let values: Vec<u32> = history.records.values.ids().collect();
    let is_value = |value: u32| values.binary_search(&value).is_ok();
    let lengths = |lists: &[Vec<u32>]| lists.iter().map(Vec::len).eq(rows.iter().copied());
    if !lengths(&merged.ranks) || merged.waits.len() != rows.len() || dead.len() != rows.len() {
        return Err("its lists are not as long as the traces");
    }
    if dead.iter().zip(&rows).any(|(&dead, &rows)| dead as usize > rows) {
        return Err("a trace ends after its end");
    }
    if merged.last_values.len() != keys || !merged.last_values.iter().all(|&value| is_value(value)) {
        return Err("the values at the end are not the traces'");
    }
    let is_planted = |planted: &Planted| {
        (planted.key as usize) < keys
            && is_value(planted.value)
            && rows.get(usize::from(planted.trace)).is_some_and(|&rows| (planted.row as usize) < rows)
    };
    if !planted.iter().all(is_planted) {
        return Err("a planted record is not the traces'");
    }
    let is_group = |of: &GroupOf| {
        history
            .traces
            .get(usize::from(of.trace))
            .is_some_and(|trace| (of.group as usize) < trace.groups.len())
    };
    let is_row = |of: &RowOf| rows.get(usize::from(of.trace)).is_some_and(|&rows| (of.row as usize) < rows);
    if !merged.unwalked.iter().all(is_row) {
        return Err("a walk is not the traces'");
    }
    let is_said = |found: &Contradiction| {
        let mut lines = found.lines.iter().map(|line| RowOf { trace: line.trace, row: line.row });
        found.key.is_none_or(|key| (key as usize) < keys) && lines.all(|of| is_row(&of))
    };
    if !explained.disbelieved.iter().all(is_said) {
        return Err("a number that was set aside is not the traces'");
    }
    if !merged.splits.iter().chain(&merged.given_up).chain(&merged.turned).all(is_group) {
        return Err("a split, a lock or a transaction is not the traces'");
    }
    check_waits(explained)
}

/// Ranks never fall within a trace, and every wait is for a smaller rank: so the smallest that waits can always go on.
fn check_waits(explained: &Explained) -> Result<(), &'static str> {
    let merged = &explained.merged;
    for (ranks, waits) in merged.ranks.iter().zip(&merged.waits) {
        let earlier = |wait: &Wait| {
            let before = usize::try_from(wait.rows)
                .ok()
                .and_then(|rows| rows.checked_sub(1))
                .and_then(|last| merged.ranks.get(usize::from(wait.on))?.get(last));
            let here = ranks.get(wait.row as usize);
            matches!((before, here), (Some(before), Some(here)) if before < here)
        };
        if !waits.iter().all(earlier) {
            return Err("something waits for what comes later");
        }
        if !waits.is_sorted_by_key(|wait| wait.row) {
            return Err("waits are not sorted");
        }
    }
    // Rows that say nothing have no rank.
    let says = explained.dead.iter().map(|&dead| dead as usize);
    let mut ranks = merged.ranks.iter().zip(says);
    if !ranks.all(|(ranks, says)| ranks[..says].is_sorted()) {
        return Err("ranks fall within a trace");
    }
    Ok(())
}

fn put(out: &mut Out, explained: &Explained) {
    let merged = &explained.merged;
    for ranks in [&merged.last_values, &explained.dead].into_iter().chain(&merged.ranks) {
        out.list(ranks);
    }
    for waits in &merged.waits {
        out.number(waits.len() as u64);
        for wait in waits {
            out.words([wait.row, wait.rows, u32::from(wait.on)]);
        }
    }
    for groups in [&merged.splits, &merged.given_up, &merged.turned] {
        out.number(groups.len() as u64);
        for of in groups {
            out.words([u32::from(of.trace), of.group]);
        }
    }
    out.number(merged.unwalked.len() as u64);
    for of in &merged.unwalked {
        out.words([u32::from(of.trace), of.row]);
    }
    out.number(explained.planted.len() as u64);
    for planted in &explained.planted {
        out.words([planted.key, planted.value, u32::from(planted.trace), planted.row]);
    }
    out.number(merged.dependencies);
    out.words([merged.critical_path, merged.events]);
    let effort = &explained.effort;
    out.words([u32::from(explained.timed)]);
    out.words([effort.keys, effort.no_choice, effort.greedy, effort.searched, effort.without_windows]);
    out.number(effort.states);
    out.number(explained.disbelieved.len() as u64);
    explained.disbelieved.iter().for_each(|found| put_contradiction(out, found));
    out.number(explained.notes.len() as u64);
    explained.notes.iter().for_each(|note| out.text(note));
}

/// The counterpart of [`put`]; nothing when the bytes end too early or a number does not fit.
fn take(from: &mut In) -> Option<Explained> {
    let mut merged = Merged { last_values: from.list()?, ..Merged::default() };
    let dead = from.list()?;
    for _ in 0..dead.len() {
        merged.ranks.push(from.list()?);
    }
    for _ in 0..dead.len() {
        let wait = |[row, rows, on]: [u32; 3]| {
            let on = u16::try_from(on).ok()?;
            Some(Wait { row, rows, on })
        };
        merged.waits.push(from.items(wait)?);
    }
    let group = |[trace, group]: [u32; 2]| {
        let trace = u16::try_from(trace).ok()?;
        Some(GroupOf { trace, group })
    };
    merged.splits = from.items(group)?;
    merged.given_up = from.items(group)?;
    merged.turned = from.items(group)?;
    merged.unwalked = from.items(|[trace, row]: [u32; 2]| {
        let trace = u16::try_from(trace).ok()?;
        Some(RowOf { trace, row })
    })?;
    let planted = from.items(|[key, value, trace, row]: [u32; 4]| {
        let trace = u16::try_from(trace).ok()?;
        Some(Planted { key, value, trace, row })
    })?;
    merged.dependencies = from.number()?;
    [merged.critical_path, merged.events] = from.words()?;
    let [timed] = from.words()?;
    let [keys, no_choice, greedy, searched, without_windows] = from.words()?;
    let effort = Effort { keys, no_choice, greedy, searched, without_windows, states: from.number()? };
    let mut disbelieved = Vec::new();
    for _ in 0..from.number()? {
        disbelieved.push(take_contradiction(from)?);
    }
    let mut notes = Vec::new();
    for _ in 0..from.number()? {
        notes.push(from.text()?);
    }
    Some(Explained { merged, planted, dead, disbelieved, effort, timed: timed == 1, notes })
}

/// Numbers that were set aside; the kind goes without saying.
fn put_contradiction(out: &mut Out, found: &Contradiction) {
    out.words([u32::from(found.minimal), u32::from(found.key.is_some()), found.key.unwrap_or_default()]);
    out.number(found.gave_up.map_or(0, |bound| bound.saturating_add(1)));
    out.number(found.lines.len() as u64);
    for Line { trace, row, why } in &found.lines {
        out.words([u32::from(*trace), *row]);
        out.text(why);
    }
}

fn take_contradiction(from: &mut In) -> Option<Contradiction> {
    let [minimal, has_key, key] = from.words()?;
    let gave_up = from.number()?.checked_sub(1);
    let mut lines = Vec::new();
    for _ in 0..from.number()? {
        let [trace, row] = from.words()?;
        lines.push(Line { trace: u16::try_from(trace).ok()?, row, why: from.text()? });
    }
    let key = (has_key == 1).then_some(key);
    Some(Contradiction { kind: Kind::Numbers, key, gave_up, lines, minimal: minimal == 1 })
}

#[derive(Default)]
struct Out {
    bytes: Vec<u8>,
}

impl Out {
    fn number(&mut self, number: u64) {
        self.bytes.extend(number.to_le_bytes());
    }

    fn words<const N: usize>(&mut self, words: [u32; N]) {
        self.bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.bytes.extend(text.as_bytes());
    }

    fn list(&mut self, list: &[u32]) {
        self.number(list.len() as u64);
        self.bytes.extend(list.iter().flat_map(|word| word.to_le_bytes()));
    }
}

struct In<'a> {
    rest: &'a [u8],
}

impl In<'_> {
    fn number(&mut self) -> Option<u64> {
        let (number, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(u64::from_le_bytes(*number))
    }

    fn words<const N: usize>(&mut self) -> Option<[u32; N]> {
        let mut words = [0; N];
        for word in &mut words {
            let (bytes, rest) = self.rest.split_first_chunk()?;
            self.rest = rest;
            *word = u32::from_le_bytes(*bytes);
        }
        Some(words)
    }

    /// A list of things of `N` words. Nothing is set aside for a length that the bytes do not bear out.
    fn items<T, const N: usize>(&mut self, item: impl Fn([u32; N]) -> Option<T>) -> Option<Vec<T>> {
        let length = usize::try_from(self.number()?).ok()?;
        if length > self.rest.len() / (4 * N) {
            return None;
        }
        let mut items = Vec::with_capacity(length);
        for _ in 0..length {
            items.push(item(self.words()?)?);
        }
        Some(items)
    }

    fn list(&mut self) -> Option<Vec<u32>> {
        self.items(|[word]: [u32; 1]| Some(word))
    }

    fn text(&mut self) -> Option<String> {
        let length = usize::try_from(self.number()?).ok()?;
        let (text, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        String::from_utf8(text.to_vec()).ok()
    }
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hash = Hash::default();
    hash.word(bytes.len() as u64);
    hash.bytes(bytes);
    hash.0
}

/// A hash that is the same on every machine. It finds accidents, not forgeries; those are what [`check`] is for.
#[derive(Default)]
struct Hash(u64);

impl Hash {
    fn word(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| self.word(u64::from_le_bytes(*word)));
        rest.iter().for_each(|&byte| self.word(u64::from(byte)));
    }
}
