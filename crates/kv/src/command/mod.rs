//! The table of commands, and how one is carried out.
//!
//! * `strings`, `counters`: values of bytes
//! * `keys`, `scan`: keys whatever their value
//! * `objects`: how a value is kept, and how large it is
//! * `expiry`: when keys end
//! * `hashes`: values of fields
//! * `options`: words behind the arguments

mod counters;
mod expiry;
mod hashes;
mod keys;
mod objects;
mod options;
mod scan;
mod strings;

use std::borrow::Cow;

use resp::ReplyWriter;

use crate::error::CommandError;
use crate::keyspace::Keyspace;
#[cfg(feature = "scripts")]
use crate::script;

/// What a command gets: all its strings, its name first.
pub type Arguments<'a> = &'a [&'a [u8]];

type Outcome = Result<(), CommandError>;

/// A command of the data. Those of the connection (AUTH, SELECT, MULTI ...) are the front end's.
pub struct Command {
    /// Its name, in capitals.
    pub name: &'static str,
    /// How many strings it takes, its name included; at least so many if negative.
    pub arity: i32,
    /// Whether it may change something, so that it runs at the sync site.
    pub writes: bool,
    /// Where its keys are: the first, the last (from the end if negative; 0 if it has none), and the step.
    pub keys: (i32, i32, i32),
    carry_out: fn(&mut Keyspace<'_>, Arguments<'_>, &mut ReplyWriter) -> Outcome,
}

const READS: bool = false;
const WRITES: bool = true;
const NO_KEYS: (i32, i32, i32) = (0, 0, 0);
const ONE: (i32, i32, i32) = (1, 1, 1);
const SECOND: (i32, i32, i32) = (2, 2, 1);
const TWO: (i32, i32, i32) = (1, 2, 1);
const ALL: (i32, i32, i32) = (1, -1, 1);
const PAIRS: (i32, i32, i32) = (1, -1, 2);

macro_rules! commands {
    ($($name:literal $arity:literal $writes:ident $keys:ident $carry_out:path;)*) => {
        /// All commands, by name.
        pub const COMMANDS: &[Command] = &[$(Command {
            name: $name,
            arity: $arity,
            writes: $writes,
            keys: $keys,
            carry_out: $carry_out,
        }),*];
    };
}

commands! {
    "APPEND" 3 WRITES ONE strings::append;
    "COPY" -3 WRITES TWO keys::copy;
    "DBSIZE" 1 READS NO_KEYS keys::dbsize;
    "DECR" 2 WRITES ONE counters::decr;
    "DECRBY" 3 WRITES ONE counters::decrby;
    "DEL" -2 WRITES ALL keys::del;
    "DELEX" -2 WRITES ONE keys::delex;
    "DELIFEQ" 3 WRITES ONE keys::delifeq;
    "EVAL" -3 WRITES NO_KEYS script::eval;
    "EVAL_RO" -3 READS NO_KEYS script::eval_ro;
    "EXISTS" -2 READS ALL keys::exists;
    "EXPIRE" -3 WRITES ONE expiry::expire;
    "EXPIREAT" -3 WRITES ONE expiry::expireat;
    "EXPIRETIME" 2 READS ONE expiry::expiretime;
    "FLUSHALL" -1 WRITES NO_KEYS keys::flush;
    "FLUSHDB" -1 WRITES NO_KEYS keys::flush;
    "GET" 2 READS ONE strings::get;
    "GETDEL" 2 WRITES ONE strings::getdel;
    "GETEX" -2 WRITES ONE strings::getex;
    "GETRANGE" 4 READS ONE strings::getrange;
    "GETSET" 3 WRITES ONE strings::getset;
    "HDEL" -3 WRITES ONE hashes::hdel;
    "HEXISTS" 3 READS ONE hashes::hexists;
    "HGET" 3 READS ONE hashes::hget;
    "HGETALL" 2 READS ONE hashes::hgetall;
    "HINCRBY" 4 WRITES ONE hashes::hincrby;
    "HINCRBYFLOAT" 4 WRITES ONE hashes::hincrbyfloat;
    "HKEYS" 2 READS ONE hashes::hkeys;
    "HLEN" 2 READS ONE hashes::hlen;
    "HMGET" -3 READS ONE hashes::hmget;
    "HMSET" -4 WRITES ONE hashes::hmset;
    "HRANDFIELD" -2 READS ONE hashes::hrandfield;
    "HSCAN" -3 READS ONE scan::hscan;
    "HSET" -4 WRITES ONE hashes::hset;
    "HSETNX" 4 WRITES ONE hashes::hsetnx;
    "HSTRLEN" 3 READS ONE hashes::hstrlen;
    "HVALS" 2 READS ONE hashes::hvals;
    "INCR" 2 WRITES ONE counters::incr;
    "INCRBY" 3 WRITES ONE counters::incrby;
    "INCRBYFLOAT" 3 WRITES ONE counters::incrbyfloat;
    "KEYS" 2 READS NO_KEYS scan::keys;
    "MEMORY" -2 READS SECOND objects::memory;
    "MGET" -2 READS ALL strings::mget;
    "MSET" -3 WRITES PAIRS strings::mset;
    "MSETNX" -3 WRITES PAIRS strings::msetnx;
    "OBJECT" -2 READS SECOND objects::object;
    "PERSIST" 2 WRITES ONE expiry::persist;
    "PEXPIRE" -3 WRITES ONE expiry::pexpire;
    "PEXPIREAT" -3 WRITES ONE expiry::pexpireat;
    "PEXPIRETIME" 2 READS ONE expiry::pexpiretime;
    "PSETEX" 4 WRITES ONE strings::psetex;
    "PTTL" 2 READS ONE expiry::pttl;
    "QUORATE.MARK" -2 READS ALL keys::mark;
    "QUORATE.REVISION" -2 READS ALL keys::revision;
    "RANDOMKEY" 1 READS NO_KEYS scan::randomkey;
    "RENAME" 3 WRITES TWO keys::rename;
    "RENAMENX" 3 WRITES TWO keys::renamenx;
    "SCAN" -2 READS NO_KEYS scan::scan;
    "SET" -3 WRITES ONE strings::set;
    "SETEX" 4 WRITES ONE strings::setex;
    "SETNX" 3 WRITES ONE strings::setnx;
    "SETRANGE" 4 WRITES ONE strings::setrange;
    "STRLEN" 2 READS ONE strings::strlen;
    "SUBSTR" 4 READS ONE strings::getrange;
    "TIME" 1 READS NO_KEYS expiry::time;
    "TOUCH" -2 READS ALL keys::exists;
    "TTL" 2 READS ONE expiry::ttl;
    "TYPE" 2 READS ONE keys::kind;
    "UNLINK" -2 WRITES ALL keys::del;
}

/// The command of this name, in whatever case.
pub fn find(name: &[u8]) -> Option<&'static Command> {
    let name = name.to_ascii_uppercase();
    let at = COMMANDS.binary_search_by(|command| command.name.as_bytes().cmp(&name)).ok()?;
    Some(&COMMANDS[at])
}

impl Command {
    /// Whether it takes so many strings.
    ///
    /// # Errors
    /// It does not; the text is the client's.
    pub fn check_arity(&self, strings: usize) -> Result<(), CommandError> {
        let least = self.arity.unsigned_abs() as usize;
        let fits = if self.arity < 0 { strings >= least } else { strings == least };
        fits.then_some(()).ok_or_else(|| {
            let name = self.name.to_ascii_lowercase();
            CommandError::Refused(Cow::Owned(format!("ERR wrong number of arguments for '{name}' command")))
        })
    }

    /// The keys among its strings.
    pub fn keys_of<'a>(&self, arguments: Arguments<'a>) -> impl Iterator<Item = &'a [u8]> {
        let (first, last, step) = self.keys;
        let end = if last < 0 { arguments.len() as i32 + last } else { last };
        let places = (first..=end).step_by(step.max(1) as usize).filter(move |_| last != 0);
        places.filter_map(|place| arguments.get(place as usize).copied())
    }
}

/// Carries a command out and writes its reply.
///
/// # Errors
/// The client gets the text of a refusal, and nothing was written, neither to `keyspace` nor to `reply`. After a storage
/// error the transaction is of no use.
pub fn run(
    command: &Command,
    keyspace: &mut Keyspace<'_>,
    arguments: Arguments<'_>,
    reply: &mut ReplyWriter,
) -> Result<(), CommandError> {
    command.check_arity(arguments.len())?;
    keyspace.begin_command();
    let written = reply.bytes().len();
    (command.carry_out)(keyspace, arguments, reply).inspect_err(|_| reply.truncate(written))
}

/// What answers scripts in a build without them.
#[cfg(not(feature = "scripts"))]
mod script {
    use super::{Arguments, CommandError, Keyspace, Outcome, ReplyWriter};
    use crate::error::refused;

    const ABSENT: CommandError =
        refused("ERR this build of the service does not have scripts (feature `scripts`)");

    pub fn eval(_: &mut Keyspace<'_>, _: Arguments<'_>, _: &mut ReplyWriter) -> Outcome {
        Err(ABSENT)
    }

    pub fn eval_ro(_: &mut Keyspace<'_>, _: Arguments<'_>, _: &mut ReplyWriter) -> Outcome {
        Err(ABSENT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S4: the table is sorted, so that every command is found by its name.
    #[test]
    fn every_command_is_found_by_its_name() {
        for command in COMMANDS {
            let found = find(command.name.to_ascii_lowercase().as_bytes());
            assert_eq!(found.map(|found| found.name), Some(command.name));
        }
        assert!(find(b"LPUSH").is_none() && find(b"").is_none());
    }

    /// S4: COMMAND GETKEYS and access by key need to know which arguments are keys.
    #[test]
    fn keys_are_found_among_the_arguments() {
        let keys = |words: &[&str]| -> Vec<String> {
            let arguments: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
            let command = find(arguments[0]).unwrap();
            command.keys_of(&arguments).map(|key| String::from_utf8_lossy(key).into_owned()).collect()
        };
        assert_eq!(keys(&["mset", "a", "1", "b", "2"]), ["a", "b"]);
        assert_eq!(keys(&["del", "a", "b"]), ["a", "b"]);
        assert_eq!(keys(&["rename", "a", "b"]), ["a", "b"]);
        assert_eq!(keys(&["get", "a"]), ["a"]);
        assert!(keys(&["dbsize"]).is_empty());
    }
}
