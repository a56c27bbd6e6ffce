//! Going through keys.
//!
//! A cursor is the number of the slice to go on with: a key stays in its slice, so whatever was there from the first
//! call to the last is shown once, however much is written meanwhile.

use resp::ReplyWriter;

use super::options::{Words, cursor, once};
use super::{Arguments, Outcome};
use crate::error::CommandError;
use crate::keyspace::Keyspace;
use crate::number;
use crate::pattern::matches;

/// So many slices may be looked at by one call: it stays short also in an image of very many.
const MOST_SLICES: u64 = 1 << 16;

/// The words behind a cursor.
struct Filter<'a> {
    pattern: Option<&'a [u8]>,
    count: usize,
    kind: Option<Vec<u8>>,
    only_fields: bool,
}

impl<'a> Filter<'a> {
    fn read(arguments: &'a [&'a [u8]], first: usize) -> Result<Filter<'a>, CommandError> {
        let mut filter = Filter { pattern: None, count: 10, kind: None, only_fields: false };
        let mut words = Words::after(arguments, first);
        while let Some(word) = words.next() {
            match word.as_slice() {
                b"MATCH" => once(&mut filter.pattern, words.value()?)?,
                b"COUNT" => match usize::try_from(number::integer(words.value()?)?) {
                    Ok(count) if count > 0 => filter.count = count,
                    _ => return Err(CommandError::SYNTAX),
                },
                // Of keys the kind of value, of fields whether to leave their values out.
                b"TYPE" if first == 2 => once(&mut filter.kind, words.value()?.to_ascii_lowercase())?,
                b"NOVALUES" if first == 3 => filter.only_fields = true,
                _ => return Err(CommandError::SYNTAX),
            }
        }
        Ok(filter)
    }

    fn fits(&self, text: &[u8]) -> bool {
        self.pattern.is_none_or(|pattern| matches(pattern, text))
    }
}

pub fn scan(keyspace: &mut Keyspace<'_>, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    let mut slice = cursor(arguments[1])?;
    let filter = Filter::read(arguments, 2)?;
    let slices = u64::from(keyspace.slices());
    let mut seen = 0;
    let mut found: Vec<Vec<u8>> = Vec::new();
    // Empty slices cost next to nothing, and a client that asks for a small database expects one answer with all of it.
    let last = slice.saturating_add(MOST_SLICES.max(10 * filter.count as u64)).min(slices);
    while slice < last && seen < filter.count {
        keyspace.for_each(slice as u32, &mut |key, entry| {
            seen += 1;
            let fits_kind = filter.kind.as_ref().is_none_or(|kind| kind == entry.kind.name().as_bytes());
            if fits_kind && filter.fits(key) {
                found.push(key.to_vec());
            }
        })?;
        slice += 1;
    }
    reply.array(2);
    reply.string(if slice >= slices { 0 } else { slice }.to_string().as_bytes());
    reply.array(found.len());
    found.iter().for_each(|key| reply.string(key));
    Ok(())
}

pub fn hscan(keyspace: &mut Keyspace<'_>, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    cursor(arguments[2])?;
    let filter = Filter::read(arguments, 3)?;
    let fields = keyspace.fields(arguments[1])?;
    let found: Vec<_> = fields.iter().filter(|(field, _)| filter.fits(field)).collect();
    reply.array(2);
    reply.string(b"0");
    reply.array(found.len() * if filter.only_fields { 1 } else { 2 });
    for (field, value) in found {
        reply.string(field);
        if !filter.only_fields {
            reply.string(value);
        }
    }
    Ok(())
}

pub fn keys(keyspace: &mut Keyspace<'_>, arguments: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    let mut found: Vec<Vec<u8>> = Vec::new();
    for slice in 0..keyspace.slices() {
        keyspace.for_each(slice, &mut |key, _| {
            if matches(arguments[1], key) {
                found.push(key.to_vec());
            }
        })?;
    }
    reply.array(found.len());
    found.iter().for_each(|key| reply.string(key));
    Ok(())
}

/// A key at random: of the first slice with keys from a random one on, each of its keys as likely.
pub fn randomkey(keyspace: &mut Keyspace<'_>, _: Arguments<'_>, reply: &mut ReplyWriter) -> Outcome {
    let slices = keyspace.slices();
    let first = fastrand::u32(..slices.max(1));
    for slice in (first..slices).chain(0..first) {
        let mut here: Vec<Vec<u8>> = Vec::new();
        keyspace.for_each(slice, &mut |key, _| here.push(key.to_vec()))?;
        if let Some(key) = fastrand::choice(&here) {
            reply.string(key);
            return Ok(());
        }
    }
    reply.null();
    Ok(())
}
