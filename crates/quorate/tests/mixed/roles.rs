//! The scenarios: ours as follower and clone, ours as sync site, elections from one to the other.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rx::rpc::CallStream;
use rx::security::{NullSecurity, SecurityClass};
use rx::{AbortCode, CallFailure, Port, PortConfig, ServiceId, Timeouts};
use testbed::lab::{FAKETIME, OPENAFS_SERVERS};
use ubik_proto::messages::{Beacon, DiskCall, VoteCall};
use ubik_proto::version::{TransactionId, Version};

use crate::cell::{Cell, ELECTION, Service, wait_for};

/// OpenAFS at the lowest address, ours as voter and as clone.
fn follow(service: Service) -> Cell {
    let mut cell = Cell::new(service, 4, &[3]);
    cell.start_openafs(&[0, 1]);
    cell.start_ours(2);
    cell.start_ours(3);
    wait_for("OpenAFS's sync site writes", ELECTION, || cell.write(1).then_some(()));
    cell
}

/// OpenAFS is sync site; ours votes, takes every write, and holds the same bytes.
pub fn follower(service: Service) {
    let cell = follow(service);
    for nth in 2..5 {
        assert!(cell.write(nth), "write {nth}");
    }
    assert!(cell.finds(2));
    let whole = cell.wait_until_equal(&[0, 1, 2, 3]);
    assert!(cell.copy(0) == whole, "a copy of OpenAFS's database is its file");
    let udebug = cell.udebug(0);
    assert!(udebug.contains("I am sync site") && udebug.contains("Recovery state 1f"), "{udebug}");
    assert_eq!(udebug.matches("dbcurrent=1, up=1 beaconSince=1").count(), 3, "{udebug}");
    let udebug = cell.udebug(2);
    assert!(udebug.contains("Sync host 10.77.0.11 was set"), "{udebug}");
    assert!(udebug.contains("Last yes vote for 10.77.0.11 was"), "{udebug}");
    let clone = cell.udebug(3);
    assert!(clone.contains("I am a clone") || clone.contains("clone"), "{clone}");
    for node in [0, 2, 3] {
        let (status, content) = cell.status(node).unwrap();
        assert!(content && status["sync_site"] == "10.77.0.11", "{status:#}");
    }
}

/// Ours has the lowest address, and only votes: OpenAFS's commands write an empty cell, which needs a sync site that serves
/// them, and go on when OpenAFS's other server is lost, by ours's vote.
pub fn only_votes(service: Service) {
    let mut cell = Cell::new(service, 3, &[]);
    cell.start_ours_voting(0);
    cell.start_openafs(&[1, 2]);
    wait_for("OpenAFS writes beside one of ours that only votes", ELECTION, || cell.write(1).then_some(()));
    let (status, _) = cell.status(0).unwrap();
    let sync_site = if status["sync_site"] == "10.77.0.12" { 1 } else { 2 };
    assert!(status["is_sync_site"] == false && status["stands"] == false, "{status:#}");
    assert!(status["servers"][0]["stands"] == true, "OpenAFS's server stands: {status:#}");
    cell.lab.nodes[3 - sync_site].kill();
    for nth in 2..5 {
        wait_for("a write with ours's vote", ELECTION, || cell.write(nth).then_some(()));
    }
    cell.wait_until_equal(&[0, sync_site]);
    let said = cell.lab.nodes[0].said();
    assert!(said.contains("it never stands for sync site") && !said.contains("asks for votes"), "{said}");
}

/// Ours is at the lowest address, with what OpenAFS wrote before; one of OpenAFS's has the same, one has nothing.
fn lead(service: Service) -> Cell {
    let mut cell = Cell::new(service, 3, &[]);
    cell.seed(&[0, 1]);
    cell.start_ours(0);
    // Whoever asks first is elected. OpenAFS asks every 15 s from its start, ours from 79 s after its own on.
    std::thread::sleep(Duration::from_secs(8));
    cell.start_openafs(&[1, 2]);
    serves_as_sync_site(&cell, 0);
    cell
}

fn serves_as_sync_site(cell: &Cell, node: usize) {
    wait_for("ours serves as sync site", ELECTION, || {
        let (status, _) = cell.status(node)?;
        (status["recovery_state"] == 0x1f && status["is_sync_site"] == true).then_some(())
    });
}

/// Every server is up and in step, as far as `node` knows.
fn all_in_step(cell: &Cell, node: usize) {
    wait_for("every server is in step", ELECTION, || {
        let (_, content) = cell.status(node)?;
        content.then_some(())
    });
}

/// Ours is sync site: what an application of ours writes reaches OpenAFS's followers, and what OpenAFS wrote before is
/// served by them.
pub fn sync_site(service: Service) {
    let cell = lead(service);
    all_in_step(&cell, 0);
    let client = cell.client();
    for nth in 0..200 {
        client.write_register(nth % 50, nth.into()).unwrap();
    }
    assert_eq!(client.read_register(7).unwrap().value, 157);
    let whole = cell.wait_until_equal(&[0, 1, 2]);
    if service.keys {
        assert!(cell.copy(0) == whole && cell.copy(1) == whole, "a copy of either's database is its file");
    }
    assert!(cell.finds(0), "OpenAFS's followers serve what was there before");
    let udebug = cell.udebug(0);
    assert!(udebug.contains("I am sync site") && udebug.contains("Recovery state 1f"), "{udebug}");
    assert!(udebug.contains("Last yes vote for 10.77.0.11 was"), "{udebug}");
    assert_eq!(udebug.matches("dbcurrent=1, up=1 beaconSince=1").count(), 2, "{udebug}");
    let follower = cell.udebug(2);
    assert!(follower.contains("Sync host 10.77.0.11 was set"), "{follower}");
}

/// One of OpenAFS's followers has its clock nearly a minute ahead: it takes part like the other, and is told of.
pub fn skewed_follower(service: Service) {
    let mut cell = Cell::new(service, 3, &[]);
    cell.seed(&[0, 1, 2]);
    cell.start_ours(0);
    // As above.
    std::thread::sleep(Duration::from_secs(8));
    let program = format!("{OPENAFS_SERVERS}/{}", service.program);
    let preload = format!("LD_PRELOAD={FAKETIME}");
    cell.lab.nodes[1].start(Path::new("/usr/bin/env"), &[&preload, "FAKETIME=+50s", &program]);
    cell.start_openafs(&[2]);
    serves_as_sync_site(&cell, 0);
    let client = cell.client();
    // It alone makes the quorum: without it nothing is written.
    cell.lab.nodes[2].kill();
    for nth in 0..100 {
        client.write_register(nth, nth.into()).unwrap();
    }
    cell.wait_until_equal(&[0, 1]);
    let (status, content) = cell.status(0).unwrap();
    let skew = status["servers"][0]["skew_secs"].as_f64().unwrap();
    assert!((45.0..55.0).contains(&skew) && !content, "{status:#}");
    let complaints = status["complaints"].to_string();
    assert!(complaints.contains("the clock of 10.77.0.12 is"), "{complaints}");
    let said = cell.lab.nodes[0].said();
    assert!(said.contains("the clock of 10.77.0.12 is"), "{said}");
}

/// Bytes of a database whose transfer over [`SLOW_LINE`] takes longer than a vote is good for (60 s).
const LARGE: usize = 64 << 20;
/// Megabits a second.
const SLOW_LINE: u32 = 8;

/// Ours serves with one of OpenAFS's that has the same large database, and sends it to one that has nothing, over a line on
/// which that takes more than a minute.
pub fn long_transfer(service: Service) {
    let mut cell = Cell::new(service, 3, &[]);
    cell.seed(&[0, 1]);
    let file = format!("var/db/{}.DB0", service.database);
    for node in &cell.lab.nodes[..2] {
        let mut bytes = std::fs::read(node.path(&file)).unwrap();
        bytes.resize(64 + LARGE, 7);
        std::fs::write(node.path(&file), bytes).unwrap();
    }
    assert!(cell.lab.slow_line(0, SLOW_LINE), "tc is there where ip is");
    cell.start_ours(0);
    // As in `lead`.
    std::thread::sleep(Duration::from_secs(8));
    cell.start_openafs(&[1]);
    serves_as_sync_site(&cell, 0);
    let client = cell.client();
    client.write_register(1, 1).unwrap();
    cell.start_openafs(&[2]);
    let received = cell.lab.nodes[2].path(&format!("{file}.TMP"));
    let under_way = || std::fs::metadata(&received).is_ok_and(|found| found.len() > 1 << 20);
    wait_for("the transfer is under way", ELECTION, || under_way().then_some(()));
    let begun = Instant::now();
    let (mut writes, mut longest) = (0, Duration::ZERO);
    while under_way() {
        assert!(begun.elapsed() < ELECTION, "the transfer does not end");
        let asked = Instant::now();
        // A commit overtakes the transfer, so that another must follow; few of them, at its beginning.
        if begun.elapsed() < Duration::from_secs(30) {
            client.write_register(2, writes).unwrap();
            writes += 1;
        }
        assert!(client.read_register(1).unwrap().value == 1);
        longest = longest.max(asked.elapsed());
        let (status, _) = cell.status(0).unwrap();
        assert!(status["is_sync_site"] == true, "{status:#}");
    }
    let took = begun.elapsed();
    eprintln!(
        "a transfer took {took:?}; meanwhile {writes} writes, a write and a read took {longest:?} at most"
    );
    assert!(took > Duration::from_secs(60), "no vote is good for so long");
    assert!(writes >= 5, "writes went on");
    all_in_step(&cell, 0);
    cell.wait_until_equal(&[0, 1, 2]);
    let said = cell.lab.nodes[0].said();
    let elected = said.matches("was elected sync site").count();
    assert!(elected == 1 && !said.contains("is no longer sync site"), "{said}");
}

/// A follower dies while writes go on; says how long they stood still.
fn loses_a_follower(cell: &mut Cell, node: usize) {
    let client = cell.client();
    client.write_register(1, 1).unwrap();
    cell.lab.nodes[node].kill();
    let mut longest = Duration::ZERO;
    let begun = Instant::now();
    let mut nth = 1000;
    while begun.elapsed() < Duration::from_secs(12) {
        let asked = Instant::now();
        client.write_register(2, nth).unwrap();
        let took = asked.elapsed();
        if took > Duration::from_secs(1) {
            eprintln!("a write took {took:?}, {:?} after the kill", begun.elapsed());
        }
        longest = longest.max(took);
        nth += 1;
    }
    eprintln!("a follower was killed: writes stood still for {:.2} s", longest.as_secs_f64());
    eprintln!("{}", cell.lab.nodes[0].said());
    assert!(nth > 1010, "writes go on without it");
}

/// Ours misses writes and catches up; OpenAFS's sync site dies and another takes its place with ours; it comes back.
pub fn follower_through_elections(service: Service) {
    let mut cell = follow(service);
    cell.lab.nodes[2].kill();
    wait_for("a write without ours", ELECTION, || cell.write(2).then_some(()));
    let missed = cell.lab.nodes[2].database(&format!("{}.DB0", service.database));
    cell.start_ours(2);
    assert_ne!(cell.wait_until_equal(&[0, 1, 2, 3]), missed, "ours was sent what it missed");

    // OpenAFS wants two rounds of ours before it counts on it again.
    wait_for("ours votes again", ELECTION, || {
        (cell.udebug(0).matches("last vote was yes").count() >= 2).then_some(())
    });
    cell.lab.nodes[0].kill();
    wait_for("the other OpenAFS server writes, elected by ours", ELECTION, || cell.write(3).then_some(()));
    assert!(cell.udebug(2).contains("Sync host 10.77.0.12 was set"), "{}", cell.udebug(2));
    cell.start_openafs(&[0]);
    cell.wait_until_equal(&[0, 1, 2, 3]);
    assert!(cell.finds(3));
    assert_eq!(cell.lab.nodes[2].stop(), Some(0), "{}", cell.lab.nodes[2].said());
}

/// Ours as sync site dies, OpenAFS takes over and writes; ours comes back and follows; OpenAFS's sync site stops, and ours
/// takes over again with what OpenAFS wrote.
pub fn sync_site_through_elections(service: Service) {
    let mut cell = lead(service);
    all_in_step(&cell, 0);
    let client = cell.client();
    client.write_register(3, 33).unwrap();
    loses_a_follower(&mut cell, 2);
    cell.start_openafs(&[2]);
    all_in_step(&cell, 0);
    cell.lab.nodes[0].kill();
    let killed = Instant::now();
    wait_for("OpenAFS writes after ours", ELECTION, || cell.write(1).then_some(()));
    eprintln!("ours was killed; OpenAFS wrote {:.1} s later", killed.elapsed().as_secs_f64());
    cell.start_ours(0);
    cell.wait_until_equal(&[0, 1, 2]);
    assert!(cell.udebug(0).contains("I am not sync site"), "{}", cell.udebug(0));

    let (status, _) = cell.status(0).unwrap();
    let sync_site = if status["sync_site"] == "10.77.0.12" { 1 } else { 2 };
    wait_for("ours votes again", ELECTION, || {
        (cell.udebug(sync_site).matches("last vote was yes").count() >= 2).then_some(())
    });
    cell.lab.nodes[sync_site].stop();
    let stopped = Instant::now();
    wait_for("ours is sync site again", ELECTION, || {
        let (status, _) = cell.status(0)?;
        (status["is_sync_site"] == true).then_some(())
    });
    eprintln!("OpenAFS's sync site stopped; ours was elected {:.1} s later", stopped.elapsed().as_secs_f64());
    client.write_register(4, 44).unwrap();
    eprintln!("and wrote {:.1} s later", stopped.elapsed().as_secs_f64());
    assert_eq!(client.read_register(3).unwrap().value, 33, "what ours wrote went through OpenAFS's reign");
    cell.start_openafs(&[sync_site]);
    all_in_step(&cell, 0);
    cell.wait_until_equal(&[0, 1, 2]);
    wait_for("OpenAFS finds what it wrote", ELECTION, || cell.finds(1).then_some(()));
}

/// From a member's own address, without a ticket. Ours is a clone, which would follow a sync site at once.
pub fn strangers(service: Service) {
    let mut cell = Cell::new(service, 2, &[0]);
    cell.start_ours(0);
    wait_for("ours answers", ELECTION, || cell.status(0));
    let address: std::net::SocketAddr = format!("10.77.0.11:{}", service.port).parse().unwrap();
    let namespace = cell.lab.nodes[1].namespace();
    let keys = cell.security();
    let promise = cell.lab.nodes[0].path("var/db").join(format!("{}.PROMISE", service.database));
    let ask = || {
        namespace.enter();
        let port = Port::open("10.77.0.12:0".parse().unwrap(), PortConfig::default()).unwrap();
        let call_with = |security: &dyn SecurityClass, service, bytes: &[u8]| {
            let connection = port.connect(address, ServiceId(service), security, Timeouts::default());
            let mut call = connection.start()?;
            call.write(bytes)?;
            call.read(&mut [0; 8])
        };
        let call = |service, bytes: &[u8]| call_with(&NullSecurity, service, bytes);
        let transaction = TransactionId { epoch: 5, counter: 1 };
        let file = DiskCall::SendFile { file: 0, length: 0, version: Version::new(9, 9) };
        // Without a ticket there is no such service, and no table of registers.
        let not_there = CallFailure::Unanswered(AbortCode::INVALID_OPERATION);
        for request in [DiskCall::Begin(transaction), DiskCall::GetVersion, file, DiskCall::Probe] {
            assert_eq!(call(51, &request.encode()), Err(not_there));
        }
        assert_eq!(call(60, &2u32.to_be_bytes()), Err(not_there));
        // An epoch above the wall clock of a server that has no promise yet, and not far above it.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i32 + 60;
        let beacon = Beacon {
            claims_sync_site: true,
            start: now,
            version: Version::NONE,
            transaction: TransactionId { epoch: now as u32, counter: 1 },
        };
        // A no is an empty answer, a yes would be an abort.
        let beacon = VoteCall::Beacon(beacon).encode();
        assert_eq!(call(50, &beacon), Ok(0));
        assert!(!promise.exists(), "it promised something");
        wait_for("a yes to whoever holds the key", ELECTION, || {
            (call_with(&*keys, 50, &beacon) == Err(CallFailure::Aborted(AbortCode(now)))).then_some(())
        });
        assert!(promise.exists(), "whoever holds the key is followed");
    };
    std::thread::scope(|scope| scope.spawn(ask).join().unwrap());
    assert_eq!(cell.lab.nodes[0].stop(), Some(0));
}
