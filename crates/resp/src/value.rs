//! One reply, whole, as a client reads it.

/// A reply or an element of one.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// `+`: a short text, such as OK.
    Simple(Vec<u8>),
    /// `-` or `!`: an error; its first word is its kind.
    Error(Vec<u8>),
    /// `:`.
    Integer(i64),
    /// `$`: any bytes.
    Bytes(Vec<u8>),
    /// `_`, or a string or array of length -1 in version 2.
    Null,
    /// `*`.
    Array(Vec<Value>),
    /// `#`.
    Boolean(bool),
    /// `,`.
    Double(f64),
    /// `(`: an integer of any size, in decimal digits.
    BigNumber(Vec<u8>),
    /// `=`: a text and the three letters that say how it is written.
    Verbatim([u8; 3], Vec<u8>),
    /// `%`: pairs, in the order sent.
    Map(Vec<(Value, Value)>),
    /// `~`.
    Set(Vec<Value>),
    /// `>`: not an answer, but a message to whoever subscribed.
    Push(Vec<Value>),
}

impl Value {
    /// Its bytes, if it is a string of any kind.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Value::Simple(bytes) | Value::Bytes(bytes) | Value::Verbatim(_, bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Its number, if it is an integer.
    pub fn as_integer(&self) -> Option<i64> {
        match self {
            Value::Integer(number) => Some(*number),
            _ => None,
        }
    }

    /// Its elements, if it is an array, a set or a push message.
    pub fn as_elements(&self) -> Option<&[Value]> {
        match self {
            Value::Array(elements) | Value::Set(elements) | Value::Push(elements) => Some(elements),
            _ => None,
        }
    }
}
