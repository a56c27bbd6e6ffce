//! Steps as clients send them: on the store in memory, and on an image whose clock stands still.
#![allow(clippy::unwrap_used)]

use std::sync::mpsc::channel;

use kv::step::{Body, Step, StepError, Store, Watched};
use kv::{Clocks, Image, Keyspace, Memory, View, carry_out, read};
use resp::{Value, Version};
use tdb::storage::MemoryStorage;
use tdb::{Database, OpenOptions, StoreMode};

#[path = "support/reply.rs"]
mod reply;
use reply::value;

fn words(text: &str) -> Vec<Vec<u8>> {
    text.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

fn one(text: &str) -> Step {
    Step { database: 0, body: Body::Command(words(text)), watched: Vec::new(), protocol: Version::Resp3 }
}

fn transaction(commands: &[&str], watched: &[(&str, u64)]) -> Step {
    let body = Body::Transaction(commands.iter().map(|text| words(text)).collect());
    let watched = watched.iter().map(|&(key, mark)| Watched { key: key.as_bytes().to_vec(), mark }).collect();
    Step { database: 0, body, watched, protocol: Version::Resp3 }
}

fn submit(store: &Memory, step: Step) -> Result<Vec<u8>, StepError> {
    let (sender, receiver) = channel();
    store.submit(step, Box::new(move |reply| sender.send(reply).unwrap()));
    receiver.recv().unwrap()
}

fn ask(store: &Memory, step: Step) -> Value {
    value(&submit(store, step).unwrap())
}

fn mark(store: &Memory, key: &str) -> u64 {
    mark_of(&ask(store, one(&format!("quorate.mark {key}"))))
}

fn mark_of(answer: &Value) -> u64 {
    answer.as_elements().unwrap()[0].as_integer().unwrap() as u64
}

fn text(value: &str) -> Value {
    Value::Bytes(value.as_bytes().to_vec())
}

/// S4, S6: a transaction is one step; a command in it that is refused leaves the others, as Redis does.
#[test]
fn the_commands_of_a_transaction_are_one_step() {
    let store = Memory::new(1).unwrap();
    let answer = ask(&store, transaction(&["set a 1", "hset a f v", "nosuch", "incr a", "get a"], &[]));
    let [set, hset, nosuch, incr, get] = answer.as_elements().unwrap() else { panic!("{answer:?}") };
    assert_eq!(*set, Value::Simple(b"OK".to_vec()));
    assert!(matches!(hset, Value::Error(text) if text.starts_with(b"WRONGTYPE")), "{hset:?}");
    assert!(matches!(nosuch, Value::Error(text) if text == b"ERR unknown command 'nosuch'"), "{nosuch:?}");
    assert_eq!(*incr, Value::Integer(2));
    assert_eq!(*get, text("2"));
}

/// S4, S6: a watched key that came and went again has changed, by whatever commands, also after what removed it was undone or
/// committed with others. One that is named otherwise and comes and goes has not.
#[test]
fn a_watched_key_that_came_and_went_has_changed() {
    let mut stopped = Stopped::new();
    let went: [&[&str]; 6] = [
        &["set k 1", "del k"],
        &["set k 1", "flushall"],
        &["set k 1", "rename k other"],
        &["set k 1", "getdel k"],
        &["set k 1", "pexpireat k 1"],
        &["hset k f v", "hdel k f"],
    ];
    for commands in went {
        let seen = mark_of(&stopped.ask("quorate.mark k"));
        let watching = transaction(&["set done 1"], &[("k", seen)]);
        assert!(
            matches!(stopped.together(std::slice::from_ref(&watching))[0], Ok(Value::Array(_))),
            "{commands:?}"
        );
        let steps: Vec<Step> =
            commands.iter().map(|command| one(command)).chain([watching.clone()]).collect();
        assert_eq!(
            stopped.together(&steps).last(),
            Some(&Ok(Value::Null)),
            "{commands:?} in its transaction"
        );
        assert_eq!(stopped.together(&[watching])[0], Ok(Value::Null), "{commands:?} in one before");
    }
    let seen = mark_of(&stopped.ask("quorate.mark k"));
    stopped.ask("set other 1");
    stopped.ask("del other");
    let watching = transaction(&["set done 1"], &[("k", seen)]);
    assert!(matches!(stopped.together(&[watching])[0], Ok(Value::Array(_))), "another key is another matter");
}

/// S4, S18: a transaction happens only if the watched keys are as they were when they were marked.
#[test]
fn a_transaction_happens_only_if_watched_keys_are_as_they_were() {
    let store = Memory::new(1).unwrap();
    assert_eq!(mark(&store, "a"), 0);
    let created = transaction(&["set a 1"], &[("a", 0)]);
    assert!(matches!(ask(&store, created.clone()), Value::Array(_)));
    assert_eq!(ask(&store, created), Value::Null, "it is there now");
    let seen = mark(&store, "a");
    assert!(seen > 0);
    ask(&store, one("set a 1"));
    assert!(mark(&store, "a") > seen, "the same value again is a write");
    assert_eq!(ask(&store, transaction(&["set a 2"], &[("a", seen)])), Value::Null);
    assert_eq!(ask(&store, one("get a")), text("1"));
    let seen = mark(&store, "a");
    assert!(matches!(ask(&store, transaction(&["set a 2"], &[("b", 0), ("a", seen)])), Value::Array(_)));
    assert_eq!(ask(&store, one("get a")), text("2"));
}

/// A database whose clock stands where the test puts it.
struct Stopped {
    database: Database,
    clocks: Clocks,
}

impl Stopped {
    fn new() -> Stopped {
        let mut options = OpenOptions::new();
        let storage = Box::<MemoryStorage>::default();
        let database = options.create(true).hash_size(7).open_storage("image", storage).unwrap();
        Stopped { database, clocks: Clocks { cell: 1_000, wall: 1_700_000_000_000 } }
    }

    /// Steps in one transaction.
    fn together(&mut self, steps: &[Step]) -> Vec<Result<Value, StepError>> {
        let mut transaction = self.database.transaction().unwrap();
        let mut image = Image::new(&mut transaction, 7);
        let mut keyspace = Keyspace::new(&mut image, self.clocks).unwrap();
        let replies: Vec<_> = steps.iter().map(|step| carry_out(step, &mut keyspace)).collect();
        keyspace.finish().unwrap();
        transaction.commit().unwrap();
        replies.into_iter().map(|reply| reply.map(|bytes| value(&bytes))).collect()
    }

    fn ask(&mut self, text: &str) -> Value {
        self.together(&[one(text)]).remove(0).unwrap()
    }

    fn read(&self, text: &str) -> Option<Value> {
        let reply = read(&one(text), &mut View::new(&self.database), self.clocks).unwrap();
        reply.map(|bytes| value(&bytes))
    }
}

/// S17: what has expired is answered by no command as if it lived, whether it reads or writes, names the key or not: a
/// reading server leaves it to the sync site, which removes it first.
#[test]
fn an_expired_key_is_answered_by_no_command() {
    for command in
        ["get k", "exists k", "keys *", "mget k", "ttl k", "strlen k", "randomkey", "scan 0", "getex k"]
    {
        let mut stopped = Stopped::new();
        let never_there = stopped.ask(command);
        stopped.ask("set k v px 50");
        stopped.clocks.cell += 50;
        let lives = stopped.ask(command);
        assert_ne!(lives, never_there, "{command}: not early");
        if !one(command).writes() {
            assert_eq!(stopped.read(command), Some(lives));
        }
        stopped.clocks.cell += 1;
        if !one(command).writes() {
            assert_eq!(stopped.read(command), None, "{command}");
        }
        assert_eq!(stopped.ask(command), never_there, "{command}");
        assert_eq!(stopped.read("dbsize"), Some(Value::Integer(0)), "{command} met it, and it was removed");
    }
}

/// S17, S18: a watched key that expires is another one from then on.
#[test]
fn a_watched_key_that_expires_has_changed() {
    let mut stopped = Stopped::new();
    stopped.ask("set k v px 50");
    let seen = mark_of(&stopped.ask("quorate.mark k"));
    let step = transaction(&["set done 1"], &[("k", seen)]);
    assert!(matches!(stopped.together(std::slice::from_ref(&step))[0], Ok(Value::Array(_))));
    stopped.clocks.cell += 51;
    assert_eq!(stopped.together(&[step])[0], Ok(Value::Null));
    let gone = mark_of(&stopped.ask("quorate.mark k"));
    assert!(matches!(stopped.together(&[transaction(&["dbsize"], &[("k", gone)])])[0], Ok(Value::Array(_))));
}

/// S6: of steps in one transaction, one that fails is undone, and the others are as if it had not been there.
#[test]
fn a_step_that_fails_spoils_no_other() {
    let mut stopped = Stopped::new();
    stopped.database.store("kdamaged", "what is this", StoreMode::Insert).unwrap();
    let steps = [one("set a 1"), transaction(&["set a 2", "set b 2", "get damaged"], &[]), one("incr a")];
    let replies = stopped.together(&steps);
    assert_eq!(replies[0], Ok(Value::Simple(b"OK".to_vec())));
    assert!(
        matches!(&replies[1], Err(StepError::Refused(text)) if text.contains("damaged")),
        "{:?}",
        replies[1]
    );
    assert_eq!(replies[2], Ok(Value::Integer(2)));
    assert_eq!(stopped.ask("mget a b"), Value::Array(vec![text("2"), Value::Null]));
    assert_eq!(stopped.ask("dbsize"), Value::Integer(1));
}

/// S25: above its quota a database takes no step that needs more room; deletes still work, and what they free is used again.
#[test]
fn a_full_database_takes_deletes() {
    let mut stopped = Stopped::new();
    let large = "x".repeat(40_000);
    let mut limited = |text: &str| {
        let mut transaction = stopped.database.transaction().unwrap();
        let mut image = Image::new(&mut transaction, 7);
        let mut keyspace = Keyspace::new(&mut image, stopped.clocks).unwrap();
        keyspace.limit(200_000);
        let reply = carry_out(&one(text), &mut keyspace);
        keyspace.finish().unwrap();
        transaction.commit().unwrap();
        reply.map(|bytes| value(&bytes))
    };
    let stored = (0..).take_while(|nth| limited(&format!("set {nth} {large}")).is_ok()).count();
    assert!(stored > 0);
    assert!(
        matches!(limited(&format!("set more {large}")), Err(StepError::Refused(text)) if text.contains("full"))
    );
    assert_eq!(limited("get more"), Ok(Value::Null));
    assert_eq!(limited("del 0"), Ok(Value::Integer(1)));
    assert!(limited(&format!("set more {large}")).is_ok());
}

/// S8: databases have nothing in common, and one that is not there is refused.
#[test]
fn databases_have_keys_of_their_own() {
    let store = Memory::new(2).unwrap();
    ask(&store, one("set a 0"));
    assert_eq!(ask(&store, Step { database: 1, ..one("get a") }), Value::Null);
    assert!(matches!(submit(&store, Step { database: 2, ..one("get a") }), Err(StepError::Refused(_))));
}
