//! Values of bytes.

use resp::ReplyWriter;

use super::options::{Time, Words, once};
use super::{Arguments, Outcome};
use crate::entry::{Entry, Kind};
use crate::error::{CommandError, refused};
use crate::keyspace::Keyspace;
use crate::number;

/// The longest string that SETRANGE and APPEND may make, in bytes: as much as a request may bring.
pub const LONGEST: usize = 16 << 20;

pub fn get(keyspace: &mut Keyspace<'_>, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    let entry = keyspace.string(arguments[1])?;
    reply.optional(entry.as_ref().map(Entry::value));
    Ok(())
}

pub fn strlen(keyspace: &mut Keyspace<'_>, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    let entry = keyspace.string(arguments[1])?;
    reply.integer(entry.map_or(0, |entry| entry.value().len() as i64));
    Ok(())
}

pub fn getrange(keyspace: &mut Keyspace<'_>, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    let (first, last) = (number::integer(arguments[2])?, number::integer(arguments[3])?);
    let entry = keyspace.string(arguments[1])?;
    let value = entry.as_ref().map_or(&[][..], Entry::value);
    let place = |place: i64| if place < 0 { (place + value.len() as i64).max(0) } else { place } as usize;
    // Two places behind the end are in the wrong order even where both become the first byte.
    let crossed = first < 0 && last < 0 && first > last;
    let end = value.len().min(place(last).saturating_add(1));
    reply.string(if crossed { &[] } else { value.get(place(first)..end).unwrap_or_default() });
    Ok(())
}

pub fn mget(keyspace: &mut Keyspace<'_>, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    reply.array(arguments.len() - 1);
    for key in &arguments[1..] {
        let entry = keyspace.find(key)?.filter(|entry| entry.kind == Kind::String);
        reply.optional(entry.as_ref().map(Entry::value));
    }
    Ok(())
}

/// What the words behind SET's value say.
#[derive(Default)]
struct SetOptions<'a> {
    condition: Option<Condition<'a>>,
    expires: Option<u64>,
    keeps_expiry: bool,
    answers_old: bool,
}

enum Condition<'a> {
    Absent,
    Present,
    Equals(&'a [u8]),
}

impl<'a> SetOptions<'a> {
    fn read(keyspace: &Keyspace<'_>, arguments: &'a [&'a [u8]]) -> Result<SetOptions<'a>, CommandError> {
        let mut options = SetOptions::default();
        let mut words = Words::after(arguments, 3);
        while let Some(word) = words.next() {
            match word.as_slice() {
                b"NX" => once(&mut options.condition, Condition::Absent)?,
                b"XX" => once(&mut options.condition, Condition::Present)?,
                b"IFEQ" => once(&mut options.condition, Condition::Equals(words.value()?))?,
                b"GET" => options.answers_old = true,
                b"KEEPTTL" => options.keeps_expiry = true,
                word => {
                    let time = Time::named(word).ok_or(CommandError::SYNTAX)?;
                    let expires = time.read_positive(words.value()?, keyspace.clocks(), "set")?;
                    once(&mut options.expires, expires)?;
                }
            }
        }
        match options.keeps_expiry && options.expires.is_some() {
            true => Err(CommandError::SYNTAX),
            false => Ok(options),
        }
    }
}

pub fn set(keyspace: &mut Keyspace<'_>, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    let options = SetOptions::read(keyspace, arguments)?;
    let (key, value) = (arguments[1], arguments[2]);
    let old = keyspace.find_live(key)?;
    let needs_string = options.answers_old || matches!(options.condition, Some(Condition::Equals(_)));
    if needs_string && old.as_ref().is_some_and(|old| old.kind != Kind::String) {
        return Err(CommandError::WRONG_TYPE);
    }
    let holds = match options.condition {
        None => true,
        Some(Condition::Absent) => old.is_none(),
        Some(Condition::Present) => old.is_some(),
        Some(Condition::Equals(expected)) => old.as_ref().is_some_and(|old| old.value() == expected),
    };
    if holds {
        let kept = old.as_ref().and_then(|old| old.expires).filter(|_| options.keeps_expiry);
        keyspace.put(key, old.is_some(), Kind::String, options.expires.or(kept), value)?;
    }
    match (options.answers_old, holds) {
        (true, _) => reply.optional(old.as_ref().map(Entry::value)),
        (false, true) => reply.ok(),
        (false, false) => reply.null(),
    }
    Ok(())
}

pub fn setnx(keyspace: &mut Keyspace<'_>, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    let absent = keyspace.find_live(arguments[1])?.is_none();
    if absent {
        keyspace.put(arguments[1], false, Kind::String, None, arguments[2])?;
    }
    reply.integer(i64::from(absent));
    Ok(())
}

pub fn setex(keyspace: &mut Keyspace<'_>, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    let expires = Time::Seconds.read_positive(arguments[2], keyspace.clocks(), "setex")?;
    set_until(keyspace, arguments[1], expires, arguments[3], reply)
}

pub fn psetex(keyspace: &mut Keyspace<'_>, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    let expires = Time::Milliseconds.read_positive(arguments[2], keyspace.clocks(), "psetex")?;
    set_until(keyspace, arguments[1], expires, arguments[3], reply)
}

fn set_until(
    keyspace: &mut Keyspace<'_>,
    key: &[u8],
    expires: u64,
    value: &[u8],
    reply: &mut ReplyWriter,
) -> Outcome {
    let was_there = keyspace.find_live(key)?.is_some();
    keyspace.put(key, was_there, Kind::String, Some(expires), value)?;
    reply.ok();
    Ok(())
}

pub fn getset(keyspace: &mut Keyspace<'_>, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    let old = keyspace.live_string(arguments[1])?;
    keyspace.put(arguments[1], old.is_some(), Kind::String, None, arguments[2])?;
    reply.optional(old.as_ref().map(Entry::value));
    Ok(())
}

pub fn getdel(keyspace: &mut Keyspace<'_>, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    let old = keyspace.live_string(arguments[1])?;
    if old.is_some() {
        keyspace.remove(arguments[1])?;
    }
    reply.optional(old.as_ref().map(Entry::value));
    Ok(())
}

pub fn getex(keyspace: &mut Keyspace<'_>, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    let mut words = Words::after(arguments, 2);
    let time = match words.next().as_deref() {
        None => None,
        Some(b"PERSIST") => Some(None),
        Some(word) => Some(Some((Time::named(word).ok_or(CommandError::SYNTAX)?, words.value()?))),
    };
    if words.next().is_some() {
        return Err(CommandError::SYNTAX);
    }
    let Some(entry) = keyspace.live_string(arguments[1])? else {
        reply.null();
        return Ok(());
    };
    let expires = match time {
        Some(Some((time, text))) => Some(time.read_positive(text, keyspace.clocks(), "getex")?),
        _ => None,
    };
    // The same time again is a write, too; PERSIST of what does not end is not.
    if time.is_some() && (entry.expires.is_some() || expires.is_some()) {
        keyspace.put(arguments[1], true, Kind::String, expires, entry.value())?;
    }
    reply.string(entry.value());
    Ok(())
}

fn pairs<'a>(
    arguments: Arguments<'a>,
    name: &str,
) -> Result<impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone, CommandError> {
    if arguments.len().is_multiple_of(2) {
        let text = format!("ERR wrong number of arguments for '{name}' command");
        return Err(CommandError::Refused(text.into()));
    }
    Ok(arguments[1..].chunks_exact(2).map(|pair| (pair[0], pair[1])))
}

fn put_all<'a>(
    keyspace: &mut Keyspace<'_>,
    pairs: impl Iterator<Item = (&'a [u8], &'a [u8])>,
) -> Result<(), CommandError> {
    for (key, value) in pairs {
        let was_there = keyspace.find_live(key)?.is_some();
        keyspace.put(key, was_there, Kind::String, None, value)?;
    }
    Ok(())
}

pub fn mset(keyspace: &mut Keyspace<'_>, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    put_all(keyspace, pairs(arguments, "mset")?)?;
    reply.ok();
    Ok(())
}

pub fn msetnx(keyspace: &mut Keyspace<'_>, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    let pairs = pairs(arguments, "msetnx")?;
    for (key, _) in pairs.clone() {
        if keyspace.find_live(key)?.is_some() {
            reply.integer(0);
            return Ok(());
        }
    }
    put_all(keyspace, pairs)?;
    reply.integer(1);
    Ok(())
}

pub fn append(keyspace: &mut Keyspace<'_>, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    let old = keyspace.live_string(arguments[1])?;
    let value = [old.as_ref().map_or(&[][..], Entry::value), arguments[2]].concat();
    if value.len() > LONGEST {
        return Err(CommandError::TOO_LONG);
    }
    let expires = old.as_ref().and_then(|old| old.expires);
    keyspace.put(arguments[1], old.is_some(), Kind::String, expires, &value)?;
    reply.integer(value.len() as i64);
    Ok(())
}

pub fn setrange(keyspace: &mut Keyspace<'_>, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    let at =
        usize::try_from(number::integer(arguments[2])?).map_err(|_| refused("ERR offset is out of range"))?;
    let more = arguments[3];
    let old = keyspace.live_string(arguments[1])?;
    let mut value = old.as_ref().map_or_else(Vec::new, |old| old.value().to_vec());
    if !more.is_empty() {
        let end = at.checked_add(more.len()).filter(|end| *end <= LONGEST).ok_or(CommandError::TOO_LONG)?;
        value.resize(value.len().max(end), 0);
        value[at..end].copy_from_slice(more);
        let expires = old.as_ref().and_then(|old| old.expires);
        keyspace.put(arguments[1], old.is_some(), Kind::String, expires, &value)?;
    }
    reply.integer(value.len() as i64);
    Ok(())
}
