//! Scripts: what they return, what they may do, and what ends them.
#![cfg(feature = "scripts")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::mpsc::channel;

use kv::{Body, Memory, Step, Store};
use resp::{Limits, Replies, Value, Version};

#[path = "support/fuzz_scripts.rs"]
mod fuzz_scripts;

struct Service(Memory);

impl Service {
    fn new() -> Service {
        Service(Memory::new(1).unwrap())
    }

    fn words(&self, words: &[&[u8]]) -> Value {
        self.submit(Body::Command(words.iter().map(|word| word.to_vec()).collect()))
    }

    fn submit(&self, body: Body) -> Value {
        let (done, reply) = channel();
        let step = Step { database: 0, body, watched: Vec::new(), protocol: Version::Resp2 };
        self.0.submit(step, Box::new(move |reply| done.send(reply).unwrap()));
        let mut replies = Replies::new(Limits::default());
        replies.receive(&reply.recv().unwrap().unwrap());
        replies.poll().unwrap().unwrap()
    }

    fn ask(&self, command: &str) -> Value {
        self.words(&command.split(' ').map(str::as_bytes).collect::<Vec<_>>())
    }

    /// A script with one key `k` and the arguments.
    fn eval(&self, script: &str, arguments: &[&str]) -> Value {
        let mut words: Vec<&[u8]> = vec![b"EVAL", script.as_bytes(), b"1", b"k"];
        words.extend(arguments.iter().map(|argument| argument.as_bytes()));
        self.words(&words)
    }

    fn refused(&self, script: &str) -> String {
        match self.eval(script, &[]) {
            Value::Error(text) => String::from_utf8(text).unwrap(),
            other => panic!("{script:?} is not refused: {other:?}"),
        }
    }
}

fn text(text: &str) -> Value {
    Value::Bytes(text.as_bytes().to_vec())
}

fn integers(numbers: &[i64]) -> Value {
    Value::Array(numbers.iter().map(|number| Value::Integer(*number)).collect())
}

/// S20: Lua's values become replies by Redis's rules, and replies Lua's values.
#[test]
fn values_are_converted_as_redis_does() {
    let service = Service::new();
    let returned: [(&str, Value); 17] = [
        ("return 'a'", text("a")),
        ("return 3.99", Value::Integer(3)),
        ("return -3.99", Value::Integer(-3)),
        ("return true", Value::Integer(1)),
        ("return false", Value::Null),
        ("return nil", Value::Null),
        ("local a = 1", Value::Null),
        ("return {1, 2, nil, 4}", integers(&[1, 2])),
        ("return {ok = 'fine'}", Value::Simple(b"fine".to_vec())),
        ("return {err = 'MINE of mine'}", Value::Error(b"MINE of mine".to_vec())),
        ("return redis.status_reply('fine')", Value::Simple(b"fine".to_vec())),
        ("return redis.error_reply('mine')", Value::Error(b"ERR mine".to_vec())),
        (
            "return {KEYS[1], ARGV[1], #KEYS, #ARGV}",
            Value::Array(vec![text("k"), text("x"), Value::Integer(1), Value::Integer(1)]),
        ),
        ("return redis.call('set', KEYS[1], 7)", Value::Simple(b"OK".to_vec())),
        (
            "return {redis.call('get', 'none') == false, type(redis.call('incr', KEYS[1])), redis.call('get', KEYS[1])}",
            Value::Array(vec![Value::Integer(1), text("number"), text("8")]),
        ),
        ("return redis.call('mget', KEYS[1], 'none', KEYS[1])[3]", text("8")),
        ("return redis.sha1hex('return 1')", text("e0e1f9fabfc9d4800c877a703b823ac0578ff8db")),
    ];
    for (script, expected) in returned {
        assert_eq!(service.eval(script, &["x"]), expected, "{script}");
    }
    assert_eq!(service.words(&[b"EVAL", b"#!lua flags=no-writes\nreturn 5", b"0"]), Value::Integer(5));
    assert!(matches!(service.words(&[b"EVAL", b"return 1", b"2", b"k"]), Value::Error(_)));
    assert!(matches!(service.words(&[b"EVAL", b"return 1", b"-1"]), Value::Error(_)));
}

/// S20, S6: a script that fails says why and has changed nothing; one that catches the error goes on.
#[test]
fn a_script_that_fails_changes_nothing() {
    let service = Service::new();
    service.ask("set k before");
    let failing = [
        ("redis.call('set', KEYS[1], 'after') redis.call('incr', KEYS[1])", "not an integer"),
        ("redis.call('set', KEYS[1], 'after') error('mine')", "mine"),
        ("redis.call('set', KEYS[1], 'after') error({err = 'MINE'})", "MINE"),
        ("redis.call('del', KEYS[1]) return missing", "nonexistent global variable 'missing'"),
        ("redis.call('del', KEYS[1]) created = 1", "create global variable 'created'"),
        ("redis.call('del', KEYS[1]) redis.call('nonsense')", "Unknown Redis command"),
        ("redis.call('del', KEYS[1]) redis.call('eval', 'return 1', 0)", "not allowed from script"),
        ("redis.call('del', KEYS[1]) redis.call('get')", "wrong number of arguments"),
        ("redis.call('del', KEYS[1]) redis.call({})", "must be strings or integers"),
        ("redis.call('del', KEYS[1]) redis.call()", "at least one argument"),
        ("redis.call('del', KEYS[1]) local t = {} t[1] = t return t", "nests too deep"),
        ("this is not Lua", "Error compiling script"),
    ];
    for (script, words) in failing {
        let refused = service.refused(script);
        assert!(refused.contains(words), "{script}: {refused}");
        assert_eq!(service.ask("get k"), text("before"), "{script}");
    }
    let caught = "local r = redis.pcall('incr', KEYS[1]) redis.call('set', KEYS[1], 'after') return r.err";
    assert_eq!(service.eval(caught, &[]), text("ERR value is not an integer or out of range"));
    let caught = "local fine, e = pcall(redis.call, 'incr', KEYS[1]) return {tostring(fine), e.err}";
    assert!(matches!(service.eval(caught, &[]), Value::Array(two) if two[0] == text("false")));
    assert_eq!(service.ask("get k"), text("after"));
}

/// S20: EVAL_RO, and a script that forbids itself to write, write nothing.
#[test]
fn a_reading_script_cannot_write() {
    let service = Service::new();
    service.ask("set k 1");
    assert_eq!(service.words(&[b"EVAL_RO", b"return redis.call('get', KEYS[1])", b"1", b"k"]), text("1"));
    for words in [
        [&b"EVAL_RO"[..], b"return redis.call('del', KEYS[1])", b"1", b"k"],
        [&b"EVAL"[..], b"#!lua flags=no-writes\nreturn redis.call('del', KEYS[1])", b"1", b"k"],
    ] {
        assert!(
            matches!(service.words(&words), Value::Error(text) if text.starts_with(b"ERR Write commands"))
        );
    }
    assert_eq!(service.ask("get k"), text("1"));
}

/// S20: nothing that reaches the system, loads bytecode, or prepares other scripts is there.
#[test]
fn scripts_reach_nothing_but_the_keys() {
    let service = Service::new();
    for name in [
        "os",
        "io",
        "require",
        "module",
        "dofile",
        "loadfile",
        "load",
        "loadstring",
        "debug",
        "package",
        "print",
        "coroutine",
        "collectgarbage",
        "newproxy",
        "getfenv",
        "setfenv",
        "ffi",
        "jit",
    ] {
        let refused = service.refused(&format!("return type({name})"));
        assert!(refused.contains(&format!("'{name}'")), "{name}: {refused}");
    }
    assert_eq!(service.eval("return type(string.dump)", &[]), text("nil"));
    service.eval("rawset(_G, 'left', 1) string.left = 1 getmetatable('').__index.left = 1", &[]);
    assert_eq!(
        service.eval("return {tostring(rawget(_G, 'left')), tostring(string.left)}", &[]),
        Value::Array(vec![text("nil"), text("nil")])
    );
}

/// S20: every kind of endless script is ended at the time limit, in `pcall` and within one instruction, too.
#[test]
fn endless_scripts_are_ended() {
    let service = Service::new();
    service.ask("set k before");
    let endless = [
        "while true do end",
        "redis.call('set', KEYS[1], 'after') while true do pcall(function() while true do end end) end",
        "while true do xpcall(function() while true do end end, function() while true do end end) end",
        "local function f() return pcall(f) end while true do f() end",
        "return string.find(string.rep('a', 500), '.-.-.-.-.-.-.-.-b')",
        "while true do pcall(string.find, string.rep('a', 500), '.-.-.-.-.-.-.-.-b') end",
        "return (string.gsub(string.rep('a', 500), '.-.-.-.-.-.-.-.-b', ''))",
        "for _ in string.gmatch(string.rep('a', 500), '.-.-.-.-.-.-.-.-b') do end",
        "while true do redis.call('incr', 'n') end",
        "while true do pcall(redis.call, 'nonsense') end",
        "local t = {} for i = 1, 1e6 do t[i] = i end while true do table.sort(t, rawequal) end",
        "local t = {} for i = 1, 1e6 do t[i] = i end while true do table.insert(t, 1, table.remove(t, 2)) end",
        "local s = string.rep('x', 1e7) while true do s:upper() end",
        "while true do table.foreach({1}, rawequal) end",
        "local t = {} for i = 1, 200 do t[i] = i end while true do table.sort(t, function(a, b) return a > b end) end",
        "return setmetatable({}, {__index = function(t, k) return t[k .. 'x'] end}).a",
    ];
    for script in endless {
        let refused = service.refused(script);
        assert!(refused.contains("ran longer than") || refused.contains("overflow"), "{script}: {refused}");
        assert_eq!(service.ask("get k"), text("before"), "{script}");
    }
    assert_eq!(service.ask("exists n"), Value::Integer(0));
}

/// S20, S25: no function of Lua loops, or writes beyond its stack, because a number says so; a script of many arguments runs.
#[test]
fn numbers_neither_hold_up_nor_break_a_script() {
    let service = Service::new();
    for range in [
        "0, 2147483647",
        "-2147483648, 2147483647",
        "-1, 2147483646",
        "-2147483648, 0",
        "1, 8000",
        "-1e300, 1e300",
    ] {
        let refused = service.refused(&format!("return {{unpack({{1}}, {range})}}"));
        assert!(refused.contains("too many results to unpack"), "{range}: {refused}");
    }
    assert_eq!(service.eval("return {unpack({1, 2, 3}, 2)}", &[]), integers(&[2, 3]));
    assert_eq!(service.eval("return select('#', unpack({1}, 0/0, 7000))", &[]), Value::Integer(7001));
    for place in ["-2147483647", "0", "5", "-20000000", "0/0", "1e300"] {
        let refused = service.refused(&format!("local t = {{1, 2, 3}} table.insert(t, {place}, 1) return t"));
        assert!(refused.contains("out of bounds"), "{place}: {refused}");
    }
    let moved = "local t = {1, 2, 3} table.insert(t, 1, 0) table.insert(t, 4) table.remove(t, 2) return t";
    assert_eq!(service.eval(moved, &[]), integers(&[0, 2, 3, 4]));
    assert_eq!(service.eval("local t = {3, 1, 2} table.sort(t) return t", &[]), integers(&[1, 2, 3]));
    let many = vec!["x"; 100_000];
    assert_eq!(service.eval("return #ARGV", &many), Value::Integer(100_000));
    let jumps = format!("local x return {}1", "x or ".repeat(2_000));
    assert_eq!(service.eval(&jumps, &[]), Value::Integer(1));
    let refused = service.refused(&format!("local x return {}1", "x or ".repeat(14_000)));
    assert!(refused.contains("it may have 65536"), "{refused}");
}

/// S20, S25: no text of the size that is allowed keeps the compiler, and with it everybody's writes, busy for long. (Each of these took it
/// a fifth to half a second.)
#[test]
fn a_text_that_takes_long_to_compile_is_refused() {
    let service = Service::new();
    let filled = |begin: &str, unit: &str, end: &str| {
        let room = 65_536 - begin.len() - end.len();
        [begin, &unit.repeat(room / unit.len()), end].concat()
    };
    let locals: Vec<String> = (0..190).map(|number| format!("a{number}")).collect();
    let nested = format!("local {} f=function() ", locals.join(",")).repeat(35);
    let texts = [
        filled("local x=nil return ", "x or ", "1"),
        filled("local a return ", "a<a or ", "1"),
        filled("local a if ", "a and ", "1 then end return 1"),
        filled("return ", "f()or ", "1"),
        filled(&nested, "x=y ", &"end ".repeat(35)),
    ];
    for text in texts {
        let refused = service.refused(&text);
        assert!(refused.contains("it takes more than"), "{}: {refused}", &text[..40]);
    }
    let plain = filled("local t = {} ", "t.a = (t.b or 1) + 2 ", "return t.a");
    assert_eq!(service.eval(&plain, &[]), Value::Integer(3));
}

/// S20, S25: the scripts of a transaction have a second together, so that it holds no other write up for longer. (Each had its own.)
#[test]
fn the_scripts_of_a_transaction_share_their_time() {
    let service = Service::new();
    let eval = |script: &[u8]| vec![b"EVAL".to_vec(), script.to_vec(), b"0".to_vec()];
    let both = vec![eval(b"while true do end"), eval(b"return 1")];
    let Value::Array(replies) = service.submit(Body::Transaction(both)) else { panic!("no array") };
    for reply in replies {
        assert!(
            matches!(&reply, Value::Error(text) if text.starts_with(b"ERR the script ran longer")),
            "{reply:?}"
        );
    }
    assert_eq!(service.eval("return 1", &[]), Value::Integer(1));
}

/// S20, S25: a script lets the database grow by so much and no more, and a failed one leaves nothing.
#[test]
fn a_script_writes_so_much_and_no_more() {
    let service = Service::new();
    let refused = service
        .refused("local s = string.rep('x', 1e6) for i = 1, 1e9 do redis.call('set', 'k' .. i, s) end");
    assert!(refused.contains("more than 64 MiB"), "{refused}");
    assert_eq!(service.ask("dbsize"), Value::Integer(0));
}

/// S20, S25: a script that takes memory is ended; so is one whose reply would be too large.
#[test]
fn greedy_scripts_are_ended() {
    let service = Service::new();
    let greedy = [
        "local s = 'x' while true do s = s .. s end",
        "return string.rep('x', 1000000000)",
        "return #string.rep('', 1000000000000) + #string.rep('x', 70000000)",
        "local t = {} for i = 1, 1e9 do t[i] = {} end",
        "return (string.gsub(string.rep('a', 100000), 'a', string.rep('b', 100000)))",
        "local t = {'x'} for i = 1, 30 do t = {t, t} end return t",
        "local s = string.rep('x', 1000000) local t = {} for i = 1, 1000 do t[i] = s end return t",
        "return table.concat({string.rep('x', 40000000), string.rep('y', 40000000)})",
        "return unpack({}, 1, 1e7)",
    ];
    for script in greedy {
        let refused = service.refused(script);
        let is_named = ["needs more than", "too many", "too long", "ran longer", "not enough memory"];
        assert!(is_named.iter().any(|words| refused.contains(words)), "{script}: {refused}");
    }
    assert_eq!(service.eval("return 1", &[]), Value::Integer(1));
}

/// S20: the string functions that are ours do what Lua's do.
#[test]
fn string_functions_do_what_those_of_lua_do() {
    let service = Service::new();
    let cases = [
        ("return {string.find('hello world', 'o w')}", integers(&[5, 7])),
        ("return {string.find('hello', 'l', -2)}", integers(&[4, 4])),
        ("return {string.find('a.b', '.', 1, true)}", integers(&[2, 2])),
        ("return {('x=1'):match('(%w)=(%d)')}", Value::Array(vec![text("x"), text("1")])),
        ("return ('key'):match('^%w+')", text("key")),
        ("return tostring(('key'):match('%d'))", text("nil")),
        ("return (('a,b,c'):gsub(',', ';', 1))", text("a;b,c")),
        ("return (('abc'):gsub('%w', '%0%0'))", text("aabbcc")),
        ("return (('hello world'):gsub('(%w+) (%w+)', '%2 %1'))", text("world hello")),
        ("return (('abc'):gsub('', '-'))", text("-a-b-c-")),
        ("return (('$name'):gsub('%$(%w+)', {name = 'x'}))", text("x")),
        ("return (('abc'):gsub('b', function(b) return b:upper() end))", text("aBc")),
        ("return select(2, ('aaa'):gsub('a', 'b'))", Value::Integer(3)),
        (
            "local t = {} for k, v in ('a=1, b=2'):gmatch('(%w+)=(%w+)') do t[#t + 1] = k .. v end return t",
            Value::Array(vec![text("a1"), text("b2")]),
        ),
        ("return #string.rep('ab', 3)", Value::Integer(6)),
        ("return string.format('%05.1f|%s|%d', 3.14159, 'x', 7)", text("003.1|x|7")),
    ];
    for (script, expected) in cases {
        assert_eq!(service.eval(script, &[]), expected, "{script}");
    }
}

/// S18: the revision of a key is visible to scripts, so that a write with an old token can be refused.
#[test]
fn scripts_see_revisions() {
    let service = Service::new();
    service.ask("set k v");
    let revision = "return redis.call('quorate.revision', KEYS[1])[1]";
    let Value::Integer(first) = service.eval(revision, &[]) else { panic!("no number") };
    service.ask("set k w");
    let Value::Integer(second) = service.eval(revision, &[]) else { panic!("no number") };
    assert!(second > first && first > 0);
}

/// S20: random scripts of Lua's words come to an end, leave nothing when they fail, and every reply is whole.
#[test]
fn random_scripts_come_to_an_end() {
    let mut rng = fastrand::Rng::with_seed(testbed::seed("random_scripts_come_to_an_end"));
    let rounds = if std::env::var_os("QUORATE_LONG").is_some() { 2_000_000 } else { 2_000 };
    for _ in 0..rounds {
        let bytes: Vec<u8> = (0..rng.usize(..24)).map(|_| rng.u8(..)).collect();
        fuzz_scripts::script(&bytes);
    }
}
