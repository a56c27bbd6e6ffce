//! Keys, whatever their value.

use resp::ReplyWriter;

use super::options::{Words, once};
use super::{Arguments, Outcome};
use crate::error::{CommandError, refused};
use crate::keyspace::Keyspace;
use crate::number;

pub fn del(keyspace: &mut Keyspace<'_>, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    let mut removed = 0;
    for key in &arguments[1..] {
        removed += i64::from(keyspace.remove(key)?);
    }
    reply.integer(removed);
    Ok(())
}

pub fn delifeq(keyspace: &mut Keyspace<'_>, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    let equal = keyspace.live_string(arguments[1])?.is_some_and(|entry| entry.value() == arguments[2]);
    reply.integer(i64::from(equal && keyspace.remove(arguments[1])?));
    Ok(())
}

pub fn delex(keyspace: &mut Keyspace<'_>, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    let mut words = Words::after(arguments, 2);
    let mut condition = None;
    while let Some(word) = words.next() {
        match word.as_slice() {
            b"IFEQ" => once(&mut condition, (true, words.value()?))?,
            b"IFNE" => once(&mut condition, (false, words.value()?))?,
            _ => return Err(CommandError::SYNTAX),
        }
    }
    let Some((equal, value)) = condition else {
        return del(keyspace, arguments, reply);
    };
    let entry = keyspace.live_string(arguments[1])?;
    let holds = entry.is_some_and(|entry| (entry.value() == value) == equal);
    reply.integer(i64::from(holds && keyspace.remove(arguments[1])?));
    Ok(())
}

pub fn exists(keyspace: &mut Keyspace<'_>, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    let mut found = 0;
    for key in &arguments[1..] {
        found += i64::from(keyspace.find(key)?.is_some());
    }
    reply.integer(found);
    Ok(())
}

pub fn kind(keyspace: &mut Keyspace<'_>, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    let entry = keyspace.find(arguments[1])?;
    reply.simple(entry.map_or("none", |entry| entry.kind.name()));
    Ok(())
}

/// The revision of the last write to each key; 0 for one that is not there.
pub fn revision(keyspace: &mut Keyspace<'_>, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    reply.array(arguments.len() - 1);
    for key in &arguments[1..] {
        let revision = keyspace.find(key)?.map_or(0, |entry| entry.revision);
        reply.integer(i64::try_from(revision).unwrap_or(i64::MAX));
    }
    Ok(())
}

/// What WATCH compares, for each key.
pub fn mark(keyspace: &mut Keyspace<'_>, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    reply.array(arguments.len() - 1);
    for key in &arguments[1..] {
        reply.integer(i64::try_from(keyspace.mark(key)?).unwrap_or(i64::MAX));
    }
    Ok(())
}

pub fn rename(keyspace: &mut Keyspace<'_>, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    let entry = keyspace.find_live(arguments[1])?.ok_or(CommandError::NO_SUCH_KEY)?;
    if arguments[1] != arguments[2] {
        let was_there = keyspace.find_live(arguments[2])?.is_some();
        keyspace.put(arguments[2], was_there, entry.kind, entry.expires, entry.value())?;
        keyspace.remove(arguments[1])?;
    }
    reply.ok();
    Ok(())
}

pub fn renamenx(keyspace: &mut Keyspace<'_>, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    let entry = keyspace.find_live(arguments[1])?.ok_or(CommandError::NO_SUCH_KEY)?;
    let free = keyspace.find_live(arguments[2])?.is_none();
    if free {
        keyspace.put(arguments[2], false, entry.kind, entry.expires, entry.value())?;
        keyspace.remove(arguments[1])?;
    }
    reply.integer(i64::from(free));
    Ok(())
}

pub fn copy(keyspace: &mut Keyspace<'_>, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    let mut words = Words::after(arguments, 3);
    let mut replaces = false;
    while let Some(word) = words.next() {
        match word.as_slice() {
            b"REPLACE" => replaces = true,
            // The front end has taken away what names the present database.
            b"DB" => {
                number::integer(words.value()?)?;
                return Err(refused(
                    "ERR COPY between databases is not supported: nothing is atomic across them",
                ));
            }
            _ => return Err(CommandError::SYNTAX),
        }
    }
    if arguments[1] == arguments[2] {
        return Err(refused("ERR source and destination objects are the same"));
    }
    let Some(entry) = keyspace.find_live(arguments[1])? else {
        reply.integer(0);
        return Ok(());
    };
    let taken = keyspace.find_live(arguments[2])?.is_some();
    if !taken || replaces {
        keyspace.put(arguments[2], taken, entry.kind, entry.expires, entry.value())?;
    }
    reply.integer(i64::from(!taken || replaces));
    Ok(())
}

pub fn dbsize(keyspace: &mut Keyspace<'_>, _: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    reply.integer(keyspace.totals().keys as i64);
    Ok(())
}

pub fn flush(keyspace: &mut Keyspace<'_>, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    match Words::after(arguments, 1).next().as_deref() {
        None | Some(b"SYNC" | b"ASYNC") if arguments.len() <= 2 => {}
        _ => return Err(CommandError::SYNTAX),
    }
    keyspace.clear()?;
    reply.ok();
    Ok(())
}
