//! Values of fields.

use resp::{ReplyWriter, Version};

use super::{Arguments, Outcome};
use crate::entry::Kind;
use crate::error::{CommandError, refused};
use crate::fields::Fields;
use crate::keyspace::Keyspace;
use crate::number;

/// A hash about to be changed.
struct Open {
    fields: Fields,
    was_there: bool,
    expires: Option<u64>,
}

impl Open {
    fn of(keyspace: &mut Keyspace<'_>, key: &[u8]) -> Result<Open, CommandError> {
        let Some(entry) = keyspace.find_live(key)? else {
            return Ok(Open { fields: Fields::default(), was_there: false, expires: None });
        };
        if entry.kind != Kind::Hash {
            return Err(CommandError::WRONG_TYPE);
        }
        let fields = Fields::decode(key, entry.value())?;
        Ok(Open { fields, was_there: true, expires: entry.expires })
    }

    fn write(&self, keyspace: &mut Keyspace<'_>, key: &[u8]) -> Outcome {
        Ok(keyspace.put(key, self.was_there, Kind::Hash, self.expires, &self.fields.encode())?)
    }
}

fn set_fields(
    keyspace: &mut Keyspace<'_>,
    arguments: Arguments<'_>,
    name: &str,
) -> Result<i64, CommandError> {
    if !arguments.len().is_multiple_of(2) {
        let text = format!("ERR wrong number of arguments for '{name}' command");
        return Err(CommandError::Refused(text.into()));
    }
    let mut hash = Open::of(keyspace, arguments[1])?;
    let new = arguments[2..].chunks_exact(2).filter(|pair| hash.fields.set(pair[0], pair[1])).count();
    hash.write(keyspace, arguments[1])?;
    Ok(new as i64)
}

pub fn hset(keyspace: &mut Keyspace<'_>, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    reply.integer(set_fields(keyspace, arguments, "hset")?);
    Ok(())
}

pub fn hmset(keyspace: &mut Keyspace<'_>, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    set_fields(keyspace, arguments, "hmset")?;
    reply.ok();
    Ok(())
}

pub fn hsetnx(keyspace: &mut Keyspace<'_>, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    let mut hash = Open::of(keyspace, arguments[1])?;
    let absent = hash.fields.get(arguments[2]).is_none();
    if absent {
        hash.fields.set(arguments[2], arguments[3]);
        hash.write(keyspace, arguments[1])?;
    }
    reply.integer(i64::from(absent));
    Ok(())
}

pub fn hdel(keyspace: &mut Keyspace<'_>, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    let mut hash = Open::of(keyspace, arguments[1])?;
    let removed = arguments[2..].iter().filter(|field| hash.fields.remove(field)).count();
    if removed > 0 && hash.fields.is_empty() {
        keyspace.remove(arguments[1])?;
    } else if removed > 0 {
        hash.write(keyspace, arguments[1])?;
    }
    reply.integer(removed as i64);
    Ok(())
}

pub fn hincrby(keyspace: &mut Keyspace<'_>, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    let more = number::integer(arguments[3])?;
    let mut hash = Open::of(keyspace, arguments[1])?;
    let old = hash.fields.get(arguments[2]).map_or(Ok(0), number::integer);
    let old = old.map_err(|_| refused("ERR hash value is not an integer"))?;
    let number = old.checked_add(more).ok_or(CommandError::OVERFLOW)?;
    hash.fields.set(arguments[2], number.to_string().as_bytes());
    hash.write(keyspace, arguments[1])?;
    reply.integer(number);
    Ok(())
}

pub fn hincrbyfloat(
    keyspace: &mut Keyspace<'_>,
    arguments: Arguments<'_>,
    reply: &mut ReplyWriter,
) -> Outcome {
    number::float(arguments[3])?;
    let mut hash = Open::of(keyspace, arguments[1])?;
    let old = hash.fields.get(arguments[2]).unwrap_or(b"0");
    number::float(old).map_err(|_| refused("ERR hash value is not a float"))?;
    let text = number::add_floats(old, arguments[3])?;
    hash.fields.set(arguments[2], text.as_bytes());
    hash.write(keyspace, arguments[1])?;
    reply.string(text.as_bytes());
    Ok(())
}

pub fn hget(keyspace: &mut Keyspace<'_>, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    reply.optional(keyspace.fields(arguments[1])?.get(arguments[2]));
    Ok(())
}

pub fn hmget(keyspace: &mut Keyspace<'_>, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    let fields = keyspace.fields(arguments[1])?;
    reply.array(arguments.len() - 2);
    arguments[2..].iter().for_each(|field| reply.optional(fields.get(field)));
    Ok(())
}

pub fn hstrlen(keyspace: &mut Keyspace<'_>, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    let fields = keyspace.fields(arguments[1])?;
    reply.integer(fields.get(arguments[2]).map_or(0, <[u8]>::len) as i64);
    Ok(())
}

/// `HRANDFIELD key [count [WITHVALUES]]`: different fields, or with a negative count any, perhaps several times.
pub fn hrandfield(keyspace: &mut Keyspace<'_>, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    /// So many may be asked for with repetition; what a hash holds bounds the others.
    const MOST: usize = 1 << 20;
    let (count, with_values) = match &arguments[2..] {
        [] => (None, false),
        [count] => (Some(number::integer(count)?), false),
        [count, word] if word.eq_ignore_ascii_case(b"WITHVALUES") => (Some(number::integer(count)?), true),
        _ => return Err(CommandError::SYNTAX),
    };
    let fields = keyspace.fields(arguments[1])?;
    let all: Vec<(&[u8], &[u8])> = fields.iter().collect();
    let Some(count) = count else {
        reply.optional(fastrand::choice(&all).map(|(field, _)| *field));
        return Ok(());
    };
    let wanted = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    let chosen: Vec<(&[u8], &[u8])> = match count {
        0.. => fastrand::choose_multiple(all, wanted),
        _ if wanted > MOST => return Err(refused("ERR value is out of range")),
        _ if all.is_empty() => Vec::new(),
        _ => (0..wanted).map(|_| all[fastrand::usize(..all.len())]).collect(),
    };
    let flat = with_values && reply.version() == Version::Resp2;
    reply.array(if flat { 2 * chosen.len() } else { chosen.len() });
    for (field, value) in chosen {
        if with_values && !flat {
            reply.array(2);
        }
        reply.string(field);
        if with_values {
            reply.string(value);
        }
    }
    Ok(())
}

pub fn hexists(keyspace: &mut Keyspace<'_>, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    let found = keyspace.fields(arguments[1])?.get(arguments[2]).is_some();
    reply.integer(i64::from(found));
    Ok(())
}

pub fn hlen(keyspace: &mut Keyspace<'_>, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    reply.integer(keyspace.fields(arguments[1])?.len() as i64);
    Ok(())
}

pub fn hgetall(keyspace: &mut Keyspace<'_>, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    let fields = keyspace.fields(arguments[1])?;
    reply.map(fields.len());
    for (field, value) in fields.iter() {
        reply.string(field);
        reply.string(value);
    }
    Ok(())
}

pub fn hkeys(keyspace: &mut Keyspace<'_>, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    let fields = keyspace.fields(arguments[1])?;
    reply.array(fields.len());
    fields.iter().for_each(|(field, _)| reply.string(field));
    Ok(())
}

pub fn hvals(keyspace: &mut Keyspace<'_>, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    let fields = keyspace.fields(arguments[1])?;
    reply.array(fields.len());
    fields.iter().for_each(|(_, value)| reply.string(value));
    Ok(())
}
