//! EVAL and EVAL_RO: a script of Lua 5.1 as one command.
//!
//! A script that fails has changed nothing. Its time and its memory are bounded, and it can reach nothing but the keys
//! and what is computed from them.
//!
//! * `sandbox`: the interpreter of one script, made anew for each; `library`: the table `redis`
//! * `convert`: replies as Lua's values, and back
//! * `strings`: string functions that are bounded; `pattern`: Lua's patterns, matched in bounded time

mod convert;
mod library;
mod pattern;
mod sandbox;
mod strings;

use std::time::Duration;

use resp::ReplyWriter;

use crate::command::Arguments;
use crate::error::{CommandError, refused};
use crate::keyspace::Keyspace;
use crate::number;

/// How long a script may run.
pub const TIME: Duration = Duration::from_secs(1);
/// The most bytes that a script may hold, and that its reply may have.
pub const MEMORY: usize = 64 << 20;

/// EVAL script numkeys [key ...] [argument ...].
pub fn eval(
    keyspace: &mut Keyspace<'_>,
    arguments: Arguments<'_>,
    reply: &mut ReplyWriter,
) -> Result<(), CommandError> {
    run(keyspace, arguments, reply, true)
}

/// As [`eval`], without commands that write.
pub fn eval_ro(
    keyspace: &mut Keyspace<'_>,
    arguments: Arguments<'_>,
    reply: &mut ReplyWriter,
) -> Result<(), CommandError> {
    run(keyspace, arguments, reply, false)
}

fn run(
    keyspace: &mut Keyspace<'_>,
    arguments: Arguments<'_>,
    reply: &mut ReplyWriter,
    may_write: bool,
) -> Result<(), CommandError> {
    let count = number::integer(arguments[2])?;
    let count = usize::try_from(count).map_err(|_| refused("ERR Number of keys can't be negative"))?;
    let rest = &arguments[3..];
    if count > rest.len() {
        return Err(refused("ERR Number of keys can't be greater than number of args"));
    }
    let (keys, values) = rest.split_at(count);
    let (text, forbids_writes) = without_first_line(arguments[1])?;
    let before = keyspace.savepoint();
    let written = reply.bytes().len();
    let script = sandbox::Script { text, keys, values, may_write: may_write && !forbids_writes };
    match sandbox::run(&script, keyspace, reply) {
        Ok(()) => Ok(()),
        Err(error) => {
            reply.truncate(written);
            keyspace.roll_back(&before)?;
            Err(error)
        }
    }
}

/// A script may begin with `#!lua` and flags; whether they forbid writes. The line end stays, so that lines keep their numbers.
fn without_first_line(text: &[u8]) -> Result<(&[u8], bool), CommandError> {
    if !text.starts_with(b"#!") {
        return Ok((text, false));
    }
    let end = text.iter().position(|byte| *byte == b'\n').unwrap_or(text.len());
    let line = String::from_utf8_lossy(&text[2..end]);
    let mut words = line.split_whitespace();
    if words.next() != Some("lua") {
        return Err(refused("ERR Unexpected engine in script shebang: only lua is there"));
    }
    let flags = words.find_map(|word| word.strip_prefix("flags=")).unwrap_or_default();
    Ok((&text[end..], flags.split(',').any(|flag| flag == "no-writes")))
}
