//! `quorate slice`: parts of a history as traces of their own.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use tdb_replay::words::counted;

use anyhow::{Context, bail};
use clap::Args;
use tdb_replay::slice::{Selection, files};
use tdb_replay::trace::History;

use crate::Outcome;
use crate::input::{Traces, show};
use crate::unfinished::TraceFolder;

/// Write part of a history as traces of their own
///
/// Lines are copied unchanged. Lines that a part needs in order to parse are included: the ends of locks, transactions and
/// traversals that something chosen is in, tdb_open, tdb_close. Several choices together choose what fits all of them.
///
/// A part by key or by trace has an order if the whole has one. A part by sequence numbers or times may begin in the
/// middle of something, and need not have one.
#[derive(Args)]
#[command(after_help = "\
Examples:
  quorate slice --key 'user/7' --output part traces/
  quorate slice --key 'k\\x00' --key 0x6b01 --output part traces/     escapes as `quorate stat` prints them, or hex
  quorate slice --trace db.trace.1234 --output part traces/          and what it needs of the others
  quorate slice --sequence 1000..2000 --output part traces/
  quorate slice --seconds 1.5..2 --output part traces/               since the first call; needs times

Exit codes:
  0  written
  2  wrong use, or nothing fits
  3  a trace cannot be read, or the system failed to read or write")]
#[command(group = clap::ArgGroup::new("choice").multiple(true).required(true).args(["keys", "names", "sequence", "seconds"]))]
pub struct Arguments {
    #[command(flatten)]
    traces: Traces,
    /// Directory to write to; created if missing, refused if it holds traces
    #[arg(long = "output", short, value_name = "DIR")]
    out: PathBuf,
    /// Operations on this key; may be given several times
    #[arg(long = "key", value_name = "KEY")]
    keys: Vec<String>,
    /// This trace, by its file name or its number (from 1, in the order read), and of the others the changes of keys
    /// that it touches; may be given several times
    #[arg(long = "trace", value_name = "NAME|N")]
    names: Vec<String>,
    /// Nothing of other traces than those of --trace
    #[arg(long, requires = "names")]
    alone: bool,
    /// Lines with sequence numbers FROM to TO; either may be missing
    #[arg(long, value_name = "FROM..TO", value_parser = sequence)]
    sequence: Option<RangeInclusive<u32>>,
    /// Operations that ran at some time between these, in seconds since the first call; either may be missing
    #[arg(long, value_name = "FROM..TO", value_parser = nanoseconds)]
    seconds: Option<RangeInclusive<u64>>,
}

fn ends(text: &str) -> Result<(&str, &str), String> {
    text.split_once("..").ok_or_else(|| "a range is written FROM..TO, FROM.. or ..TO".into())
}

fn sequence(text: &str) -> Result<RangeInclusive<u32>, String> {
    let (from, to) = ends(text)?;
    let number = |text: &str, missing: u32| match text {
        "" => Ok(missing),
        text => text.parse().map_err(|_| format!("\"{text}\" is not a sequence number")),
    };
    let range = number(from, 0)?..=number(to, u32::MAX)?;
    if range.is_empty() { Err("FROM is above TO".into()) } else { Ok(range) }
}

fn nanoseconds(text: &str) -> Result<RangeInclusive<u64>, String> {
    let (from, to) = ends(text)?;
    let number = |text: &str, missing: u64| match (text, text.parse::<f64>()) {
        ("", _) => Ok(missing),
        (_, Ok(seconds)) if (0.0..1e9).contains(&seconds) => Ok((seconds * 1e9) as u64),
        _ => Err(format!("\"{text}\" is not a number of seconds")),
    };
    let range = number(from, 0)?..=number(to, u64::MAX)?;
    if range.is_empty() { Err("FROM is above TO".into()) } else { Ok(range) }
}

/// Runs the subcommand.
pub fn run(arguments: &Arguments) -> Outcome {
    let history = arguments.traces.read()?;
    let mut selection = Selection::all(&history);
    if !arguments.names.is_empty() {
        let wanted = traces(&history, &arguments.names)?;
        selection.narrow_to_traces(&history, &wanted, arguments.alone);
    }
    if !arguments.keys.is_empty() {
        selection.narrow_to_keys(&history, &keys(&history, &arguments.keys)?);
    }
    if let Some(range) = &arguments.sequence {
        selection.narrow_to_sequence(&history, range);
    }
    if let Some(range) = &arguments.seconds {
        let first = first_call(&history)
            .context("no line has a time; --seconds needs traces of the extended form")?;
        let range = first.saturating_add(*range.start())..=first.saturating_add(*range.end());
        selection.narrow_to_times(&history, &range);
    }
    selection.complete(&history);
    let folder = TraceFolder::create(&arguments.out)?;
    let written = files::write(&history, &selection, folder.inside())?;
    folder.finish(&written)?;
    let all: usize = history.traces.iter().map(|trace| trace.rows.len()).sum();
    show(&format!(
        "{}: {} with {} of {}\n",
        arguments.out.display(),
        counted(written.len(), "trace"),
        selection.len(),
        counted(all, "row")
    ))?;
    Ok(())
}

fn first_call(history: &History) -> Option<u64> {
    let stamps =
        history.traces.iter().flat_map(|trace| (0..trace.rows.len()).filter_map(|row| trace.rows.stamp(row)));
    stamps.map(|stamp| stamp.start_ns).min()
}

fn traces(history: &History, names: &[String]) -> anyhow::Result<Vec<bool>> {
    let mut wanted = vec![false; history.traces.len()];
    for name in names {
        let named = |path: &std::path::Path| {
            path.as_os_str() == name.as_str() || path.file_name().is_some_and(|file| file == name.as_str())
        };
        let by_name = history.traces.iter().position(|trace| named(&trace.path));
        let by_number = || name.parse::<usize>().ok()?.checked_sub(1).filter(|&at| at < wanted.len());
        let Some(at) = by_name.or_else(by_number) else {
            bail!(
                "--trace {name}: no trace has this name, and it is not a number from 1 to {}",
                wanted.len()
            );
        };
        wanted[at] = true;
    }
    Ok(wanted)
}

fn keys(history: &History, texts: &[String]) -> anyhow::Result<Vec<bool>> {
    let known = &history.records.keys;
    let mut wanted = vec![false; known.len()];
    for text in texts {
        let bytes = bytes(text).with_context(|| format!("--key {text}"))?;
        match (0..known.len()).find(|&id| known.bytes(id as u32) == bytes) {
            Some(id) => wanted[id] = true,
            None => bail!("--key {text}: no operation names this key"),
        }
    }
    Ok(wanted)
}

/// `0xHEX`, or text with the escapes of Rust's byte strings.
fn bytes(text: &str) -> anyhow::Result<Vec<u8>> {
    let pair = |text: &str| {
        u8::from_str_radix(text, 16).ok().filter(|_| text.len() == 2).context("two hexadecimal digits a byte")
    };
    let hex = text.strip_prefix("0x").filter(|digits| digits.is_ascii());
    if let Some(digits) = hex {
        return digits.as_bytes().chunks(2).map(|digits| pair(std::str::from_utf8(digits)?)).collect();
    }
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        bytes.extend_from_slice(before.as_bytes());
        let escape = after.chars().next().context("something after a backslash")?;
        let used = if escape == 'x' { 3 } else { escape.len_utf8() };
        bytes.push(match escape {
            'x' => pair(after.get(1..3).context("two hexadecimal digits after \\x")?)?,
            'n' => b'\n',
            'r' => b'\r',
            't' => b'\t',
            '0' => 0,
            '\\' | '\'' | '"' => escape as u8,
            _ => bail!("unknown escape \\{escape}"),
        });
        rest = &after[used..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R26: keys are read as `quorate stat` prints them.
    #[test]
    fn keys_are_read_as_they_are_printed() {
        let every: Vec<u8> = (0..=255).collect();
        assert_eq!(bytes(&every.escape_ascii().to_string()).expect("escapes"), every);
        assert_eq!(bytes("0x6B00ff").expect("hex"), b"k\0\xff");
        assert_eq!(bytes("").expect("nothing"), b"");
        for wrong in ["0x6", "0xzz", "a\\", "\\x1", "\\xg0", "\\q", "\\xé"] {
            bytes(wrong).expect_err(wrong);
        }
    }

    /// R26: ranges may lack an end, and wrong ones are refused.
    #[test]
    fn ranges_are_read() {
        assert_eq!(sequence("3..7"), Ok(3..=7));
        assert_eq!(sequence(".."), Ok(0..=u32::MAX));
        assert_eq!(nanoseconds("0.5.."), Ok(500_000_000..=u64::MAX));
        for wrong in ["3", "7..3", "a..b", "1..-2"] {
            sequence(wrong).expect_err(wrong);
            nanoseconds(wrong).expect_err(wrong);
        }
    }
}
