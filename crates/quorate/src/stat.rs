//! `quorate stat`: what a history consists of.

use std::fmt::Write;
use tdb_replay::words::counted;

use clap::Args;
use tdb_replay::stat::Statistics;
use tdb_replay::stat::groups::LockHold;
use tdb_replay::stat::keys::Key;
use tdb_replay::stat::sizes::Sizes;

use crate::Outcome;
use crate::failure::{Failure, note};
use crate::input::{Traces, for_programs, print_json, show};

/// Count what traces consist of
///
/// Operations by kind, keys and their sizes, hot keys, keys that several traces change, how long locks were held,
/// transactions and traversals. Nothing is ordered or replayed, so this works on histories that have no order too, and
/// takes as long as reading the files.
///
/// "Held" counts changes by anybody between the taking and the release of a lock (the distance of sequence numbers);
/// nanoseconds appear where traces have times.
#[derive(Args)]
#[command(after_help = "\
Examples:
  quorate stat traces/                   all traces of a folder
  quorate stat --top 50 db.trace.*       fifty hot keys
  quorate stat --json traces/ | jq '.keys.contended[0]'

Exit codes:
  0  counted
  2  wrong use
  3  a trace cannot be read, or the system failed to read or write")]
pub struct Arguments {
    #[command(flatten)]
    traces: Traces,
    /// How many hot and contended keys to name
    #[arg(long, default_value_t = 10, value_name = "N")]
    top: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the subcommand.
pub fn run(arguments: &Arguments) -> Outcome {
    let history = for_programs(arguments.json, arguments.traces.read())?;
    let statistics = Statistics::of(&history, arguments.top);
    if arguments.json {
        print_json(&statistics)?;
    } else {
        show(&text(&statistics).map_err(Failure::system)?)?;
        history.warnings.iter().for_each(|warning| note(format_args!("note: {warning}")));
    }
    Ok(())
}

fn text(statistics: &Statistics) -> Result<String, std::fmt::Error> {
    let mut out = String::new();
    overview(statistics, &mut out)?;
    sizes(statistics, &mut out)?;
    keys(statistics, &mut out)?;
    groups(statistics, &mut out)?;
    Ok(out)
}

fn overview(statistics: &Statistics, out: &mut String) -> std::fmt::Result {
    let dialect = format!("{:?}", statistics.dialect).to_lowercase();
    let Statistics { traces, lines, text_bytes, .. } = statistics;
    writeln!(
        out,
        "{}, {}, {text_bytes} bytes, dialect: {dialect}",
        counted(*traces, "trace"),
        counted(*lines, "line")
    )?;
    if let Some(span) = statistics.span_ns {
        writeln!(out, "from the first call to the last answer: {} s", seconds(span))?;
    }
    writeln!(out, "\noperation                          count     failed")?;
    for operation in &statistics.operations {
        write!(out, "{:<28} {:>11} {:>10}", operation.name, operation.count, operation.failed)?;
        if let Some(times) = &operation.duration_ns {
            write!(out, "   ns: p50 {}, p99 {}, max {}", times.p50, times.p99, times.max)?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn seconds(ns: u64) -> String {
    format!("{}.{:06}", ns / 1_000_000_000, ns % 1_000_000_000 / 1000)
}

fn sizes(statistics: &Statistics, out: &mut String) -> std::fmt::Result {
    writeln!(
        out,
        "\nbytes of                   count      min      p50      p90      p99      max          total"
    )?;
    let mut row = |name: &str, sizes: &Sizes| {
        let Sizes { count, total, min, p50, p90, p99, max } = sizes;
        writeln!(out, "{name:<20} {count:>11} {min:>8} {p50:>8} {p90:>8} {p99:>8} {max:>8} {total:>14}")
    };
    row("keys named", &statistics.key_bytes)?;
    row("values written", &statistics.written_bytes)?;
    row("values read", &statistics.read_bytes)
}

fn keys(statistics: &Statistics, out: &mut String) -> std::fmt::Result {
    let keys = &statistics.keys;
    writeln!(out, "\nkeys: {} used, {} changed", keys.used, keys.changed)?;
    writeln!(
        out,
        "  changed by several traces: {}, with {} of {} operations",
        keys.changed_by_several, keys.contended_operations, keys.operations
    )?;
    writeln!(out, "  changed by one trace, read by others: {}", keys.changed_and_read_by_others)?;
    list("hot keys", &keys.hot, out)?;
    list("contended keys", &keys.contended, out)
}

fn list(title: &str, keys: &[Key], out: &mut String) -> std::fmt::Result {
    if keys.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{title:<16} operations    changes  traces  writers")?;
    for Key { key, operations, changes, traces, writers } in keys {
        writeln!(out, "{:<16} {operations:>10} {changes:>10} {traces:>7} {writers:>8}  {key}", "")?;
    }
    Ok(())
}

fn groups(statistics: &Statistics, out: &mut String) -> std::fmt::Result {
    if !statistics.locks.is_empty() {
        writeln!(out, "\nlock                         taken    held: p50      p90      p99      max")?;
    }
    for LockHold { kind, held_seq, held_ns, waited_ns } in &statistics.locks {
        row(kind, "changes", held_seq, out)?;
        for (name, sizes) in [("ns", held_ns), ("ns waited", waited_ns)] {
            if let Some(sizes) = sizes {
                row("", name, sizes, out)?;
            }
        }
    }
    let transactions = &statistics.transactions;
    writeln!(
        out,
        "\ntransactions: {} committed, {} cancelled ({} of them left open); operations in each: p50 {}, max {}",
        transactions.committed,
        transactions.cancelled,
        transactions.left_open,
        transactions.operations.p50,
        transactions.operations.max
    )?;
    let traversals = &statistics.traversals;
    writeln!(
        out,
        "traversals: {} for reading, {} for writing ({} without an end); records visited: p50 {}, max {}",
        traversals.read,
        traversals.write,
        traversals.without_end,
        traversals.visited.p50,
        traversals.visited.max
    )
}

fn row(kind: &str, unit: &str, sizes: &Sizes, out: &mut String) -> std::fmt::Result {
    let Sizes { count, p50, p90, p99, max, .. } = sizes;
    writeln!(out, "{kind:<24} {count:>9} {p50:>12} {p90:>8} {p99:>8} {max:>8} {unit}")
}
