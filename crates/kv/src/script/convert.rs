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
    write(value, reply, DEPTH, &mut { VALUES }, most)
}

fn write(
    value: &Value,
    reply: &mut ReplyWriter,
    depth: usize,
    values: &mut usize,
    most: usize,
) -> mlua::Result<()> {
    *values = values
        .checked_sub(1)
        .ok_or_else(|| mlua::Error::runtime("the script's reply has too many values"))?;
    if reply.bytes().len() > most {
        return Err(mlua::Error::runtime("the script's reply is too long"));
    }
    match value {
        Value::String(text) => reply.string(&text.as_bytes()),
        Value::Integer(number) => reply.integer(*number),
        Value::Number(number) => reply.integer(*number as i64),
        Value::Boolean(true) => reply.integer(1),
        Value::Table(table) => return write_table(table, reply, depth, values, most),
        _ => reply.null(),
    }
    Ok(())
}

fn write_table(
    table: &Table,
    reply: &mut ReplyWriter,
    depth: usize,
    values: &mut usize,
    most: usize,
) -> mlua::Result<()> {
    let depth =
        depth.checked_sub(1).ok_or_else(|| mlua::Error::runtime("the script's reply nests too deep"))?;
    if let Value::String(text) = table.raw_get("err")? {
        reply.error(&text.to_string_lossy());
        return Ok(());
    }
    if let Value::String(text) = table.raw_get("ok")? {
        reply.simple(&text.to_string_lossy());
        return Ok(());
    }
    let mut count = 0;
    while !matches!(table.raw_get(count + 1)?, Value::Nil) {
        count += 1;
        if count > *values {
            return Err(mlua::Error::runtime("the script's reply has too many values"));
        }
    }
    reply.array(count);
    for place in 1..=count {
        write(&table.raw_get(place)?, reply, depth, values, most)?;
    }
    Ok(())
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
