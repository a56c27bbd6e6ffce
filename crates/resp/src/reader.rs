//! Replies as a client reads them, both versions, in whatever pieces they arrive.
//!
//! Owns the bytes of the reply in progress and the aggregates around them. No recursion: a nested reply is a stack of
//! at most [`Limits::depth`] aggregates.

use crate::limits::{Limits, ProtocolError};
use crate::line;
use crate::value::Value;

/// The replies of one connection. Call [`receive`](Replies::receive) with what arrives, then [`poll`](Replies::poll).
#[derive(Debug)]
pub struct Replies {
    limits: Limits,
    buffer: Vec<u8>,
    /// Bytes of the buffer that are understood.
    at: usize,
    /// Bytes behind `at` that hold no line feed.
    searched: usize,
    /// A string whose length is known, and its kind.
    string: Option<(u8, usize)>,
    open: Vec<Aggregate>,
    /// Of the reply in progress.
    bytes: usize,
    elements: usize,
    failed: Option<ProtocolError>,
}

/// An aggregate that lacks some of its elements.
#[derive(Debug)]
struct Aggregate {
    kind: u8,
    missing: usize,
    elements: Vec<Value>,
}

impl Replies {
    /// A connection's replies, within `limits`.
    pub fn new(limits: Limits) -> Replies {
        Replies {
            limits,
            buffer: Vec::new(),
            at: 0,
            searched: 0,
            string: None,
            open: Vec::new(),
            bytes: 0,
            elements: 0,
            failed: None,
        }
    }

    /// Bytes that arrived, in any pieces.
    pub fn receive(&mut self, bytes: &[u8]) {
        if self.failed.is_none() {
            if self.at * 2 >= self.buffer.len() {
                self.buffer.drain(..self.at);
                self.at = 0;
            }
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// The next whole reply. Attributes (`|`) are passed over.
    ///
    /// # Errors
    /// The server broke the protocol or a limit; every later call says the same. Close the connection.
    pub fn poll(&mut self) -> Result<Option<Value>, ProtocolError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.advance().inspect_err(|error| {
            self.failed = Some(error.clone());
            self.buffer = Vec::new();
            self.open = Vec::new();
        })
    }

    fn advance(&mut self) -> Result<Option<Value>, ProtocolError> {
        loop {
            let value = match self.string {
                Some((kind, length)) => self.string(kind, length)?,
                None => self.line()?,
            };
            let Some(value) = value else {
                return Ok(None);
            };
            if let Item::Value(value) = value
                && let Some(whole) = self.place(value)
            {
                self.bytes = 0;
                self.elements = 0;
                return Ok(Some(whole));
            }
        }
    }

    /// Puts `value` into the innermost aggregate; returns the reply when that makes it whole.
    fn place(&mut self, mut value: Value) -> Option<Value> {
        loop {
            let Some(innermost) = self.open.last_mut() else {
                return Some(value);
            };
            innermost.elements.push(value);
            innermost.missing -= 1;
            if innermost.missing > 0 {
                return None;
            }
            let aggregate = self.open.pop()?;
            value = aggregate.close()?;
        }
    }

    fn line(&mut self) -> Result<Option<Item>, ProtocolError> {
        let rest = &self.buffer[self.at..];
        let Some(length) = line::find(rest, &mut self.searched, &self.limits)? else {
            return Ok(None);
        };
        let line = line::strip(&rest[..length])?;
        let (&kind, text) = line.split_first().ok_or(ProtocolError::LineEnd)?;
        let item = match kind {
            b'+' => Item::Value(Value::Simple(text.to_vec())),
            b'-' => Item::Value(Value::Error(text.to_vec())),
            b':' => {
                Item::Value(Value::Integer(line::number(text).ok_or(ProtocolError::Malformed("integer"))?))
            }
            b'_' if text.is_empty() => Item::Value(Value::Null),
            b'#' if matches!(text, b"t" | b"f") => Item::Value(Value::Boolean(text == b"t")),
            b',' => Item::Value(Value::Double(double(text)?)),
            b'(' => Item::Value(Value::BigNumber(big_number(text)?)),
            b'$' | b'*' if text == b"-1" => Item::Value(Value::Null),
            b'$' | b'!' | b'=' => Item::String(kind, self.length(text, self.limits.string_bytes)?),
            b'*' | b'%' | b'~' | b'>' | b'|' => {
                Item::Aggregate(kind, self.length(text, self.limits.elements)?)
            }
            b'_' | b'#' => return Err(ProtocolError::Malformed("null or boolean")),
            other => return Err(ProtocolError::Type(other)),
        };
        self.at += length;
        self.searched = 0;
        self.count(length)?;
        self.begin(item).map(Some)
    }

    /// Strings and aggregates need more than their line.
    fn begin(&mut self, item: Item) -> Result<Item, ProtocolError> {
        match item {
            Item::Value(_) => {}
            Item::String(kind, length) => {
                self.count(length)?;
                self.string = Some((kind, length));
            }
            Item::Aggregate(kind, count) => {
                let missing = if matches!(kind, b'%' | b'|') { 2 * count } else { count };
                if missing == 0 {
                    return Ok(match (Aggregate { kind, missing, elements: Vec::new() }).close() {
                        Some(value) => Item::Value(value),
                        None => item,
                    });
                }
                if self.open.len() == self.limits.depth {
                    return Err(ProtocolError::Size);
                }
                self.open.push(Aggregate { kind, missing, elements: Vec::new() });
            }
        }
        Ok(item)
    }

    fn string(&mut self, kind: u8, length: usize) -> Result<Option<Item>, ProtocolError> {
        let end = self.at + length;
        let Some(line_end) = self.buffer.get(end..end + 2) else {
            return Ok(None);
        };
        if line_end != b"\r\n" {
            return Err(ProtocolError::LineEnd);
        }
        let text = self.buffer[self.at..end].to_vec();
        self.at = end + 2;
        self.string = None;
        let value = match (kind, text.as_slice()) {
            (b'=', [a, b, c, b':', rest @ ..]) => Value::Verbatim([*a, *b, *c], rest.to_vec()),
            (b'=', _) => return Err(ProtocolError::Malformed("verbatim string")),
            (b'!', _) => Value::Error(text),
            _ => Value::Bytes(text),
        };
        Ok(Some(Item::Value(value)))
    }

    fn length(&self, text: &[u8], most: usize) -> Result<usize, ProtocolError> {
        let length = line::number(text).and_then(|length| usize::try_from(length).ok());
        length.filter(|length| *length <= most).ok_or(ProtocolError::Length)
    }

    /// Counts a line and `bytes` of the reply in progress.
    fn count(&mut self, bytes: usize) -> Result<(), ProtocolError> {
        self.bytes += bytes;
        self.elements += 1;
        match self.bytes > self.limits.message_bytes {
            true => Err(ProtocolError::Message(self.limits.message_bytes)),
            // A string counts twice, its line and its bytes; so do its limits.
            false if self.elements > 2 * self.limits.elements + 2 => Err(ProtocolError::Size),
            false => Ok(()),
        }
    }
}

/// What a line says.
enum Item {
    Value(Value),
    String(u8, usize),
    Aggregate(u8, usize),
}

impl Aggregate {
    /// The value that it is, unless it is an attribute.
    fn close(self) -> Option<Value> {
        match self.kind {
            b'*' => Some(Value::Array(self.elements)),
            b'~' => Some(Value::Set(self.elements)),
            b'>' => Some(Value::Push(self.elements)),
            b'%' => {
                let mut elements = self.elements.into_iter();
                let mut pairs = Vec::with_capacity(elements.len() / 2);
                while let (Some(key), Some(value)) = (elements.next(), elements.next()) {
                    pairs.push((key, value));
                }
                Some(Value::Map(pairs))
            }
            // An attribute: it lies before the value that it is about, and is not an element of what is around both.
            _ => None,
        }
    }
}

fn double(text: &[u8]) -> Result<f64, ProtocolError> {
    std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or(ProtocolError::Malformed("double"))
}

fn big_number(text: &[u8]) -> Result<Vec<u8>, ProtocolError> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    match !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) {
        true => Ok(text.to_vec()),
        false => Err(ProtocolError::Malformed("big number")),
    }
}
