//! Bytes as a sequence of operations with failures of the system, run against an ordered map. The body of the fuzz
//! target `tdb_operations`, and of plain tests.
//!
//! A failure inside a transaction, its commit included, leaves the database as before. Outside of one, a full disk
//! does, too; a failed read or write leaves the key as it was, or changed, or its chain damaged, and the run ends.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use tdb::compat::Tdb;
use tdb::{ByteOrder, Coded, ErrorCode, HashFunction, OpenOptions, StoreError, StoreMode, Wait};

#[path = "faulty.rs"]
mod faulty;
use faulty::{CALLS, Call, Fault, Faulty};

type Content = BTreeMap<Vec<u8>, Vec<u8>>;

/// The bytes that decide, taken one after the other.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn key(&mut self) -> Vec<u8> {
        // Few keys, so that they meet; one is empty.
        let number = self.byte().unwrap_or(0) % 24;
        vec![b'k'; usize::from(number)]
    }

    fn value(&mut self) -> Vec<u8> {
        let byte = self.byte().unwrap_or(0);
        let len = if byte > 250 { 3000 } else { usize::from(byte) };
        vec![byte; len]
    }
}

struct Run {
    storage: Faulty,
    options: OpenOptions,
    database: Option<Tdb>,
    content: Content,
    /// The content before each open transaction, the outermost first.
    before: Vec<Content>,
    /// An inner transaction was cancelled.
    condemned: bool,
}

/// Runs what the bytes say. Panics if the database is not the map.
pub fn operations(bytes: &[u8]) {
    let mut choices = Choices(bytes);
    let first = choices.byte().unwrap_or(0);
    let mut options = OpenOptions::new();
    options.hash_size(u32::from(first & 7) + 1).seqnum(first & 8 != 0).volatile(first & 16 != 0);
    options.byte_order(if first & 32 != 0 { ByteOrder::FOREIGN } else { ByteOrder::NATIVE });
    options.hash(if first & 64 != 0 { HashFunction::Jenkins } else { HashFunction::Old });
    let storage = Faulty::default();
    options.create(true);
    let database = Tdb::open_storage(&options, "fuzzed", Box::new(storage.clone())).expect("a new database");
    let mut run = Run {
        storage,
        options,
        database: Some(database),
        content: Content::new(),
        before: Vec::new(),
        condemned: false,
    };
    while let Some(what) = choices.byte() {
        if !run.step(what, &mut choices) {
            return;
        }
    }
    run.reopen();
}

impl Run {
    fn database(&self) -> &Tdb {
        self.database.as_ref().expect("open between steps")
    }

    /// One operation, perhaps with a failure; `false` if the run cannot go on.
    fn step(&mut self, what: u8, choices: &mut Choices<'_>) -> bool {
        let fault = (what & 0x30 == 0x30).then(|| {
            let choice = choices.byte().unwrap_or(0);
            Fault {
                call: CALLS[usize::from(choice % 5)],
                after: u32::from(choice / 5 % 16),
                lasting: choice & 0x80 != 0,
            }
        });
        self.storage.set(fault);
        let old = self.content.clone();
        let done = self.operation(what & 0xf, choices);
        let failed = self.storage.set(None) > 0;
        match done {
            Ok(()) => true,
            Err(error) => {
                assert!(failed, "nothing failed, and the operation says: {error}");
                self.after_failure(old, fault.map(|fault| fault.call))
            }
        }
    }

    /// Does one operation on both; the map is changed only if the database says that it has.
    fn operation(&mut self, what: u8, choices: &mut Choices<'_>) -> Result<(), String> {
        let text = |error: StoreError| error.to_string();
        match what {
            0..=2 => {
                let (key, value) = (choices.key(), choices.value());
                self.database().store(&key, &value, StoreMode::Replace).map_err(text)?;
                self.content.insert(key, value);
            }
            3 => {
                let (key, value) = (choices.key(), choices.value());
                let expected = if self.content.contains_key(&key) { Err(ErrorCode::Exists) } else { Ok(()) };
                same(self.database().store(&key, &value, StoreMode::Insert), expected)?;
                self.content.entry(key).or_insert(value);
            }
            4 => {
                let (key, value) = (choices.key(), choices.value());
                let there = self.content.contains_key(&key);
                let expected = if there { Ok(()) } else { Err(ErrorCode::NoSuchRecord) };
                same(self.database().store(&key, &value, StoreMode::Modify), expected)?;
                self.content.entry(key).and_modify(|old| *old = value);
            }
            5 => {
                let (key, value) = (choices.key(), choices.value());
                self.database().append(&key, &value).map_err(text)?;
                self.content.entry(key).or_default().extend(value);
            }
            6 | 7 => {
                let key = choices.key();
                let there = self.content.contains_key(&key);
                let expected = if there { Ok(()) } else { Err(ErrorCode::NoSuchRecord) };
                same(self.database().delete(&key), expected)?;
                self.content.remove(&key);
            }
            8 => {
                let key = choices.key();
                let found = self.database().fetch(&key).map_err(|error| error.to_string())?;
                assert_eq!(found.as_ref(), self.content.get(&key));
            }
            9 => assert_eq!(read(self.database())?, self.content),
            10 | 11 => {
                self.database().transaction_start(Wait::Yes).map_err(|error| error.to_string())?;
                self.before.push(self.content.clone());
            }
            12 | 13 => self.commit(what == 13)?,
            14 => self.cancel()?,
            _ => self.rare(choices.byte().unwrap_or(0))?,
        }
        Ok(())
    }

    fn rare(&mut self, what: u8) -> Result<(), String> {
        match what % 4 {
            0 => {
                self.database().wipe_all().map_err(|error| error.to_string())?;
                self.content.clear();
            }
            1 if self.before.is_empty() => self.database().repack().map_err(|error| error.to_string())?,
            2 if self.before.is_empty() => {
                self.storage.set(None);
                self.reopen();
            }
            _ => {
                self.database().check(|_, _| true).map_err(|error| error.to_string())?;
            }
        }
        Ok(())
    }

    fn commit(&mut self, prepare: bool) -> Result<(), String> {
        if self.before.is_empty() {
            assert!(self.database().transaction_commit().is_err(), "there is no transaction");
            return Ok(());
        }
        if self.condemned && self.before.len() == 1 {
            assert!(self.database().transaction_commit().is_err(), "an inner transaction was cancelled");
            self.cancelled();
            return Ok(());
        }
        if prepare && self.before.len() == 1 {
            self.database().transaction_prepare_commit().map_err(|error| error.to_string())?;
        }
        if self.condemned {
            // What an inner commit says after a cancel does not matter: the outermost one will be refused.
            let _ = self.database().transaction_cancel();
        } else {
            self.database().transaction_commit().map_err(|error| error.to_string())?;
        }
        self.before.pop();
        Ok(())
    }

    fn cancel(&mut self) -> Result<(), String> {
        if self.before.is_empty() {
            return Ok(());
        }
        self.database().transaction_cancel().map_err(|error| error.to_string())?;
        if self.before.len() == 1 {
            self.cancelled();
        } else {
            self.before.pop();
            self.condemned = true;
        }
        Ok(())
    }

    fn cancelled(&mut self) {
        self.content = self.before.swap_remove(0);
        self.before.clear();
        self.condemned = false;
    }

    /// The database must be as before; `false` if that cannot be asked of it.
    fn after_failure(&mut self, old: Content, call: Option<Call>) -> bool {
        if !self.before.is_empty() {
            let _ = self.database().transaction_cancel();
            while self.database().transaction_active() {
                let _ = self.database().transaction_cancel();
            }
            self.cancelled();
            self.must_be_right();
            return true;
        }
        self.content = old;
        if call != Some(Call::Grow) {
            // Not a transaction: reading and checking must still not do harm.
            let _ = (read(self.database()), self.database().check(|_, _| true).map_err(|error| error.code()));
            return false;
        }
        self.must_be_right();
        true
    }

    fn reopen(&mut self) {
        if let Some(database) = self.database.take()
            && !self.before.is_empty()
        {
            drop(database);
            self.cancelled();
        }
        let mut options = self.options.clone();
        let options = options.create(false);
        let database = Tdb::open_storage(options, "fuzzed", Box::new(self.storage.clone()));
        self.database = Some(database.expect("the database opens again"));
        self.must_be_right();
    }

    fn must_be_right(&self) {
        let content = read(self.database()).expect("the database can be read");
        assert_eq!(content, self.content);
        self.database().check(|_, _| true).expect("the check passes");
    }
}

fn same(result: Result<(), StoreError>, expected: Result<(), ErrorCode>) -> Result<(), String> {
    match result {
        Err(error) if error.code() == ErrorCode::Io || error.code() == ErrorCode::OutOfMemory => {
            Err(error.to_string())
        }
        result => {
            assert_eq!(result.map_err(|error| error.code()), expected);
            Ok(())
        }
    }
}

fn read(database: &Tdb) -> Result<Content, String> {
    let mut content = Content::new();
    let shown = database.traverse_read(|key, value| {
        assert!(content.insert(key.to_vec(), value.to_vec()).is_none(), "a key is shown twice");
        ControlFlow::Continue(())
    });
    shown.map_err(|error| error.to_string())?;
    Ok(content)
}
