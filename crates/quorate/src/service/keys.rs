//! `quorate get`, `set`, `delete`, `list`.

use std::io::{self, Write};

use clap::Args;
use resp::Value;

use super::client::Connection;
use crate::Outcome;
use crate::failure::Failure;

/// Print the values of keys, one a line.
#[derive(Args)]
#[command(after_help = "Exit codes: 0 all keys are there; 1 one is not; 2 wrong use; 3 no server answers")]
pub struct Get {
    #[command(flatten)]
    connection: Connection,
    #[arg(required = true, value_name = "KEY")]
    keys: Vec<String>,
}

/// Give a key a value.
#[derive(Args)]
#[command(
    after_help = "Exit codes: 0 set; 1 not set because the key is there (--if-absent); 2 wrong use; 3 no server answers"
)]
pub struct Set {
    #[command(flatten)]
    connection: Connection,
    #[arg(value_name = "KEY")]
    key: String,
    #[arg(value_name = "VALUE")]
    value: String,
    /// Only if the key is not there
    #[arg(long)]
    if_absent: bool,
    /// Seconds after which the key ends; never by default
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    expires_secs: Option<u64>,
}

/// Remove keys; print how many were there.
#[derive(Args)]
pub struct Delete {
    #[command(flatten)]
    connection: Connection,
    #[arg(required = true, value_name = "KEY")]
    keys: Vec<String>,
}

/// Print the keys that match, one a line.
#[derive(Args)]
pub struct List {
    #[command(flatten)]
    connection: Connection,
    /// `*` is any text, `?` any byte, `[a-z]` one of these
    #[arg(default_value = "*", value_name = "PATTERN")]
    patterns: Vec<String>,
}

/// Keys asked for at once.
const COUNT: &[u8] = b"1000";

/// `quorate get`.
pub fn get(arguments: &Get) -> Outcome {
    let mut client = arguments.connection.open()?;
    let mut missing = Vec::new();
    let mut out = io::stdout().lock();
    for key in &arguments.keys {
        match client.ask(&[b"GET", key.as_bytes()])? {
            Value::Null => missing.push(key.as_str()),
            value => {
                out.write_all(value.as_bytes().unwrap_or_default())?;
                out.write_all(b"\n")?;
            }
        }
    }
    out.flush()?;
    match missing.is_empty() {
        true => Ok(()),
        false => Err(Failure::no(format!("not there: {}", missing.join(" ")))),
    }
}

/// `quorate set`.
pub fn set(arguments: &Set) -> Outcome {
    let mut client = arguments.connection.open()?;
    let mut words = vec![&b"SET"[..], arguments.key.as_bytes(), arguments.value.as_bytes()];
    if arguments.if_absent {
        words.push(b"NX");
    }
    let seconds = arguments.expires_secs.map(|seconds| seconds.to_string());
    if let Some(seconds) = &seconds {
        words.extend([&b"EX"[..], seconds.as_bytes()]);
    }
    match client.ask(&words)? {
        Value::Null => Err(Failure::no(format!("{} is there already", arguments.key))),
        _ => Ok(()),
    }
}

/// `quorate delete`.
pub fn delete(arguments: &Delete) -> Outcome {
    let mut client = arguments.connection.open()?;
    let keys = arguments.keys.iter().map(String::as_bytes);
    let words: Vec<&[u8]> = std::iter::once(&b"DEL"[..]).chain(keys).collect();
    let removed = client.ask(&words)?.as_integer().unwrap_or(0);
    writeln!(io::stdout(), "{removed}")?;
    Ok(())
}

/// `quorate list`.
pub fn list(arguments: &List) -> Outcome {
    let mut client = arguments.connection.open()?;
    let mut out = io::stdout().lock();
    for pattern in &arguments.patterns {
        let mut cursor = b"0".to_vec();
        loop {
            let answer = client.ask(&[b"SCAN", &cursor, b"MATCH", pattern.as_bytes(), b"COUNT", COUNT])?;
            let Some([next, keys]) = answer.as_elements() else {
                return Err(Failure::system("SCAN was answered with something else than a cursor and keys"));
            };
            for key in keys.as_elements().unwrap_or_default() {
                out.write_all(key.as_bytes().unwrap_or_default())?;
                out.write_all(b"\n")?;
            }
            cursor = next.as_bytes().unwrap_or(b"0").to_vec();
            if cursor == b"0" {
                break;
            }
        }
    }
    out.flush()?;
    Ok(())
}
