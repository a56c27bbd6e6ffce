//! Words behind a command's arguments.

use crate::error::{CommandError, refused};
use crate::keyspace::Clocks;
use crate::number;

/// The words that are left to read.
pub struct Words<'a> {
    rest: &'a [&'a [u8]],
}

impl<'a> Words<'a> {
    /// The words from `first` on.
    pub fn after(arguments: &'a [&'a [u8]], first: usize) -> Words<'a> {
        Words { rest: arguments.get(first..).unwrap_or_default() }
    }

    /// The next word, in capitals.
    pub fn next(&mut self) -> Option<Vec<u8>> {
        self.value().ok().map(<[u8]>::to_ascii_uppercase)
    }

    /// What belongs to the word before.
    pub fn value(&mut self) -> Result<&'a [u8], CommandError> {
        let (value, rest) = self.rest.split_first().ok_or(CommandError::SYNTAX)?;
        self.rest = rest;
        Ok(value)
    }
}

/// How a time of expiry is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Time {
    /// Seconds from now.
    Seconds,
    /// Milliseconds from now.
    Milliseconds,
    /// Seconds since 1970.
    DateSeconds,
    /// Milliseconds since 1970.
    DateMilliseconds,
}

impl Time {
    /// The option of this name, in capitals.
    pub fn named(word: &[u8]) -> Option<Time> {
        match word {
            b"EX" => Some(Time::Seconds),
            b"PX" => Some(Time::Milliseconds),
            b"EXAT" => Some(Time::DateSeconds),
            b"PXAT" => Some(Time::DateMilliseconds),
            _ => None,
        }
    }

    /// The moment on the cell's clock; a date is converted now, and a later step of wall clocks moves it no more.
    ///
    /// # Errors
    /// `text` is not an integer, or too far away; `command` is named.
    pub fn read(self, text: &[u8], clocks: Clocks, command: &str) -> Result<i64, CommandError> {
        let number = number::integer(text)?;
        let invalid =
            || CommandError::Refused(format!("ERR invalid expire time in '{command}' command").into());
        let milliseconds = match self {
            Time::Seconds | Time::DateSeconds => number.checked_mul(1000).ok_or_else(invalid)?,
            Time::Milliseconds | Time::DateMilliseconds => number,
        };
        let cell = i64::try_from(clocks.cell).map_err(|_| invalid())?;
        let wall = i64::try_from(clocks.wall).map_err(|_| invalid())?;
        let from_now = match self {
            Time::Seconds | Time::Milliseconds => milliseconds,
            Time::DateSeconds | Time::DateMilliseconds => {
                milliseconds.checked_sub(wall).ok_or_else(invalid)?
            }
        };
        cell.checked_add(from_now).ok_or_else(invalid)
    }

    /// [`Time::read`] for a value that is stored: zero and less are refused.
    pub fn read_positive(self, text: &[u8], clocks: Clocks, command: &str) -> Result<u64, CommandError> {
        if number::integer(text)? <= 0 {
            return Err(CommandError::Refused(
                format!("ERR invalid expire time in '{command}' command").into(),
            ));
        }
        Ok(u64::try_from(self.read(text, clocks, command)?).unwrap_or(0))
    }
}

/// Sets `place`, which no earlier word may have set.
pub fn once<T>(place: &mut Option<T>, value: T) -> Result<(), CommandError> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(CommandError::SYNTAX),
    }
}

/// A position in a scan.
pub fn cursor(text: &[u8]) -> Result<u64, CommandError> {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(refused("ERR invalid cursor"))
}
