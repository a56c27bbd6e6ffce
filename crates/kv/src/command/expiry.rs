//! When keys end.
//!
//! A time of expiry is a moment on the cell's clock. A reading command may still see a key whose moment has come, until
//! the delete is committed; a writing one removes it first.

use resp::ReplyWriter;

use super::options::Time;
use super::{Arguments, Outcome};
use crate::error::{CommandError, refused};
use crate::keyspace::{Clocks, Keyspace};

pub fn expire(keyspace: &mut Keyspace<'_>, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    set_expiry(keyspace, arguments, Time::Seconds, "expire", reply)
}

pub fn pexpire(keyspace: &mut Keyspace<'_>, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    set_expiry(keyspace, arguments, Time::Milliseconds, "pexpire", reply)
}

pub fn expireat(keyspace: &mut Keyspace<'_>, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    set_expiry(keyspace, arguments, Time::DateSeconds, "expireat", reply)
}

pub fn pexpireat(keyspace: &mut Keyspace<'_>, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    set_expiry(keyspace, arguments, Time::DateMilliseconds, "pexpireat", reply)
}

/// The conditions of EXPIRE.
#[derive(Default)]
struct Conditions {
    none_yet: bool,
    some_already: bool,
    later: bool,
    earlier: bool,
}

impl Conditions {
    fn read(arguments: Arguments<'_>) -> Result<Conditions, CommandError> {
        let mut conditions = Conditions::default();
        for word in &arguments[3..] {
            match word.to_ascii_uppercase().as_slice() {
                b"NX" => conditions.none_yet = true,
                b"XX" => conditions.some_already = true,
                b"GT" => conditions.later = true,
                b"LT" => conditions.earlier = true,
                _ => {
                    let word = String::from_utf8_lossy(&word[..word.len().min(128)]);
                    let text = format!("ERR Unsupported option {word}");
                    return Err(CommandError::Refused(text.into()));
                }
            }
        }
        if conditions.none_yet && (conditions.some_already || conditions.later || conditions.earlier) {
            return Err(refused("ERR NX and XX, GT or LT options at the same time are not compatible"));
        }
        if conditions.later && conditions.earlier {
            return Err(refused("ERR GT and LT options at the same time are not compatible"));
        }
        Ok(conditions)
    }

    /// A key that never ends ends later than every other.
    fn hold(&self, old: Option<u64>, new: i64) -> bool {
        let old_or_never = old.map_or(i64::MAX, |old| i64::try_from(old).unwrap_or(i64::MAX));
        !(self.none_yet && old.is_some()
            || self.some_already && old.is_none()
            || self.later && new <= old_or_never
            || self.earlier && new >= old_or_never)
    }
}

fn set_expiry(
    keyspace: &mut Keyspace<'_>,
    arguments: Arguments<'_>,
    time: Time,
    command: &str,
    reply: &mut ReplyWriter,
) -> Outcome {
    let conditions = Conditions::read(arguments)?;
    let clocks = keyspace.clocks();
    let expires = time.read(arguments[2], clocks, command)?;
    let entry = keyspace.find_live(arguments[1])?;
    let Some(entry) = entry.filter(|entry| conditions.hold(entry.expires, expires)) else {
        reply.integer(0);
        return Ok(());
    };
    match u64::try_from(expires) {
        Ok(expires) if expires > clocks.cell => {
            keyspace.put(arguments[1], true, entry.kind, Some(expires), entry.value())?;
        }
        // Its time has come already.
        _ => {
            keyspace.remove(arguments[1])?;
        }
    }
    reply.integer(1);
    Ok(())
}

pub fn persist(keyspace: &mut Keyspace<'_>, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    let entry = keyspace.find_live(arguments[1])?.filter(|entry| entry.expires.is_some());
    if let Some(entry) = &entry {
        keyspace.put(arguments[1], true, entry.kind, None, entry.value())?;
    }
    reply.integer(i64::from(entry.is_some()));
    Ok(())
}

pub fn ttl(keyspace: &mut Keyspace<'_>, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    let left = |expires: u64, clocks: Clocks| (expires.saturating_sub(clocks.cell) + 500) / 1000;
    answer(keyspace, arguments, left, reply)
}

pub fn pttl(keyspace: &mut Keyspace<'_>, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    answer(keyspace, arguments, |expires, clocks| expires.saturating_sub(clocks.cell), reply)
}

pub fn expiretime(keyspace: &mut Keyspace<'_>, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    answer(keyspace, arguments, |expires, clocks| clocks.wall_at(expires) / 1000, reply)
}

pub fn pexpiretime(
    keyspace: &mut Keyspace<'_>,
    arguments: Arguments<'_>,
    reply: &mut ReplyWriter,
) -> Outcome {
    answer(keyspace, arguments, |expires, clocks| clocks.wall_at(expires), reply)
}

/// -2 where there is no such key, -1 where it does not expire.
fn answer(
    keyspace: &Keyspace<'_>,
    arguments: Arguments<'_>,
    when: impl FnOnce(u64, Clocks) -> u64,
    reply: &mut ReplyWriter,
) -> Outcome {
    reply.integer(match keyspace.find(arguments[1])?.map(|entry| entry.expires) {
        None => -2,
        Some(None) => -1,
        Some(Some(expires)) => i64::try_from(when(expires, keyspace.clocks())).unwrap_or(i64::MAX),
    });
    Ok(())
}

pub fn time(keyspace: &mut Keyspace<'_>, _: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    let now = keyspace.clocks().wall;
    reply.array(2);
    reply.string((now / 1000).to_string().as_bytes());
    reply.string((now % 1000 * 1000).to_string().as_bytes());
    Ok(())
}
