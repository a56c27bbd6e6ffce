//! The runs that are crashed: transactions of every shape, with the content before and after each.

use std::collections::BTreeMap;

use fastrand::Rng;
use tdb::{Database, OpenOptions, StoreMode, Transaction};

use crate::recording::{Event, Recording};

pub type Content = BTreeMap<Vec<u8>, Vec<u8>>;

/// A recorded run: its events, and which content is right after a crash.
pub struct Run {
    pub name: String,
    /// The bytes of the new database, durable before the first event.
    pub base: Vec<u8>,
    pub events: Vec<Event>,
    /// Ascending: from so many events on this content is durable.
    steps: Vec<Step>,
}

struct Step {
    /// Events that had been issued when the commit began, and when it returned.
    began: usize,
    returned: usize,
    /// The content that it left.
    after: Content,
}

impl Run {
    /// What may be found after a crash with so many events issued: the last content whose commit had returned, and the
    /// one whose commit was under way.
    pub fn allowed(&self, events: usize) -> Vec<&Content> {
        let nth = self
            .steps
            .iter()
            .rposition(|step| step.returned <= events)
            .expect("the first step is the new database");
        let next = self.steps.get(nth + 1).filter(|step| step.began < events);
        [Some(&self.steps[nth].after), next.map(|step| &step.after)].into_iter().flatten().collect()
    }

    /// Records transactions on a new database made by `options`.
    pub fn record(name: &str, options: &OpenOptions, transactions: &[Shape], rng: &mut Rng) -> Run {
        let recording = Recording::default();
        let mut options = options.clone();
        let mut database =
            options.create(true).open_storage(name, Box::new(recording.clone())).expect("a new database");
        let base = recording.image();
        let created = recording.len();
        let mut content = Content::new();
        let mut steps = vec![Step { began: 0, returned: 0, after: content.clone() }];
        for shape in transactions {
            let began = recording.len() - created;
            shape.run(&mut database, &mut content, rng);
            steps.push(Step { began, returned: recording.len() - created, after: content.clone() });
        }
        Run { name: name.to_owned(), base, events: recording.events().split_off(created), steps }
    }
}

/// What one transaction does.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// Stores so many records of up to so many bytes.
    Store(u32, usize),
    /// Changes records in place and deletes others.
    Change,
    /// Deletes so much that whole chains become empty.
    DeleteMost,
    /// Stores again and again to the same records.
    Append,
    Wipe,
    Repack,
    /// An inner transaction, committed.
    Nested,
    /// Cancelled before, and after preparing.
    Cancelled,
    CancelledPrepared,
    /// Prepared first, as a coordinator of several databases does.
    Prepared,
}

impl Shape {
    fn run(self, database: &mut Database, content: &mut Content, rng: &mut Rng) {
        if let Shape::Repack = self {
            return database.repack().expect("repack");
        }
        let before = content.clone();
        let mut transaction = database.transaction().expect("a transaction");
        self.change(&mut transaction, content, rng);
        match self {
            Shape::Cancelled => {
                *content = before;
                transaction.cancel().expect("cancel");
            }
            Shape::CancelledPrepared => {
                *content = before;
                let transaction = transaction.prepare_commit().expect("prepare");
                transaction.cancel().expect("cancel");
            }
            Shape::Prepared => {
                let transaction = transaction.prepare_commit().expect("prepare");
                transaction.commit().expect("commit");
            }
            _ => transaction.commit().expect("commit"),
        }
    }

    fn change(self, database: &mut Transaction<'_>, content: &mut Content, rng: &mut Rng) {
        match self {
            Shape::Store(count, most) => (0..count).for_each(|_| store(database, content, rng, 1000, most)),
            Shape::Change | Shape::Prepared | Shape::Cancelled | Shape::CancelledPrepared => {
                delete(database, content, 3);
                (0..4).for_each(|_| store(database, content, rng, 1000, 300));
                append(database, content, rng);
            }
            Shape::DeleteMost => delete(database, content, content.len().saturating_sub(1)),
            Shape::Append => (0..6).for_each(|_| append(database, content, rng)),
            Shape::Wipe => {
                database.wipe_all().expect("wipe");
                content.clear();
                store(database, content, rng, 1000, 100);
            }
            Shape::Nested => {
                let inner = database.nested();
                store(&inner, content, rng, 1000, 200);
                inner.commit();
                delete(database, content, 1);
                let before = content.clone();
                let undone = database.nested();
                (0..3).for_each(|_| store(&undone, content, rng, 1000, 2000));
                delete(&undone, content, 2);
                drop(undone);
                *content = before;
            }
            Shape::Repack => {}
        }
    }
}

fn store(database: &Transaction<'_>, content: &mut Content, rng: &mut Rng, keys: u32, most: usize) {
    let key = format!("key{}", rng.u32(..keys)).into_bytes();
    let value: Vec<u8> = (0..rng.usize(..most)).map(|_| rng.u8(..)).collect();
    database.store(&key, &value, StoreMode::Replace).expect("store");
    content.insert(key, value);
}

fn append(database: &Transaction<'_>, content: &mut Content, rng: &mut Rng) {
    let Some(key) = content.keys().nth(rng.usize(..content.len().max(1))).cloned() else {
        return;
    };
    let more: Vec<u8> = (0..rng.usize(1..150)).map(|_| rng.u8(..)).collect();
    database.append(&key, &more).expect("append");
    content.entry(key).or_default().extend(more);
}

fn delete(database: &Transaction<'_>, content: &mut Content, count: usize) {
    let keys: Vec<Vec<u8>> = content.keys().take(count).cloned().collect();
    for key in keys {
        database.delete(&key).expect("delete");
        content.remove(&key);
    }
}
