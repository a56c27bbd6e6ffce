//! The few shapes of ASN.1 DER that a Kerberos ticket is made of, read with every length checked, and written.

use super::ticket::BadTicket;

pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const GENERALIZED_TIME: u8 = 0x18;
pub(super) const GENERAL_STRING: u8 = 0x1b;
pub(super) const SEQUENCE: u8 = 0x30;

/// Explicit context tag `number` (0 to 30).
pub(super) const fn context(number: u8) -> u8 {
    0xa0 | number
}

/// Application tag `number` (0 to 30).
pub(super) const fn application(number: u8) -> u8 {
    0x60 | number
}

/// Bytes yet to be read.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    /// The tag of the next element.
    pub fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// The next element if it has this tag.
    pub fn optional(&mut self, tag: u8) -> Result<Option<Reader<'a>>, BadTicket> {
        if self.peek() == Some(tag) { self.element(tag).map(Some) } else { Ok(None) }
    }

    /// The contents of the next element, which must have this tag.
    pub fn element(&mut self, tag: u8) -> Result<Reader<'a>, BadTicket> {
        let (&found, rest) = self.0.split_first().ok_or(BadTicket::Torn)?;
        if found != tag {
            return Err(BadTicket::Tag { expected: tag, found });
        }
        let (length, rest) = read_length(rest)?;
        let (contents, rest) = rest.split_at_checked(length).ok_or(BadTicket::Torn)?;
        self.0 = rest;
        Ok(Reader(contents))
    }

    /// The contents of the element with tag `inner` inside the one with tag `outer`.
    pub fn nested(&mut self, outer: u8, inner: u8) -> Result<Reader<'a>, BadTicket> {
        self.element(outer)?.element(inner)
    }

    /// The contents as a number of at most 32 bits.
    pub fn integer(self) -> Result<i32, BadTicket> {
        let negative = self.0.first().is_some_and(|byte| byte & 0x80 != 0);
        let start = if negative { -1i64 } else { 0 };
        if self.0.is_empty() || self.0.len() > 5 {
            return Err(BadTicket::Number);
        }
        let value = self.0.iter().fold(start, |value, byte| (value << 8) | i64::from(*byte));
        // Unsigned 32-bit fields (key versions) keep their bits.
        i32::try_from(value)
            .or_else(|_| u32::try_from(value).map(|value| value as i32))
            .map_err(|_| BadTicket::Number)
    }

    /// The contents as text.
    pub fn text(self) -> Result<String, BadTicket> {
        String::from_utf8(self.0.to_vec()).map_err(|_| BadTicket::Text)
    }
}

/// A length and what follows it; long form of at most two bytes, for a ticket has less than 64 KiB.
fn read_length(bytes: &[u8]) -> Result<(usize, &[u8]), BadTicket> {
    match bytes {
        [short @ 0..=0x7f, rest @ ..] => Ok((usize::from(*short), rest)),
        [0x81, length, rest @ ..] => Ok((usize::from(*length), rest)),
        [0x82, high, low, rest @ ..] => Ok((usize::from(u16::from_be_bytes([*high, *low])), rest)),
        _ => Err(BadTicket::Torn),
    }
}

/// An element: tag, length, contents.
pub(super) fn element(tag: u8, contents: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match u16::try_from(contents.len()).expect("the tickets made here have a few hundred bytes") {
        length @ 0..0x80 => out.push(length as u8),
        length @ 0x80..0x100 => out.extend_from_slice(&[0x81, length as u8]),
        length => out.extend_from_slice(&[&[0x82], &length.to_be_bytes()[..]].concat()),
    }
    out.extend_from_slice(contents);
    out
}

/// An explicit context tag around an element.
pub(super) fn field(number: u8, tag: u8, contents: &[u8]) -> Vec<u8> {
    element(context(number), &element(tag, contents))
}

/// The shortest bytes of a number.
pub(super) fn integer_bytes(value: i32) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    let skip = (0..3)
        .take_while(|&at| {
            (bytes[at] == 0 && bytes[at + 1] & 0x80 == 0) || (bytes[at] == 0xff && bytes[at + 1] & 0x80 != 0)
        })
        .count();
    bytes[skip..].to_vec()
}
