//! Lua's values as JSON.

use mlua::{Table, Value};

use super::{Clock, DEPTH};
use crate::number;
use crate::script::MEMORY;
use crate::script::sandbox::Time;

/// Digits of a number.
const DIGITS: usize = 14;
/// An array longer than this may have at most [`SPARSE`] places for each value.
const DENSE: usize = 10;
const SPARSE: usize = 2;

/// The JSON of `value`.
pub fn encode(value: &Value, time: &Time) -> mlua::Result<Vec<u8>> {
    let mut encoder = Encoder { text: Vec::new(), clock: Clock::new(time) };
    encoder.value(value, 0)?;
    Ok(encoder.text)
}

struct Encoder<'t> {
    text: Vec<u8>,
    clock: Clock<'t>,
}

impl Encoder<'_> {
    fn value(&mut self, value: &Value, depth: usize) -> mlua::Result<()> {
        self.clock.tick()?;
        if self.text.len() > MEMORY {
            return Err(mlua::Error::runtime("not enough memory"));
        }
        match value {
            Value::Nil => self.text.extend_from_slice(b"null"),
            value if *value == Value::NULL => self.text.extend_from_slice(b"null"),
            Value::Boolean(is) => self.text.extend_from_slice(if *is { b"true" } else { b"false" }),
            Value::Integer(number) => self.number(*number as f64)?,
            Value::Number(number) => self.number(*number)?,
            Value::String(text) => self.string(&text.as_bytes()),
            Value::Table(table) => self.table(table, depth + 1)?,
            other => {
                let text = format!("Cannot serialise {}: type not supported", other.type_name());
                return Err(mlua::Error::runtime(text));
            }
        }
        Ok(())
    }

    fn number(&mut self, number: f64) -> mlua::Result<()> {
        if !number.is_finite() {
            return Err(mlua::Error::runtime("Cannot serialise number: must not be NaN or Inf"));
        }
        self.text.extend_from_slice(number::print_general(number, DIGITS).as_bytes());
        Ok(())
    }

    fn string(&mut self, text: &[u8]) {
        self.text.push(b'"');
        for byte in text {
            match byte {
                b'"' => self.text.extend_from_slice(b"\\\""),
                b'\\' => self.text.extend_from_slice(b"\\\\"),
                b'/' => self.text.extend_from_slice(b"\\/"),
                0x08 => self.text.extend_from_slice(b"\\b"),
                0x0c => self.text.extend_from_slice(b"\\f"),
                b'\n' => self.text.extend_from_slice(b"\\n"),
                b'\r' => self.text.extend_from_slice(b"\\r"),
                b'\t' => self.text.extend_from_slice(b"\\t"),
                0..0x20 | 0x7f => self.text.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
                other => self.text.push(*other),
            }
        }
        self.text.push(b'"');
    }

    fn table(&mut self, table: &Table, depth: usize) -> mlua::Result<()> {
        if depth > DEPTH {
            return Err(mlua::Error::runtime(format!("Cannot serialise, excessive depth ({depth})")));
        }
        match self.array_len(table)? {
            None => self.object(table, depth),
            Some(length) => self.array(table, length, depth),
        }
    }

    /// The greatest key, if all are numbers from 1 on; `None` for an object.
    fn array_len(&mut self, table: &Table) -> mlua::Result<Option<usize>> {
        let (mut length, mut values) = (0, 0);
        for pair in table.pairs::<Value, Value>() {
            self.clock.tick()?;
            match place(&pair?.0) {
                Some(place) => length = length.max(place),
                None => return Ok(None),
            }
            values += 1;
        }
        if length > DENSE && length > values * SPARSE {
            return Err(mlua::Error::runtime("Cannot serialise table: excessively sparse array"));
        }
        Ok((length > 0).then_some(length))
    }

    fn array(&mut self, table: &Table, length: usize, depth: usize) -> mlua::Result<()> {
        self.text.push(b'[');
        for place in 1..=length {
            if place > 1 {
                self.text.push(b',');
            }
            self.value(&table.raw_get(place)?, depth)?;
        }
        self.text.push(b']');
        Ok(())
    }

    fn object(&mut self, table: &Table, depth: usize) -> mlua::Result<()> {
        self.text.push(b'{');
        let mut is_first = true;
        for pair in table.pairs::<Value, Value>() {
            let (key, value) = pair?;
            if !std::mem::take(&mut is_first) {
                self.text.push(b',');
            }
            match &key {
                Value::String(text) => self.string(&text.as_bytes()),
                Value::Integer(number) => self.string(number.to_string().as_bytes()),
                Value::Number(number) => self.string(number::print_general(*number, DIGITS).as_bytes()),
                _ => {
                    let text = "Cannot serialise table: table key must be a number or string";
                    return Err(mlua::Error::runtime(text));
                }
            }
            self.text.push(b':');
            self.value(&value, depth)?;
        }
        self.text.push(b'}');
        Ok(())
    }
}

/// The place in an array that a key is.
fn place(key: &Value) -> Option<usize> {
    let number = match key {
        Value::Integer(number) => *number as f64,
        Value::Number(number) => *number,
        _ => return None,
    };
    (number >= 1.0 && number.fract() == 0.0 && number < MEMORY as f64).then_some(number as usize)
}
