//! MULTI to EXEC, and watched keys.

use resp::Value;

use crate::client::{Front, ok, text};

fn queued() -> Value {
    Value::Simple(b"QUEUED".to_vec())
}

/// S4, S6: commands between MULTI and EXEC are one step; one that is refused while queued spoils all, one that fails later only itself.
#[test]
fn transactions_are_all_or_nothing() {
    let front = Front::start();
    let mut client = front.connect();
    assert_eq!(client.ask("MULTI"), ok());
    assert_eq!(client.ask("SET a 1"), queued());
    assert_eq!(client.ask("HSET a f v"), queued());
    assert_eq!(client.ask("INCR a"), queued());
    let Value::Array(replies) = client.ask("EXEC") else { panic!("no array") };
    assert!(replies[0] == ok() && matches!(replies[1], Value::Error(_)) && replies[2] == Value::Integer(2));
    client.ask("MULTI");
    assert!(client.refused("NONSENSE").contains("unknown command"));
    assert_eq!(client.ask("SET a 9"), queued());
    assert!(client.refused("EXEC").starts_with("EXECABORT"));
    assert_eq!(client.ask("GET a"), text("2"));
    client.ask("MULTI");
    client.ask("SET a 9");
    assert_eq!(client.ask("DISCARD"), ok());
    assert_eq!(client.ask("GET a"), text("2"));
    assert!(client.refused("EXEC").contains("without MULTI"));
    client.ask("MULTI");
    assert_eq!(client.ask("EXEC"), Value::Array(Vec::new()));
}

/// S4: a transaction is carried out only if the watched keys have not changed since, whoever changed them.
#[test]
fn a_changed_key_undoes_the_transaction() {
    let front = Front::start();
    let (mut one, mut other) = (front.connect(), front.connect());
    for (change, carried_out) in
        [("SET a 1", false), ("SET b 1", true), ("DEL a", false), ("PEXPIRE c 60000", true)]
    {
        one.ask("SET a 0");
        one.ask("WATCH a missing");
        other.ask(change);
        one.ask("MULTI");
        one.ask("SET done yes");
        assert_eq!(one.ask("EXEC") != Value::Null, carried_out, "{change}");
    }
    one.ask("WATCH missing");
    other.ask("SET missing 1");
    one.ask("UNWATCH");
    one.ask("MULTI");
    assert_eq!(one.ask("EXEC"), Value::Array(Vec::new()));
}

/// S8: a transaction is about one database.
#[test]
fn a_transaction_is_about_one_database() {
    let front = Front::start();
    let mut client = front.connect();
    client.ask("WATCH a");
    assert!(client.refused("SELECT 1").contains("one database"));
    client.ask("MULTI");
    assert!(client.refused("SELECT 1").contains("cannot be used between MULTI and EXEC"));
    assert!(client.refused("EXEC").starts_with("EXECABORT"));
}
