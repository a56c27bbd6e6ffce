//! Abstract histories as the text of trace files, by docs/trace-format.md and docs/trace-extended.md alone.

use std::fmt::Write;

use crate::history::{Beginning, Flag, History, Key, Line, Op, Value};

/// The traces' texts.
pub fn texts(history: &History) -> Vec<String> {
    (0..history.traces.len()).map(|nth| text(history, nth)).collect()
}

fn text(history: &History, nth: usize) -> String {
    let trace = &history.traces[nth];
    let mut out = format!("{} tdb_open {}", trace.opened, if history.one_chain { 1 } else { 1009 });
    let internal = if history.beginning == Beginning::Internal { 2 } else { 0 };
    let clear = if history.beginning == Beginning::ClearIfFirst { 1 } else { 0 };
    let today = if history.classic { 0 } else { 0x800 };
    let truncate = if history.beginning == Beginning::Truncated && nth == 0 { 0x200 } else { 0 };
    let _ = write!(out, " 0x{:x} 0x{:x}", today | internal | clear, 0x42 | truncate);
    if trace.exact {
        out.push_str(" #v");
    }
    end(&mut out, trace.opened_time, None);
    for line in &trace.lines {
        let Line { number, time, version, .. } = *line;
        let _ = write!(out, "{number} {}", operation(history, line.op));
        end(&mut out, time, version);
    }
    if let Some(op) = trace.under_way {
        let _ = write!(out, "? {} #1+?", operation(history, op));
        out.push('\0');
    }
    out
}

fn end(out: &mut String, time: Option<(u64, u64)>, version: Option<u32>) {
    if let Some((call, answer)) = time {
        let _ = write!(out, " #{call}+{}", answer - call);
        if let Some(version) = version {
            let _ = write!(out, " v{version}");
        }
    }
    out.push('\n');
}

fn record(bytes: &[u8]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}:{hex}", bytes.len())
}

fn key(key: Key) -> String {
    record(&[b'a' + key as u8])
}

fn some_key(some: Option<Key>) -> String {
    some.map_or("NULL".into(), key)
}

fn word(value: Value) -> String {
    record(&value.bytes())
}

fn some_word(value: Option<Value>) -> String {
    value.map_or("NULL".into(), word)
}

fn flag(flag: Flag) -> &'static str {
    match flag {
        Flag::Replace => "0x1",
        Flag::Insert => "0x2",
        Flag::Modify => "0x3",
    }
}

fn result(done: bool) -> i32 {
    if done { 0 } else { -1 }
}

fn operation(history: &History, op: Op) -> String {
    let read = |write: bool| if write { "" } else { "_read" };
    match op {
        Op::Fetch { key: k, found } => format!("tdb_fetch {} = {}", key(k), some_word(found)),
        Op::Exists { key: k, there } => format!("tdb_exists {} = {}", key(k), u8::from(there)),
        Op::Parse { key: k, there } => format!("tdb_parse_record {} = {}", key(k), result(there)),
        Op::Store { key: k, value, flag: f, done } => {
            format!("tdb_store {} {} {} = {}", key(k), word(value), flag(f), result(done))
        }
        Op::Storev { key: k, value, flag: f } => {
            format!("tdb_storev {} {} {} = -1", key(k), word(value), flag(f))
        }
        Op::Append { key: k, before, more } if history.classic => {
            format!(
                "tdb_append {} {} = {}",
                key(k),
                word(more),
                word(before.unwrap_or(Value::EMPTY).then(more))
            )
        }
        Op::Append { key: k, before, more } => {
            format!("tdb_append {} {} = {}", key(k), some_word(before), word(more))
        }
        Op::Delete { key: k, done } => format!("tdb_delete {} = {}", key(k), result(done)),
        Op::GetSeqnum(number) => format!("tdb_get_seqnum = {number}"),
        Op::Firstkey(found) => format!("tdb_firstkey = {}", some_key(found)),
        Op::Nextkey(k, found) => format!("tdb_nextkey {} = {}", key(k), some_key(found)),
        Op::TraverseStart { write } => format!("tdb_traverse{}_start", read(write)),
        Op::Callback { key: k, found } => format!("traverse {} = {}", key(k), word(found)),
        Op::TraverseEnd(Some(count)) => format!("tdb_traverse_end = {count}"),
        Op::Lockall { write } => format!("tdb_lockall{}", read(write)),
        Op::LockallTry { write, done } => format!("tdb_lockall{}_nonblock = {}", read(write), result(done)),
        Op::Unlockall { write } => format!("tdb_unlockall{}", read(write)),
        Op::LockallMark { set } => format!("tdb_lockall_{}mark", if set { "" } else { "un" }),
        Op::Chainlock { key: k, write } => format!("tdb_chainlock{} {}", read(write), key(k)),
        Op::ChainlockTry { key: k, write, done } => {
            format!("tdb_chainlock{}_nonblock {} = {}", read(write), key(k), result(done))
        }
        Op::Chainunlock { key: k, write } => format!("tdb_chainunlock{} {}", read(write), key(k)),
        Op::ChainMark { key: k, set } => {
            format!("tdb_chainlock_{}mark {}", if set { "" } else { "un" }, key(k))
        }
        plain => name(plain).into(),
    }
}

/// The operations whose line is a name alone.
fn name(op: Op) -> &'static str {
    match op {
        Op::Wipe => "tdb_wipe_all",
        Op::Callbackfn => "traversefn",
        Op::TraverseEnd(_) => "tdb_traverse_end",
        Op::Start => "tdb_transaction_start",
        Op::Prepare => "tdb_transaction_prepare_commit",
        Op::Commit => "tdb_transaction_commit",
        Op::Cancel => "tdb_transaction_cancel",
        Op::Repack => "tdb_repack",
        Op::Close => "tdb_close",
        other => unreachable!("{other:?} has arguments"),
    }
}
