//! What a client asks: a command and its arguments, as ranges of the bytes received.
//!
//! Owns the bytes of requests that are not answered yet. Each byte is looked at once, however it arrives in pieces.

use std::ops::Range;

use crate::inline;
use crate::limits::{Limits, ProtocolError};
use crate::line;

/// One command with its arguments; at least the command is there.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    bytes: &'a [u8],
    arguments: &'a [Range<usize>],
}

impl<'a> Request<'a> {
    /// The command's name as it was sent, in whatever case.
    pub fn name(&self) -> &'a [u8] {
        &self.bytes[self.arguments[0].clone()]
    }

    /// How many strings it has, the name included.
    pub fn len(&self) -> usize {
        self.arguments.len()
    }

    /// Never: a request has a name.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// String `index`; 0 is the name.
    pub fn get(&self, index: usize) -> Option<&'a [u8]> {
        self.arguments.get(index).map(|range| &self.bytes[range.clone()])
    }

    /// All strings, the name first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
        let bytes = self.bytes;
        self.arguments.iter().map(move |range| &bytes[range.clone()])
    }
}

/// The requests of one connection. Call [`receive`](Requests::receive) with what arrives, then
/// [`poll`](Requests::poll) until it has no more.
#[derive(Debug)]
pub struct Requests {
    limits: Limits,
    /// What was received; the request in progress begins at `start`.
    buffer: Vec<u8>,
    start: usize,
    progress: Progress,
    /// After an error nothing more is read.
    failed: Option<ProtocolError>,
}

impl Requests {
    /// A connection's requests, within `limits`.
    pub fn new(limits: Limits) -> Requests {
        Requests { limits, buffer: Vec::new(), start: 0, progress: Progress::default(), failed: None }
    }

    /// Other limits from the next request on: those of a client that has authenticated, say.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Bytes that arrived, in any pieces.
    ///
    /// How much may wait here is the caller's to bound: it reads when [`poll`](Requests::poll) has no more. Then at
    /// most [`Limits::message_bytes`] and what was read at once are held.
    pub fn receive(&mut self, bytes: &[u8]) {
        if self.failed.is_none() {
            self.discard();
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// Bytes held: of requests not yet polled, and of the one polled last.
    pub fn held(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// The next whole request.
    ///
    /// # Errors
    /// The client broke the protocol or a limit; every later call says the same. Answer with the text and close.
    pub fn poll(&mut self) -> Result<Option<Request<'_>>, ProtocolError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        loop {
            self.finish_last();
            match self.progress.advance(&self.buffer[self.start..], &self.limits) {
                // Empty requests are passed over.
                Ok(true) if self.progress.arguments.is_empty() => {}
                Ok(true) => break,
                Ok(false) => return Ok(None),
                Err(error) => {
                    self.buffer = Vec::new();
                    self.start = 0;
                    self.failed = Some(error.clone());
                    return Err(error);
                }
            }
        }
        let bytes = match self.progress.inline.is_empty() {
            true => &self.buffer[self.start..],
            false => &self.progress.inline,
        };
        Ok(Some(Request { bytes, arguments: &self.progress.arguments }))
    }

    /// Forgets the request that was handed out last.
    fn finish_last(&mut self) {
        if self.progress.is_done {
            self.start += self.progress.at;
            self.progress.clear();
        }
    }

    /// Moves what is left to the front, once that is less than what is behind it: each byte moves a bounded number of times.
    fn discard(&mut self) {
        self.finish_last();
        if self.start * 2 >= self.buffer.len() {
            self.buffer.drain(..self.start);
            self.start = 0;
            // What one huge request needed is not kept forever.
            if self.buffer.capacity() > KEPT && self.buffer.len() < KEPT / 2 {
                self.buffer.shrink_to(KEPT);
            }
        }
    }
}

/// The buffer that an idle connection may keep.
const KEPT: usize = 64 << 10;

/// How far the request in progress is known.
#[derive(Debug, Default)]
struct Progress {
    /// Bytes of it that are understood.
    at: usize,
    /// Bytes behind `at` that hold no line feed.
    searched: usize,
    /// Strings still to come, once its first line was read.
    remaining: Option<usize>,
    /// The length of the string at `at`.
    string: Option<usize>,
    arguments: Vec<Range<usize>>,
    /// The words of an inline command, unquoted.
    inline: Vec<u8>,
    is_done: bool,
}

impl Progress {
    /// Goes on with `bytes`, which begin where the request does; true when it is whole.
    fn advance(&mut self, bytes: &[u8], limits: &Limits) -> Result<bool, ProtocolError> {
        while !self.is_done {
            let known = match (self.remaining, self.string) {
                (None, _) => self.first_line(bytes, limits)?,
                (Some(0), _) => {
                    self.is_done = true;
                    true
                }
                (Some(_), None) => self.length(bytes, limits)?,
                (Some(remaining), Some(length)) => self.string(bytes, remaining, length)?,
            };
            if !known {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn first_line(&mut self, bytes: &[u8], limits: &Limits) -> Result<bool, ProtocolError> {
        let Some(line) = self.line(bytes, limits)? else {
            return Ok(false);
        };
        if let Some(count) = line.strip_prefix(b"*") {
            let count = line::number(line::strip(count)?).ok_or(ProtocolError::Count)?;
            let count = usize::try_from(count.max(0)).map_err(|_| ProtocolError::Count)?;
            if count > limits.elements {
                return Err(ProtocolError::Count);
            }
            self.remaining = Some(count);
        } else {
            inline::split(line, &mut self.inline, &mut self.arguments, limits.elements)?;
            self.is_done = true;
        }
        Ok(true)
    }

    fn length(&mut self, bytes: &[u8], limits: &Limits) -> Result<bool, ProtocolError> {
        match bytes.get(self.at) {
            None => return Ok(false),
            Some(b'$') => {}
            Some(&other) => return Err(ProtocolError::NotAString(other)),
        }
        let Some(line) = self.line(bytes, limits)? else {
            return Ok(false);
        };
        let length = line::number(line::strip(&line[1..])?).and_then(|length| usize::try_from(length).ok());
        let length = length.filter(|length| *length <= limits.string_bytes).ok_or(ProtocolError::Length)?;
        if self.at + length + 2 > limits.message_bytes {
            return Err(ProtocolError::Message(limits.message_bytes));
        }
        self.string = Some(length);
        Ok(true)
    }

    fn string(&mut self, bytes: &[u8], remaining: usize, length: usize) -> Result<bool, ProtocolError> {
        let end = self.at + length;
        let Some(line_end) = bytes.get(end..end + 2) else {
            return Ok(false);
        };
        if line_end != b"\r\n" {
            return Err(ProtocolError::LineEnd);
        }
        self.arguments.push(self.at..end);
        self.at = end + 2;
        self.string = None;
        self.remaining = Some(remaining - 1);
        Ok(true)
    }

    /// The line at `at`, once it is whole; goes past it.
    fn line<'a>(&mut self, bytes: &'a [u8], limits: &Limits) -> Result<Option<&'a [u8]>, ProtocolError> {
        let rest = &bytes[self.at..];
        let Some(length) = line::find(rest, &mut self.searched, limits)? else {
            return Ok(None);
        };
        self.at += length;
        self.searched = 0;
        if self.at > limits.message_bytes {
            return Err(ProtocolError::Message(limits.message_bytes));
        }
        Ok(Some(&rest[..length]))
    }

    fn clear(&mut self) {
        let mut arguments = std::mem::take(&mut self.arguments);
        let mut inline = std::mem::take(&mut self.inline);
        arguments.clear();
        arguments.shrink_to(KEPT / size_of::<Range<usize>>());
        inline.clear();
        *self = Progress { arguments, inline, ..Progress::default() };
    }
}

/// Appends a request of these strings, the command first, to `bytes`.
pub fn write_request<'a>(bytes: &mut Vec<u8>, strings: impl ExactSizeIterator<Item = &'a [u8]>) {
    let mut number = itoa::Buffer::new();
    bytes.push(b'*');
    bytes.extend_from_slice(number.format(strings.len()).as_bytes());
    bytes.extend_from_slice(b"\r\n");
    for string in strings {
        bytes.push(b'$');
        bytes.extend_from_slice(number.format(string.len()).as_bytes());
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(string);
        bytes.extend_from_slice(b"\r\n");
    }
}
