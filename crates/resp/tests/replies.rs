//! Replies: what a server writes, a client reads, in both versions.

use resp::{Limits, ProtocolError, Replies, ReplyWriter, Value, Version};

fn read(bytes: &[u8]) -> Result<Vec<Value>, ProtocolError> {
    let mut replies = Replies::new(Limits::default());
    replies.receive(bytes);
    let mut found = Vec::new();
    while let Some(value) = replies.poll()? {
        found.push(value);
    }
    Ok(found)
}

fn bytes(text: &str) -> Value {
    Value::Bytes(text.as_bytes().to_vec())
}

/// Every kind of reply, once.
fn every_kind(version: Version) -> Vec<u8> {
    let mut writer = ReplyWriter::new(version);
    writer.ok();
    writer.error("ERR a\r\nb");
    writer.integer(i64::MIN);
    writer.string(b"\r\n\0");
    writer.null();
    writer.null_array();
    writer.optional(Some(b""));
    writer.array(2);
    writer.integer(1);
    writer.array(0);
    writer.map(1);
    writer.string(b"k");
    writer.integer(2);
    writer.set(1);
    writer.string(b"m");
    writer.push(1);
    writer.string(b"message");
    writer.boolean(true);
    writer.double(0.1);
    writer.double(f64::NEG_INFINITY);
    writer.verbatim("text");
    writer.take()
}

/// S4: version 3 has a form for everything.
#[test]
fn version_3_reads_as_what_was_written() {
    let expected = [
        Value::Simple(b"OK".to_vec()),
        Value::Error(b"ERR a  b".to_vec()),
        Value::Integer(i64::MIN),
        bytes("\r\n\0"),
        Value::Null,
        Value::Null,
        bytes(""),
        Value::Array(vec![Value::Integer(1), Value::Array(vec![])]),
        Value::Map(vec![(bytes("k"), Value::Integer(2))]),
        Value::Set(vec![bytes("m")]),
        Value::Push(vec![bytes("message")]),
        Value::Boolean(true),
        Value::Double(0.1),
        Value::Double(f64::NEG_INFINITY),
        Value::Verbatim(*b"txt", b"text".to_vec()),
    ];
    assert_eq!(read(&every_kind(Version::Resp3)).unwrap(), expected);
}

/// S4: version 2 has only texts, errors, integers, strings and arrays; the rest becomes the nearest of those.
#[test]
fn version_2_writes_what_its_clients_can_read() {
    let expected = [
        Value::Simple(b"OK".to_vec()),
        Value::Error(b"ERR a  b".to_vec()),
        Value::Integer(i64::MIN),
        bytes("\r\n\0"),
        Value::Null,
        Value::Null,
        bytes(""),
        Value::Array(vec![Value::Integer(1), Value::Array(vec![])]),
        Value::Array(vec![bytes("k"), Value::Integer(2)]),
        Value::Array(vec![bytes("m")]),
        Value::Array(vec![bytes("message")]),
        Value::Integer(1),
        bytes("0.1"),
        bytes("-inf"),
        bytes("text"),
    ];
    let written = every_kind(Version::Resp2);
    assert_eq!(read(&written).unwrap(), expected);
    assert!(
        written.starts_with(b"+OK\r\n-ERR a  b\r\n:-9223372036854775808\r\n$3\r\n\r\n\0\r\n$-1\r\n*-1\r\n")
    );
}

/// S4: attributes say something about the next value; a client that does not know them passes them over.
#[test]
fn attributes_are_passed_over() {
    let written = b"*2\r\n|1\r\n+ttl\r\n:3600\r\n:1\r\n|0\r\n:2\r\n";
    assert_eq!(read(written).unwrap(), [Value::Array(vec![Value::Integer(1), Value::Integer(2)])]);
}

/// S25: what is not a reply, or larger than allowed, is refused; nesting cannot exhaust the stack.
#[test]
fn broken_and_oversized_replies_are_refused() {
    assert_eq!(read(b"?\r\n"), Err(ProtocolError::Type(b'?')));
    assert_eq!(read(b":1x\r\n"), Err(ProtocolError::Malformed("integer")));
    assert_eq!(read(b"#x\r\n"), Err(ProtocolError::Malformed("null or boolean")));
    assert_eq!(read(b"(1e5\r\n"), Err(ProtocolError::Malformed("big number")));
    assert_eq!(read(b",one\r\n"), Err(ProtocolError::Malformed("double")));
    assert_eq!(read(b"=3\r\nabc\r\n"), Err(ProtocolError::Malformed("verbatim string")));
    assert_eq!(read(b"$3\r\nabcde"), Err(ProtocolError::LineEnd));
    assert_eq!(read(b"*1048577\r\n"), Err(ProtocolError::Length));
    assert_eq!(read(b"\r\n"), Err(ProtocolError::LineEnd));
    assert_eq!(read(&b"*1\r\n".repeat(100_000)), Err(ProtocolError::Size));
    let wide = [&b"*1000000\r\n*1000000\r\n*1000000\r\n"[..], &b":1\r\n".repeat(2_200_000)].concat();
    assert_eq!(read(&wide), Err(ProtocolError::Size));
}

/// S25: random damage: the same replies however they are cut.
#[test]
fn replies_come_out_the_same_however_they_are_cut() {
    let mut random =
        fastrand::Rng::with_seed(testbed::seed("replies_come_out_the_same_however_they_are_cut"));
    let rounds = if std::env::var_os("QUORATE_LONG").is_some() { 3_000_000 } else { 3000 };
    for _ in 0..rounds {
        let version = if random.bool() { Version::Resp2 } else { Version::Resp3 };
        let mut bytes = every_kind(version);
        for _ in 0..random.usize(0..4) {
            let at = random.usize(..bytes.len());
            bytes[at] = *random.choice(b"*$\r\n-019%~>|#,_=!(").unwrap();
        }
        resp::fuzz::replies(&bytes);
    }
}
