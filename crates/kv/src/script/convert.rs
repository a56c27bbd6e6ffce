//! Replies as Lua's values, and Lua's values as replies, by Redis's rules: null is false, a number loses its fraction, an
//! array ends at its first nil.

use mlua::{Lua, Table, Value};
use resp::{Limits, Replies, ReplyWriter};

use super::MEMORY;
use super::sandbox::first_line;

/// How deep a reply may nest.
const DEPTH: usize = 32;
/// Values of one reply.
const VALUES: usize = 1 << 20;

/// The value of a reply in version 2.
pub fn value(lua: &Lua, reply: &[u8]) -> mlua::Result<Value> {
    let limits = Limits { message_bytes: usize::MAX / 4, string_bytes: usize::MAX / 4, ..Limits::default() };
    let mut replies = Replies::new(limits);
    replies.receive(reply);
    let value = replies.poll().map_err(|error| mlua::Error::runtime(error.to_string()))?;
    of(lua, &value.unwrap_or(resp::Value::Null))
}

fn of(lua: &Lua, value: &resp::Value) -> mlua::Result<Value> {
    let tagged = |name: &str, text: &[u8]| -> mlua::Result<Value> {
        let table = lua.create_table()?;
        table.raw_set(name, lua.create_string(text)?)?;
        Ok(Value::Table(table))
    };
    match value {
        resp::Value::Simple(text) => tagged("ok", text),
        resp::Value::Error(text) => tagged("err", text),
        resp::Value::Integer(number) => Ok(Value::Number(*number as f64)),
        resp::Value::Bytes(text) => Ok(Value::String(lua.create_string(text)?)),
        resp::Value::Array(elements) => {
            let table = lua.create_table_with_capacity(elements.len(), 0)?;
            for (place, element) in (1..).zip(elements) {
                table.raw_set(place, of(lua, element)?)?;
            }
            Ok(Value::Table(table))
        }
        // Version 2 has nothing else.
        _ => Ok(Value::Boolean(false)),
    }
}

/// Writes what a script returned.
pub fn reply(value: &Value, reply: &mut ReplyWriter) -> mlua::Result<()> {
    let most = reply.bytes().len() + MEMORY;
    Returned { reply, values: VALUES, most }.value(value, DEPTH)
}

/// The reply of a script in the making.
struct Returned<'r> {
    reply: &'r mut ReplyWriter,
    /// How many more values it may have.
    values: usize,
    /// How many bytes.
    most: usize,
}

impl Returned<'_> {
    fn value(&mut self, value: &Value, depth: usize) -> mlua::Result<()> {
        self.values = self.values.checked_sub(1).ok_or_else(too_many)?;
        if self.reply.bytes().len() > self.most {
            return Err(mlua::Error::runtime("the script's reply is too long"));
        }
        match value {
            Value::String(text) => self.reply.string(&text.as_bytes()),
            Value::Integer(number) => self.reply.integer(*number),
            Value::Number(number) => self.reply.integer(*number as i64),
            Value::Boolean(true) => self.reply.integer(1),
            Value::Table(table) => return self.table(table, depth),
            _ => self.reply.null(),
        }
        Ok(())
    }

    /// A table with one of some fields stands for a value that Lua does not have; any other is an array.
    fn table(&mut self, table: &Table, depth: usize) -> mlua::Result<()> {
        let depth =
            depth.checked_sub(1).ok_or_else(|| mlua::Error::runtime("the script's reply nests too deep"))?;
        if let Value::String(text) = table.raw_get("err")? {
            self.reply.error(&text.to_string_lossy());
        } else if let Value::String(text) = table.raw_get("ok")? {
            self.reply.simple(&text.to_string_lossy());
        } else if let Some(number) = table.raw_get::<Value>("double")?.as_number() {
            self.reply.double(number);
        } else if let Value::Table(map) = table.raw_get("map")? {
            self.pairs(&map, ReplyWriter::map, true, depth)?;
        } else if let Value::Table(set) = table.raw_get("set")? {
            self.pairs(&set, ReplyWriter::set, false, depth)?;
        } else {
            self.array(table, depth)?;
        }
        Ok(())
    }

    fn pairs(
        &mut self,
        table: &Table,
        head: fn(&mut ReplyWriter, usize),
        with_values: bool,
        depth: usize,
    ) -> mlua::Result<()> {
        let mut count = 0;
        for pair in table.pairs::<Value, Value>() {
            pair?;
            count += 1;
            if count > self.values {
                return Err(too_many());
            }
        }
        head(self.reply, count);
        for pair in table.pairs::<Value, Value>() {
            let (key, value) = pair?;
            self.value(&key, depth)?;
            if with_values {
                self.value(&value, depth)?;
            }
        }
        Ok(())
    }

    fn array(&mut self, table: &Table, depth: usize) -> mlua::Result<()> {
        let mut count = 0;
        while !matches!(table.raw_get(count + 1)?, Value::Nil) {
            count += 1;
            if count > self.values {
                return Err(too_many());
            }
        }
        self.reply.array(count);
        for place in 1..=count {
            self.value(&table.raw_get(place)?, depth)?;
        }
        Ok(())
    }
}

fn too_many() -> mlua::Error {
    mlua::Error::runtime("the script's reply has too many values")
}

/// The error reply for a value that a script raised.
pub fn raised(value: &Value) -> String {
    match value {
        Value::Table(table) => match table.raw_get("err") {
            Ok(Value::String(text)) => text.to_string_lossy(),
            _ => "ERR the script raised a table without the field err".to_owned(),
        },
        Value::String(text) => format!("ERR {}", text.to_string_lossy()),
        Value::Error(error) => format!("ERR {}", first_line(&error.to_string())),
        other => format!("ERR the script raised a {}", other.type_name()),
    }
}

/// A number as a command's argument.
pub fn number_text(number: f64) -> String {
    // Up to here every integer is a number of its own.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() <= EXACT {
        return (number as i64).to_string();
    }
    number.to_string()
}
