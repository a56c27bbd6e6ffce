//! Random steps, alone and as transactions with watched keys, against a model: a map of keys to strings and hashes with times.
//! Several steps share a transaction of the engine, some of which come to nothing, as commits do.
//!
//! `QUORATE_LONG=1` runs a thousand times as many.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use fastrand::Rng;
use kv::{Body, Clocks, Image, Keyspace, Step, View, Watched, carry_out, read};
use resp::{Limits, Replies, Value, Version};
use tdb::storage::MemoryStorage;
use tdb::{Database, OpenOptions};

/// What a key holds.
#[derive(Clone, Debug)]
enum Held {
    Text(Vec<u8>),
    Fields(BTreeMap<String, Vec<u8>>),
}

/// Keys, what they hold, and when they end.
#[derive(Clone, Debug, Default)]
struct Model(BTreeMap<String, (Held, Option<u64>)>);

fn integer(number: usize) -> Value {
    Value::Integer(number as i64)
}

fn bytes(text: &[u8]) -> Value {
    Value::Bytes(text.to_vec())
}

fn ok() -> Value {
    Value::Simple(b"OK".to_vec())
}

/// Of an error only its kind is compared.
fn wrong_type() -> Value {
    Value::Error(b"WRONGTYPE".to_vec())
}

fn refused() -> Value {
    Value::Error(b"ERR".to_vec())
}

impl Model {
    /// What a command answers at `now`.
    fn apply(&mut self, words: &[String], now: u64) -> Value {
        self.0.retain(|_, (_, expires)| expires.is_none_or(|at| at > now));
        let argument = |nth: usize| words.get(nth).map_or("", String::as_str);
        let (name, key) = (argument(0), argument(1).to_owned());
        match name {
            "del" => integer(words[1..].iter().filter(|key| self.0.remove(*key).is_some()).count()),
            "exists" => integer(words[1..].iter().filter(|key| self.0.contains_key(*key)).count()),
            "dbsize" => integer(self.0.len()),
            "type" => Value::Simple(match self.0.get(&key) {
                None => b"none".to_vec(),
                Some((Held::Text(_), _)) => b"string".to_vec(),
                Some((Held::Fields(_), _)) => b"hash".to_vec(),
            }),
            "mset" => {
                for pair in words[1..].chunks(2) {
                    self.0.insert(pair[0].clone(), (Held::Text(pair[1].clone().into_bytes()), None));
                }
                ok()
            }
            "rename" => match self.0.remove(&key) {
                None => refused(),
                Some(entry) => {
                    self.0.insert(argument(2).to_owned(), entry);
                    ok()
                }
            },
            "pexpire" => match self.0.get_mut(&key) {
                None => integer(0),
                Some((_, expires)) => {
                    *expires = Some(now + argument(2).parse::<u64>().unwrap());
                    integer(1)
                }
            },
            "persist" => {
                integer(self.0.get_mut(&key).is_some_and(|(_, expires)| expires.take().is_some()).into())
            }
            "pttl" => Value::Integer(match self.0.get(&key) {
                None => -2,
                Some((_, None)) => -1,
                Some((_, Some(at))) => (at - now) as i64,
            }),
            _ if name.starts_with('h') => self.apply_to_hash(words),
            _ => self.apply_to_text(words, now),
        }
    }

    fn apply_to_text(&mut self, words: &[String], now: u64) -> Value {
        let (name, key, argument) =
            (words[0].as_str(), words[1].clone(), words.get(2).cloned().unwrap_or_default());
        let old = match self.0.get(&key) {
            Some((Held::Fields(_), _)) if name != "set" => return wrong_type(),
            Some((Held::Text(text), expires)) => Some((text.clone(), *expires)),
            _ => None,
        };
        let is_there = self.0.contains_key(&key);
        let (old_text, old_expires) =
            old.clone().map_or((None, None), |(text, expires)| (Some(text), expires));
        let text = old_text.clone().unwrap_or_default();
        let mut put = |text: Vec<u8>, expires| self.0.insert(key.clone(), (Held::Text(text), expires));
        match name {
            "get" => old_text.map_or(Value::Null, Value::Bytes),
            "strlen" => integer(text.len()),
            "set" => {
                let options: Vec<&str> = words[3..].iter().map(String::as_str).collect();
                let expires = match options[..] {
                    ["px", millis, ..] => Some(now + millis.parse::<u64>().unwrap()),
                    ["keepttl", ..] if is_there => self.0[&key].1,
                    _ => None,
                };
                let is_refused =
                    (options.contains(&"nx") && is_there) || (options.contains(&"xx") && !is_there);
                if is_refused {
                    return Value::Null;
                }
                self.0.insert(key, (Held::Text(argument.into_bytes()), expires));
                ok()
            }
            "append" => {
                let text = [text, argument.into_bytes()].concat();
                let length = text.len();
                put(text, old_expires);
                integer(length)
            }
            "setrange" => {
                let (at, value) = (argument.parse::<usize>().unwrap(), words[3].as_bytes());
                let mut text = text;
                text.resize(text.len().max(at + value.len()), 0);
                text[at..at + value.len()].copy_from_slice(value);
                let length = text.len();
                put(text, old_expires);
                integer(length)
            }
            "getdel" => {
                self.0.remove(&key);
                old_text.map_or(Value::Null, Value::Bytes)
            }
            "getset" => {
                put(argument.into_bytes(), None);
                old_text.map_or(Value::Null, Value::Bytes)
            }
            "incrby" => {
                let number = if old_text.is_some() { whole_number(&text) } else { Some(0) };
                let Some(number) = number else { return refused() };
                let number = number + argument.parse::<i64>().unwrap();
                put(number.to_string().into_bytes(), old_expires);
                Value::Integer(number)
            }
            other => panic!("the model does not know {other}"),
        }
    }

    fn apply_to_hash(&mut self, words: &[String]) -> Value {
        let (name, key, field) =
            (words[0].as_str(), words[1].clone(), words.get(2).cloned().unwrap_or_default());
        let (mut fields, expires) = match self.0.get(&key) {
            Some((Held::Text(_), _)) => return wrong_type(),
            Some((Held::Fields(fields), expires)) => (fields.clone(), *expires),
            None => (BTreeMap::new(), None),
        };
        let answer = match name {
            "hget" => return fields.get(&field).map_or(Value::Null, |value| bytes(value)),
            "hlen" => return integer(fields.len()),
            "hexists" => return integer(fields.contains_key(&field).into()),
            "hset" => integer(fields.insert(field, words[3].clone().into_bytes()).is_none().into()),
            "hsetnx" if fields.contains_key(&field) => return integer(0),
            "hsetnx" => {
                fields.insert(field, words[3].clone().into_bytes());
                integer(1)
            }
            "hdel" => integer(fields.remove(&field).is_some().into()),
            "hincrby" => {
                let number = fields.get(&field).map_or(Some(0), |value| whole_number(value));
                let Some(number) = number else { return refused() };
                let number = number + words[3].parse::<i64>().unwrap();
                fields.insert(field, number.to_string().into_bytes());
                Value::Integer(number)
            }
            other => panic!("the model does not know {other}"),
        };
        match fields.is_empty() {
            true => drop(self.0.remove(&key)),
            false => drop(self.0.insert(key, (Held::Fields(fields), expires))),
        }
        answer
    }
}

/// A number as Redis writes one, without sign or zeros too many.
fn whole_number(text: &[u8]) -> Option<i64> {
    let number: i64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (number.to_string().as_bytes() == text).then_some(number)
}

fn random_command(rng: &mut Rng) -> Vec<String> {
    let key = |rng: &mut Rng| format!("k{}", rng.u32(..7));
    let (first, second) = (key(rng), key(rng));
    let field = format!("f{}", rng.u32(..3));
    let value = if rng.bool() { rng.i32(-50..50).to_string() } else { "x".repeat(rng.usize(1..300)) };
    let millis = rng.u32(1..300);
    let text = match rng.u32(..26) {
        0 | 1 => format!("set {first} {value}"),
        2 => format!("set {first} {value} px {millis}"),
        3 => format!("set {first} {value} px {millis} nx"),
        4 => format!("set {first} {value} keepttl xx"),
        5 | 6 => format!("get {first}"),
        7 => format!("del {first} {second}"),
        8 => format!("append {first} {value}"),
        9 => format!("incrby {first} {}", rng.i32(-9..9)),
        10 => format!("setrange {first} {} {value}", rng.u32(..40)),
        11 => format!("strlen {first}"),
        12 => format!("getdel {first}"),
        13 => format!("getset {first} {value}"),
        14 => format!("mset {first} {value} {second} 5"),
        15 => format!("hset {first} {field} {value}"),
        16 => format!("hget {first} {field}"),
        17 => format!("hdel {first} {field}"),
        18 => format!("hincrby {first} {field} {}", rng.i32(-9..9)),
        19 => format!("hsetnx {first} {field} {value}"),
        20 if rng.bool() => format!("hexists {first} {field}"),
        20 => format!("hlen {first}"),
        21 => format!("pexpire {first} {millis}"),
        22 => format!("{} {first}", if rng.bool() { "persist" } else { "pttl" }),
        23 => format!("rename {first} {second}"),
        24 => format!("{} {first}", if rng.bool() { "exists" } else { "type" }),
        _ => "dbsize".to_owned(),
    };
    text.split(' ').map(str::to_owned).collect()
}

/// Errors are compared by their first word.
fn kind_of(value: Value) -> Value {
    match value {
        Value::Error(text) => Value::Error(text.split(|byte| *byte == b' ').next().unwrap().to_vec()),
        Value::Array(elements) => Value::Array(elements.into_iter().map(kind_of).collect()),
        other => other,
    }
}

fn reply(bytes: &[u8]) -> Value {
    let mut replies = Replies::new(Limits::default());
    replies.receive(bytes);
    let value = replies.poll().unwrap().expect("one whole reply");
    assert!(replies.poll().unwrap().is_none(), "one reply only");
    kind_of(value)
}

fn step(commands: &[Vec<String>], watched: Vec<Watched>) -> Step {
    let mut commands: Vec<Vec<Vec<u8>>> =
        commands.iter().map(|words| words.iter().map(|word| word.clone().into_bytes()).collect()).collect();
    let is_one = commands.len() == 1 && watched.is_empty();
    let body = if is_one { Body::Command(commands.remove(0)) } else { Body::Transaction(commands) };
    Step { database: 0, body, watched, protocol: Version::Resp3 }
}

/// The revision of a key, as WATCH learns it.
fn revision(keyspace: &mut Keyspace<'_>, key: &str) -> u64 {
    let words = vec!["quorate.revision".to_owned(), key.to_owned()];
    let answer = reply(&carry_out(&step(&[words], Vec::new()), keyspace).unwrap());
    answer.as_elements().unwrap()[0].as_integer().unwrap() as u64
}

/// S4, S6, S17, S18: random steps in shared transactions answer as the model does; a transaction whose watched key was written
/// since does nothing; what was not committed leaves nothing; a read of what is committed gives the same, or is left to the sync site
/// because a key's time has come; revisions only grow.
#[test]
fn random_steps_answer_as_the_model_does() {
    let mut rng = Rng::with_seed(testbed::seed("random_steps_answer_as_the_model_does"));
    let rounds = if std::env::var_os("QUORATE_LONG").is_some() { 1_000_000 } else { 1_000 };
    let storage = Box::<MemoryStorage>::default();
    let mut database: Database =
        OpenOptions::new().create(true).hash_size(7).open_storage("image", storage).unwrap();
    let mut clocks = Clocks { cell: 1_000, wall: 1_700_000_000_000 };
    let (mut model, mut last_revision, mut commands_done) = (Model::default(), 0, 0u64);
    for _ in 0..rounds {
        clocks.cell += if rng.u32(..3) == 0 { rng.u64(..120) } else { 0 };
        let before = model.clone();
        let chains = database.hash_size();
        let mut transaction = database.transaction().unwrap();
        let mut image = Image::new(&mut transaction, chains);
        let mut keyspace = Keyspace::new(&mut image, clocks).unwrap();
        for _ in 0..rng.u32(1..6) {
            let commands: Vec<Vec<String>> = (0..if rng.u32(..4) == 0 { rng.usize(1..5) } else { 1 })
                .map(|_| random_command(&mut rng))
                .collect();
            let mut watched = Vec::new();
            let mut is_stale = false;
            if rng.u32(..5) == 0 {
                let key = format!("k{}", rng.u32(..7));
                is_stale = rng.bool();
                let revision = revision(&mut keyspace, &key) + u64::from(is_stale);
                watched.push(Watched { key: key.into_bytes(), revision });
            }
            let step = step(&commands, watched);
            let found = reply(&carry_out(&step, &mut keyspace).unwrap());
            let expected = match (&step.body, is_stale) {
                (_, true) => Value::Null,
                (Body::Command(_), false) => model.apply(&commands[0], clocks.cell),
                (Body::Transaction(_), false) => {
                    Value::Array(commands.iter().map(|words| model.apply(words, clocks.cell)).collect())
                }
            };
            // A count of keys has those in it that have ended and that nobody has met.
            if !commands.iter().any(|words| words[0] == "dbsize") {
                assert_eq!(found, expected, "{commands:?}");
            }
            commands_done += commands.len() as u64;
        }
        let revision = keyspace.totals().revision;
        assert!(revision >= last_revision, "revisions never go back");
        keyspace.finish().unwrap();
        if rng.u32(..6) == 0 {
            // The commit came to nothing.
            drop(transaction);
            model = before;
        } else {
            transaction.commit().unwrap();
            last_revision = revision;
        }
        read_back(&mut model, &database, clocks, &mut rng);
    }
    eprintln!("{commands_done} commands in {rounds} transactions");
}

/// A command that only reads, on what is committed.
fn read_back(model: &mut Model, database: &Database, clocks: Clocks, rng: &mut Rng) {
    let words = random_command(rng);
    let step = step(std::slice::from_ref(&words), Vec::new());
    if step.writes() || words[0] == "dbsize" {
        return;
    }
    if let Some(found) = read(&step, &mut View::new(database), clocks).unwrap() {
        assert_eq!(reply(&found), model.apply(&words, clocks.cell), "{words:?}");
    }
}
