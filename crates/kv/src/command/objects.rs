//! How a value is kept, and how large it is: what tools ask about a key.

use resp::ReplyWriter;

use super::{Arguments, Outcome};
use crate::entry::{Entry, Kind};
use crate::error::{CommandError, refused};
use crate::fields::Fields;
use crate::keyspace::Keyspace;
use crate::number;

/// OBJECT ENCODING, FREQ, IDLETIME or REFCOUNT, of one key. Values have one form here; the names are those that Redis has for
/// values of such a kind and size.
pub fn object(keyspace: &mut Keyspace<'_>, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    let subcommand = arguments[1].to_ascii_uppercase();
    let [_, _, key] = arguments else { return Err(unknown("OBJECT", arguments[1])) };
    if !matches!(subcommand.as_slice(), b"ENCODING" | b"FREQ" | b"IDLETIME" | b"REFCOUNT") {
        return Err(unknown("OBJECT", arguments[1]));
    }
    let Some(entry) = keyspace.find(key)? else {
        reply.null();
        return Ok(());
    };
    match subcommand.as_slice() {
        b"ENCODING" => reply.string(encoding(key, &entry)?.as_bytes()),
        b"FREQ" => {
            return Err(refused(
                "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when \
                 switching between policies at runtime LRU and LFU data will take some time to adjust.",
            ));
        }
        // No access times are kept.
        b"IDLETIME" => reply.integer(0),
        _ => reply.integer(1),
    }
    Ok(())
}

/// `MEMORY USAGE key [SAMPLES count]`: the bytes of its record.
pub fn memory(keyspace: &mut Keyspace<'_>, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    let subcommand = arguments[1].to_ascii_uppercase();
    let (b"USAGE", [key, options @ ..]) = (subcommand.as_slice(), &arguments[2..]) else {
        return Err(unknown("MEMORY", arguments[1]));
    };
    match options {
        [] => {}
        [word, count] if word.eq_ignore_ascii_case(b"SAMPLES") => drop(number::integer(count)?),
        _ => return Err(CommandError::SYNTAX),
    }
    match keyspace.find(key)? {
        Some(entry) => reply.integer((RECORD + 1 + key.len() + entry.record_len()) as i64),
        None => reply.null(),
    }
    Ok(())
}

/// Bytes of a record of the engine beside its key and value: the header, and the length at its end.
const RECORD: usize = 28;

fn encoding(key: &[u8], entry: &Entry) -> Result<&'static str, CommandError> {
    let value = entry.value();
    if entry.kind == Kind::String {
        return Ok(match value.len() {
            ..=20 if number::integer(value).is_ok() => "int",
            ..=44 => "embstr",
            _ => "raw",
        });
    }
    let fields = Fields::decode(key, value)?;
    let is_small =
        fields.len() <= 128 && fields.iter().all(|(field, value)| field.len().max(value.len()) <= 64);
    Ok(if is_small { "listpack" } else { "hashtable" })
}

fn unknown(command: &str, subcommand: &[u8]) -> CommandError {
    let subcommand = subcommand[..subcommand.len().min(128)].escape_ascii();
    let text = format!(
        "ERR unknown subcommand or wrong number of arguments for '{subcommand}'. This service may lack it; see what differs from Redis's {command}"
    );
    CommandError::Refused(text.into())
}
