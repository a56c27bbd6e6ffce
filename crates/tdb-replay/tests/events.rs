//! Runs as Chrome's trace events: what viewers ask of them, and that each operation is there.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;
use tdb_replay::engine::Engine;
use tdb_replay::engine::memory::Memory;
use tdb_replay::engine::tdb::{Settings, TdbFile};
use tdb_replay::order::explain::explain;
use tdb_replay::replay::noting::Noting;
use tdb_replay::replay::{Options, Run, run};
use tdb_replay::schedule::Schedule;
use tdb_replay::trace::chain::Hashing;
use tdb_replay::trace::{History, Tolerance, source};
use tdb_replay::trace_events::Events;

const EVERYTHING: Noting = Noting::one_of(1, 1);

fn read(paths: &[PathBuf]) -> History {
    History::read(paths, Tolerance::default(), |_| {}).unwrap_or_else(|error| panic!("{error}"))
}

fn set(name: &str) -> History {
    let path = testbed::test_data(&format!("traces/{name}"));
    read(&source::expand(&path).unwrap_or_else(|error| panic!("{error}")))
}

fn planned(history: &History) -> Schedule {
    let mut explained = explain(history, Hashing::recorded(history), Default::default())
        .unwrap_or_else(|failure| panic!("{}", tdb_replay::report::explain_failure(history, &failure)));
    Schedule::new(history, &mut explained)
}

/// Runs, writes, reads: the run, the file's metadata, its events.
fn events(
    history: &History,
    schedule: &Schedule,
    engine: &dyn Engine,
    noting: Noting,
) -> (Run, Value, Vec<Value>) {
    let options = Options { timeline: true, noting: Some(noting), ..Options::default() };
    let run = run(history, schedule, engine, &options).unwrap_or_else(|error| panic!("{error}"));
    let names: Vec<String> = (1..=history.traces.len()).map(|number| format!("p{number}")).collect();
    let (timeline, mismatches) = (&run.timeline, run.tally.kept.as_slice());
    let mut text = Vec::new();
    Events { history, schedule, names: &names, noting, timeline, mismatches }
        .write(&mut text)
        .expect("a vector takes everything");
    let mut file: Value = serde_json::from_slice(&text).expect("it is JSON");
    let Value::Array(events) = file["traceEvents"].take() else { panic!("a list of events") };
    validate(&events);
    (run, file["otherData"].take(), events)
}

/// An event's beginning and end in nanoseconds.
fn span(event: &Value) -> (u64, u64) {
    let nanos = |field: &str| {
        let number = event[field].as_f64().unwrap_or_else(|| panic!("{field} is a number: {event}"));
        assert!(number >= 0.0, "{event}");
        (number * 1000.0).round() as u64
    };
    (nanos("ts"), nanos("ts") + if event["ph"] == "X" { nanos("dur") } else { 0 })
}

fn of<'a>(events: &'a [Value], phase: &'a str) -> impl Iterator<Item = &'a Value> {
    events.iter().filter(move |event| event["ph"] == phase)
}

/// The rules of the format ("Trace Event Format", Google) for the phases that are used.
fn validate(events: &[Value]) {
    let mut by_thread = BTreeMap::<u64, Vec<&Value>>::new();
    let mut flows = BTreeMap::<u64, Vec<&Value>>::new();
    for event in events {
        let thread = event["tid"].as_u64().unwrap_or_else(|| panic!("a thread: {event}"));
        assert!(event["pid"].is_u64() && event["name"].is_string(), "{event}");
        span(event);
        match event["ph"].as_str() {
            Some("X") => by_thread.entry(thread).or_default().push(event),
            Some("s" | "f") => {
                flows.entry(event["id"].as_u64().expect("an id")).or_default().push(event);
            }
            phase => assert!(phase == Some("M") && event["args"].is_object(), "{event}"),
        }
    }
    for slices in by_thread.values_mut() {
        nested(slices);
    }
    for (id, ends) in &flows {
        let [from, to] = ends[..] else { panic!("flow {id}: {ends:?}") };
        assert!(from["ph"] == "s" && to["ph"] == "f" && to["bp"] == "e", "{from} {to}");
        assert!(span(from).0 <= span(to).0, "{from} {to}");
        assert!((&from["cat"], &from["name"]) == (&to["cat"], &to["name"]), "{from} {to}");
        for (end, category) in [(from, "operation"), (to, "wait")] {
            let thread = &by_thread[&end["tid"].as_u64().expect("a thread")];
            let (at, _) = span(end);
            let around =
                |slice: &&&Value| slice["cat"] == category && (span(slice).0..=span(slice).1).contains(&at);
            assert!(thread.iter().any(|slice| around(&slice)), "nothing is around {end}");
        }
    }
}

/// On one thread slices follow or contain each other.
fn nested(slices: &mut [&Value]) {
    slices.sort_by_key(|slice| (span(slice).0, std::cmp::Reverse(span(slice).1)));
    let mut open: Vec<u64> = Vec::new();
    for slice in slices {
        assert!(slice["args"].is_object() && slice["cat"].is_string(), "{slice}");
        let (from, to) = span(slice);
        while open.last().is_some_and(|&end| end <= from) {
            open.pop();
        }
        assert!(open.last().is_none_or(|&end| to <= end), "{slice} leaves what it began in");
        open.push(to);
    }
}

/// R40: every row that is run of every trace is an event with its line, every wait is one, and an arrow ends each; on any engine.
#[test]
fn every_operation_and_every_wait_is_an_event() {
    let history = set("gen-full-n2-ops5k");
    let schedule = planned(&history);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let settings = Settings { hashing: Hashing::recorded(&history), sync: false };
    let file = TdbFile::create(&folder.path().join("s.tdb"), settings).expect("a new database");
    for engine in [&Memory::new(&history) as &dyn Engine, &file] {
        let (run, metadata, events) = events(&history, &schedule, engine, EVERYTHING);
        assert_eq!(metadata["written"], "everything");
        for (number, trace) in history.traces.iter().enumerate() {
            let own = |event: &&Value| event["tid"] == number + 1 && event["cat"] == "operation";
            let shown: Vec<_> = events.iter().filter(own).collect();
            assert_eq!(shown.len(), schedule.traces[number].end as usize);
            for (row, event) in shown.into_iter().enumerate() {
                assert_eq!(event["args"]["line"], trace.rows.line(row), "{event}");
                assert_eq!(event["name"], trace.rows.op(row).name(), "{event}");
            }
        }
        let waits = run.tally.waits as usize;
        let counts = ["wait", "operation"]
            .map(|category| of(&events, "X").filter(|event| event["cat"] == category).count());
        assert_eq!((counts[0], of(&events, "s").count()), (waits, waits));
    }
}

/// R40: of too many operations and waits a part is written, with whole arrows, and the file says so.
#[test]
fn a_part_of_a_long_run_is_written_and_said_to_be_one() {
    let history = set("gen-full-n2-ops5k");
    let schedule = planned(&history);
    let (run, metadata, events) = events(&history, &schedule, &Memory::new(&history), Noting::one_of(10, 2));
    let rows: usize = schedule.traces.iter().map(|plan| plan.end as usize).sum();
    let count = |category: &str| of(&events, "X").filter(|event| event["cat"] == category).count();
    let (operations, waits) = (count("operation"), count("wait"));
    let announced: usize = schedule.traces.iter().map(|plan| plan.announce.len()).sum();
    assert!((rows / 10 - 2..rows / 10 + announced + 2).contains(&operations), "{operations} of {rows}");
    assert_eq!(of(&events, "s").count(), waits);
    let said = metadata["written"].as_str().expect("a text");
    let all = run.tally.waits;
    assert!(
        said.starts_with(&format!("{operations} of {rows} operations and {waits} of {all} waits")),
        "{said}"
    );
}

/// R40: keys and results are shown whatever bytes they are of, and not at any length; a result that was not the recorded one is
/// shown beside it.
#[test]
fn keys_and_results_are_escaped_cut_and_compared() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let trace = folder.path().join("p.trace");
    let long = "61".repeat(100);
    let text = format!(
        "0 tdb_open 3 0x0 0x42\n0 tdb_fetch 4:22005cff = 100:{long}\n1 tdb_store 1:6b 1:76 0 = 0\n1 tdb_close\n"
    );
    std::fs::write(&trace, text).expect("a trace");
    let history = read(&[trace]);
    let mut schedule = planned(&history);
    assert_eq!(schedule.planted.len(), 1);
    let args = |schedule: &Schedule| {
        let (_, _, events) = events(&history, schedule, &Memory::new(&history), EVERYTHING);
        of(&events, "X").map(|event| event["args"].clone()).collect::<Vec<_>>()
    };
    let [fetch, store, ..] = &args(&schedule)[..] else { panic!("two operations") };
    assert_eq!(fetch["key"], r#"4 bytes "\"\x00\\\xff""#);
    assert_eq!(fetch["result"], format!("100 bytes \"{}...\"", "a".repeat(64)));
    assert_eq!((&store["line"], &store["result"]), (&3.into(), &"0".into()));
    schedule.planted.clear();
    let [fetch, ..] = &args(&schedule)[..] else { panic!("two operations") };
    assert_eq!(fetch["result"], "no such key");
    assert_eq!(fetch["recorded"], format!("100 bytes \"{}...\"", "a".repeat(64)));
}
