//! Bounds: what a client can make the server hold, and what happens beyond.

use std::io::Write;
use std::net::Shutdown;
use std::time::Duration;

use resp::Value;

use crate::client::{Front, Wire, error, ok, text};

/// S25: one client more than allowed is told so; another may come when one has gone.
#[test]
fn there_are_no_more_clients_than_allowed() {
    let front = Front::with(|settings| settings.limits.clients = 2);
    let (mut one, mut two) = (front.connect(), front.connect());
    assert_eq!(one.ask("SET a 1"), ok());
    assert_eq!(two.ask("GET a"), text("1"));
    let mut third = front.connect();
    assert!(error(third.next().unwrap()).contains("max number of clients"));
    assert_eq!(third.next(), None);
    two.ask("QUIT");
    assert_eq!(two.next(), None);
    let comes_in = || matches!(front.connect().tried("PING"), Some(Value::Simple(_)));
    assert!((0..1000).any(|_| comes_in()), "the place of a client that went is free");
}

impl Wire {
    /// A command to a server that may have closed the connection already.
    fn tried(&mut self, command: &str) -> Option<Value> {
        let _ = self.stream.write_all(format!("{command}\r\n").as_bytes());
        self.next()
    }
}

/// S25: requests and strings over their bound are refused as soon as that shows, and the connection ends.
#[test]
fn huge_requests_are_refused_before_they_arrive() {
    let front = Front::with(|settings| {
        settings.limits.string_bytes = 1000;
        settings.limits.request_bytes = 5000;
    });
    let cases: [(&[u8], &str); 5] = [
        (b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1001\r\n", "invalid bulk length"),
        (b"*9999999\r\n", "invalid multibulk length"),
        (b"*1\r\n$-4\r\n", "invalid bulk length"),
        (b"*1\r\n+PING\r\n", "expected '$'"),
        (b"GET \"unbalanced\r\n", "unbalanced quotes"),
    ];
    for (bytes, words) in cases {
        let mut client = front.connect();
        client.send(b"PING\r\n");
        client.send(bytes);
        assert_eq!(client.next(), Some(Value::Simple(b"PONG".to_vec())));
        let refused = error(client.next().unwrap());
        assert!(refused.contains(words), "{refused}");
        assert_eq!(client.next(), None);
    }
    let mut client = front.connect();
    let value = vec![b'x'; 1000];
    assert_eq!(client.words(&[b"SET", b"a", &value]), ok());
    assert_eq!(client.words(&[b"GET", b"a"]), Value::Bytes(value));
}

/// S25: commands of a transaction count together.
#[test]
fn a_transaction_has_bounds() {
    let front = Front::with(|settings| settings.limits.transaction_commands = 3);
    let mut client = front.connect();
    client.ask("MULTI");
    (0..3).for_each(|_| drop(client.ask("INCR a")));
    assert!(client.refused("INCR a").contains("exceeds 3 commands"));
    assert!(client.refused("EXEC").starts_with("EXECABORT"));
    assert_eq!(client.ask("GET a"), Value::Null);
}

/// S25: a client that sends and does not read is not read any more, and is cut off after its time; others are served meanwhile.
#[test]
fn a_client_that_does_not_read_is_cut_off() {
    let front = Front::with(|settings| settings.limits.output_timeout = Duration::from_millis(200));
    let mut other = front.connect();
    let value = vec![b'x'; 1 << 20];
    other.words(&[b"SET", b"big", &value]);
    let mut deaf = front.connect();
    // The server stops reading long before a hundred megabytes of requests are sent.
    let requests = b"GET big\r\n".repeat(100_000);
    assert!((0..100).any(|_| deaf.stream.write_all(&requests).is_err()), "the connection was reset");
    assert_eq!(other.ask("PING"), Value::Simple(b"PONG".to_vec()));
    let held = || {
        let log = front.log.lock().unwrap();
        log.iter().any(|line| line.contains("limits.output-timeout-secs"))
    };
    while !held() {
        std::thread::yield_now();
    }
}

/// S25: messages that a subscriber does not read are bounded, too.
#[test]
fn a_subscriber_that_does_not_read_is_cut_off() {
    let front = Front::with(|settings| settings.limits.output_bytes = 1 << 20);
    let (mut deaf, mut other) = (front.connect(), front.connect());
    deaf.ask("SUBSCRIBE news");
    let value = vec![b'x'; 1 << 16];
    let published = (0..10_000).find(|_| other.words(&[b"PUBLISH", b"news", &value]) == Value::Integer(0));
    assert!(published.is_some(), "it is still subscribed");
}

/// S25: what all clients hold together is bounded: the one that exceeds it goes.
#[test]
fn all_clients_together_are_bounded() {
    let front = Front::with(|settings| settings.limits.total_bytes = 1 << 20);
    let mut client = front.connect();
    client.send(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$2000000\r\n");
    let _ = client.stream.write_all(&vec![b'x'; 1_900_000]);
    assert!(client.next().is_none_or(|value| error(value).contains("limits.total-bytes")));
    assert_eq!(front.connect().ask("GET a"), Value::Null);
}

/// S25: silence is allowed, unless a time is set.
#[test]
fn a_silent_client_is_cut_off_only_if_that_is_wanted() {
    let front = Front::with(|settings| settings.limits.idle_timeout = Some(Duration::from_millis(50)));
    let mut client = front.connect();
    client.ask("PING");
    assert!(error(client.next().unwrap()).contains("silent"));
    assert_eq!(client.next(), None);
}

/// S25: a pipeline that is cut in the middle has carried out what was whole, and nothing else.
#[test]
fn a_pipeline_cut_in_the_middle_does_what_was_whole() {
    let front = Front::start();
    let mut client = front.connect();
    client.send(b"INCR a\r\nINCR a\r\n*2\r\n$4\r\nINCR\r\n$1\r\n");
    client.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.next(), Some(Value::Integer(1)));
    assert_eq!(client.next(), Some(Value::Integer(2)));
    assert_eq!(client.next(), None);
    assert_eq!(front.connect().ask("GET a"), text("2"));
}

/// S25: many idle connections cost little and disturb nobody.
#[test]
fn many_idle_connections_disturb_nobody() {
    let front = Front::start();
    let many: Vec<Wire> = (0..400).map(|_| front.connect()).collect();
    let mut client = front.connect();
    while !crate::client::shown(&client.ask("INFO clients")).contains("connected_clients:401") {}
    assert_eq!(client.ask("SET a 1"), ok());
    drop(many);
    while !crate::client::shown(&client.ask("INFO clients")).contains("connected_clients:1\r") {}
}
