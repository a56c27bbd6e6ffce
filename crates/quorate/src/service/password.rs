//! `quorate hash-password`: what the configuration holds instead of a password.

use std::io::{self, Read, Write};

use clap::Args;

use crate::Outcome;
use crate::failure::Failure;

/// Print the hash of a password that standard input gives, for `password-hash` in the configuration.
#[derive(Args)]
#[command(after_help = "Example: read -rs p; printf %s \"$p\" | quorate hash-password")]
pub struct Arguments {}

/// More than this is not a password.
const LONGEST: u64 = 1024;

/// Reads the first line, prints its hash.
pub fn run(_: &Arguments) -> Outcome {
    let mut text = Vec::new();
    io::stdin().take(LONGEST + 1).read_to_end(&mut text)?;
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let password = line.strip_suffix(b"\r").unwrap_or(line);
    if password.is_empty() || password.len() as u64 > LONGEST {
        return Err(Failure::input(format!("standard input has no password of 1 to {LONGEST} bytes")));
    }
    let hash = kv_server::hash_password(password).map_err(Failure::system)?;
    writeln!(io::stdout(), "{hash}")?;
    Ok(())
}
