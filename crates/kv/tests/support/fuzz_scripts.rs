//! Bytes as a script and its argument, run on a few keys. The body of the fuzz target `kv_scripts`, and of a plain test.

use kv::{Body, Clocks, Image, Keyspace, Step, StepError, View, carry_out, read};
use resp::{Value, Version};
use tdb::storage::MemoryStorage;
use tdb::{Database, OpenOptions};

#[path = "reply.rs"]
mod reply;
use reply::value;

/// What a byte stands for in a script; others are parts of names and numbers, so that wrong ones come about, too.
const WORDS: &str = "and break do else elseif end false for function if in local nil not or repeat return then true until while \
    KEYS[1] ARGV[1] ARGV KEYS redis.call redis.pcall redis.sha1hex redis.error_reply redis.status_reply cjson.encode cjson.decode \
    cjson.null bit.band bit.lshift bit.tohex bit.arshift string.rep string.find string.gsub string.match string.gmatch string.format \
    string.sub string.byte string.char table.insert table.remove table.sort table.concat table.foreach table.maxn unpack select pcall \
    xpcall error assert tostring tonumber type next pairs ipairs setmetatable getmetatable rawget rawset rawequal math.floor \
    math.max math.random _G a b f t x 0 1 2 -1 3.7 1e9 2147483647 -2147483648 1e300 0/0 'get' 'set' 'del' 'incr' 'hset' 'hgetall' \
    'mset' 'eval' '%a+' '(.-)%s' '%d' '.-.-b' '%b()' 'k' '' {} {1} {a=1} ( ) [ ] { } , ; = == ~= < <= .. ... + - * / % ^ # : . \n \
    {err='E'} {ok='O'} {double=1.5} {map={a=1}} __index __newindex __call __tostring";

/// A script that fails has changed nothing, and every reply is whole; what one leaves can be read.
///
/// # Panics
/// When that is not so.
pub fn script(bytes: &[u8]) {
    let words: Vec<&str> = WORDS.split(' ').filter(|word| !word.is_empty()).collect();
    let (text, argument) = match bytes.iter().position(|byte| *byte == 0xff) {
        Some(end) => (&bytes[..end], &bytes[end + 1..]),
        None => (bytes, &b"[1,{\"a\":\"\\u00e9\"},null]"[..]),
    };
    let text: Vec<&str> = text.iter().map(|byte| words[usize::from(*byte) % words.len()]).collect();
    let text = text.join(" ");
    let storage = Box::<MemoryStorage>::default();
    let mut database: Database =
        OpenOptions::new().create(true).hash_size(7).open_storage("image", storage).unwrap();
    assert_eq!(run(&mut database, &[b"MSET", b"k", b"5", b"a", b"x"]), Value::Simple(b"OK".to_vec()));
    let before = all(&database);
    let found = run(&mut database, &[b"EVAL", text.as_bytes(), b"2", b"k", b"a", argument]);
    let after = all(&database);
    if matches!(found, Value::Error(found) if FAILED.iter().any(|begin| found.starts_with(begin))) {
        assert_eq!(after, before, "{text}");
    }
}

/// How replies begin that no script returns: it failed.
const FAILED: [&[u8]; 4] = [b"ERR the script", b"ERR user_script:", b"ERR Error compiling", b"ERR out of"];

fn step(words: &[&[u8]]) -> Step {
    let body = Body::Command(words.iter().map(|word| word.to_vec()).collect());
    Step { database: 0, body, watched: Vec::new(), protocol: Version::Resp3 }
}

fn run(database: &mut Database, words: &[&[u8]]) -> Value {
    let chains = database.hash_size();
    let mut transaction = database.transaction().unwrap();
    let mut image = Image::new(&mut transaction, chains);
    let mut keyspace = Keyspace::new(&mut image, Clocks { cell: 1_000, wall: 1_700_000_000_000 }).unwrap();
    let reply = carry_out(&step(words), &mut keyspace);
    keyspace.finish().unwrap();
    transaction.commit().unwrap();
    match reply {
        Ok(reply) => value(&reply),
        Err(StepError::Refused(text)) => Value::Error(text.into_bytes()),
        Err(other) => panic!("{other}"),
    }
}

/// What is there, and when it was written last.
fn all(database: &Database) -> Vec<Option<Value>> {
    let clocks = Clocks { cell: 1_000, wall: 1_700_000_000_000 };
    let asked: [&[&[u8]]; 7] = [
        &[b"DBSIZE"],
        &[b"QUORATE.REVISION", b"k", b"a"],
        &[b"GET", b"k"],
        &[b"HGETALL", b"k"],
        &[b"PTTL", b"k"],
        &[b"GET", b"a"],
        &[b"HGETALL", b"a"],
    ];
    let ask = |words: &&[&[u8]]| read(&step(words), &mut View::new(database), clocks).unwrap();
    asked.iter().map(|words| ask(words).map(|reply| value(&reply))).collect()
}
