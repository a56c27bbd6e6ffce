//! What the engine's operations are in a trace's words.

use std::path::{Path, PathBuf};

use tdb::{LockKind, Opening, Operation, StoreMode, Wait};

use crate::call::{Call, Opened};
use crate::op::Op;

/// `FOLDER/DATABASE.WHAT.PID`.
pub(crate) fn trace_name(folder: &Path, opening: &Opening, what: &str) -> PathBuf {
    let mut name = opening.name.file_name().unwrap_or(opening.name.as_os_str()).to_owned();
    name.push(format!(".{what}.{}", std::process::id()));
    folder.join(name)
}

/// The trace's first line; `exact` if it says that the numbers of the lines are versions.
pub(crate) fn open_line(opening: &Opening, exact: bool) -> Call<'static> {
    let asked = [
        (opening.create, libc::O_CREAT),
        (opening.exclusive, libc::O_EXCL),
        (opening.truncate, libc::O_TRUNC),
    ];
    let mode = if opening.read_only { libc::O_RDONLY } else { libc::O_RDWR };
    let open_flags = asked.iter().filter(|(on, _)| *on).fold(mode, |flags, (_, flag)| flags | flag) as u32;
    let opened = Opened { seq: 0, hash_size: opening.hash_size, tdb_flags: opening.flags.0, open_flags };
    // Without a lock a number is read at any moment.
    if exact && opening.takes_locks { Call::OpenExact(opened) } else { Call::Open(opened) }
}

/// Calls `with` with what the operation's line says. It is compiled for each of the frequent shapes by itself: one jump a line
/// that may be foretold wrong, not several.
#[inline(always)]
pub(crate) fn with_call<T>(operation: &Operation<'_>, with: impl Fn(&Call<'_>) -> T) -> T {
    match *operation {
        Operation::Fetch { key, value: Some(value) } => {
            with(&Call::KeyRecord(Op::Fetch, Some(key), Some(value)))
        }
        Operation::Exists { key, found } => with(&Call::KeyResult(Op::Exists, Some(key), found.into())),
        Operation::Store { key, parts: &[value], mode, done: true } => {
            with(&Call::Store { key: Some(key), value: Some(value), flag: flag(mode), result: 0 })
        }
        Operation::Shown { key, value } => with(&Call::KeyRecord(Op::Traverse, Some(key), Some(value))),
        ref other => with_rare(&call_of(other), &|call| with(call)),
    }
}

#[inline(never)]
fn with_rare<T>(call: &Call<'_>, with: &dyn Fn(&Call<'_>) -> T) -> T {
    with(call)
}

/// What the operation's line says.
#[inline(always)]
pub(crate) fn call_of<'a>(operation: &Operation<'a>) -> Call<'a> {
    match *operation {
        Operation::Fetch { key, value } => Call::KeyRecord(Op::Fetch, Some(key), value),
        Operation::ParseRecord { key, found } => Call::KeyResult(Op::ParseRecord, Some(key), result(found)),
        Operation::Exists { key, found } => Call::KeyResult(Op::Exists, Some(key), found.into()),
        Operation::Store { key, parts, mode, done } => {
            Call::StoreParts { key, parts, flag: flag(mode), result: result(done) }
        }
        Operation::Append { key, before, more } => {
            Call::Append { key: Some(key), before, appended: Some(more) }
        }
        Operation::Delete { key, done } => Call::KeyResult(Op::Delete, Some(key), result(done)),
        Operation::Shown { key, value } => Call::KeyRecord(Op::Traverse, Some(key), Some(value)),
        Operation::FirstKey { found } => Call::Firstkey(found),
        Operation::NextKey { key, found } => Call::KeyRecord(Op::Nextkey, Some(key), found),
        Operation::LockChain { key, kind, wait, locked } => chain_lock(key, kind, wait, locked),
        Operation::UnlockChain { key, kind: LockKind::Write } => Call::Key(Op::Chainunlock, Some(key)),
        Operation::UnlockChain { key, kind: LockKind::Read } => Call::Key(Op::ChainunlockRead, Some(key)),
        Operation::MarkChain { key } => Call::Key(Op::ChainlockMark, Some(key)),
        Operation::UnmarkChain { key } => Call::Key(Op::ChainlockUnmark, Some(key)),
        Operation::LockAll { kind, wait, locked } => lock_all(kind, wait, locked),
        Operation::UnlockAll { kind: LockKind::Write } => Call::Bare(Op::Unlockall),
        Operation::UnlockAll { kind: LockKind::Read } => Call::Bare(Op::UnlockallRead),
        Operation::MarkAll => Call::Bare(Op::LockallMark),
        Operation::UnmarkAll => Call::Bare(Op::LockallUnmark),
        Operation::TraverseStart { write: true } => Call::Bare(Op::TraverseStart),
        Operation::TraverseStart { write: false } => Call::Bare(Op::TraverseReadStart),
        Operation::TraverseEnd { stopped_after: Some(count) } => {
            Call::Result(Op::TraverseEnd, count.min(i32::MAX as u64) as i32)
        }
        Operation::TraverseEnd { stopped_after: None } => Call::Bare(Op::TraverseEnd),
        Operation::TransactionStart => Call::Bare(Op::TransactionStart),
        Operation::PrepareCommit => Call::Bare(Op::TransactionPrepareCommit),
        Operation::Commit => Call::Bare(Op::TransactionCommit),
        Operation::Cancel => Call::Bare(Op::TransactionCancel),
        Operation::WipeAll => Call::Bare(Op::WipeAll),
        Operation::Repack => Call::Bare(Op::Repack),
        Operation::SequenceNumber(number) => Call::Result(Op::GetSeqnum, number.cast_signed()),
        Operation::Close => Call::Bare(Op::Close),
    }
}

fn chain_lock(key: &[u8], kind: LockKind, wait: Wait, locked: bool) -> Call<'_> {
    match (kind, wait) {
        (LockKind::Write, Wait::Yes) => Call::Key(Op::Chainlock, Some(key)),
        (LockKind::Read, Wait::Yes) => Call::Key(Op::ChainlockRead, Some(key)),
        (LockKind::Write, Wait::No) => Call::KeyResult(Op::ChainlockNonblock, Some(key), result(locked)),
        (LockKind::Read, Wait::No) => Call::KeyResult(Op::ChainlockReadNonblock, Some(key), result(locked)),
    }
}

fn lock_all(kind: LockKind, wait: Wait, locked: bool) -> Call<'static> {
    match (kind, wait) {
        (LockKind::Write, Wait::Yes) => Call::Bare(Op::Lockall),
        (LockKind::Read, Wait::Yes) => Call::Bare(Op::LockallRead),
        (LockKind::Write, Wait::No) => Call::Result(Op::LockallNonblock, result(locked)),
        (LockKind::Read, Wait::No) => Call::Result(Op::LockallReadNonblock, result(locked)),
    }
}

/// What a line says of something that was done, or was not.
fn result(done: bool) -> i32 {
    if done { 0 } else { -1 }
}

/// The flag on a line.
pub(crate) fn flag(mode: StoreMode) -> u32 {
    match mode {
        StoreMode::Replace => 1,
        StoreMode::Insert => 2,
        StoreMode::Modify => 3,
    }
}
