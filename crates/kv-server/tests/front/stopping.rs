//! The end of a server.

use std::io::ErrorKind;
use std::net::TcpStream;

use resp::Value;

use crate::client::Front;

/// S2: a server that stops answers what it has read, closes its connections, and takes no more.
#[test]
fn a_stopping_server_answers_what_it_has_read() {
    let mut front = Front::start();
    let mut clients: Vec<_> = (0..8).map(|_| front.connect()).collect();
    clients.iter_mut().for_each(|client| drop(client.ask("INCR a")));
    front.stop();
    for client in &mut clients {
        assert_eq!(client.next(), None);
    }
    let refused = TcpStream::connect(front.address).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
}

/// S2: replies that are under way arrive although the server stops.
#[test]
fn replies_under_way_arrive() {
    let mut front = Front::start();
    let mut client = front.connect();
    client.send(&b"INCR a\r\n".repeat(2000));
    assert_eq!(client.next(), Some(Value::Integer(1)));
    front.stop();
    let mut last = 1;
    while let Some(Value::Integer(number)) = client.next() {
        assert_eq!(number, last + 1);
        last = number;
    }
}
