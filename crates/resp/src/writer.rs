//! What a server answers, in the version that its client chose.
//!
//! What version 2 lacks is written as the nearest that it has, as Redis does: a map as an array of keys and values, a
//! double as a string, a boolean as 0 or 1.

/// The version of the protocol that a connection speaks; a client changes it with HELLO.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// RESP2, with which every connection begins.
    #[default]
    Resp2,
    /// RESP3.
    Resp3,
}

/// Writes replies one after the other. An aggregate is its head, then as many values as it says.
#[derive(Debug, Default)]
pub struct ReplyWriter {
    bytes: Vec<u8>,
    version: Version,
}

impl ReplyWriter {
    /// Replies of `version`.
    pub fn new(version: Version) -> ReplyWriter {
        ReplyWriter { bytes: Vec::new(), version }
    }

    /// The version of what is written from here on.
    pub fn set_version(&mut self, version: Version) {
        self.version = version;
    }

    /// The version of what is written.
    pub fn version(&self) -> Version {
        self.version
    }

    /// What was written and not taken.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Takes what was written.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    /// Takes back all but the first `length` bytes: of a reply that turned out otherwise.
    pub fn truncate(&mut self, length: usize) {
        self.bytes.truncate(length);
    }

    /// Replies that were written elsewhere, in this version.
    pub fn raw(&mut self, replies: &[u8]) {
        self.bytes.extend_from_slice(replies);
    }

    /// `+OK`.
    pub fn ok(&mut self) {
        self.simple("OK");
    }

    /// A short text. Line ends in it become blanks: they would end the reply.
    pub fn simple(&mut self, text: &str) {
        self.text(b'+', text);
    }

    /// An error; by convention the first word is its kind, in capitals. Line ends become blanks.
    pub fn error(&mut self, text: &str) {
        self.text(b'-', text);
    }

    /// An integer.
    pub fn integer(&mut self, number: i64) {
        self.head(b':', number);
    }

    /// Any bytes.
    pub fn string(&mut self, bytes: &[u8]) {
        self.head(b'$', bytes.len() as i64);
        self.bytes.extend_from_slice(bytes);
        self.line_end();
    }

    /// The bytes, or null.
    pub fn optional(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.string(bytes),
            None => self.null(),
        }
    }

    /// Nothing where a string could be.
    pub fn null(&mut self) {
        self.bytes.extend_from_slice(match self.version {
            Version::Resp2 => b"$-1\r\n",
            Version::Resp3 => b"_\r\n",
        });
    }

    /// Nothing where an array could be: of a transaction that was not carried out.
    pub fn null_array(&mut self) {
        self.bytes.extend_from_slice(match self.version {
            Version::Resp2 => b"*-1\r\n",
            Version::Resp3 => b"_\r\n",
        });
    }

    /// The head of an array of `count` values.
    pub fn array(&mut self, count: usize) {
        self.head(b'*', count as i64);
    }

    /// The head of a map of `count` pairs: twice as many values.
    pub fn map(&mut self, count: usize) {
        match self.version {
            Version::Resp2 => self.head(b'*', 2 * count as i64),
            Version::Resp3 => self.head(b'%', count as i64),
        }
    }

    /// The head of a set of `count` values.
    pub fn set(&mut self, count: usize) {
        self.head(self.only_in_3(b'~', b'*'), count as i64);
    }

    /// The head of a message of `count` values that answers nothing.
    pub fn push(&mut self, count: usize) {
        self.head(self.only_in_3(b'>', b'*'), count as i64);
    }

    /// A truth value.
    pub fn boolean(&mut self, value: bool) {
        match self.version {
            Version::Resp2 => self.integer(i64::from(value)),
            Version::Resp3 => self.bytes.extend_from_slice(if value { b"#t\r\n" } else { b"#f\r\n" }),
        }
    }

    /// A floating-point number, in the fewest digits that read back as the same.
    pub fn double(&mut self, number: f64) {
        let text = match number {
            number if number.is_nan() => "nan".to_owned(),
            f64::INFINITY => "inf".to_owned(),
            f64::NEG_INFINITY => "-inf".to_owned(),
            number => number.to_string(),
        };
        match self.version {
            Version::Resp2 => self.string(text.as_bytes()),
            Version::Resp3 => self.text(b',', &text),
        }
    }

    /// A text for people to read as it is.
    pub fn verbatim(&mut self, text: &str) {
        match self.version {
            Version::Resp2 => self.string(text.as_bytes()),
            Version::Resp3 => {
                self.head(b'=', text.len() as i64 + 4);
                self.bytes.extend_from_slice(b"txt:");
                self.bytes.extend_from_slice(text.as_bytes());
                self.line_end();
            }
        }
    }

    fn only_in_3(&self, resp3: u8, resp2: u8) -> u8 {
        match self.version {
            Version::Resp2 => resp2,
            Version::Resp3 => resp3,
        }
    }

    fn text(&mut self, kind: u8, text: &str) {
        self.bytes.push(kind);
        self.bytes.extend(text.bytes().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte }));
        self.line_end();
    }

    fn head(&mut self, kind: u8, number: i64) {
        self.bytes.push(kind);
        self.bytes.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        self.line_end();
    }

    fn line_end(&mut self) {
        self.bytes.extend_from_slice(b"\r\n");
    }
}
