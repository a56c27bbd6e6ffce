//! Strings that are numbers.

use resp::ReplyWriter;

use super::{Arguments, Outcome};
use crate::entry::Kind;
use crate::error::{CommandError, refused};
use crate::keyspace::Keyspace;
use crate::number;

pub fn incr(keyspace: &mut Keyspace<'_>, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    add(keyspace, arguments[1], 1, reply)
}

pub fn decr(keyspace: &mut Keyspace<'_>, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    add(keyspace, arguments[1], -1, reply)
}

pub fn incrby(keyspace: &mut Keyspace<'_>, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    add(keyspace, arguments[1], number::integer(arguments[2])?, reply)
}

pub fn decrby(keyspace: &mut Keyspace<'_>, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    let less = number::integer(arguments[2])?.checked_neg().ok_or(refused("ERR decrement would overflow"))?;
    add(keyspace, arguments[1], less, reply)
}

fn add(keyspace: &mut Keyspace<'_>, key: &[u8], more: i64, reply: &mut ReplyWriter) -> Outcome {
    let old = keyspace.live_string(key)?;
    let number = old.as_ref().map_or(Ok(0), |old| number::integer(old.value()))?;
    let number = number.checked_add(more).ok_or(CommandError::OVERFLOW)?;
    let expires = old.as_ref().and_then(|old| old.expires);
    keyspace.put(key, old.is_some(), Kind::String, expires, number.to_string().as_bytes())?;
    reply.integer(number);
    Ok(())
}

pub fn incrbyfloat(
    keyspace: &mut Keyspace<'_>,
    arguments: Arguments<'_>,
    reply: &mut ReplyWriter,
) -> Outcome {
    let old = keyspace.live_string(arguments[1])?;
    let text = number::add_floats(old.as_ref().map_or(b"0", |old| old.value()), arguments[2])?;
    let expires = old.as_ref().and_then(|old| old.expires);
    keyspace.put(arguments[1], old.is_some(), Kind::String, expires, text.as_bytes())?;
    reply.string(text.as_bytes());
    Ok(())
}
