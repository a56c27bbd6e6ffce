//! Histories of a service's clients: recorded with times and without numbers, checked, ordered and replayed.

use tdb_replay::check::check;
use tdb_replay::engine::memory::Memory;
use tdb_replay::order::explain::explain;
use tdb_replay::replay::{Options, run};
use tdb_replay::schedule::Schedule;
use tdb_replay::trace::chain::Hashing;
use tdb_replay::trace::{History, Tolerance};
use tdb_replay::verdict::Verdict;
use tdb_trace::client::{ClientTrace, Times};

fn begin() -> ClientTrace<Vec<u8>> {
    ClientTrace::begin(Vec::new(), 1).expect("memory can be written")
}

fn at(start_ns: u64, end_ns: u64) -> Times {
    Times { start_ns, end_ns }
}

fn read(texts: &[Vec<u8>]) -> History {
    let texts: Vec<&[u8]> = texts.iter().map(Vec::as_slice).collect();
    History::read_texts(&texts, Tolerance::default()).unwrap_or_else(|error| panic!("{error}"))
}

/// Whether the history has an order by its times, that of all keys together; if so, it is replayed.
fn explained(texts: &[Vec<u8>]) -> bool {
    let history = read(texts);
    let answer = check(&history, Default::default()).verdict();
    let Ok(mut explained) = explain(&history, Hashing::recorded(&history), Default::default()) else {
        return false;
    };
    let in_time = explained.effort.without_windows == 0;
    assert_eq!(answer == Verdict::Explained, in_time);
    let schedule = Schedule::new(&history, &mut explained);
    let run = run(&history, &schedule, &Memory::new(&history), &Options::default())
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(run.tally.mismatches, 0, "{:?}", run.tally.kept);
    in_time
}

/// R5: many clients of a service that does one thing after the other, at a moment between call and answer: their traces are
/// read, checked, put into one order and replayed.
#[test]
fn clients_of_a_true_service_are_explained() {
    let mut random = fastrand::Rng::with_seed(testbed::seed("clients_of_a_true_service_are_explained"));
    let mut service = std::collections::HashMap::new();
    let mut clients: Vec<_> = (0..5).map(|_| (begin(), 10u64)).collect();
    for step in 1..4000u64 {
        let moment = step * 100;
        let (client, ready) = &mut clients[random.usize(..5)];
        // The moment is the service's; call and answer lie around it, and the client's last answer before the call.
        if *ready >= moment {
            continue;
        }
        let start = random.u64(*ready..moment);
        let end = moment + random.u64(1..2000);
        *ready = end + 1;
        let key = format!("key{}", random.u8(..6)).into_bytes();
        let done = match random.u8(..4) {
            0 => client.deleted(&key, service.remove(&key).is_some(), at(start, end)),
            1 => {
                let value = step.to_string().into_bytes();
                service.insert(key.clone(), value.clone());
                client.stored(&key, &value, at(start, end))
            }
            _ => client.fetched(&key, service.get(&key).map(Vec::as_slice), at(start, end)),
        };
        done.expect("memory can be written");
    }
    let end =
        |(client, ready): (ClientTrace<Vec<u8>>, u64)| client.end(ready).expect("memory can be written");
    let texts: Vec<Vec<u8>> = clients.into_iter().map(end).collect();
    assert!(read(&texts).lines() > 500);

    assert!(explained(&texts));
}

/// R5, R27: a stale read has no order by the times; a store whose outcome nobody knows may have happened, also later, or not.
#[test]
fn stale_reads_are_found_and_lost_stores_may_have_happened() {
    let done = |result: std::io::Result<()>| result.expect("memory can be written");
    let mut writer = begin();
    done(writer.stored(b"k", b"1", at(10, 20)));
    done(writer.stored(b"k", b"2", at(30, 40)));
    let writer = writer.end(50).expect("memory can be written");
    let reader = |value: &[u8], time: u64| {
        let mut reader = begin();
        done(reader.fetched(b"k", Some(value), at(time, time + 10)));
        reader.end(time + 20).expect("memory can be written")
    };
    assert!(explained(&[writer.clone(), reader(b"2", 60)]));
    assert!(explained(&[writer.clone(), reader(b"1", 35)]), "the second store may not have happened by then");
    assert!(!explained(&[writer.clone(), reader(b"1", 60)]));

    let lost = || begin().lost(b"k", Some(b"3")).expect("memory can be written");
    assert!(explained(&[writer.clone(), lost(), reader(b"2", 60)]));
    assert!(explained(&[writer.clone(), lost(), reader(b"3", 500), reader(b"2", 300)]));
    assert!(!explained(&[writer, lost(), reader(b"3", 300), reader(b"2", 500)]));
}
