//! COMMAND: what commands there are, what they take, and where their keys are.

use kv::Command;
use resp::ReplyWriter;

use super::{Outcome, Own, capitals, number, unknown_subcommand};
use crate::session::{Arguments, Next, Refusal, Session};

/// A command of either table.
struct Entry {
    name: &'static str,
    arity: i32,
    keys: (i32, i32, i32),
    /// `None`: not about the data.
    writes: Option<bool>,
}

impl From<&'static Command> for Entry {
    fn from(command: &'static Command) -> Entry {
        Entry { name: command.name, arity: command.arity, keys: command.keys, writes: Some(command.writes) }
    }
}

impl From<&'static Own> for Entry {
    fn from(own: &'static Own) -> Entry {
        let keys = if own.name == "WATCH" { (1, -1, 1) } else { (0, 0, 0) };
        Entry { name: own.name, arity: own.arity, keys, writes: None }
    }
}

fn all() -> impl Iterator<Item = Entry> {
    let own = super::COMMANDS.iter().filter(|own| kv::find(own.name.as_bytes()).is_none());
    kv::command::COMMANDS.iter().map(Entry::from).chain(own.map(Entry::from))
}

fn find(name: &[u8]) -> Option<Entry> {
    kv::find(name).map(Entry::from).or_else(|| super::find(name).map(Entry::from))
}

pub fn command(_: &mut Session, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    let Some((subcommand, names)) = arguments[1..].split_first() else {
        let all: Vec<Entry> = all().collect();
        reply.array(all.len());
        all.iter().for_each(|entry| entry.write(reply));
        return Ok(Next::Answered);
    };
    match (capitals(subcommand).as_slice(), names) {
        (b"COUNT", []) => reply.integer(all().count() as i64),
        (b"LIST", filter) => list(filter, arguments, reply)?,
        (b"INFO", names) => {
            let found: Vec<Option<Entry>> = match names {
                [] => all().map(Some).collect(),
                names => names.iter().map(|name| find(name)).collect(),
            };
            reply.array(found.len());
            for entry in found {
                match entry {
                    Some(entry) => entry.write(reply),
                    None => reply.null_array(),
                }
            }
        }
        (b"DOCS", names) => docs(names, reply),
        (b"GETKEYS", [_, ..]) => {
            let found = keys(names)?;
            reply.array(found.len());
            found.iter().for_each(|key| reply.string(key));
        }
        (b"GETKEYSANDFLAGS", [_, ..]) => {
            let (found, flags) = (keys(names)?, flags(names[0]));
            reply.array(found.len());
            for key in found {
                reply.array(2);
                reply.string(key);
                reply.set(flags.len());
                flags.iter().for_each(|flag| reply.simple(flag));
            }
        }
        _ => return Err(unknown_subcommand(arguments)),
    }
    Ok(Next::Answered)
}

fn docs(names: &[&[u8]], reply: &mut ReplyWriter) {
    let found: Vec<Entry> = match names {
        [] => all().collect(),
        names => names.iter().filter_map(|name| find(name)).collect(),
    };
    reply.map(found.len());
    for entry in found {
        reply.string(entry.name.to_ascii_lowercase().as_bytes());
        reply.map(4);
        reply.string(b"summary");
        reply.string(entry.summary().as_bytes());
        reply.string(b"since");
        reply.string(b"1.0.0");
        reply.string(b"group");
        reply.string(entry.group().as_bytes());
        reply.string(b"arguments");
        reply.array(0);
    }
}

/// `COMMAND LIST [FILTERBY ACLCAT category | MODULE name | PATTERN pattern]`.
fn list(filter: &[&[u8]], arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Result<(), Refusal> {
    let (by, value) = match filter {
        [] => (Vec::new(), Vec::new()),
        [word, by, value] if capitals(word) == b"FILTERBY" => (capitals(by), value.to_ascii_lowercase()),
        _ => return Err(unknown_subcommand(arguments)),
    };
    let fits = |entry: &Entry| match by.as_slice() {
        b"" => true,
        b"ACLCAT" => entry.categories().iter().any(|category| category.as_bytes() == value),
        b"PATTERN" => kv::pattern::matches(&value, entry.name.to_ascii_lowercase().as_bytes()),
        _ => false,
    };
    if !matches!(by.as_slice(), b"" | b"ACLCAT" | b"PATTERN" | b"MODULE") {
        return Err("ERR syntax error".into());
    }
    let found: Vec<Entry> = all().filter(fits).collect();
    reply.array(found.len());
    found.iter().for_each(|entry| reply.string(entry.name.to_ascii_lowercase().as_bytes()));
    Ok(())
}

/// What a command does with its keys, in Redis's words.
fn flags(name: &[u8]) -> [&'static str; 2] {
    match kv::find(name) {
        Some(command) if command.writes => ["RW", "access"],
        _ => ["RO", "access"],
    }
}

fn keys<'a>(command: &'a [&'a [u8]]) -> Result<Vec<&'a [u8]>, Refusal> {
    let entry = find(command[0]).ok_or("ERR Invalid command specified")?;
    let least = entry.arity.unsigned_abs() as usize;
    if command.len() < least || (entry.arity > 0 && command.len() != least) {
        return Err("ERR Invalid number of arguments specified for command".into());
    }
    let found: Vec<&[u8]> = if entry.name.starts_with("EVAL") {
        let count = usize::try_from(number(command[2])?).unwrap_or(0);
        command.get(3..).unwrap_or_default().iter().take(count).copied().collect()
    } else {
        kv::find(command[0]).map(|known| known.keys_of(command).collect()).unwrap_or_default()
    };
    if found.is_empty() {
        return Err("ERR The command has no key arguments".into());
    }
    Ok(found)
}

/// ACL CAT: the categories, or the commands of one.
pub fn categories(category: Option<&[u8]>, reply: &mut ReplyWriter) -> Result<(), Refusal> {
    let Some(category) = category else {
        reply.array(CATEGORIES.len());
        CATEGORIES.iter().for_each(|name| reply.string(name.as_bytes()));
        return Ok(());
    };
    let category = String::from_utf8_lossy(category).to_ascii_lowercase();
    if !CATEGORIES.contains(&category.as_str()) {
        return Err(format!("ERR Unknown category '{}'", category.escape_default()).into());
    }
    let fits = |entry: &Entry| entry.categories().contains(&category.as_str());
    let found: Vec<Entry> = all().filter(fits).collect();
    reply.array(found.len());
    found.iter().for_each(|entry| reply.string(entry.name.to_ascii_lowercase().as_bytes()));
    Ok(())
}

const CATEGORIES: &[&str] = &[
    "connection",
    "hash",
    "keyspace",
    "pubsub",
    "read",
    "scripting",
    "server",
    "string",
    "transaction",
    "write",
];

impl Entry {
    fn write(&self, reply: &mut ReplyWriter) {
        reply.array(10);
        reply.string(self.name.to_ascii_lowercase().as_bytes());
        reply.integer(i64::from(self.arity));
        let flag = match self.writes {
            Some(true) => "write",
            Some(false) => "readonly",
            None => "fast",
        };
        reply.set(1);
        reply.simple(flag);
        let (first, last, step) = self.keys;
        [first, last, step].iter().for_each(|place| reply.integer(i64::from(*place)));
        let categories = self.categories();
        reply.set(categories.len());
        categories.iter().for_each(|name| reply.simple(&format!("@{name}")));
        // No tips, key specifications or subcommands.
        (0..3).for_each(|_| reply.array(0));
    }

    fn categories(&self) -> Vec<&'static str> {
        let kind = match self.group() {
            "generic" => "keyspace",
            "transactions" => "transaction",
            other => other,
        };
        let access = self.writes.map(|writes| if writes { "write" } else { "read" });
        access.into_iter().chain([kind]).collect()
    }

    fn group(&self) -> &'static str {
        let of = |names: &str| names.split(' ').any(|name| name == self.name);
        match self.name {
            name if name.starts_with("EVAL") || name == "SCRIPT" => "scripting",
            _ if of("WATCH UNWATCH MULTI EXEC DISCARD") => "transactions",
            name if name.ends_with("SUBSCRIBE") || name.starts_with("PUB") => "pubsub",
            _ if of("AUTH CLIENT ECHO HELLO PING QUIT RESET SELECT") => "connection",
            _ if self.writes.is_none() || of("DBSIZE FLUSHALL FLUSHDB TIME") => "server",
            name if name.starts_with('H') => "hash",
            _ if of(STRINGS) => "string",
            _ => "generic",
        }
    }

    fn summary(&self) -> &'static str {
        match self.group() {
            "scripting" => "Runs a Lua script as one atomic step, or keeps its text.",
            "transactions" => "Makes one atomic step of several commands, if watched keys are unchanged.",
            "pubsub" => "Messages among the clients of this server.",
            "connection" => "Who this client is and what it speaks.",
            "server" => "About this server, or all of its keys.",
            "hash" => "Fields and values under one key.",
            "string" => "Strings and counters.",
            _ => "Keys, whatever they hold, and when they expire.",
        }
    }
}

const STRINGS: &str = "APPEND DECR DECRBY GET GETDEL GETEX GETRANGE GETSET INCR INCRBY INCRBYFLOAT MGET MSET MSETNX \
                       PSETEX SET SETEX SETNX SETRANGE STRLEN SUBSTR DELIFEQ";
