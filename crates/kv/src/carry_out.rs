//! A step, carried out: its watched keys compared, its commands run, their replies written.
//!
//! Of many steps in one transaction, each is all or nothing by itself: what fails is undone to where it began.
//!
//! A key whose time has come is never answered as if it lived, and never ends anywhere but in a committed delete: a step
//! that meets one removes it first, which a reading server leaves to the sync site ([`read`] has no reply then).

use std::borrow::Cow;

use resp::ReplyWriter;

use crate::command::{Arguments, find, run};
use crate::error::{CommandError, StorageError};
use crate::keyspace::{Clocks, Keyspace, Point};
use crate::records::Records;
use crate::step::{Body, Step, StepError};

/// Carries `step` out in a transaction that may hold others; returns the bytes of the reply.
///
/// A command that is refused has an error as its reply, which is not a failure of the step: the others of a transaction
/// are carried out, as Redis does.
///
/// # Errors
/// [`StepError::Refused`]: the records cannot be read or written, or would need more room than the quota allows
/// ([`Keyspace::limit`]); the step is undone. If even that fails, so does [`Keyspace::finish`].
pub fn carry_out(step: &Step, keyspace: &mut Keyspace<'_>) -> Result<Vec<u8>, StepError> {
    keyspace.begin_step();
    let begin = keyspace.savepoint();
    let mut reply = ReplyWriter::new(step.protocol);
    match attempt(step, keyspace, &mut reply, &mut Removing) {
        Ok(()) => match keyspace.outgrown(&begin) {
            None => Ok(reply.take()),
            Some(quota) => {
                keyspace.undo(&begin);
                let text = format!(
                    "the database is full: it may have {quota} bytes; delete keys, or raise its quota"
                );
                Err(StepError::Refused(text))
            }
        },
        Err(error) => {
            keyspace.undo(&begin);
            Err(StepError::Refused(error.to_string()))
        }
    }
}

/// The reply of a step that only reads, from records that nobody changes meanwhile; `None` if it met a key whose time has
/// come, so that it has to be carried out where that key can be removed.
///
/// # Errors
/// [`StepError::Refused`]: the records cannot be read.
pub fn read(step: &Step, records: &mut dyn Records, clocks: Clocks) -> Result<Option<Vec<u8>>, StepError> {
    let refused = |error: StorageError| StepError::Refused(error.to_string());
    let mut keyspace = Keyspace::new(records, clocks).map_err(refused)?;
    let mut reply = ReplyWriter::new(step.protocol);
    let mut found = Noting(false);
    attempt(step, &mut keyspace, &mut reply, &mut found).map_err(refused)?;
    Ok((!found.0).then(|| reply.take()))
}

/// What is done about expired keys that a command has read.
trait Expired {
    /// Returns whether the command is to be run once more.
    fn met(&mut self, keyspace: &mut Keyspace<'_>, before: &Point) -> Result<bool, StorageError>;
}

/// They are removed: each once, since the clock stands still in a transaction.
struct Removing;

impl Expired for Removing {
    fn met(&mut self, keyspace: &mut Keyspace<'_>, before: &Point) -> Result<bool, StorageError> {
        let stale = keyspace.take_stale();
        if stale.is_empty() {
            return Ok(false);
        }
        keyspace.roll_back(before)?;
        for key in stale {
            keyspace.begin_command();
            keyspace.expire(&key)?;
        }
        Ok(true)
    }
}

/// It is noted that there were some.
struct Noting(bool);

impl Expired for Noting {
    fn met(&mut self, keyspace: &mut Keyspace<'_>, _: &Point) -> Result<bool, StorageError> {
        self.0 |= !keyspace.take_stale().is_empty();
        Ok(false)
    }
}

fn attempt(
    step: &Step,
    keyspace: &mut Keyspace<'_>,
    reply: &mut ReplyWriter,
    expired: &mut dyn Expired,
) -> Result<(), StorageError> {
    if !unchanged(step, keyspace, expired)? {
        reply.null_array();
        return Ok(());
    }
    match &step.body {
        Body::Command(words) => command(words, keyspace, reply, expired),
        Body::Transaction(commands) => {
            reply.array(commands.len());
            commands.iter().try_for_each(|words| command(words, keyspace, reply, expired))
        }
    }
}

/// Whether the watched keys are as they were.
fn unchanged(
    step: &Step,
    keyspace: &mut Keyspace<'_>,
    expired: &mut dyn Expired,
) -> Result<bool, StorageError> {
    for watched in &step.watched {
        let mark = loop {
            let point = keyspace.savepoint();
            let mark = keyspace.mark(&watched.key)?;
            if !expired.met(keyspace, &point)? {
                break mark;
            }
        };
        if mark != watched.mark {
            return Ok(false);
        }
    }
    Ok(true)
}

fn command(
    words: &[Vec<u8>],
    keyspace: &mut Keyspace<'_>,
    reply: &mut ReplyWriter,
    expired: &mut dyn Expired,
) -> Result<(), StorageError> {
    let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
    let start = reply.bytes().len();
    loop {
        let point = keyspace.savepoint();
        match run_named(&words, keyspace, reply) {
            Ok(()) => {}
            Err(CommandError::Refused(text)) => {
                // A script may have written before it failed.
                keyspace.roll_back(&point)?;
                reply.error(&text);
            }
            Err(CommandError::Storage(error)) => return Err(error),
        }
        if !expired.met(keyspace, &point)? {
            return Ok(());
        }
        reply.truncate(start);
    }
}

fn run_named(
    words: Arguments<'_>,
    keyspace: &mut Keyspace<'_>,
    reply: &mut ReplyWriter,
) -> Result<(), CommandError> {
    let name = words.first().copied().unwrap_or_default();
    let command = find(name).ok_or_else(|| {
        let name = name.escape_ascii();
        CommandError::Refused(Cow::Owned(format!("ERR unknown command '{name}'")))
    })?;
    run(command, keyspace, words, reply)
}
