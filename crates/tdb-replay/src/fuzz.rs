//! What the fuzz targets do with their bytes; a plain test does it with the corpus.
//!
//! Owns the properties that hold of any bytes: they are refused with an error or read; what was read can be counted,
//! cut and printed; what is printed reads back as the same; and an order is found, or not, without a panic.

use std::io::Read;

use history::solver::Limits;
use tdb_trace::Call;
use tdb_trace::packed::{PackedText, with_records};
use tdb_trace::print::line;

use crate::check::check;
use crate::check::report::Report;
use crate::order::attempt::Question;
use crate::slice::Selection;
use crate::stat::Statistics;
use crate::trace::calls::call_of;
use crate::trace::dialect::Dialect;
use crate::trace::{History, Tolerance};

/// Bytes as traces, one after another, divided by zero bytes.
fn traces(bytes: &[u8]) -> Option<History> {
    let texts: Vec<&[u8]> = bytes.split(|&byte| byte == 0).take(4).collect();
    match History::read_texts(&texts, Tolerance { cut_last_line: bytes.len() % 2 == 1 }) {
        Ok(history) => Some(history),
        Err(error) => {
            assert!(error.to_string().contains(": expected "), "{error}");
            None
        }
    }
}

/// Reads, counts, cuts, prints and reads again.
pub fn trace(bytes: &[u8]) {
    let Some(history) = traces(bytes) else { return };
    let statistics = Statistics::of(&history, 3);
    assert_eq!(statistics.lines, history.lines());
    let last = history
        .traces
        .iter()
        .flat_map(|trace| trace.rows.len().checked_sub(1).map(|row| trace.rows.seq(row)));
    let last = last.max().unwrap_or(0);
    let keys: Vec<bool> = (0..history.records.keys.len()).map(|key| key % 2 == 0).collect();
    let choices: [&dyn Fn(&mut Selection); 4] = [
        &|_| {},
        &|part| part.narrow_to_keys(&history, &keys),
        &|part| part.narrow_to_sequence(&history, &(last / 3..=last / 2)),
        &|part| part.narrow_to_times(&history, &(10..=20)),
    ];
    for choose in choices {
        let mut part = Selection::all(&history);
        choose(&mut part);
        part.complete(&history);
        if let Err((trace, row, bad)) = history.restricted(&part.keep) {
            panic!("a completed part is not grammatical: trace {trace}, row {row}: {bad:?}");
        }
    }
    let printed = print(&history);
    let texts: Vec<&[u8]> = printed.iter().map(Vec::as_slice).collect();
    let again = History::read_texts(&texts, Tolerance::default()).unwrap_or_else(|error| panic!("{error}"));
    // Only today's dialect is printed, and lines that do not tell are read as classic.
    if history.dialect == Dialect::Today && again.dialect == Dialect::Today {
        assert_eq!(print(&again), printed);
    }
}

/// Bytes as the records of a packed trace, whole, cut short and with a ring that was never written: read to the end or
/// refused, in text that is no longer than hexadecimal makes it, and that text is a trace or is refused.
pub fn packed(bytes: &[u8]) {
    for (ring, head) in [(64, bytes.len()), (64, bytes.len() / 2), (128, bytes.len() + 32)] {
        let file = with_records(ring, head as u64, bytes);
        let mut text = Vec::new();
        let read = PackedText::new(&*file).and_then(|mut packed| packed.read_to_end(&mut text));
        if let Err(error) = &read {
            assert!(error.to_string().starts_with("damaged packed trace: "), "{error}");
        }
        // A record of a few bytes has a line of a few words.
        assert!(text.len() <= 200 * (bytes.len() + usize::from(ring)), "{} bytes of text", text.len());
        trace(&text);
    }
}

fn print(history: &History) -> Vec<Vec<u8>> {
    let mut texts = Vec::new();
    for trace in &history.traces {
        let mut text = Vec::new();
        line(trace.opened.seq, &Call::Open(trace.opened), trace.opened_stamp, &mut text);
        for index in 0..trace.rows.len() {
            let (row, mut room) = (trace.rows.row(index), [None]);
            let run = if row.op == tdb_trace::Op::Traversefn { row.a } else { 1 };
            let call = call_of(row, &history.records, &mut room);
            (0..run).for_each(|_| line(row.seq, &call, trace.rows.stamp(index), &mut text));
        }
        texts.push(text);
    }
    texts
}

/// Reads and looks for an order, within small bounds.
pub fn order(bytes: &[u8]) {
    const LONGEST: usize = 1 << 14;
    if bytes.len() > LONGEST {
        return;
    }
    let Some(history) = traces(bytes) else { return };
    let verdict = check(&history, Question { limits: Limits { states: 2000 }, ..Question::default() });
    let _ = Report::of(&history, &verdict).to_string();
}
