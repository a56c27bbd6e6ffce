//! The same requests to redis-server and to the front end: the replies are the same.
//!
//! Left out is what docs/redis-differences.md lists. Debian's redis-server, where it is installed; otherwise a counted skip.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use fastrand::Rng;
use resp::Value;

use crate::client::{Front, Wire};

/// A redis-server that keeps nothing, on a free port.
pub struct Redis {
    child: Child,
    address: SocketAddr,
}

impl Redis {
    /// `None`, counted, where it is not installed.
    pub fn start(test: &str) -> Option<Redis> {
        // Free now; should another program take it first, redis-server ends, and the test says so.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &address.port().to_string()])
            .args(["--save", "", "--appendonly", "no"])
            .stdout(Stdio::null())
            .spawn();
        let mut redis = match child {
            Ok(child) => Redis { child, address },
            Err(_) => {
                testbed::skip(test, "redis-server is not installed (Debian's redis-server)");
                return None;
            }
        };
        loop {
            match TcpStream::connect(redis.address) {
                Ok(_) => return Some(redis),
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
                Err(error) => panic!("{error}"),
            }
            assert!(redis.child.try_wait().unwrap().is_none(), "redis-server ended");
            std::thread::yield_now();
        }
    }

    pub fn connect(&self) -> Wire {
        Wire::to(self.address)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Two connections to each server.
struct Pair {
    ours: [Wire; 2],
    theirs: [Wire; 2],
}

impl Pair {
    fn new(front: &Front, redis: &Redis) -> Pair {
        Pair { ours: [front.connect(), front.connect()], theirs: [redis.connect(), redis.connect()] }
    }

    /// Both replies to a request of the first or second client.
    fn ask(&mut self, client: usize, words: &[&[u8]]) -> (Value, Value) {
        (self.ours[client].words(words), self.theirs[client].words(words))
    }

    /// Asserts that both answer the same.
    fn same(&mut self, client: usize, command: &str) {
        let words = split(command);
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        let (ours, theirs) = self.ask(client, &words);
        assert_eq!(ours, theirs, "{command}");
    }

    fn all_the_same(&mut self, commands: &[&str]) {
        commands.iter().for_each(|command| self.same(0, command));
    }
}

/// Words with blanks between them; those in backquotes have blanks in them.
fn split(command: &str) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    for (nth, part) in command.split('`').enumerate() {
        match nth % 2 {
            0 => words.extend(part.split_whitespace().map(|word| word.as_bytes().to_vec())),
            _ => words.push(part.as_bytes().to_vec()),
        }
    }
    words
}

/// S4: numbers with decimals, what is told of objects, copies, and hashes' rarer commands, answered as redis-server does.
#[test]
fn commands_answer_as_redis_does() {
    let Some(redis) = Redis::start("commands_answer_as_redis_does") else { return };
    let front = Front::start();
    let mut pair = Pair::new(&front, &redis);
    pair.all_the_same(&[
        "SET a 9223372036854775807",
        "INCRBYFLOAT a 0",
        "SET a 9007199254740993",
        "INCRBYFLOAT a 0",
        "SET a 10.50",
        "INCRBYFLOAT a 0.1",
        "INCRBYFLOAT a -5",
        "INCRBYFLOAT a 1.1",
        "SET a 0.1",
        "INCRBYFLOAT a 0.2",
        "SET a 5.0e3",
        "INCRBYFLOAT a 2.0e2",
        "INCRBYFLOAT a x",
        "SET a x",
        "INCRBYFLOAT a 1",
        "SET a 3",
        "INCRBYFLOAT a -3.0",
        "INCRBYFLOAT a inf",
        "INCRBYFLOAT a 1e-18",
        "HSET h f 10.5",
        "HINCRBYFLOAT h f 0.1",
        "HINCRBYFLOAT h g -2.50",
        "HINCRBYFLOAT h f x",
        "HSET h f x",
        "HINCRBYFLOAT h f 1",
        "HINCRBYFLOAT a f 1",
        "HSTRLEN h f",
        "HSTRLEN h none",
        "HSTRLEN none f",
        "HSTRLEN a f",
        "DEL h",
        "HSET h f v",
        "HRANDFIELD h",
        "HRANDFIELD none",
        "HRANDFIELD h 5",
        "HRANDFIELD h -2",
        "HRANDFIELD h -2 WITHVALUES",
        "HRANDFIELD h 0",
        "HRANDFIELD none 3",
        "HRANDFIELD h 1 x",
        "HRANDFIELD a 1",
        "HRANDFIELD h x",
        "SET a 12",
        "OBJECT ENCODING a",
        "OBJECT REFCOUNT h",
        "OBJECT ENCODING h",
        "OBJECT ENCODING none",
        "OBJECT IDLETIME h",
        "OBJECT FREQ h",
        "SET a abc",
        "OBJECT ENCODING a",
        "SET a 0123456789012345678901234567890123456789012345",
        "OBJECT ENCODING a",
        "MEMORY USAGE none",
        "COPY a b DB 0",
        "COPY a b DB 0 REPLACE",
        "COPY a c REPLACE DB 0",
        "COPY a b DB",
        "COPY a b DB x",
        "EXPIRE a 1 junk",
        "EXPIRE a 1 NX XX",
        "WAIT 0 -1",
        "WAIT 0 x",
        "CLIENT TRACKINGINFO",
        "CLIENT UNBLOCK 99999",
        "CONFIG SET save ``",
        "COMMAND GETKEYSANDFLAGS GET a",
        "COMMAND GETKEYS MSET a 1 b 2",
        "HELLO 2 AUTH nobody x",
        "AUTH nobody x",
        "AUTH default x",
        "AUTH x",
        "COMMAND LIST FILTERBY MODULE json",
    ]);
}

/// S4, S6: MULTI, WATCH and what goes wrong between them, answered as redis-server does: a watched key that came and went again
/// has changed.
#[test]
fn transactions_answer_as_redis_does() {
    let Some(redis) = Redis::start("transactions_answer_as_redis_does") else { return };
    let front = Front::start();
    let mut pair = Pair::new(&front, &redis);
    let transaction = ["MULTI", "GET data", "EXEC"];
    let changes: [&[&str]; 9] = [
        &["SET w 1", "DEL w"],
        &["EVAL `redis.call('set', KEYS[1], 1) redis.call('del', KEYS[1])` 1 w"],
        &["SET w 1", "FLUSHALL"],
        &["SETEX w 100 1", "RENAME w other"],
        &["SET w 1", "PEXPIREAT w 1"],
        &["SET w 1", "GETDEL w"],
        &["DEL w"],
        &["SET unrelated 1"],
        &["MULTI", "SET w 1", "DEL w", "EXEC"],
    ];
    for own in [0, 1] {
        for change in changes {
            pair.same(0, "WATCH w");
            change.iter().for_each(|command| pair.same(own, command));
            pair.all_the_same(&transaction);
        }
    }
    for change in
        ["GETEX k EX 100", "GETEX k PERSIST", "GETEX k PERSIST", "EXPIRE k 100", "PERSIST k", "GETEX k"]
    {
        pair.all_the_same(&["SET k v EX 100", "WATCH k"]);
        pair.same(1, change);
        pair.all_the_same(&transaction);
    }
    pair.all_the_same(&[
        "MULTI", "SET a 1", "MULTI", "WATCH b", "EXEC", "GET a", "MULTI", "SET a 2", "EXEC x", "EXEC",
        "GET a", "MULTI", "GET", "EXEC", "EXEC x", "DISCARD",
    ]);
}

/// S20: what scripts return by the names of types, cjson and bit, answered as redis-server does.
#[test]
fn scripts_answer_as_redis_does() {
    let Some(redis) = Redis::start("scripts_answer_as_redis_does") else { return };
    let front = Front::start();
    let mut pair = Pair::new(&front, &redis);
    for script in SCRIPTS {
        let (ours, theirs) = pair.ask(0, &[b"EVAL", script.as_bytes(), b"1", b"k", b"\xff\"/\\\x01\n"]);
        assert_eq!(kind_of(ours), kind_of(theirs), "{script}");
    }
    for script in ["#!lua\nreturn 1", "#!lua flags=no-writes\nreturn 1", "return 1"] {
        let (ours, theirs) = pair.ask(0, &[b"EVAL_RO", script.as_bytes(), b"0"]);
        assert_eq!(ours, theirs, "{script}");
    }
    for script in FAILING {
        let (ours, theirs) = pair.ask(0, &[b"EVAL", script.as_bytes(), b"1", b"k"]);
        let is_error = |value: &Value| matches!(value, Value::Error(_));
        assert!(is_error(&ours) && is_error(&theirs), "{script}: {ours:?}, {theirs:?}");
    }
}

/// Redis adds to a script's error where it was raised: only its first word is compared.
fn kind_of(value: Value) -> Value {
    match value {
        Value::Error(text) => Value::Error(text.split(|byte| *byte == b' ').next().unwrap().to_vec()),
        other => other,
    }
}

const SCRIPTS: &[&str] = &[
    "return {double = 3.5}",
    "return {map = {a = 1}}",
    "return {set = {a = true}}",
    "#!lua flags=bad\nreturn 1",
    "#!lua name=x\nreturn 1",
    "return redis.status_reply()",
    "return redis.error_reply(1)",
    "return redis.error_reply('MY error')",
    "return redis.status_reply('FINE')",
    "return cjson.encode({1, 2.5, 'x', true, cjson.null, {a = 'b'}})",
    "return cjson.encode({})",
    "return cjson.encode({nil, 2})",
    "return cjson.encode({[1] = 1, [2] = 2, [12] = 3})",
    "return cjson.encode({[1.5] = 'x'})",
    "return cjson.encode({[-1] = 'x'})",
    "return cjson.encode(ARGV[1])",
    "return cjson.encode(1e300) .. cjson.encode(0.1) .. cjson.encode(-0) .. cjson.encode(12345678901234567890)",
    "return cjson.encode(1/3) .. cjson.encode(1e14) .. cjson.encode(1e-5) .. cjson.encode(123456.789)",
    "return cjson.encode('\\127')",
    "return cjson.encode(nil)",
    "return cjson.encode(cjson.decode('{\"a\":[1,{\"b\":null}],\"c\":[]}').a)",
    "return cjson.decode('[1,2,[3,\"x\"]]')",
    "return cjson.decode(' {\"k\" : \"\\\\u00e9\\\\ud83d\\\\ude00\\\\n\\\\/\"} ').k",
    "return tostring(cjson.decode('null') == cjson.null)",
    "return tostring(cjson.decode('[true]')[1])",
    "return cjson.decode('-1.5e2')",
    "return #cjson.decode('[1,null,3]')",
    "return cjson.decode(cjson.encode({k = ARGV[1]})).k",
    "return bit.band(0xff, 0x0f)",
    "return bit.bor(1, 2, 4)",
    "return bit.bxor(5, 1, 2)",
    "return bit.bnot(0)",
    "return bit.lshift(1, 31)",
    "return bit.rshift(-1, 28)",
    "return bit.arshift(-256, 4)",
    "return bit.rol(0x12345678, 12)",
    "return bit.ror(0x12345678, 12)",
    "return bit.bswap(0x12345678)",
    "return bit.tohex(255, 4)",
    "return bit.tohex(-1)",
    "return bit.tohex(255, -4)",
    "return bit.tobit(4294967297)",
    "return bit.tobit(2147483648)",
    "return bit.lshift(1, 33)",
    "return bit.tohex(1.5) .. bit.tohex(2.5)",
];

const FAILING: &[&str] = &[
    "return cjson.decode('[1,]')",
    "return cjson.decode('{\"a\" 1}')",
    "return cjson.decode('')",
    "return cjson.decode('\"a')",
    "return cjson.decode('\"\\\\u12\"')",
    "return cjson.decode('nul')",
    "return cjson.decode('[1] x')",
    "return cjson.decode(string.rep('[', 2000))",
    "return cjson.encode(0/0)",
    "return cjson.encode(1/0)",
    "return cjson.encode({[1] = 1, [1000] = 2})",
    "return cjson.encode(print)",
    "return cjson.encode({[true] = 1})",
    "local t = {} t[1] = t return cjson.encode(t)",
    "return bit.band()",
    "return bit.band('x')",
];

/// S4, S6, S17: random commands of two clients, transactions with watched keys among them, answered as redis-server does.
#[test]
fn random_commands_answer_as_redis_does() {
    let test = "random_commands_answer_as_redis_does";
    let Some(redis) = Redis::start(test) else { return };
    let front = Front::start();
    let mut pair = Pair::new(&front, &redis);
    let mut rng = Rng::with_seed(testbed::seed(test));
    let commands = if std::env::var_os("QUORATE_LONG").is_some() { 200_000 } else { 4_000 };
    let mut said = Vec::new();
    for _ in 0..commands {
        let client = rng.usize(..2);
        let command = random_command(&mut rng);
        let words = split(&command);
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        said.push(format!("{client}: {command}"));
        let (ours, theirs) = pair.ask(client, &words);
        let last = &said[said.len().saturating_sub(30)..];
        assert_eq!(sorted(&command, ours), sorted(&command, theirs), "{last:#?}");
    }
}

/// Keys and fields have no order, and Redis adds to a script's error where it was raised.
fn sorted(command: &str, value: Value) -> Value {
    match value {
        Value::Error(text) => {
            let end = text.windows(9).position(|words| words == b" script: ").unwrap_or(text.len());
            Value::Error(text[..end].to_vec())
        }
        Value::Array(replies) if command.starts_with("EXEC") => {
            Value::Array(replies.into_iter().map(|reply| sorted("KEYS", reply)).collect())
        }
        Value::Array(mut elements) if command.starts_with("KEYS") || command.starts_with("HKEYS") => {
            elements.sort_by_key(|element| element.as_bytes().map(<[u8]>::to_vec));
            Value::Array(elements)
        }
        other => other,
    }
}

fn random_command(rng: &mut Rng) -> String {
    let (one, other) = (format!("k{}", rng.u32(..5)), format!("k{}", rng.u32(..5)));
    let value = match rng.u32(..5) {
        0 => rng.i32(-50..50).to_string(),
        1 => format!("{}.{}", rng.i32(-9..9), [25, 5, 75][rng.usize(..3)]),
        2 => "word".to_owned(),
        3 => "``".to_owned(),
        _ => "x".repeat(rng.usize(1..70)),
    };
    let number = rng.i32(-30..30);
    let options = [
        "",
        "NX",
        "XX",
        "GET",
        "KEEPTTL",
        "EX 1000",
        "PX x",
        "NX GET",
        "EX 0",
        "XX KEEPTTL",
        "PXAT 99999999999999",
    ];
    let conditions = ["", "NX", "XX", "GT", "LT", "XX GT", "NX GT", "y"];
    match rng.u32(..44) {
        0..=3 => format!("SET {one} {value} {}", rng.choice(options).unwrap()),
        4 | 5 => format!("GET {one}"),
        6 => format!("DEL {one} {other}"),
        7 => format!("APPEND {one} {value}"),
        8 => format!("INCRBY {one} {number}"),
        9 => format!("DECR {one}"),
        // Halves and quarters: of others Redis shows what its binary fractions make of them.
        10 => format!("INCRBYFLOAT {one} {number}.{}", [25, 5, 75][rng.usize(..3)]),
        11 => format!("SETRANGE {one} {number} {value}"),
        12 => format!("GETRANGE {one} {number} {}", rng.i32(-30..30)),
        13 => format!("STRLEN {one}"),
        14 => format!("GETDEL {one}"),
        15 => format!("GETSET {one} {value}"),
        16 => format!("GETEX {one} {}", rng.choice(["", "PERSIST", "EX 1000", "EX -1", "x"]).unwrap()),
        17 => format!("MSET {one} {value} {other} 5"),
        18 => format!("MSETNX {one} {value} {other} 5"),
        19 => format!("MGET {one} {other} none"),
        20 => format!("SETNX {one} {value}"),
        21 => format!("SETEX {one} {number}000 {value}"),
        22 => format!("EXPIRE {one} {} {}", number * 1000, rng.choice(conditions).unwrap()),
        23 => format!("PERSIST {one}"),
        24 => format!("SUBSTR {one} {number} -1"),
        25 => format!("TYPE {one}"),
        26 => format!("EXISTS {one} {other} {one}"),
        27 => format!("{} {one} {other}", rng.choice(["RENAME", "RENAMENX"]).unwrap()),
        28 => format!("COPY {one} {other} {}", rng.choice(["", "REPLACE", "x"]).unwrap()),
        29 => format!("HSET {one} f{} {value}", rng.u32(..3)),
        30 => format!("HGET {one} f{}", rng.u32(..3)),
        31 => format!("HDEL {one} f{} f0", rng.u32(..3)),
        32 => format!("HINCRBY {one} f{} {number}", rng.u32(..3)),
        33 => format!("HINCRBYFLOAT {one} f{} {number}.5", rng.u32(..3)),
        34 => format!("HMGET {one} f0 f1 f2"),
        35 => format!("{} {one}", rng.choice(["HLEN", "HKEYS", "HGETALL none", "HSTRLEN"]).unwrap()),
        36 => format!("HSETNX {one} f{} {value}", rng.u32(..3)),
        37 => format!("WATCH {one}"),
        38 | 39 => "MULTI".to_owned(),
        40 | 41 => "EXEC".to_owned(),
        42 => rng.choice(["DISCARD", "KEYS *", "DBSIZE", "FLUSHALL", "GET"]).unwrap().to_owned(),
        _ => format!("EVAL `return redis.call('get', KEYS[1])` 1 {one}"),
    }
}
