//! `quorate tdb dump`: all records as text.

use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;

use clap::Args;
use tdb::dump::write_record;

use super::progress::Progress;
use super::{Locking, failure, open_failure, open_to_read, spelling};
use crate::Outcome;
use crate::failure::Failure;

/// Print all records in the text form of tdbdump, which `quorate tdb restore` and tdbrestore read.
#[derive(Args)]
pub struct Arguments {
    /// The database.
    file: PathBuf,
    /// Print this key's value only, as tdbdump does: escaped, without a line's end. KEY is spelled as `quorate tdb keys`
    /// prints it.
    #[arg(short, long, value_name = "KEY", allow_hyphen_values = true)]
    key: Option<String>,
    /// KEY is in hexadecimal, as `quorate tdb keys -x` prints it.
    #[arg(short = 'x', long, requires = "key")]
    hex: bool,
    /// The database may be corrupt: print every record that can still be found.
    #[arg(short, long)]
    emergency: bool,
    #[command(flatten)]
    locking: Locking,
}

/// Prints the records.
pub fn run(arguments: &Arguments) -> Outcome {
    let database = open_to_read(&arguments.file, arguments.locking).map_err(|error| open_failure(&error))?;
    let mut out = BufWriter::new(io::stdout().lock());
    let mut written = Ok(());
    if let Some(key) = &arguments.key {
        let key = if arguments.hex { spelling::unhex(key) } else { spelling::unescape(key) };
        return show(arguments, &database, &key.map_err(Failure::input)?, &mut out);
    }
    let mut progress = Progress::start("dumped");
    if arguments.emergency {
        let found = database.rescue(|key, value| {
            progress.tick();
            if written.is_ok() {
                written = write_record(&mut out, key, value);
            }
        });
        found.map_err(|error| failure(&arguments.file, &error))?;
    } else {
        let visited = database.traverse_read(|key, value| {
            progress.tick();
            written = write_record(&mut out, key, value);
            if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        visited.map_err(|error| failure(&arguments.file, &error))?;
    }
    written?;
    Ok(out.flush()?)
}

fn show(arguments: &Arguments, database: &tdb::Database, key: &[u8], out: &mut impl Write) -> Outcome {
    let value = database.fetch(key).map_err(|error| failure(&arguments.file, &error))?;
    let Some(value) = value else {
        return Err(Failure::no(format!("{}: no such key", arguments.file.display())));
    };
    tdb::dump::write_escaped(out, &value)?;
    Ok(out.flush()?)
}
