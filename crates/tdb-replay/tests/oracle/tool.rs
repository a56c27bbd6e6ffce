//! What `quorate check` and `quorate replay` say of a history, through the library entry points that they use.

use history::solver::Limits;
use tdb_replay::check::check;
use tdb_replay::engine::Engine;
use tdb_replay::engine::memory::Memory;
use tdb_replay::engine::tdb::{Settings, TdbFile};
use tdb_replay::order::attempt::Question;
use tdb_replay::order::explain::explain;
use tdb_replay::replay::{Options, run};
use tdb_replay::schedule::Schedule;
use tdb_replay::trace::chain::Hashing;
use tdb_replay::trace::{self, Tolerance, source};
use tdb_replay::verdict::Verdict;

use crate::brute::{can_end_with, first_locked_out};
use crate::history::{Beginning, History, KEYS, Op};
use crate::write::texts;

fn read(history: &History) -> Option<trace::History> {
    let texts = texts(history);
    let texts: Vec<&[u8]> = texts.iter().map(|text| text.as_bytes()).collect();
    trace::History::read_texts(&texts, Tolerance::default()).ok()
}

fn question(history: &History) -> Question {
    Question { empty: history.beginning == Beginning::Declared, ..Question::default() }
}

/// The tool's verdict.
pub fn verdict(history: &History) -> Verdict {
    read(history).map_or(Verdict::Unreadable, |read| check(&read, question(history)).verdict())
}

/// Its verdict on the same history if it may not try every order, as on a large one.
pub fn verdict_as_large(history: &History) -> Verdict {
    let question = Question { limits: Limits { states: 1 }, proved_up_to: 0, ..question(history) };
    read(history).map_or(Verdict::Unreadable, |read| check(&read, question).verdict())
}

/// What is wrong with the order that the tool found: a line that cannot have its lock where it is.
pub fn locks(history: &History) -> Result<(), String> {
    let read = read(history).ok_or("it cannot be read")?;
    let explained = explain(&read, Hashing::recorded(&read), question(history))
        .map_err(|failure| format!("{failure:?}"))?;
    let runs = history.traces.iter().any(|trace| trace.lines.iter().any(|line| line.op == Op::Callbackfn));
    // Lines of callbacks are rows together; and what was not held as it was recorded is counted in the report.
    if runs || !explained.merged.given_up.is_empty() || !explained.merged.unwalked.is_empty() {
        return Ok(());
    }
    match first_locked_out(history, &explained.merged.ranks) {
        None => Ok(()),
        Some((trace, line)) => Err(format!("p{trace}: line {} has no lock in the order found", line + 2)),
    }
}

/// The tool's verdict on the same history in files.
pub fn verdict_on_files(history: &History) -> Verdict {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (nth, text) in texts(history).iter().enumerate() {
        std::fs::write(folder.path().join(format!("p{nth}.trace")), text).expect("a small file");
    }
    let paths = source::expand(folder.path()).expect("the folder was just made");
    let read = trace::History::read(&paths, Tolerance::default(), |_| {});
    read.map_or(Verdict::Unreadable, |read| check(&read, question(history)).verdict())
}

/// What is wrong with a replay of an explained history: results that are not the recorded ones.
pub fn replay(history: &History, on_file: bool) -> Result<(), String> {
    let read = read(history).ok_or("it cannot be read")?;
    let hashing = Hashing::recorded(&read);
    let mut explained =
        explain(&read, hashing, question(history)).map_err(|failure| format!("{failure:?}"))?;
    let schedule = Schedule::new(&read, &mut explained);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file;
    let memory;
    let engine: &dyn Engine = if on_file {
        let settings = Settings { hashing, sync: false };
        file = TdbFile::create(&folder.path().join("scratch.tdb"), settings)
            .map_err(|error| error.to_string())?;
        &file
    } else {
        memory = Memory::new(&read);
        &memory
    };
    let options = Options { latency: false, ..Options::default() };
    let run =
        run(&read, &schedule, engine, &options).map_err(|error| format!("{}: {error}", engine.name()))?;
    match run.tally.mismatches {
        0 => Ok(()),
        _ => Err(format!("{}: {:?}", engine.name(), run.tally.kept)),
    }
}

/// What is wrong with the end that a replay expects: no order leads to it.
pub fn end(history: &History) -> Result<(), String> {
    let read = read(history).ok_or("it cannot be read")?;
    let mut explained = explain(&read, Hashing::recorded(&read), question(history))
        .map_err(|failure| format!("{failure:?}"))?;
    let schedule = Schedule::new(&read, &mut explained);
    let mut last: [Option<Vec<u8>>; KEYS] = Default::default();
    for (id, &value) in (0..).zip(&schedule.last_values) {
        let [letter] = *read.records.keys.bytes(id) else { return Err("a key from nowhere".into()) };
        last[usize::from(letter - b'a')] = (value != 0).then(|| read.records.values.bytes(value).to_vec());
    }
    match can_end_with(history, &last) {
        true => Ok(()),
        false => Err(format!("no order ends with {last:?}")),
    }
}
