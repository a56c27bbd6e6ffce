//! What the shell has open, and what its commands do to it.

use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use tdb_replay::words::counted;

use tdb::compat::{self, Tdb};
use tdb::dump::write_record;
use tdb::{Flags, StoreMode, Wait};
use tdb_trace::Recording;

use super::command::{HELP, Verb, find, split};
use crate::failure::Failure;
use crate::tdb::spelling::{unescape, unhex, write_key};
use crate::tdb::{Waiting, failure, open_failure};

/// What the shell does after a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Reads the next command.
    Go,
    /// Ends.
    Quit,
}

/// The database that is open, if any, and where `next` stands.
pub struct Session {
    open: Option<(PathBuf, Tdb)>,
    last_key: Option<Vec<u8>>,
    no_lock: bool,
    waiting: Waiting,
    /// Where what is done is recorded.
    recording: Option<Recording>,
}

type Done = Result<(), Failure>;

impl Session {
    /// A session without a database.
    pub fn new(no_lock: bool, waiting: Waiting, recording: Option<Recording>) -> Session {
        Session { open: None, last_key: None, no_lock, waiting, recording }
    }

    /// Opens a database in place of the one that is open.
    pub fn open(&mut self, path: &Path, create: bool) -> Done {
        let mut options = crate::tdb::options();
        if self.no_lock {
            compat::set_flags(&mut options, Flags::NOLOCK);
        }
        self.waiting.tell(&mut options, path, "");
        options.create(create).exclusive(create);
        if let Some(recording) = &self.recording {
            options.observe(recording.clone());
        }
        let database = Tdb::open(&options, path).map_err(|error| open_failure(&error))?;
        self.open = Some((path.to_owned(), database));
        self.last_key = None;
        Ok(())
    }

    /// Runs a line; an empty one is `next`.
    pub fn run_line(&mut self, line: &str) -> Result<Next, Failure> {
        let words = split(line).map_err(Failure::input)?;
        if words.is_empty() {
            return if self.open.is_some() { self.run(&["next".to_owned()]) } else { Ok(Next::Go) };
        }
        self.run(&words)
    }

    /// Runs a command and its arguments.
    pub fn run(&mut self, words: &[String]) -> Result<Next, Failure> {
        let (verb, count) = find(&words[0]).map_err(Failure::input)?;
        let arguments = &words[1..];
        if arguments.len() != count {
            let message = format!("`{}` takes {count} arguments, not {}", words[0], arguments.len());
            return Err(Failure::input(message));
        }
        match verb {
            Verb::Quit => return Ok(Next::Quit),
            Verb::Help => writeln!(io::stdout(), "{HELP}")?,
            Verb::Create => self.open(Path::new(&arguments[0]), true)?,
            Verb::Open => self.open(Path::new(&arguments[0]), false)?,
            Verb::First | Verb::Next => self.step(verb == Verb::First)?,
            Verb::Insert
            | Verb::Store
            | Verb::StoreHex
            | Verb::Append
            | Verb::Move
            | Verb::Show
            | Verb::Delete => {
                self.one_record(verb, arguments)?;
            }
            _ => self.whole_database(verb)?,
        }
        Ok(Next::Go)
    }

    fn database(&self) -> Result<&(PathBuf, Tdb), Failure> {
        self.open.as_ref().ok_or_else(|| Failure::input("no database is open; `open FILE` opens one"))
    }

    /// Shows the first record, or the one after the last that was shown.
    fn step(&mut self, first: bool) -> Done {
        let (path, database) = self.database()?;
        let found = match (&self.last_key, first) {
            (Some(key), false) => database.next_key(key),
            _ => database.first_key(),
        };
        let found = found.map_err(|error| failure(path, &error))?;
        let Some(key) = found else {
            self.last_key = None;
            return Err(Failure::no("no more records"));
        };
        show(path, database, &key)?;
        self.last_key = Some(key);
        Ok(())
    }

    fn one_record(&self, verb: Verb, arguments: &[String]) -> Done {
        let (path, database) = self.database()?;
        let bytes = |word: &String| {
            let decoded = if verb == Verb::StoreHex { unhex(word) } else { unescape(word) };
            decoded.map_err(Failure::input)
        };
        let key = bytes(&arguments[0])?;
        let stored = match verb {
            Verb::Insert => database.store(&key, &bytes(&arguments[1])?, StoreMode::Insert),
            Verb::Store | Verb::StoreHex => database.store(&key, &bytes(&arguments[1])?, StoreMode::Replace),
            Verb::Append => database.append(&key, &bytes(&arguments[1])?),
            Verb::Delete => database.delete(&key),
            Verb::Move => return move_record(path, database, &key, Path::new(&arguments[1])),
            _ => return show(path, database, &key),
        };
        stored.map_err(|error| failure(path, &error))
    }

    fn whole_database(&self, verb: Verb) -> Done {
        let (path, database) = self.database()?;
        match verb {
            Verb::TransactionStart => {
                database.transaction_start(Wait::Yes).map_err(|error| failure(path, &error))
            }
            Verb::TransactionCommit => database.transaction_commit().map_err(|error| failure(path, &error)),
            Verb::TransactionCancel => database.transaction_cancel().map_err(|error| failure(path, &error)),
            Verb::Erase => database.wipe_all().map_err(|error| failure(path, &error)),
            Verb::Repack => database.repack().map_err(|error| failure(path, &error)),
            Verb::Dump => each(path, database, |out, key, value| write_record(out, key, value)),
            Verb::Keys => each(path, database, |out, key, _| write_key(out, key, false)),
            Verb::HexKeys => each(path, database, |out, key, _| write_key(out, key, true)),
            Verb::List => list(path, database),
            _ => figures(verb, path, database),
        }
    }
}

/// The commands that print figures.
fn figures(verb: Verb, path: &Path, database: &Tdb) -> Done {
    let text = match verb {
        Verb::Info => database.summary().map(|summary| summary.to_string()),
        Verb::FreelistSize => database.freelist_size().map(|size| format!("{size}\n")),
        Verb::Check => {
            database.check(|_, _| true).map(|report| format!("sound, {}\n", counted(report.used, "record")))
        }
        _ => return free(path, database),
    };
    let mut out = io::stdout().lock();
    out.write_all(text.map_err(|error| failure(path, &error))?.as_bytes())?;
    Ok(out.flush()?)
}

fn show(path: &Path, database: &Tdb, key: &[u8]) -> Done {
    let value = database.fetch(key).map_err(|error| failure(path, &error))?;
    let value = value.ok_or_else(|| Failure::no("no such key"))?;
    Ok(write_record(&mut io::stdout().lock(), key, &value)?)
}

/// Stores the record in the other database first, so that a failure between the two leaves it in both, not in none.
fn move_record(path: &Path, database: &Tdb, key: &[u8], to: &Path) -> Done {
    let value = database.fetch(key).map_err(|error| failure(path, &error))?;
    let value = value.ok_or_else(|| Failure::no("no such key"))?;
    let target = crate::tdb::options().open(to).map_err(|error| open_failure(&error))?;
    target.store(key, &value, StoreMode::Insert).map_err(|error| failure(to, &error))?;
    database.delete(key).map_err(|error| failure(path, &error))
}

/// Calls `write` for every record.
fn each(
    path: &Path,
    database: &Tdb,
    mut write: impl FnMut(&mut BufWriter<io::StdoutLock<'_>>, &[u8], &[u8]) -> io::Result<()>,
) -> Done {
    let mut out = BufWriter::new(io::stdout().lock());
    let mut written = Ok(());
    let visited = database.traverse_read(|key, value| {
        written = write(&mut out, key, value);
        if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    visited.map_err(|error| failure(path, &error))?;
    written?;
    Ok(out.flush()?)
}

/// Prints the keys chain by chain, then the free list.
fn list(path: &Path, database: &Tdb) -> Done {
    for chain in 0..database.hash_size() {
        let mut keys = Vec::new();
        let visited = database.traverse_chain(chain, |key, value| {
            keys.push((key.to_vec(), value.len()));
            ControlFlow::Continue(())
        });
        visited.map_err(|error| failure(path, &error))?;
        if !keys.is_empty() {
            writeln!(io::stdout(), "chain {chain}: {}", counted(keys.len(), "record"))?;
        }
        for (key, length) in keys {
            let mut out = io::stdout().lock();
            write!(out, "  {length:>8} bytes  ")?;
            write_key(&mut out, &key, false)?;
        }
    }
    free(path, database)
}

fn free(path: &Path, database: &Tdb) -> Done {
    let mut rows = Vec::new();
    let count = database.freelist_records(|offset, length| rows.push((offset, length)));
    let mut out = BufWriter::new(io::stdout().lock());
    writeln!(out, "free list: {}", counted(count.map_err(|error| failure(path, &error))?, "record"))?;
    for (offset, length) in rows {
        writeln!(out, "  {length:>10} bytes at {offset}")?;
    }
    Ok(out.flush()?)
}
