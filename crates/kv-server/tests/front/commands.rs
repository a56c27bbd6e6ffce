//! Commands of the connection and of the data, in both versions of the protocol.

use resp::Value;

use crate::client::{Front, Wire, error, ok, shown, text};

/// S4: values of any bytes go in and come out; inline commands work; what is missing is named.
#[test]
fn commands_are_answered_in_both_forms() {
    let front = Front::start();
    let mut client = front.connect();
    let bytes: Vec<u8> = (0..=255).collect();
    assert_eq!(client.words(&[b"SET", &bytes, &bytes]), ok());
    assert_eq!(client.words(&[b"GET", &bytes]), Value::Bytes(bytes));
    client.send(b"set greeting \"hello there\"\r\nget greeting\n");
    assert_eq!(client.next(), Some(ok()));
    assert_eq!(client.next(), Some(text("hello there")));
    assert_eq!(client.ask("ECHO x"), text("x"));
    assert_eq!(client.ask("ping"), Value::Simple(b"PONG".to_vec()));
    assert!(client.refused("LPUSH a b").contains("'LPUSH': this service does not have lists"));
    assert!(client.refused("GET").contains("wrong number of arguments for 'get'"));
    assert!(client.refused("DEBUG SLEEP 1").contains("refused"));
}

/// S4: a pipeline of reads, writes and commands of the connection is answered in order, each seeing what went before.
#[test]
fn a_pipeline_is_answered_in_order() {
    let front = Front::start();
    let mut client = front.connect();
    let mut sent = Vec::new();
    for number in 0..500 {
        sent.extend_from_slice(format!("INCR counter\nGET counter\nECHO {number}\n").as_bytes());
    }
    client.send(&sent);
    for number in 0..500 {
        assert_eq!(client.next(), Some(Value::Integer(number + 1)));
        assert_eq!(client.next(), Some(text(&(number + 1).to_string())));
        assert_eq!(client.next(), Some(text(&number.to_string())));
    }
}

/// S4: HELLO answers with all seven fields, maps are maps only in version 3, and RESET goes back.
#[test]
fn hello_chooses_the_version() {
    let front = Front::start();
    let mut client = front.connect();
    client.ask("HSET h a 1");
    assert_eq!(client.ask("HGETALL h"), Value::Array(vec![text("a"), text("1")]));
    let Value::Map(fields) = client.ask("HELLO 3 SETNAME worker") else { panic!("no map") };
    let names: Vec<String> = fields.iter().map(|(name, _)| shown(name)).collect();
    assert_eq!(names, ["server", "version", "proto", "id", "mode", "role", "modules"]);
    assert_eq!(client.ask("HGETALL h"), Value::Map(vec![(text("a"), text("1"))]));
    assert_eq!(client.ask("CLIENT GETNAME"), text("worker"));
    assert_eq!(client.ask("GET nothing"), Value::Null);
    assert!(client.refused("HELLO 4").starts_with("NOPROTO"));
    assert!(client.refused("HELLO 3 NONSENSE").contains("NONSENSE"));
    assert_eq!(client.ask("RESET"), Value::Simple(b"RESET".to_vec()));
    assert!(matches!(client.ask("HELLO"), Value::Array(fields) if fields.len() == 14));
}

/// S8: databases are apart, and there are as many as configured.
#[test]
fn databases_are_apart() {
    let front = Front::start();
    let mut client = front.connect();
    client.ask("SET a 0");
    assert_eq!(client.ask("SELECT 1"), ok());
    assert_eq!(client.ask("GET a"), Value::Null);
    assert!(client.refused("SELECT 2").contains("out of range"));
    assert!(client.refused("SELECT x").contains("not an integer"));
    client.ask("MSET a 1 b 2");
    let keyspace = shown(&client.ask("INFO keyspace"));
    assert!(keyspace.contains("db0:keys=1,") && keyspace.contains("db1:keys=2,"), "{keyspace}");
}

/// S4: clients see each other and can be ended; what they set is shown.
#[test]
fn clients_are_listed_and_killed() {
    let front = Front::start();
    let (mut one, mut other) = (front.connect(), front.connect());
    assert_eq!(other.ask("CLIENT SETNAME victim"), ok());
    assert_eq!(other.ask("CLIENT SETINFO LIB-NAME redis-py"), ok());
    assert!(error(other.words(&[b"CLIENT", b"SETNAME", b"a b"])).contains("spaces"));
    let list = shown(&one.ask("CLIENT LIST"));
    let line = list.lines().find(|line| line.contains(" name=victim ")).unwrap();
    assert!(line.contains(" lib-name=redis-py ") && line.contains(" resp=2 ") && list.lines().count() == 2);
    let address = line.split(' ').find_map(|field| field.strip_prefix("addr=")).unwrap();
    assert_eq!(one.ask(&format!("CLIENT KILL ADDR {address}")), Value::Integer(1));
    assert_eq!(other.next(), None);
    assert_eq!(one.refused("CLIENT KILL 1.2.3.4:5"), "ERR No such client");
    assert_eq!(one.ask("CLIENT KILL TYPE normal SKIPME no"), Value::Integer(1));
    assert_eq!(one.next(), None);
}

/// S4: what libraries ask in passing has the fields that they read.
#[test]
fn the_server_tells_of_itself() {
    let front = Front::start();
    let mut client = front.connect();
    let all = shown(&client.ask("INFO"));
    for field in [
        "redis_version:7.2.4",
        "loading:0",
        "role:master",
        "used_memory:",
        "connected_clients:1",
        "cluster_enabled:0",
    ] {
        assert!(all.contains(field), "{field} is missing in {all}");
    }
    assert!(!shown(&client.ask("INFO replication")).contains("used_memory"));
    assert_eq!(client.ask("CONFIG GET save"), Value::Array(vec![text("save"), text("")]));
    assert!(client.refused("CONFIG SET maxmemory 1").contains("configuration file"));
    let Value::Integer(count) = client.ask("COMMAND COUNT") else { panic!("no number") };
    let Value::Array(commands) = client.ask("COMMAND") else { panic!("no array") };
    assert_eq!(commands.len() as i64, count);
    assert_eq!(client.ask("COMMAND GETKEYS MSET a 1 b 2"), Value::Array(vec![text("a"), text("b")]));
    assert_eq!(client.ask("COMMAND GETKEYS EVAL return 1 k x"), Value::Array(vec![text("k")]));
    assert!(client.refused("COMMAND GETKEYS PING").contains("no key"));
    assert_eq!(client.ask("ACL WHOAMI"), text("default"));
    assert_eq!(client.ask("WAIT 0 100"), Value::Integer(0));
    assert_eq!(client.ask("SLOWLOG LEN"), Value::Integer(0));
    let Value::Array(status) = client.ask("QUORATE.STATUS") else { panic!("no array") };
    assert_eq!(status[2..4], [text("standing"), text("the only server")]);
}

/// S4: messages reach those that subscribed, by name and by pattern; in version 2 a subscriber may do nothing else.
#[test]
fn messages_reach_their_subscribers() {
    let front = Front::start();
    let (mut one, mut other) = (front.connect(), front.connect());
    one.ask("SUBSCRIBE news");
    one.ask("PSUBSCRIBE n*");
    assert!(one.refused("GET a").contains("only (P)SUBSCRIBE"));
    assert_eq!(other.ask("PUBLISH news hello"), Value::Integer(2));
    assert_eq!(one.next(), Some(Value::Array(vec![text("message"), text("news"), text("hello")])));
    let matched = vec![text("pmessage"), text("n*"), text("news"), text("hello")];
    assert_eq!(one.next(), Some(Value::Array(matched)));
    assert_eq!(other.ask("PUBSUB NUMSUB news"), Value::Array(vec![text("news"), Value::Integer(1)]));
    assert_eq!(
        one.ask("UNSUBSCRIBE"),
        Value::Array(vec![text("unsubscribe"), text("news"), Value::Integer(1)])
    );
    one.ask("PUNSUBSCRIBE n*");
    assert_eq!(one.ask("GET a"), Value::Null);
    assert_eq!(other.ask("PUBLISH news hello"), Value::Integer(0));
}

/// S4: CONFIG RESETSTAT counts from zero again in INFO; the statistics' limits are told; subscribers are counted in a flat array, which
/// libraries take apart, in either version.
#[test]
fn what_libraries_ask_in_passing_has_the_form_they_expect() {
    let front = Front::start();
    let mut client = front.connect();
    let commands = |client: &mut Wire| {
        let info = shown(&client.ask("INFO stats"));
        let (_, rest) = info.split_once("total_commands_processed:").unwrap();
        rest.split('\r').next().unwrap().parse::<u64>().unwrap()
    };
    (0..50).for_each(|_| drop(client.ask("PING")));
    let before = commands(&mut client);
    assert!(before >= 50, "{before}");
    assert_eq!(client.ask("CONFIG RESETSTAT"), ok());
    assert!(commands(&mut client) < before);
    client.ask("HELLO 3");
    assert_eq!(
        client.ask("CONFIG GET slowlog-max-len"),
        Value::Map(vec![(text("slowlog-max-len"), text("128"))])
    );
    let subscribers = Value::Array(vec![text("news"), Value::Integer(0)]);
    assert_eq!(client.ask("PUBSUB NUMSUB news"), subscribers);
    assert!(
        client.refused("AUTH x").starts_with("ERR AUTH <password> called without any password configured")
    );
}

/// S4: a scan of few keys ends with the first answer, as programs written for Redis expect.
#[test]
fn a_small_database_is_scanned_at_once() {
    let front = Front::start();
    let mut client = front.connect();
    client.ask("MSET a 1 b 2 c 3");
    let Value::Array(answer) = client.ask("SCAN 0") else { panic!("no array") };
    assert_eq!(answer[0], text("0"));
    assert_eq!(answer[1].as_elements().unwrap().len(), 3);
}
