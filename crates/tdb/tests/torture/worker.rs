//! Our side of the torture: what `peer.c` does with libtdb, done with this engine by several threads.
//!
//! Shared records: logs that everybody appends tokens to, counters that everybody adds to under a chain lock, under
//! a lock of everything, or in a transaction, and a pair of numbers that only transactions change, both at once.
//! Own records are changed by one worker only, which therefore knows at any time what a fetch or a traverse must
//! show. What a cancelled transaction did is forgotten by the ledger, too.

use std::ops::ControlFlow;
use std::path::Path;

use crate::common::Dialect;
use fastrand::Rng;
use tdb::compat::Tdb;
use tdb::{Database, Flags, LockError, LockKind, OpenOptions, StoreError, StoreMode, TransactionError, Wait};

use crate::ledger::{COUNTERS, LOGS, Ledger, OWN, own_value};

/// The longest value of an own record.
const MOST_BYTES: u32 = 9000;
/// How many records one commit of the killing test changes, and how long they are at least.
pub const BALANCES: u32 = 24;
const BALANCE_BYTES: usize = 700;

/// Opens an existing file with libtdb's flags.
pub fn open(path: &Path, flags: u32) -> Tdb {
    OpenOptions::new().flags(Flags(flags)).open_in_dialect(path).expect("the file of the torture opens")
}

/// One worker: a handle and what must be in the file because of it.
pub struct Worker<'a> {
    database: &'a Tdb,
    rng: Rng,
    ledger: Ledger,
    versions: u32,
}

impl<'a> Worker<'a> {
    pub fn new(database: &'a Tdb, id: u32, seed: u64) -> Worker<'a> {
        let rng = Rng::with_seed(seed ^ (u64::from(id) << 32));
        Worker { database, rng, ledger: Ledger { id, ..Ledger::default() }, versions: 0 }
    }

    /// Random operations, at least so many; returns the account of them.
    pub fn torture(mut self, operations: u64) -> Ledger {
        while self.ledger.operations < operations {
            match self.rng.u32(..1000) {
                0..300 => self.change_own(),
                300..500 => self.fetch_own(),
                500..700 => self.append_token(),
                700..920 => self.count_locked(),
                920..940 => self.pairs_agree(),
                940..950 => self.count_all_locked(),
                950..995 => self.transaction(),
                995..998 => self.traverse(false),
                _ => self.traverse(true),
            }
            self.ledger.operations += 1;
        }
        self.ledger
    }

    fn own_key(&self, key: u32) -> Vec<u8> {
        format!("own/{}/{key}", self.ledger.id).into_bytes()
    }

    fn own_bytes(&self, key: u32) -> Option<Vec<u8>> {
        let (version, len) = self.ledger.own.get(&key)?;
        Some(own_value(self.ledger.id, key, *version, *len))
    }

    fn change_own(&mut self) {
        let key = self.rng.u32(..OWN);
        let name = self.own_key(key);
        let there = self.ledger.own.contains_key(&key);
        if there && self.rng.u32(..3) == 0 {
            self.database.delete(&name).expect("an own record is deleted");
            self.ledger.own.remove(&key);
            return;
        }
        let len = if self.rng.u32(..20) == 0 { self.rng.u32(..MOST_BYTES) } else { self.rng.u32(..300) };
        self.versions += 1;
        self.ledger.own.insert(key, (self.versions, len));
        let mode = match (self.rng.bool(), there) {
            (true, _) => StoreMode::Replace,
            (false, true) => StoreMode::Modify,
            (false, false) => StoreMode::Insert,
        };
        let value = self.own_bytes(key).unwrap_or_default();
        self.database.store(&name, &value, mode).expect("an own record is stored");
    }

    fn fetch_own(&mut self) {
        let key = self.rng.u32(..OWN);
        let name = self.own_key(key);
        let expected = self.own_bytes(key);
        assert_eq!(self.database.fetch(&name).expect("fetch"), expected, "own record {key}");
        assert_eq!(self.database.exists(&name).expect("exists"), expected.is_some());
        let same = self.database.parse_record(&name, |value| Some(value) == expected.as_deref());
        assert_ne!(same.expect("parse"), Some(false), "own record {key}");
    }

    fn append_token(&mut self) {
        let log = self.rng.u32(..LOGS);
        let nth = self.ledger.appended.entry(log).or_default();
        let mut token = self.ledger.id.to_le_bytes().to_vec();
        token.extend(nth.to_le_bytes());
        self.database.append(format!("log/0/{log}").as_bytes(), &token).expect("append");
        *nth += 1;
    }

    fn add_to(&mut self, counter: u32, by: u64) {
        let name = format!("count/0/{counter}");
        let value = add(self.database, &name, by);
        assert!(value >= by);
        *self.ledger.counted.entry(counter).or_default() += by;
    }

    fn count_locked(&mut self) {
        let counter = self.rng.u32(..COUNTERS);
        let by = self.rng.u64(1..6);
        let name = format!("count/0/{counter}");
        let _chain = Held::chain(self.database, name.as_bytes());
        self.add_to(counter, by);
    }

    fn count_all_locked(&mut self) {
        let _all = Held::all(self.database, LockKind::Write);
        for _ in 0..3 {
            let counter = self.rng.u32(..COUNTERS);
            self.add_to(counter, 1);
        }
    }

    fn pairs_agree(&mut self) {
        let _all = Held::all(self.database, LockKind::Read);
        let [left, right] =
            ["pair/left", "pair/right"].map(|side| self.database.fetch(side.as_bytes()).expect("fetch"));
        assert_eq!(left, right, "half a transaction is visible");
    }

    fn transaction(&mut self) {
        let before = self.ledger.clone();
        self.database.transaction_start(Wait::Yes).expect("a transaction starts");
        let inner = self.rng.u8(..4) == 0;
        let cancel = self.rng.u8(..4) == 0;
        if inner {
            self.database.transaction_start(Wait::Yes).expect("an inner transaction starts");
        }
        let steps = self.rng.u64(1..7);
        for _ in 0..steps {
            match self.rng.u8(..4) {
                0 => {
                    let counter = self.rng.u32(..COUNTERS);
                    self.add_to(counter, 1);
                }
                1 => self.append_token(),
                2 => self.fetch_own(),
                _ => self.change_own(),
            }
        }
        add(self.database, "pair/left", 1);
        add(self.database, "pair/right", 1);
        if inner {
            self.database.transaction_commit().expect("an inner commit");
        }
        let prepared = self.rng.u8(..4) > 0 || self.done(self.database.transaction_prepare_commit());
        let committed = prepared && !cancel && self.done(self.database.transaction_commit());
        if prepared && cancel {
            self.database.transaction_cancel().expect("cancel");
        }
        let refused = self.ledger.refused;
        if !committed {
            self.ledger = before;
        }
        self.ledger.refused = refused;
        self.ledger.pairs += u64::from(committed);
        self.ledger.operations += steps;
    }

    /// Whether a commit, or its preparation, was done; if not, readers never left, and nothing has happened.
    fn done(&mut self, ended: Result<(), TransactionError>) -> bool {
        match ended {
            Ok(()) => true,
            Err(TransactionError::Lock(LockError::Deadlock { .. })) => {
                self.ledger.refused += 1;
                false
            }
            Err(error) => panic!("commit: {error}"),
        }
    }

    /// Every own record must be shown once, as it is; some are deleted on the way.
    fn traverse(&mut self, deleting: bool) {
        let mut unseen = self.ledger.own.clone();
        let own = format!("own/{}/", self.ledger.id);
        let (ledger, rng) = (&mut self.ledger, &mut self.rng);
        let database = self.database;
        let see = |name: &[u8], value: &[u8]| {
            let Some(key) = name.strip_prefix(own.as_bytes()) else {
                return ControlFlow::Continue(());
            };
            let key: u32 = String::from_utf8_lossy(key).parse().expect("own keys end in a number");
            let (version, len) =
                unseen.remove(&key).expect("an own record is shown once, and only if it is there");
            assert!(value == own_value(ledger.id, key, version, len), "own record {key} in a traverse");
            if deleting && rng.u8(..8) == 0 {
                match database.delete(name) {
                    Ok(()) => {
                        ledger.own.remove(&key);
                    }
                    Err(StoreError::Lock(LockError::Deadlock { .. })) => ledger.refused += 1,
                    Err(error) => panic!("delete inside a traverse: {error}"),
                }
            }
            ControlFlow::Continue(())
        };
        let shown = if deleting { self.database.traverse(see) } else { self.database.traverse_read(see) };
        shown.expect("traverse");
        assert!(unseen.is_empty(), "a traverse has not shown own records {unseen:?}");
    }
}

/// Adds to a number of 8 bytes; the caller holds a lock. Returns the new number.
fn add(database: &Tdb, name: &str, by: u64) -> u64 {
    let old = database.fetch(name.as_bytes()).expect("fetch of a number");
    let old = old.map_or(0, |bytes| u64::from_le_bytes(bytes.try_into().expect("a number has 8 bytes")));
    database
        .store(name.as_bytes(), &(old + by).to_le_bytes(), StoreMode::Replace)
        .expect("store of a number");
    old + by
}

/// Several threads, each with a handle of its own; ids from `first_id`.
pub fn torture_in_threads(
    path: &Path,
    flags: u32,
    first_id: u32,
    threads: u32,
    operations: u64,
    seed: u64,
) -> Vec<Ledger> {
    let database = open(path, flags);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads)
            .map(|nth| {
                // Half of the handles come from another, half are openings of their own.
                let own = if nth % 2 == 0 {
                    database.another().expect("a second handle")
                } else {
                    open(path, flags)
                };
                scope.spawn(move || Worker::new(&own, first_id + nth, seed).torture(operations))
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("a thread of the torture")).collect()
    })
}

/// A lock of C's interface, given back when this is dropped.
struct Held<'a>(&'a Tdb, Option<&'a [u8]>, LockKind);

impl<'a> Held<'a> {
    fn chain(database: &'a Tdb, key: &'a [u8]) -> Held<'a> {
        database.lock_chain(key, LockKind::Write, Wait::Yes).expect("chain lock");
        Held(database, Some(key), LockKind::Write)
    }

    fn all(database: &'a Tdb, kind: LockKind) -> Held<'a> {
        database.lock_all(kind, Wait::Yes).expect("lock of everything");
        Held(database, None, kind)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let Held(database, key, kind) = self;
        match key {
            Some(key) => database.unlock_chain(key, *kind).expect("it is held"),
            None => database.unlock_all(*kind).expect("it is held"),
        }
    }
}

/// One more on every balance, in one transaction; returns the number they have then.
pub fn commit_one(database: &mut Database) -> u64 {
    let transaction = database.transaction().expect("a transaction starts");
    let mut number = 0;
    for balance in 0..BALANCES {
        let name = format!("balance/0/{balance}");
        let old = transaction.fetch(name.as_bytes()).expect("fetch of a balance");
        let old = old.map_or(0, |value| balance_number(&value));
        assert!(balance == 0 || old == number, "balance {balance} is {old}, the first is {number}");
        number = old;
        let value = balance_value(balance, number + 1);
        transaction.store(name.as_bytes(), &value, StoreMode::Replace).expect("store of a balance");
    }
    transaction.commit().expect("commit");
    number + 1
}

fn balance_value(balance: u32, number: u64) -> Vec<u8> {
    let len = BALANCE_BYTES + ((number * 37 + u64::from(balance) * 11) % 400) as usize;
    let mut value = vec![number as u8; len];
    value[..8].copy_from_slice(&number.to_le_bytes());
    value
}

/// The number in a balance.
pub fn balance_number(value: &[u8]) -> u64 {
    u64::from_le_bytes(value[..8].try_into().expect("a balance begins with 8 bytes"))
}

/// The number that all balances have; fails unless they agree, byte for byte.
pub fn balances(database: &Tdb) -> u64 {
    let content = crate::ledger::content(database);
    let Some(first) = content.get(&b"balance/0/0"[..]) else {
        assert!(content.is_empty(), "some balances are there, the first is not");
        return 0;
    };
    let number = balance_number(first);
    for balance in 0..BALANCES {
        let value = content.get(format!("balance/0/{balance}").as_bytes());
        // C's workers write 700 bytes and the same rest.
        let value = value.unwrap_or_else(|| panic!("balance {balance} is missing"));
        let expected = balance_value(balance, number);
        assert_eq!(balance_number(value), number, "balance {balance}");
        assert_eq!(value.len(), expected.len(), "balance {balance} at {number}");
        assert!(value[8..BALANCE_BYTES] == expected[8..BALANCE_BYTES], "balance {balance} at {number}");
    }
    assert_eq!(content.len(), BALANCES as usize);
    number
}
