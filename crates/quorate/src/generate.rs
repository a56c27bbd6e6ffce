//! `quorate generate`: histories of a stated shape as trace files.

use std::path::PathBuf;
use tdb_replay::words::counted;

use clap::{Args, ValueEnum};
use history::generate::{Mix, Shape, Values, Violation};
use tdb_replay::generate::{Order, generate};

use crate::Outcome;
use crate::unfinished::TraceFolder;

/// Write traces of an invented history
///
/// Processes do operations on a database that exists only as a list; each writes down what it saw, in the form of a
/// traced TDB, some of it late, as happens when a process is held up. What the traces say is true unless --violation
/// asks for one lie. Use it to try `check`, `order` and `replay` on histories of any size and shape.
///
/// The files are OUT_DIR/generated.trace.0000 and so on, one a process. Equal options give equal files.
#[derive(Args)]
#[command(after_help = "\
Examples:
  quorate generate traces                                 4 processes, 10 000 operations on 100 keys
  quorate generate --operations 10000000 --processes 64 --keys 200000 --zstd big
  quorate generate --keys 1 --values 3 --late 500 hot     one key, three values, half of all lines late
  quorate generate --violation lost-update --seed 7 bad   then: quorate check bad

Exit codes:
  0  written
  2  wrong use, or the shape has no place for the violation
  3  a file could not be written")]
pub struct Arguments {
    /// Directory to write to; created if missing, refused if it holds traces
    #[arg(value_name = "OUT_DIR")]
    folder: PathBuf,
    /// Number of processes; each has its own trace
    #[arg(long, default_value_t = 4, value_name = "N")]
    processes: u32,
    /// Number of operations, all processes together
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    operations: u32,
    /// Number of keys
    #[arg(long, default_value_t = 100, value_name = "N")]
    keys: u32,
    /// How unevenly keys are used: the exponent of a Zipf distribution; 0 uses all alike, 1 is common
    #[arg(long, default_value_t = 0.0, value_name = "EXPONENT")]
    skew: f64,
    /// Values to store: a new one each time ("distinct"), or one of N
    #[arg(long, default_value = "distinct", value_name = "distinct|N", value_parser = values)]
    values: Values,
    /// Operations in 1000 that are recorded late, after operations that came later
    #[arg(long, default_value_t = 150, value_name = "N")]
    late: u32,
    /// Late operations in 1000 that are recorded thousands of operations late
    #[arg(long, default_value_t = 1, value_name = "N")]
    very_late: u32,
    /// Kinds of operations
    #[arg(long, default_value = "mixed")]
    mix: MixName,
    /// Random seed
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// Make one result false; the whole history is held in memory then
    #[arg(long, value_name = "KIND")]
    violation: Option<ViolationName>,
    /// Write times and versions too (the extended form)
    #[arg(long)]
    extended: bool,
    /// Compress the files
    #[arg(long)]
    zstd: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum MixName {
    /// Fetch, exists, store, insert, delete, append, and stores in cancelled transactions
    Mixed,
    /// Fetch and store only
    ReadsAndStores,
}

#[derive(Clone, Copy, ValueEnum)]
enum ViolationName {
    /// Two appends extended the same value: one of them is gone
    LostUpdate,
    /// A process read what it had already seen replaced
    StaleRead,
    /// A process read what a cancelled transaction had written
    DirtyRead,
    /// A process read a value to which one append was applied twice
    DuplicatedAppend,
    /// A process read a value that nobody wrote
    FromNowhere,
}

impl From<ViolationName> for Violation {
    fn from(name: ViolationName) -> Violation {
        match name {
            ViolationName::LostUpdate => Violation::LostUpdate,
            ViolationName::StaleRead => Violation::StaleRead,
            ViolationName::DirtyRead => Violation::DirtyRead,
            ViolationName::DuplicatedAppend => Violation::DuplicatedAppend,
            ViolationName::FromNowhere => Violation::FromNowhere,
        }
    }
}

fn values(text: &str) -> Result<Values, String> {
    match text.parse() {
        _ if text == "distinct" => Ok(Values::Distinct),
        Ok(count) if count > 0 => Ok(Values::Few(count)),
        _ => Err("\"distinct\" or a number from 1".into()),
    }
}

/// Runs the subcommand.
pub fn run(arguments: &Arguments) -> Outcome {
    let shape = Shape {
        processes: arguments.processes,
        operations: arguments.operations,
        keys: arguments.keys,
        skew: arguments.skew,
        values: arguments.values,
        late_per_mille: arguments.late,
        very_late_per_mille: arguments.very_late,
        mix: match arguments.mix {
            MixName::Mixed => Mix::MIXED,
            MixName::ReadsAndStores => Mix::READS_AND_STORES,
        },
        seed: arguments.seed,
    };
    let violation = arguments.violation.map(Violation::from);
    let order = Order { shape, violation, extended: arguments.extended, zstd: arguments.zstd };
    let folder = TraceFolder::create(&arguments.folder)?;
    let written = generate(&order, folder.inside())?;
    folder.finish(&written.files)?;
    let place = |file: usize| arguments.folder.join(written.files[file].file_name().unwrap_or_default());
    let mut text = format!(
        "{}: {}, {}\n",
        arguments.folder.display(),
        counted(written.files.len(), "trace"),
        counted(written.lines, "line")
    );
    if let Some((file, line, key)) = written.planted {
        text.push_str(&format!("{}:{line}: a false result on key {key}\n", place(file).display()));
    }
    crate::input::show(&text)?;
    Ok(())
}
