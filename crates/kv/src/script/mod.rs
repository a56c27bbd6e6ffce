//! EVAL and EVAL_RO: a script of Lua 5.1 as one command.
//!
//! A script that fails has changed nothing. Its time and its memory are bounded, and it can reach nothing but the keys
//! and what is computed from them.
//!
//! * `sandbox`: the interpreter of one script, made anew for each; `compile`: its text; `library`: the table `redis`
//! * `convert`: replies as Lua's values, and back
//! * `json`: the table `cjson`; `bits`: the table `bit`
//! * `strings`, `tables`: functions that are bounded; `pattern`: Lua's patterns, matched in bounded time

mod bits;
mod compile;
mod convert;
mod json;
mod library;
mod pattern;
mod sandbox;
mod strings;
mod tables;

use std::time::Duration;

use resp::ReplyWriter;

use crate::command::Arguments;
use crate::error::{CommandError, refused};
use crate::keyspace::Keyspace;
use crate::number;

/// How long a script may run, and all scripts of a step together.
pub const TIME: Duration = Duration::from_millis(if cfg!(feature = "fuzzing") { 20 } else { 1000 });
/// The most bytes that a script may hold, that its reply may have, and by which it may let the database grow.
pub const MEMORY: usize = 64 << 20;
/// The most bytes of a script's text. How long its compilation may take has a bound of its own.
pub const TEXT: usize = 64 << 10;

/// `EVAL script numkeys [key ...] [argument ...]`.
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
    if arguments[1].len() > TEXT {
        let text = format!("ERR the script has {} bytes; it may have {TEXT}", arguments[1].len());
        return Err(CommandError::Refused(text.into()));
    }
    let (text, first_line) = first_line(arguments[1])?;
    if !may_write && first_line == Some(Writes::Allowed) {
        return Err(refused("ERR Can not execute a script with write flag using *_ro command."));
    }
    let may_write = may_write && first_line != Some(Writes::Forbidden);
    let before = keyspace.savepoint();
    let written = reply.bytes().len();
    let script = sandbox::Script { text, keys, values, may_write };
    match sandbox::run(&script, keyspace, reply) {
        Ok(()) => Ok(()),
        Err(error) => {
            reply.truncate(written);
            keyspace.roll_back(&before)?;
            Err(error)
        }
    }
}

/// What the first line of a script says of writes.
#[derive(PartialEq, Eq)]
enum Writes {
    Allowed,
    Forbidden,
}

/// Splits a first line off that begins with `#!lua`. Its line end stays, so that lines keep their numbers.
fn first_line(text: &[u8]) -> Result<(&[u8], Option<Writes>), CommandError> {
    if !text.starts_with(b"#!") {
        return Ok((text, None));
    }
    let end = text.iter().position(|byte| *byte == b'\n').unwrap_or(text.len());
    let line = String::from_utf8_lossy(&text[2..end]);
    let mut words = line.split_whitespace();
    if words.next() != Some("lua") {
        return Err(refused("ERR Unexpected engine in script shebang: only lua is there"));
    }
    let mut writes = Writes::Allowed;
    for word in words {
        let Some(flags) = word.strip_prefix("flags=") else {
            return Err(CommandError::Refused(format!("ERR Unknown lua shebang option: {word}").into()));
        };
        for flag in flags.split(',').filter(|flag| !flag.is_empty()) {
            match flag {
                "no-writes" => writes = Writes::Forbidden,
                // What these allow is always allowed here.
                "allow-oom" | "allow-stale" | "no-cluster" | "allow-cross-slot-keys" => {}
                _ => {
                    let text = format!("ERR Unexpected flag in script shebang: {flag}");
                    return Err(CommandError::Refused(text.into()));
                }
            }
        }
    }
    Ok((&text[end..], Some(writes)))
}
