//! What must be in the file after a torture: each worker's account of what it did, and the comparison.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::ControlFlow;

use tdb::compat::Tdb;

/// Records that everybody appends to; each holds one token for each append.
pub const LOGS: u32 = 512;
/// Records that everybody adds to.
pub const COUNTERS: u32 = 64;
/// Records that belong to one worker.
pub const OWN: u32 = 200;
/// A token in a log: who, and which of its appends to this log, 4 bytes each.
const TOKEN: usize = 8;

/// What one worker did, as far as it shows in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    pub id: u32,
    /// Log to number of tokens.
    pub appended: BTreeMap<u32, u32>,
    /// Counter to the sum of what was added.
    pub counted: BTreeMap<u32, u64>,
    /// Own key to version and length.
    pub own: BTreeMap<u32, (u32, u32)>,
    /// Committed transactions; each adds 1 to both sides of the pair.
    pub pairs: u64,
    /// Operations that a lock was refused to, and that were made again or given up.
    pub refused: u64,
    pub operations: u64,
}

/// The bytes of a worker's own record; both kinds of worker compute them.
pub fn own_value(id: u32, key: u32, version: u32, len: u32) -> Vec<u8> {
    let start = id.wrapping_mul(131).wrapping_add(key * 31).wrapping_add(version.wrapping_mul(17));
    (0..len).map(|at| start.wrapping_add(at * 7).wrapping_add(at >> 8) as u8).collect()
}

impl Ledger {
    /// All ledgers in what a process printed; panics with its message if it reports a failure.
    pub fn read_all(text: &str) -> Vec<Ledger> {
        let mut ledgers: Vec<Ledger> = Vec::new();
        for line in text.lines() {
            assert!(!line.starts_with("fail "), "{line}");
            let mut words = line.split(' ');
            let kind = words.next().unwrap_or_default();
            let numbers: Vec<u64> = words.map_while(|word| word.parse().ok()).collect();
            if kind == "worker" && numbers.len() == 1 {
                ledgers.push(Ledger { id: numbers[0] as u32, ..Ledger::default() });
            } else if let Some(ledger) = ledgers.last_mut() {
                ledger.read_line(kind, &numbers);
            }
        }
        ledgers
    }

    fn read_line(&mut self, kind: &str, numbers: &[u64]) {
        match (kind, numbers) {
            ("append", [log, count]) => {
                self.appended.insert(*log as u32, *count as u32);
            }
            ("count", [counter, sum]) => {
                self.counted.insert(*counter as u32, *sum);
            }
            ("own", [key, version, len]) => {
                self.own.insert(*key as u32, (*version as u32, *len as u32));
            }
            ("pairs", [pairs]) => self.pairs = *pairs,
            ("refused", [refused]) => self.refused = *refused,
            ("ops", [operations]) => self.operations = *operations,
            _ => {}
        }
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "worker {}", self.id)?;
        for (log, count) in &self.appended {
            writeln!(out, "append {log} {count}")?;
        }
        for (counter, sum) in &self.counted {
            writeln!(out, "count {counter} {sum}")?;
        }
        for (key, (version, len)) in &self.own {
            writeln!(out, "own {key} {version} {len}")?;
        }
        writeln!(out, "pairs {}\nrefused {}\nops {}", self.pairs, self.refused, self.operations)
    }
}

/// The whole content of a database.
pub fn content(database: &Tdb) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut content = BTreeMap::new();
    let shown = database.traverse_read(|key, value| {
        assert!(content.insert(key.to_vec(), value.to_vec()).is_none(), "a key is there twice");
        ControlFlow::Continue(())
    });
    shown.expect("the database can be traversed");
    content
}

/// Fails unless `content` is exactly what the ledgers say.
pub fn must_agree(mut content: BTreeMap<Vec<u8>, Vec<u8>>, ledgers: &[Ledger]) {
    let pairs: u64 = ledgers.iter().map(|ledger| ledger.pairs).sum();
    for side in ["pair/left", "pair/right"] {
        let value = content.remove(side.as_bytes()).map_or(0, |value| number(&value));
        assert_eq!(value, pairs, "{side} counts the committed transactions");
    }
    for counter in 0..COUNTERS {
        let sum: u64 = ledgers.iter().filter_map(|ledger| ledger.counted.get(&counter)).sum();
        let value = content.remove(format!("count/0/{counter}").as_bytes()).map_or(0, |value| number(&value));
        assert_eq!(value, sum, "counter {counter}");
    }
    for log in 0..LOGS {
        let value = content.remove(format!("log/0/{log}").as_bytes()).unwrap_or_default();
        tokens_must_agree(log, &value, ledgers);
    }
    for ledger in ledgers {
        for (key, (version, len)) in &ledger.own {
            let value = content.remove(format!("own/{}/{key}", ledger.id).as_bytes());
            assert_eq!(value, Some(own_value(ledger.id, *key, *version, *len)), "own/{}/{key}", ledger.id);
        }
    }
    let rest: Vec<_> = content.keys().map(|key| String::from_utf8_lossy(key)).collect();
    assert!(rest.is_empty(), "nobody says that these are there: {rest:?}");
}

fn number(value: &[u8]) -> u64 {
    u64::from_le_bytes(value.try_into().expect("a counter has 8 bytes"))
}

/// Each token once, and each worker's in the order in which it appended them.
fn tokens_must_agree(log: u32, value: &[u8], ledgers: &[Ledger]) {
    assert_eq!(value.len() % TOKEN, 0, "log {log} ends in the middle of a token");
    let mut next: BTreeMap<u32, u32> = BTreeMap::new();
    for token in value.chunks(TOKEN) {
        let word = |at: usize| u32::from_le_bytes([token[at], token[at + 1], token[at + 2], token[at + 3]]);
        let expected = next.entry(word(0)).or_default();
        assert_eq!(word(4), *expected, "log {log}: worker {}'s next token", word(0));
        *expected += 1;
    }
    for ledger in ledgers {
        let appended = ledger.appended.get(&log).copied().unwrap_or(0);
        let found = next.remove(&ledger.id).unwrap_or(0);
        assert_eq!(found, appended, "log {log}: tokens of worker {}", ledger.id);
    }
    assert!(next.is_empty(), "log {log} has tokens of workers that do not exist: {next:?}");
}
