//! Bytes as steps, alone and as transactions with watched keys, run against a model. The body of the fuzz target `kv_steps`, and of
//! a plain test.
//!
//! Several steps share a transaction of the engine, some of which come to nothing, as commits do.

use kv::{Body, Clocks, Image, Keyspace, Step, View, Watched, carry_out, read};
use resp::{Value, Version};
use tdb::storage::MemoryStorage;
use tdb::{Database, OpenOptions};

#[path = "model.rs"]
mod model;
#[path = "reply.rs"]
mod reply;
use model::{Held, Model};
use reply::value;

/// The bytes that decide, taken one after the other; zeros when they are used up.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    fn below(&mut self, end: u32) -> u32 {
        let number = if end > 256 { u32::from(self.byte()) << 8 } else { 0 };
        (number | u32::from(self.byte())) % end
    }

    fn bool(&mut self) -> bool {
        self.below(2) == 1
    }
}

fn random_command(choices: &mut Choices<'_>) -> Vec<String> {
    let key = |choices: &mut Choices<'_>| format!("k{}", choices.below(7));
    let (first, second) = (key(choices), key(choices));
    let field = format!("f{}", choices.below(3));
    let value = if choices.bool() {
        (i64::from(choices.below(100)) - 50).to_string()
    } else {
        "x".repeat(1 + choices.below(300) as usize)
    };
    let millis = 1 + choices.below(300);
    let text = match choices.below(26) {
        0 | 1 => format!("set {first} {value}"),
        2 => format!("set {first} {value} px {millis}"),
        3 => format!("set {first} {value} px {millis} nx"),
        4 => format!("set {first} {value} keepttl xx"),
        5 | 6 => format!("get {first}"),
        7 => format!("del {first} {second}"),
        8 => format!("append {first} {value}"),
        9 => format!("incrby {first} {}", i64::from(choices.below(18)) - 9),
        10 => format!("setrange {first} {} {value}", choices.below(40)),
        11 => format!("strlen {first}"),
        12 => format!("getdel {first}"),
        13 => format!("getset {first} {value}"),
        14 => format!("mset {first} {value} {second} 5"),
        15 => format!("hset {first} {field} {value}"),
        16 => format!("hget {first} {field}"),
        17 => format!("hdel {first} {field}"),
        18 => format!("hincrby {first} {field} {}", i64::from(choices.below(18)) - 9),
        19 => format!("hsetnx {first} {field} {value}"),
        20 if choices.bool() => format!("hexists {first} {field}"),
        20 => format!("hlen {first}"),
        21 => format!("pexpire {first} {millis}"),
        22 => format!("{} {first}", if choices.bool() { "persist" } else { "pttl" }),
        23 => format!("rename {first} {second}"),
        24 => format!("{} {first}", if choices.bool() { "exists" } else { "type" }),
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
    kind_of(value(bytes))
}

fn step(commands: &[Vec<String>], watched: Vec<Watched>) -> Step {
    let mut commands: Vec<Vec<Vec<u8>>> =
        commands.iter().map(|words| words.iter().map(|word| word.clone().into_bytes()).collect()).collect();
    let is_one = commands.len() == 1 && watched.is_empty();
    let body = if is_one { Body::Command(commands.remove(0)) } else { Body::Transaction(commands) };
    Step { database: 0, body, watched, protocol: Version::Resp3 }
}

/// What WATCH learns of a key.
fn mark(keyspace: &mut Keyspace<'_>, key: &str) -> u64 {
    let words = vec!["quorate.mark".to_owned(), key.to_owned()];
    let answer = reply(&carry_out(&step(&[words], Vec::new()), keyspace).unwrap());
    answer.as_elements().unwrap()[0].as_integer().unwrap() as u64
}

/// A key that a client watches, and what the model had for it since.
struct Watch {
    key: String,
    mark: u64,
    had: Option<(Held, Option<u64>)>,
    has_changed: bool,
    /// A command named it, which may have written what was there already.
    is_touched: bool,
}

/// A database and its model.
struct Pair {
    model: Model,
    clocks: Clocks,
    watches: Vec<Watch>,
    revision: u64,
}

/// The steps that `bytes` say answer as the model does; a transaction whose watched key has changed since, come and gone
/// included, does nothing; what was not committed leaves nothing; a read of what is committed gives the same, or is left to the sync
/// site because a key's time has come; revisions only grow.
///
/// # Panics
/// When that is not so.
pub fn steps(bytes: &[u8]) {
    let mut choices = Choices(bytes);
    let storage = Box::<MemoryStorage>::default();
    let mut database: Database =
        OpenOptions::new().create(true).hash_size(7).open_storage("image", storage).unwrap();
    let clocks = Clocks { cell: 1_000, wall: 1_700_000_000_000 };
    let mut pair = Pair { model: Model::default(), clocks, watches: Vec::new(), revision: 0 };
    while !choices.0.is_empty() {
        pair.clocks.cell += if choices.below(3) == 0 { u64::from(choices.below(120)) } else { 0 };
        pair.transaction(&mut database, &mut choices);
        pair.read_back(&database, &mut choices);
    }
}

impl Pair {
    fn transaction(&mut self, database: &mut Database, choices: &mut Choices<'_>) {
        let before = self.model.clone();
        let chains = database.hash_size();
        let mut transaction = database.transaction().unwrap();
        let mut image = Image::new(&mut transaction, chains);
        let mut keyspace = Keyspace::new(&mut image, self.clocks).unwrap();
        for _ in 0..1 + choices.below(5) {
            self.step(&mut keyspace, choices);
        }
        let revision = keyspace.totals().revision;
        assert!(revision >= self.revision, "revisions never go back");
        keyspace.finish().unwrap();
        if choices.below(6) == 0 {
            // The commit came to nothing, and nobody was told of the marks in it.
            drop(transaction);
            self.model = before;
            self.watches.clear();
        } else {
            transaction.commit().unwrap();
            self.revision = revision;
        }
    }

    fn step(&mut self, keyspace: &mut Keyspace<'_>, choices: &mut Choices<'_>) {
        let count = if choices.below(4) == 0 { 1 + choices.below(4) } else { 1 };
        let commands: Vec<Vec<String>> = (0..count).map(|_| random_command(choices)).collect();
        self.expire();
        let watch = (choices.below(4) == 0 && !self.watches.is_empty())
            .then(|| self.watches.swap_remove(choices.below(self.watches.len() as u32) as usize));
        let watched =
            watch.iter().map(|watch| Watched { key: watch.key.clone().into_bytes(), mark: watch.mark });
        let step = step(&commands, watched.collect());
        let found = reply(&carry_out(&step, keyspace).unwrap());
        match watch {
            // Of a key that was not there, one that looks like it may have come and gone.
            Some(watch) if found == Value::Null => {
                assert!(
                    watch.is_touched || watch.has_changed || watch.had.is_none(),
                    "{} is as it was",
                    watch.key
                );
            }
            watch => {
                assert!(
                    !watch.as_ref().is_some_and(|watch| watch.has_changed),
                    "{:?} has changed",
                    step.watched
                );
                self.compare(&step, &commands, &found);
            }
        }
        if choices.below(3) == 0 && self.watches.len() < 8 {
            self.watch(keyspace, format!("k{}", choices.below(7)));
        }
    }

    fn compare(&mut self, step: &Step, commands: &[Vec<String>], found: &Value) {
        let now = self.clocks.cell;
        let mut answers: Vec<Value> = Vec::new();
        for words in commands {
            answers.push(self.model.apply(words, now));
            self.note_changes(words);
        }
        let expected = match step.body {
            Body::Command(_) => answers.remove(0),
            Body::Transaction(_) => Value::Array(answers),
        };
        // A count of keys has those in it that have ended and that nobody has met.
        if !commands.iter().any(|words| words[0] == "dbsize") {
            assert_eq!(*found, expected, "{commands:?}");
        }
    }

    fn watch(&mut self, keyspace: &mut Keyspace<'_>, key: String) {
        let mark = mark(keyspace, &key);
        let had = self.model.0.get(&key).cloned();
        self.watches.push(Watch { key, mark, had, has_changed: false, is_touched: false });
    }

    /// Keys end whose time has come.
    fn expire(&mut self) {
        let now = self.clocks.cell;
        self.model.0.retain(|_, (_, expires)| expires.is_none_or(|at| at >= now));
        self.note_changes(&[]);
    }

    fn note_changes(&mut self, words: &[String]) {
        for watch in &mut self.watches {
            watch.has_changed |= self.model.0.get(&watch.key) != watch.had.as_ref();
            watch.is_touched |= words.contains(&watch.key);
        }
    }

    /// A command that only reads, on what is committed.
    fn read_back(&mut self, database: &Database, choices: &mut Choices<'_>) {
        let words = random_command(choices);
        let step = step(std::slice::from_ref(&words), Vec::new());
        if step.writes() || words[0] == "dbsize" {
            return;
        }
        if let Some(found) = read(&step, &mut View::new(database), self.clocks).unwrap() {
            assert_eq!(reply(&found), self.model.apply(&words, self.clocks.cell), "{words:?}");
        }
    }
}
