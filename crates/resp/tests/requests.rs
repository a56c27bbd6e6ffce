//! Requests: what clients send, and what must be refused.

use resp::{Limits, ProtocolError, Requests, write_request};

fn all(bytes: &[u8]) -> Result<Vec<Vec<String>>, ProtocolError> {
    let mut requests = Requests::new(Limits::default());
    requests.receive(bytes);
    let mut found = Vec::new();
    while let Some(request) = requests.poll()? {
        found.push(request.iter().map(|string| string.escape_ascii().to_string()).collect());
    }
    Ok(found)
}

fn one(bytes: &[u8]) -> Vec<String> {
    let found = all(bytes).unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    found.into_iter().next().unwrap()
}

/// S4: a pipeline is taken apart in order; empty requests between are passed over, as Redis does.
#[test]
fn a_pipeline_is_taken_apart_in_order() {
    let bytes = b"*1\r\n$4\r\nPING\r\n*0\r\n\r\n*-1\r\n*2\r\n$3\r\nGET\r\n$3\r\na\r\n\r\nping\r\n";
    assert_eq!(all(bytes).unwrap(), [vec!["PING"], vec!["GET", "a\\r\\n"], vec!["ping"]]);
}

/// S4: binary keys and values come through, and what is written reads as itself.
#[test]
fn what_is_written_reads_as_itself() {
    let every_byte: Vec<u8> = (0..=255).collect();
    let mut bytes = Vec::new();
    write_request(&mut bytes, [b"SET".as_slice(), b"", &every_byte].into_iter());
    let mut requests = Requests::new(Limits::default());
    requests.receive(&bytes);
    let request = requests.poll().unwrap().unwrap();
    assert_eq!(
        (request.name(), request.get(1), request.get(2)),
        (&b"SET"[..], Some(&b""[..]), Some(&every_byte[..]))
    );
    assert_eq!((request.len(), request.get(3)), (3, None));
}

/// S4: inline commands, quoted as in Redis.
#[test]
fn inline_commands_are_split_into_words() {
    assert_eq!(one(b"SET key value\n"), ["SET", "key", "value"]);
    assert_eq!(one(b"  set\t\"a b\" 'c d'  \r\n"), ["set", "a b", "c d"]);
    assert_eq!(one(b"x \"\\x41\\n\\\"\\\\\\q\" 'it\\'s' ''\r\n"), ["x", "A\\n\\\"\\\\q", "it\\'s", ""]);
    assert_eq!(one(b"x a\"b c\"\r\n"), ["x", "ab c"]);
    for wrong in [&b"x \"a\r\n"[..], b"x 'a\r\n", b"x \"a\"b\r\n", b"x 'a'b\r\n", b"x \"a\\\r\n"] {
        assert_eq!(all(wrong), Err(ProtocolError::Quotes), "{}", wrong.escape_ascii());
    }
}

/// S25: each break of the protocol is named, and nothing more is read after it.
#[test]
fn a_broken_request_ends_the_connection() {
    let cases: [(&[u8], ProtocolError); 12] = [
        (b"*x\r\n", ProtocolError::Count),
        (b"*01\r\n", ProtocolError::Count),
        (b"*1048577\r\n", ProtocolError::Count),
        (b"*99999999999999999999\r\n", ProtocolError::Count),
        (b"*1\n", ProtocolError::LineEnd),
        (b"*1\r\nPING\r\n", ProtocolError::NotAString(b'P')),
        (b"*1\r\n$-1\r\n", ProtocolError::Length),
        (b"*1\r\n$+4\r\n", ProtocolError::Length),
        (b"*1\r\n$16777217\r\n", ProtocolError::Length),
        (b"*1\r\n$9223372036854775807\r\n", ProtocolError::Length),
        (b"*1\r\n$4\r\nPINGxx", ProtocolError::LineEnd),
        (b"*1\r\n$\r\n", ProtocolError::Length),
    ];
    for (bytes, error) in cases {
        let mut requests = Requests::new(Limits::default());
        requests.receive(bytes);
        assert_eq!(requests.poll().map(|_| ()), Err(error.clone()), "{}", bytes.escape_ascii());
        requests.receive(b"*1\r\n$4\r\nPING\r\n");
        assert_eq!(requests.poll().map(|_| ()), Err(error), "{}", bytes.escape_ascii());
        assert_eq!(requests.held(), 0);
    }
}

/// S25: a line, a string or a message that will be too long is refused before it has arrived.
#[test]
fn what_is_too_large_is_refused_at_its_announcement() {
    let limits = Limits { message_bytes: 100, string_bytes: 60, line_bytes: 20, ..Limits::default() };
    let refused = |bytes: &[u8]| {
        let mut requests = Requests::new(limits);
        requests.receive(bytes);
        requests.poll().map(|_| ()).unwrap_err()
    };
    assert_eq!(refused(&[b'a'; 20]), ProtocolError::Line);
    assert_eq!(refused(b"*1\r\n$61\r\n"), ProtocolError::Length);
    let fifty = format!("*2\r\n$50\r\n{}\r\n$50\r\n", "x".repeat(50));
    assert_eq!(refused(fifty.as_bytes()), ProtocolError::Message(100));
}

/// S25: a large request in small pieces is looked at once, and its memory is given back.
#[test]
fn the_memory_of_a_large_request_is_given_back() {
    let mut bytes = Vec::new();
    let value = vec![b'v'; 8 << 20];
    write_request(&mut bytes, [b"SET".as_slice(), b"k", &value].into_iter());
    let mut requests = Requests::new(Limits::default());
    for piece in bytes.chunks(4096) {
        assert!(requests.poll().unwrap().is_none());
        requests.receive(piece);
    }
    assert_eq!(requests.poll().unwrap().unwrap().get(2), Some(&value[..]));
    assert!(requests.poll().unwrap().is_none());
    requests.receive(b"PING\r\n");
    assert_eq!(requests.held(), 6);
}

/// S25: random bytes, and requests with random damage: the same requests however they are cut.
#[test]
fn requests_come_out_the_same_however_they_are_cut() {
    let mut random =
        fastrand::Rng::with_seed(testbed::seed("requests_come_out_the_same_however_they_are_cut"));
    let rounds = if std::env::var_os("QUORATE_LONG").is_some() { 3_000_000 } else { 3000 };
    for _ in 0..rounds {
        let mut bytes = Vec::new();
        for _ in 0..random.usize(1..5) {
            let strings: Vec<Vec<u8>> = (0..random.usize(0..4))
                .map(|_| (0..random.usize(0..20)).map(|_| random.u8(..)).collect())
                .collect();
            match random.u8(0..4) {
                0 => bytes.extend_from_slice(b"get \"a b\" 'c'\r\n"),
                _ => write_request(&mut bytes, strings.iter().map(Vec::as_slice)),
            }
        }
        for _ in 0..random.usize(0..3) {
            let at = random.usize(..bytes.len());
            bytes[at] = *random.choice(b"*$\r\n-019a\"'\\ ").unwrap();
        }
        resp::fuzz::requests(&bytes);
    }
}
