//! Commands on a TDB image against a model of what Redis does: a map of keys, values and times of expiry.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use fastrand::Rng;
use kv::{Clocks, CommandError, Image, Keyspace, find, run};
use resp::{ReplyWriter, Value, Version};
use tdb::storage::MemoryStorage;
use tdb::{Database, OpenOptions};

#[path = "support/reply.rs"]
mod reply;
use reply::value;

/// A database of the service, and the clocks of its sync site.
struct Service {
    database: Database,
    clocks: Clocks,
    revision: u64,
}

impl Service {
    fn new() -> Service {
        let mut options = OpenOptions::new();
        let storage = Box::<MemoryStorage>::default();
        let database = options.create(true).hash_size(7).open_storage("image", storage).unwrap();
        Service { database, clocks: Clocks { cell: 1_000, wall: 1_700_000_000_000 }, revision: 0 }
    }

    /// One command in a transaction of its own; an error's text is its reply.
    fn command(&mut self, words: &[&[u8]]) -> Value {
        let chains = self.database.hash_size();
        let mut transaction = self.database.transaction().unwrap();
        let mut image = Image::new(&mut transaction, chains);
        let mut keyspace = Keyspace::new(&mut image, self.clocks).unwrap();
        let mut reply = ReplyWriter::new(Version::Resp3);
        match run(find(words[0]).unwrap(), &mut keyspace, words, &mut reply) {
            Ok(()) => {}
            Err(CommandError::Refused(text)) => reply.error(&text),
            Err(error) => panic!("{error}"),
        }
        let revision = keyspace.totals().revision;
        let changes = keyspace.finish().unwrap();
        assert!(revision >= self.revision, "revisions never go back");
        assert!(changes.is_empty() || revision > self.revision, "a change has a revision of its own");
        self.revision = revision;
        transaction.commit().unwrap();
        value(reply.bytes())
    }

    fn ask(&mut self, words: &str) -> Value {
        let words: Vec<&[u8]> = words.split(' ').map(str::as_bytes).collect();
        self.command(&words)
    }
}

fn text(value: &str) -> Value {
    Value::Bytes(value.as_bytes().to_vec())
}

fn error(value: Value) -> String {
    match value {
        Value::Error(text) => String::from_utf8(text).unwrap(),
        other => panic!("no error: {other:?}"),
    }
}

/// What the model has of a key.
#[derive(Clone)]
struct Entry {
    value: Vec<u8>,
    expires: Option<u64>,
}

/// S4, S17, S18: random commands on strings, with time going on: each reply is the model's, keys never end early, and the
/// number of keys is right.
#[test]
fn random_commands_answer_as_the_model_does() {
    let mut rng = Rng::with_seed(testbed::seed("random_commands_answer_as_the_model_does"));
    let mut service = Service::new();
    let mut model: BTreeMap<String, Entry> = BTreeMap::new();
    for _ in 0..4000 {
        let key = format!("key{}", rng.u32(..12));
        let now = service.clocks.cell;
        // A writing command meets an expired key as absent; readers of the model are asked about living keys only.
        model.retain(|_, entry| entry.expires.is_none_or(|expires| expires >= now));
        let old = model.get(&key).cloned();
        match rng.u32(..9) {
            0 => {
                let value = rng.u32(..1000).to_string();
                assert_eq!(service.ask(&format!("set {key} {value}")), Value::Simple(b"OK".to_vec()));
                model.insert(key, Entry { value: value.into_bytes(), expires: None });
            }
            1 => {
                let milliseconds = rng.u64(1..500);
                let set = service.ask(&format!("set {key} v px {milliseconds} nx"));
                assert_eq!(set == Value::Null, old.is_some());
                if old.is_none() {
                    model.insert(key, Entry { value: b"v".to_vec(), expires: Some(now + milliseconds) });
                }
            }
            2 => {
                let expected = i64::from(old.is_some());
                assert_eq!(service.ask(&format!("del {key}")), Value::Integer(expected));
                model.remove(&key);
            }
            3 => {
                let appended = service.ask(&format!("append {key} xy"));
                let entry = model.entry(key).or_insert(Entry { value: Vec::new(), expires: None });
                entry.value.extend_from_slice(b"xy");
                assert_eq!(appended, Value::Integer(entry.value.len() as i64));
            }
            4 => {
                let answer = service.ask(&format!("incrby {key} 5"));
                let number = old
                    .as_ref()
                    .map_or(Some(0), |old| std::str::from_utf8(&old.value).ok()?.parse::<i64>().ok());
                match number {
                    Some(number) => {
                        assert_eq!(answer, Value::Integer(number + 5));
                        let expires = old.and_then(|old| old.expires);
                        model.insert(key, Entry { value: (number + 5).to_string().into_bytes(), expires });
                    }
                    None => assert!(error(answer).contains("not an integer")),
                }
            }
            5 => {
                let milliseconds = rng.u64(1..500);
                let answer = service.ask(&format!("pexpire {key} {milliseconds}"));
                assert_eq!(answer, Value::Integer(i64::from(old.is_some())));
                if let Some(entry) = model.get_mut(&key) {
                    entry.expires = Some(now + milliseconds);
                }
            }
            6 => {
                let answer = service.ask(&format!("getex {key} persist"));
                assert_eq!(answer, old.map_or(Value::Null, |old| Value::Bytes(old.value)));
                if let Some(entry) = model.get_mut(&key) {
                    entry.expires = None;
                }
            }
            7 => {
                if let Some(old) = old {
                    assert_eq!(service.ask(&format!("get {key}")), Value::Bytes(old.value), "never early");
                    let left = old.expires.map_or(-1, |expires| (expires - now) as i64);
                    assert_eq!(service.ask(&format!("pttl {key}")), Value::Integer(left));
                }
            }
            _ => service.clocks.cell += rng.u64(..200),
        }
        assert!(service.ask("dbsize").as_integer().unwrap() >= model.len() as i64, "none is gone early");
    }
    // What has expired is gone once somebody removes it; then the numbers agree.
    for nth in 0..12 {
        service.ask(&format!("getex key{nth}"));
    }
    let now = service.clocks.cell;
    model.retain(|_, entry| entry.expires.is_none_or(|expires| expires >= now));
    assert_eq!(service.ask("dbsize"), Value::Integer(model.len() as i64));
}

/// S4: going through keys shows each that stays, once, whatever is written meanwhile.
#[test]
fn a_scan_shows_every_key_that_stays() {
    let mut service = Service::new();
    (0..60).for_each(|nth| drop(service.ask(&format!("set stays{nth} 1"))));
    let (mut cursor, mut seen) = ("0".to_owned(), Vec::new());
    for round in 0.. {
        assert!(round < 200, "the scan does not end");
        service.ask(&format!("set new{round} 1"));
        let answer = service.ask(&format!("scan {cursor} match stays* count 5"));
        let [next, keys] = answer.as_elements().unwrap() else { panic!("{answer:?}") };
        seen.extend(keys.as_elements().unwrap().iter().map(|key| key.as_bytes().unwrap().to_vec()));
        cursor = String::from_utf8(next.as_bytes().unwrap().to_vec()).unwrap();
        if cursor == "0" {
            break;
        }
    }
    seen.sort();
    let mut expected: Vec<Vec<u8>> = (0..60).map(|nth| format!("stays{nth}").into_bytes()).collect();
    expected.sort();
    assert_eq!(seen, expected);
    assert_eq!(service.ask("keys stays1?").as_elements().unwrap().len(), 10);
    assert!(service.ask("randomkey").as_bytes().is_some());
}

/// S4: hashes, and what answers a command for the other kind of value.
#[test]
fn hashes_have_fields_and_keys_have_one_kind() {
    let mut service = Service::new();
    assert_eq!(service.ask("hset h a 1 b 2"), Value::Integer(2));
    assert_eq!(service.ask("hincrby h a 41"), Value::Integer(42));
    assert_eq!(service.ask("hgetall h"), Value::Map(vec![(text("a"), text("42")), (text("b"), text("2"))]));
    assert_eq!(service.ask("hsetnx h a 9"), Value::Integer(0));
    assert_eq!(service.ask("hmget h b c"), Value::Array(vec![text("2"), Value::Null]));
    assert!(error(service.ask("get h")).starts_with("WRONGTYPE"));
    service.ask("set s 1");
    assert!(error(service.ask("hget s a")).starts_with("WRONGTYPE"));
    assert_eq!(service.ask("type h"), Value::Simple(b"hash".to_vec()));
    assert_eq!(service.ask("hdel h a b"), Value::Integer(2));
    assert_eq!(service.ask("exists h"), Value::Integer(0), "a hash without fields is not kept");
}

/// S4, S18: conditions of SET, EXPIRE and the deletes; a refused command changes nothing.
#[test]
fn conditions_hold_and_refusals_change_nothing() {
    let mut service = Service::new();
    service.ask("set k 1");
    let before = service.revision;
    for (words, expected) in [
        ("set k 2 ex 0", "ERR invalid expire time in 'set' command"),
        ("set k 2 nx xx", "ERR syntax error"),
        ("set k 2 ex 5 keepttl", "ERR syntax error"),
        ("set k", "ERR wrong number of arguments for 'set' command"),
        ("expire k 5 nx gt", "ERR NX and XX, GT or LT options at the same time are not compatible"),
        ("rename missing k", "ERR no such key"),
        ("incrby k 9223372036854775807", "ERR increment or decrement would overflow"),
        ("copy k k", "ERR source and destination objects are the same"),
    ] {
        assert_eq!(error(service.ask(words)), expected, "{words}");
    }
    assert_eq!(service.revision, before);
    assert_eq!(service.ask("set k 3 ifeq 2"), Value::Null);
    assert_eq!(service.ask("set k 3 ifeq 1"), Value::Simple(b"OK".to_vec()));
    assert_eq!(service.ask("delifeq k 1"), Value::Integer(0));
    assert_eq!(service.ask("expire k 100 xx"), Value::Integer(0));
    assert_eq!(service.ask("expire k 100"), Value::Integer(1));
    assert_eq!(service.ask("expire k 50 gt"), Value::Integer(0));
    assert_eq!(service.ask("ttl k"), Value::Integer(100));
    assert_eq!(service.ask("delex k ifeq 3"), Value::Integer(1));
    assert_eq!(service.ask("expire k 5"), Value::Integer(0));
}

/// S17: a date is converted when the command is carried out; wall clocks that are stepped afterwards change nothing.
#[test]
fn a_stepped_wall_clock_ends_nothing_early() {
    let mut service = Service::new();
    service.ask("set k v");
    let at = service.clocks.wall + 10_000;
    assert_eq!(service.ask(&format!("pexpireat k {at}")), Value::Integer(1));
    service.clocks.wall += 3_600_000;
    assert_eq!(service.ask("pttl k"), Value::Integer(10_000));
    assert_eq!(service.ask("getex k"), text("v"));
    service.clocks.cell += 10_000;
    assert_eq!(service.ask("getex k"), text("v"));
    service.clocks.cell += 1;
    assert_eq!(service.ask("getex k"), Value::Null);
    // A sync site whose clock is behind that of the last write goes on from there.
    service.ask("set l v px 50");
    service.clocks.cell -= 500;
    assert_eq!(service.ask("pttl l"), Value::Integer(50));
}
