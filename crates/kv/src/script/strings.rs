//! String functions that could work for long within one instruction, or make more than a script may hold: bounded ones
//! take their place.

use std::cell::Cell;
use std::rc::Rc;

use mlua::{Lua, LuaString, MultiValue, Table, Value};

use super::MEMORY;
use super::pattern::{Capture, Found, Matcher};
use super::sandbox::Time;

/// Puts the bounded functions into the table `string`.
pub fn replace(lua: &Lua, string: &Table, time: &Rc<Time>) -> mlua::Result<()> {
    string.raw_remove("dump")?;
    string.raw_remove("gfind")?;
    string.raw_set("rep", lua.create_function(rep)?)?;
    let timed = Rc::clone(time);
    string.raw_set("find", lua.create_function(move |lua, call: Search| find(lua, &timed, &call, true))?)?;
    let timed = Rc::clone(time);
    string
        .raw_set("match", lua.create_function(move |lua, call: Search| find(lua, &timed, &call, false))?)?;
    let timed = Rc::clone(time);
    string.raw_set(
        "gmatch",
        lua.create_function(move |lua, call: (LuaString, LuaString)| gmatch(lua, &timed, call))?,
    )?;
    let timed = Rc::clone(time);
    string.raw_set("gsub", lua.create_function(move |lua, call: Substitution| gsub(lua, &timed, call))?)
}

/// Text, pattern, where to begin, and whether the pattern is a plain text.
type Search = (LuaString, LuaString, Option<i64>, Option<bool>);
/// Text, pattern, replacement, and how often.
type Substitution = (LuaString, LuaString, Value, Option<i64>);

fn rep(lua: &Lua, (text, count): (LuaString, i64)) -> mlua::Result<LuaString> {
    let count = usize::try_from(count).unwrap_or(0);
    let text = text.as_bytes();
    match text.len().checked_mul(count).filter(|length| *length <= MEMORY) {
        Some(_) => lua.create_string(if text.is_empty() { Vec::new() } else { text.repeat(count) }),
        None => Err(mlua::Error::runtime("not enough memory")),
    }
}

fn find(
    lua: &Lua,
    time: &Rc<Time>,
    (text, pattern, init, plain): &Search,
    places: bool,
) -> mlua::Result<MultiValue> {
    let (text, pattern) = (text.as_bytes(), pattern.as_bytes());
    let start = match init.unwrap_or(1) {
        0 => 0,
        place if place > 0 => usize::try_from(place - 1).unwrap_or(usize::MAX),
        back => text.len().saturating_sub(usize::try_from(back.unsigned_abs()).unwrap_or(usize::MAX)),
    };
    let start = start.min(text.len());
    let is_plain =
        places && (plain.unwrap_or(false) || !pattern.iter().any(|byte| b"^$*+?.([%-".contains(byte)));
    let found = if is_plain {
        memchr::memmem::find(&text[start..], &pattern).map(|at| Found {
            start: start + at,
            end: start + at + pattern.len(),
            captures: Vec::new(),
        })
    } else {
        Matcher::new(&text, &pattern, || time.check()).search(start)?
    };
    let Some(found) = found else {
        return Ok(MultiValue::from_vec(vec![Value::Nil]));
    };
    let mut values = Vec::new();
    if places {
        values.push(Value::Number((found.start + 1) as f64));
        values.push(Value::Number(found.end as f64));
        for capture in &found.captures {
            values.push(captured(lua, &text, *capture)?);
        }
    } else {
        values = captures(lua, &text, &found)?;
    }
    Ok(MultiValue::from_vec(values))
}

fn gmatch(lua: &Lua, time: &Rc<Time>, (text, pattern): (LuaString, LuaString)) -> mlua::Result<Value> {
    let (time, next) = (Rc::clone(time), Cell::new(0));
    let step = lua.create_function(move |lua, ()| {
        let (text, pattern) = (text.as_bytes(), pattern.as_bytes());
        if next.get() > text.len() {
            return Ok(MultiValue::from_vec(vec![Value::Nil]));
        }
        // In an iteration, `^` means itself.
        let found = Matcher::new(&text, &pattern, || time.check()).without_anchor().search(next.get())?;
        let Some(found) = found else {
            next.set(text.len() + 1);
            return Ok(MultiValue::from_vec(vec![Value::Nil]));
        };
        next.set(if found.end == found.start { found.end + 1 } else { found.end });
        Ok(MultiValue::from_vec(captures(lua, &text, &found)?))
    })?;
    Ok(Value::Function(step))
}

fn gsub(
    lua: &Lua,
    time: &Rc<Time>,
    (text, pattern, with, most): Substitution,
) -> mlua::Result<(LuaString, f64)> {
    if !matches!(
        with,
        Value::String(_) | Value::Integer(_) | Value::Number(_) | Value::Table(_) | Value::Function(_)
    ) {
        return Err(mlua::Error::runtime("bad argument #3 to 'gsub' (string/function/table expected)"));
    }
    let (text, pattern) = (text.as_bytes(), pattern.as_bytes());
    let most = most.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(0));
    let mut matcher = Matcher::new(&text, &pattern, || time.check());
    let (mut out, mut at, mut count) = (Vec::new(), 0, 0);
    while count < most {
        let found = matcher.at(at)?;
        if let Some(found) = &found {
            count += 1;
            substitute(lua, &text, found, &with, &mut out)?;
        }
        if out.len() > MEMORY {
            return Err(mlua::Error::runtime("not enough memory"));
        }
        match found {
            Some(found) if found.end > at => at = found.end,
            _ if at < text.len() => {
                out.push(text[at]);
                at += 1;
            }
            _ => break,
        }
        if matcher.is_anchored() {
            break;
        }
    }
    out.extend_from_slice(text.get(at..).unwrap_or_default());
    Ok((lua.create_string(out)?, count as f64))
}

/// Appends what takes the place of one match.
fn substitute(lua: &Lua, text: &[u8], found: &Found, with: &Value, out: &mut Vec<u8>) -> mlua::Result<()> {
    let first = || captures(lua, text, found).map(|values| values.into_iter().next().unwrap_or(Value::Nil));
    let value = match with {
        Value::Table(table) => table.get::<Value>(first()?)?,
        Value::Function(function) => {
            function.call::<Value>(MultiValue::from_vec(captures(lua, text, found)?))?
        }
        other => {
            let template = lua.coerce_string(other.clone())?;
            let template = template.map(|template| template.as_bytes().to_vec()).unwrap_or_default();
            return expand(lua, text, found, &template, out);
        }
    };
    match value {
        Value::Nil | Value::Boolean(false) => out.extend_from_slice(&text[found.start..found.end]),
        other => match lua.coerce_string(other)? {
            Some(string) => out.extend_from_slice(&string.as_bytes()),
            None => return Err(mlua::Error::runtime("invalid replacement value (not a string or a number)")),
        },
    }
    Ok(())
}

/// Appends a template, in which `%1` is a capture and `%0` the whole.
fn expand(lua: &Lua, text: &[u8], found: &Found, template: &[u8], out: &mut Vec<u8>) -> mlua::Result<()> {
    let mut bytes = template.iter();
    while let Some(&byte) = bytes.next() {
        match (byte, bytes.as_slice().first()) {
            (b'%', Some(b'0')) => {
                out.extend_from_slice(&text[found.start..found.end]);
                bytes.next();
            }
            (b'%', Some(digit)) if digit.is_ascii_digit() => {
                let place = usize::from(digit - b'1');
                let value = captures(lua, text, found)?.into_iter().nth(place);
                let value = value.ok_or_else(|| mlua::Error::runtime("invalid capture index"))?;
                let string = lua.coerce_string(value)?;
                out.extend(string.iter().flat_map(|string| string.as_bytes().to_vec()));
                bytes.next();
            }
            (b'%', Some(&escaped)) => {
                out.push(escaped);
                bytes.next();
            }
            (byte, _) => out.push(byte),
        }
        if out.len() > MEMORY {
            return Err(mlua::Error::runtime("not enough memory"));
        }
    }
    Ok(())
}

/// The captures, or the whole match if there are none.
fn captures(lua: &Lua, text: &[u8], found: &Found) -> mlua::Result<Vec<Value>> {
    if found.captures.is_empty() {
        return Ok(vec![Value::String(lua.create_string(&text[found.start..found.end])?)]);
    }
    found.captures.iter().map(|capture| captured(lua, text, *capture)).collect()
}

fn captured(lua: &Lua, text: &[u8], capture: Capture) -> mlua::Result<Value> {
    match capture {
        Capture::Place(place) => Ok(Value::Number((place + 1) as f64)),
        Capture::Text(start, end) => Ok(Value::String(lua.create_string(&text[start..end])?)),
    }
}
