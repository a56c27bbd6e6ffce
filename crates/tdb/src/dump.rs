//! The text form of a database, as `tdbdump` writes and `tdbrestore` reads it.
//!
//! ```text
//! {
//! key(3) = "abc"
//! data(4) = "x\22\00y"
//! }
//! ```
//!
//! A byte that is not printable ASCII, or is a quote or a backslash, is a backslash and two hexadecimal digits.

use std::io::{self, BufRead, Write};

/// A text that is not a dump.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DumpError {
    /// It could not be read.
    #[error("cannot read the dump: {0}")]
    Io(io::Error),
    /// It could not be understood.
    #[error("line {line} of the dump: {what}")]
    Syntax {
        /// The line, from 1.
        line: u64,
        /// What was expected.
        what: &'static str,
    },
}

impl From<io::Error> for DumpError {
    fn from(cause: io::Error) -> Self {
        DumpError::Io(cause)
    }
}

/// A key and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// Writes one record.
pub fn write_record(out: &mut impl Write, key: &[u8], value: &[u8]) -> io::Result<()> {
    write!(out, "{{\nkey({}) = \"", key.len())?;
    write_escaped(out, key)?;
    write!(out, "\"\ndata({}) = \"", value.len())?;
    write_escaped(out, value)?;
    out.write_all(b"\"\n}\n")
}

/// Writes bytes as they stand between quotes.
pub fn write_escaped(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    let mut text = Vec::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'"' | b'\\' => write!(text, "\\{byte:02X}")?,
            b' '..=b'~' => text.push(*byte),
            _ => write!(text, "\\{byte:02X}")?,
        }
    }
    out.write_all(&text)
}

/// Reads the records of a dump, one after the other.
pub struct Reader<R> {
    input: R,
    line: u64,
}

impl<R: BufRead> Reader<R> {
    /// A reader at the start of `input`.
    pub fn new(input: R) -> Reader<R> {
        Reader { input, line: 1 }
    }

    /// The line, counted from 1, up to which the dump has been read.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// The next record; `None` at the end.
    pub fn next_record(&mut self) -> Result<Option<Pair>, DumpError> {
        match self.next_visible()? {
            None => return Ok(None),
            Some(b'{') => {}
            Some(_) => return Err(self.syntax("a record begins with {")),
        }
        let key = self.field("key")?;
        let value = self.field("data")?;
        if self.next_visible()? != Some(b'}') {
            return Err(self.syntax("a record ends with }"));
        }
        Ok(Some((key, value)))
    }

    fn field(&mut self, name: &'static str) -> Result<Vec<u8>, DumpError> {
        let first = self.next_visible()?;
        let rest_fits = |reader: &mut Self| reader.literal(&name.as_bytes()[1..]);
        if first != Some(name.as_bytes()[0]) || !rest_fits(self)? || !self.literal(b"(")? {
            return Err(self.syntax(if name == "key" {
                "key(LENGTH) is missing"
            } else {
                "data(LENGTH) is missing"
            }));
        }
        let len = self.number()?;
        if self.next_visible()? != Some(b'=') || self.next_visible()? != Some(b'"') {
            return Err(self.syntax("after the length comes = \"BYTES\""));
        }
        self.quoted(len)
    }

    /// The digits of a length and the bracket after them.
    fn number(&mut self) -> Result<u32, DumpError> {
        let mut value: Option<u32> = None;
        loop {
            let byte = self.next_byte()?;
            match byte {
                Some(digit @ b'0'..=b'9') => {
                    let grown = value.unwrap_or(0).checked_mul(10);
                    let grown = grown.and_then(|value| value.checked_add(u32::from(digit - b'0')));
                    value = Some(grown.ok_or_else(|| self.syntax("the length is too large"))?);
                }
                Some(b')') => return value.ok_or_else(|| self.syntax("the length is missing")),
                _ => return Err(self.syntax("the length is not a number in brackets")),
            }
        }
    }

    fn quoted(&mut self, len: u32) -> Result<Vec<u8>, DumpError> {
        let mut bytes = Vec::new();
        loop {
            match self.next_byte()? {
                Some(b'"') => break,
                Some(b'\\') => bytes.push(self.hex_digit()? << 4 | self.hex_digit()?),
                Some(byte) => bytes.push(byte),
                None => return Err(self.syntax("the closing quote is missing")),
            }
            if bytes.len() > len as usize {
                return Err(self.syntax("there are more bytes than the length says"));
            }
        }
        if bytes.len() < len as usize {
            return Err(self.syntax("there are fewer bytes than the length says"));
        }
        Ok(bytes)
    }

    fn hex_digit(&mut self) -> Result<u8, DumpError> {
        let digit = self.next_byte()?.and_then(|byte| char::from(byte).to_digit(16));
        digit.map(|digit| digit as u8).ok_or_else(|| self.syntax("after \\ come two hexadecimal digits"))
    }

    fn literal(&mut self, text: &[u8]) -> Result<bool, DumpError> {
        for expected in text {
            if self.next_byte()? != Some(*expected) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn next_visible(&mut self) -> Result<Option<u8>, DumpError> {
        loop {
            match self.next_byte()? {
                Some(byte) if byte.is_ascii_whitespace() => {}
                other => return Ok(other),
            }
        }
    }

    fn next_byte(&mut self) -> Result<Option<u8>, DumpError> {
        let Some(byte) = self.input.fill_buf()?.first().copied() else {
            return Ok(None);
        };
        self.input.consume(1);
        if byte == b'\n' {
            self.line += 1;
        }
        Ok(Some(byte))
    }

    fn syntax(&self, what: &'static str) -> DumpError {
        DumpError::Syntax { line: self.line, what }
    }
}

impl<R: BufRead> Iterator for Reader<R> {
    type Item = Result<Pair, DumpError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_record().transpose()
    }
}
