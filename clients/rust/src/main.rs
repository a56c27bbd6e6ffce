//! The `redis` crate against a cell: blocking and async, both versions of the protocol.

use std::process::ExitCode;

use redis::{AsyncCommands, Client, Commands, Connection, RedisResult, Script};

struct Checks {
    passed: u32,
    failed: u32,
}

impl Checks {
    fn check(&mut self, name: &str, outcome: RedisResult<bool>) {
        match outcome {
            Ok(true) => self.passed += 1,
            other => {
                self.failed += 1;
                println!("FAILED {name}: {other:?}");
            }
        }
    }
}

fn main() -> ExitCode {
    let servers: Vec<String> = std::env::args().skip(1).collect();
    let mut checks = Checks { passed: 0, failed: 0 };
    for protocol in ["resp2", "resp3"] {
        let urls: Vec<String> =
            servers.iter().map(|server| format!("redis://{server}/?protocol={protocol}")).collect();
        let clients: Vec<Client> =
            urls.iter().map(|url| Client::open(url.as_str()).expect("it is a URL")).collect();
        let mut connections: Vec<Connection> =
            clients.iter().map(|client| client.get_connection().expect("the server listens")).collect();
        blocking(&mut checks, &mut connections);
        blocking_scripts_and_scans(&mut checks, &mut connections);
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("there are threads");
        checks.check("async commands on one connection", runtime.block_on(concurrent(&clients)));
        checks.check("messages", messages(&clients));
    }
    println!("{} passed, {} failed", checks.passed, checks.failed);
    ExitCode::from(u8::from(checks.failed > 0))
}

fn blocking(checks: &mut Checks, connections: &mut [Connection]) {
    let [a, b, c] = connections else { panic!("three servers are needed") };
    checks.check("flush", redis::cmd("FLUSHDB").query::<String>(a).map(|answer| answer == "OK"));
    checks.check(
        "a write at one server is read at every other",
        (|| {
            let () = Commands::set(a, "k", "1")?;
            let found: [String; 3] = [Commands::get(a, "k")?, Commands::get(b, "k")?, Commands::get(c, "k")?];
            Ok(found == ["1", "1", "1"])
        })(),
    );
    checks.check(
        "absent keys and times",
        (|| {
            let none: Option<String> = Commands::get(a, "nothing")?;
            let () = Commands::set_ex(b, "e", "v", 100)?;
            let left: i64 = Commands::ttl(c, "e")?;
            Ok(none.is_none() && left > 90)
        })(),
    );
    checks.check(
        "an atomic pipeline",
        (|| {
            let (one, two): (i64, i64) =
                redis::pipe().atomic().del("n").ignore().incr("n", 1).incr("n", 41).query(a)?;
            Ok((one, two) == (1, 42))
        })(),
    );
    checks.check(
        "a long pipeline",
        (|| {
            let mut pipe = redis::pipe();
            for nth in 0..500 {
                pipe.set_options(format!("p{}", nth % 7), nth, redis::SetOptions::default().get(true));
            }
            let answers: Vec<Option<u64>> = pipe.query(a)?;
            Ok(answers[499] == Some(492))
        })(),
    );
}

fn blocking_scripts_and_scans(checks: &mut Checks, connections: &mut [Connection]) {
    let [a, b, c] = connections else { panic!("three servers are needed") };
    checks.check(
        "WATCH sees a change",
        (|| {
            let mut rounds = 0;
            let answer: (String,) = redis::transaction(a, &["k"], |connection, pipe| {
                rounds += 1;
                if rounds == 1 {
                    let () = Commands::set(b, "k", "other")?;
                }
                pipe.set("k", "mine").query(connection)
            })?;
            Ok(rounds == 2 && answer.0 == "OK")
        })(),
    );
    checks.check(
        "a script, where it is known and where it is not",
        (|| {
            let script = Script::new("return redis.call('SET', KEYS[1], ARGV[1], 'GET')");
            let first: Option<String> = script.key("s").arg("1").invoke(a)?;
            let second: Option<String> = script.key("s").arg("2").invoke(b)?;
            Ok(first.is_none() && second.as_deref() == Some("1"))
        })(),
    );
    checks.check(
        "hashes",
        (|| {
            let () = Commands::hset_multiple(a, "h", &[("f", "1"), ("g", "2")])?;
            let all: std::collections::BTreeMap<String, String> = Commands::hgetall(b, "h")?;
            Ok(all.len() == 2 && all["g"] == "2")
        })(),
    );
    checks.check(
        "a scan sees every key",
        (|| {
            for nth in 0..50 {
                let () = Commands::set(a, format!("scan:{nth}"), "x")?;
            }
            let found: Vec<String> = Commands::scan_match(b, "scan:*")?.collect::<RedisResult<_>>()?;
            Ok(found.len() == 50)
        })(),
    );
    checks.check(
        "bytes",
        (|| {
            let bytes: Vec<u8> = (0..=255).collect();
            let () = Commands::set(a, &bytes, &bytes)?;
            let found: Vec<u8> = Commands::get(c, &bytes)?;
            Ok(found == bytes)
        })(),
    );
    let refused: RedisResult<i64> = redis::cmd("LPUSH").arg("l").arg("x").query(a);
    let named = refused.is_err_and(|error| error.to_string().contains("lists"));
    checks.check("what is missing is refused by name", Ok(named));
}

async fn concurrent(clients: &[Client]) -> RedisResult<bool> {
    let mut multiplexed = clients[0].get_multiplexed_async_connection().await?;
    let () = multiplexed.del("m").await?;
    let mut increments = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let mut connection = multiplexed.clone();
        increments.spawn(async move { AsyncCommands::incr::<_, _, i64>(&mut connection, "m", 1).await });
    }
    let answers = increments.join_all().await;
    let mut other = clients[1].get_multiplexed_async_connection().await?;
    let sum: i64 = other.get("m").await?;
    Ok(answers.iter().all(Result::is_ok) && sum == 200)
}

fn messages(clients: &[Client]) -> RedisResult<bool> {
    let (mut receiving, mut sending) = (clients[0].get_connection()?, clients[0].get_connection()?);
    let mut subscriber = receiving.as_pubsub();
    subscriber.subscribe("news")?;
    let reached: i64 = Commands::publish(&mut sending, "news", "hello")?;
    let text: String = subscriber.get_message()?.get_payload()?;
    Ok(reached == 1 && text == "hello")
}
