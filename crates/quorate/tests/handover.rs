//! A server of three that is ended by SIGTERM while clients write at all of them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod service;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use resp::Value;
use service::Service;
use service::connection::Failure;

/// Clients of each server.
const CLIENTS: usize = 4;

/// What the clients of all servers saw.
#[derive(Default)]
struct Seen {
    /// When a write was acknowledged.
    written: Vec<Instant>,
    /// Replies that a write may have happened.
    undecided: Vec<String>,
    /// The greatest count that the clients were told, by client.
    counted: [i64; 3 * CLIENTS],
}

/// A client counts, until the end or until its server is gone.
fn count(service: &Service, client: usize, ends: &AtomicBool, seen: &Mutex<Seen>) {
    let mut connection = service.connect(client % 3);
    let key = format!("n{client}");
    while !ends.load(Ordering::Relaxed) {
        match connection.ask(&["INCR", &key]) {
            Ok(value) => {
                let mut seen = seen.lock().unwrap();
                seen.written.push(Instant::now());
                seen.counted[client] = value.as_integer().unwrap();
            }
            Err(Failure::Refused(_)) => {}
            Err(Failure::Unknown(why)) if why.starts_with("UNDECIDED") => {
                seen.lock().unwrap().undecided.push(why)
            }
            // The server is gone, and this request with it, or its reply.
            Err(Failure::Unknown(_)) => return,
        }
    }
}

/// S2, S13, S27: a sync site that is told to stop carries out what it has read, its own clients' and other servers', and calls nothing
/// undecided; another goes on. How long no write was acknowledged is printed.
#[test]
fn a_sync_site_that_is_told_to_stop_leaves_nothing_undecided() {
    let mut service = Service::start("");
    let site = service.sync_site();
    let (ends, seen) = (AtomicBool::new(false), Mutex::<Seen>::default());
    let await_writes = |more: usize| {
        let until = seen.lock().unwrap().written.len() + more;
        while seen.lock().unwrap().written.len() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    std::thread::scope(|scope| {
        for client in 0..3 * CLIENTS {
            let (service, ends, seen) = (&service, &ends, &seen);
            scope.spawn(move || count(service, client, ends, seen));
        }
        await_writes(200);
        service.signal(site, "TERM");
        await_writes(200);
        ends.store(true, Ordering::Relaxed);
    });
    assert!(service.wait(site).success());
    let mut seen = seen.into_inner().unwrap();
    assert_eq!(seen.undecided, [] as [String; 0]);
    seen.written.sort();
    let gap = seen.written.array_windows().map(|[one, next]| *next - *one).max().unwrap();
    eprintln!("no write was acknowledged for {gap:?}");
    let mut connection = service.connect((site + 1) % 3);
    for (client, told) in seen.counted.iter().enumerate() {
        let found = connection.ask(&["GET", &format!("n{client}")]).unwrap();
        let found: i64 = String::from_utf8_lossy(found.as_bytes().unwrap()).parse().unwrap();
        // A request whose server went before the reply reached the client may have been carried out.
        assert!((*told..=told + 1).contains(&found), "client {client} was told {told} and finds {found}");
    }
    assert_eq!(connection.ask(&["PING"]), Ok(Value::Simple(b"PONG".to_vec())));
}
