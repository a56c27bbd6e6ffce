//! JSON as Lua's values.

use mlua::{Lua, Value};

use super::{Clock, DEPTH};
use crate::script::sandbox::Time;

/// The value of a text that is one JSON value.
pub fn decode(lua: &Lua, text: &[u8], time: &Time) -> mlua::Result<Value> {
    let mut decoder = Decoder { lua, text, at: 0, clock: Clock::new(time) };
    let value = decoder.value(0)?;
    decoder.skip_blanks();
    if decoder.at < text.len() {
        return Err(decoder.expected("the end"));
    }
    Ok(value)
}

struct Decoder<'a> {
    lua: &'a Lua,
    text: &'a [u8],
    /// Where the next byte is.
    at: usize,
    clock: Clock<'a>,
}

impl Decoder<'_> {
    fn value(&mut self, depth: usize) -> mlua::Result<Value> {
        self.clock.tick()?;
        self.skip_blanks();
        match self.peek() {
            Some(b'{') => self.object(depth + 1),
            Some(b'[') => self.array(depth + 1),
            Some(b'"') => Ok(Value::String(self.lua.create_string(self.string()?)?)),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ if self.takes(b"true") => Ok(Value::Boolean(true)),
            _ if self.takes(b"false") => Ok(Value::Boolean(false)),
            _ if self.takes(b"null") => Ok(Value::NULL),
            _ => Err(self.expected("value")),
        }
    }

    fn array(&mut self, depth: usize) -> mlua::Result<Value> {
        self.enter(depth)?;
        let table = self.lua.create_table()?;
        if self.closes(b']') {
            return Ok(Value::Table(table));
        }
        for place in 1_i64.. {
            table.raw_set(place, self.value(depth)?)?;
            if self.closes(b']') {
                break;
            }
            self.require(b',', "comma or array end")?;
        }
        Ok(Value::Table(table))
    }

    fn object(&mut self, depth: usize) -> mlua::Result<Value> {
        self.enter(depth)?;
        let table = self.lua.create_table()?;
        if self.closes(b'}') {
            return Ok(Value::Table(table));
        }
        loop {
            self.skip_blanks();
            if self.peek() != Some(b'"') {
                return Err(self.expected("object key string"));
            }
            let key = self.lua.create_string(self.string()?)?;
            self.require(b':', "colon")?;
            table.raw_set(key, self.value(depth)?)?;
            if self.closes(b'}') {
                return Ok(Value::Table(table));
            }
            self.require(b',', "comma or object end")?;
        }
    }

    /// Past the bracket that opens an array or object.
    fn enter(&mut self, depth: usize) -> mlua::Result<()> {
        if depth > DEPTH {
            let text = format!("Found too many nested data structures ({depth})");
            return Err(mlua::Error::runtime(text));
        }
        self.at += 1;
        Ok(())
    }

    fn number(&mut self) -> mlua::Result<Value> {
        let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
        let length = self.text[self.at..].iter().take_while(|byte| is_part(byte)).count();
        let text = std::str::from_utf8(&self.text[self.at..self.at + length]).unwrap_or_default();
        // Rust reads every number of JSON, and some that are not: those with a plus or a zero before, or a bare point.
        let digits = text.strip_prefix('-').unwrap_or(text).as_bytes();
        let is_plain = match digits {
            [b'0', b'0'..=b'9', ..] => false,
            [b'0'..=b'9', ..] => !text.ends_with('.') && !text.contains(".e") && !text.contains(".E"),
            _ => false,
        };
        match text.parse::<f64>() {
            Ok(number) if is_plain => {
                self.at += length;
                Ok(Value::Number(number))
            }
            _ => Err(self.expected("value")),
        }
    }

    fn string(&mut self) -> mlua::Result<Vec<u8>> {
        self.at += 1;
        let mut string = Vec::new();
        loop {
            let plain =
                self.text[self.at..].iter().take_while(|byte| !matches!(byte, b'"' | b'\\' | 0..0x20));
            let plain = plain.count();
            string.extend_from_slice(&self.text[self.at..self.at + plain]);
            self.at += plain;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(string);
                }
                Some(b'\\') => self.escape(&mut string)?,
                _ => return Err(self.expected("string end")),
            }
        }
    }

    fn escape(&mut self, string: &mut Vec<u8>) -> mlua::Result<()> {
        let escaped = self.text.get(self.at + 1).copied();
        string.push(match escaped {
            Some(byte @ (b'"' | b'\\' | b'/')) => byte,
            Some(b'b') => 0x08,
            Some(b'f') => 0x0c,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'u') => return self.code_point(string),
            _ => return Err(self.expected("escape code")),
        });
        self.at += 2;
        Ok(())
    }

    /// `\uXXXX`, or two of them that are one character.
    fn code_point(&mut self, string: &mut Vec<u8>) -> mlua::Result<()> {
        let first = self.unit(self.at).ok_or_else(|| self.expected("unicode escape code"))?;
        let pair = [first, self.unit(self.at + 6).unwrap_or(0)];
        let count = if matches!(first, 0xd800..0xdc00) { 2 } else { 1 };
        let character = char::decode_utf16(pair[..count].iter().copied()).next();
        let Some(Ok(character)) = character else {
            return Err(self.expected("unicode escape code"));
        };
        string.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        self.at += 6 * count;
        Ok(())
    }

    /// What `\uXXXX` at `at` stands for.
    fn unit(&self, at: usize) -> Option<u16> {
        let digits = self.text.get(at..at + 6)?.strip_prefix(b"\\u")?;
        let is_plain = digits.iter().all(u8::is_ascii_hexdigit);
        u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok().filter(|_| is_plain)
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn skip_blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn takes(&mut self, word: &[u8]) -> bool {
        let found = self.text[self.at..].starts_with(word);
        self.at += if found { word.len() } else { 0 };
        found
    }

    /// Whether the next byte that is not blank is this one, which is then read.
    fn closes(&mut self, byte: u8) -> bool {
        self.skip_blanks();
        self.takes(&[byte])
    }

    fn require(&mut self, byte: u8, name: &str) -> mlua::Result<()> {
        if self.closes(byte) { Ok(()) } else { Err(self.expected(name)) }
    }

    fn expected(&self, name: &str) -> mlua::Error {
        let found = if self.at < self.text.len() { "invalid token" } else { "T_END" };
        mlua::Error::runtime(format!("Expected {name} but found {found} at character {}", self.at + 1))
    }
}
