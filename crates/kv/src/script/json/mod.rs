//! The table `cjson`: Lua's values as JSON and back, by the rules of the library of that name that Redis has.
//!
//! A table whose keys are 1 to n is an array, an empty one an object; strings are bytes, which need not be UTF-8; null is
//! `cjson.null`. How deep values nest, how much they hold and how long that takes is bounded.
//!
//! * `decode`: the reader; `encode`: the writer

mod decode;
mod encode;

use std::rc::Rc;

use mlua::{Lua, LuaString, Table, Value};

use super::sandbox::Time;

/// How deep arrays and objects may nest. Each level needs room on the stack of a thread.
const DEPTH: usize = 128;
/// Values between two looks at the clock.
const VALUES: u32 = 256;

/// The table.
pub fn table(lua: &Lua, time: &Rc<Time>) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.raw_set("null", Value::NULL)?;
    table.raw_set("_NAME", "cjson")?;
    table.raw_set("_VERSION", "2.1.0")?;
    let timed = Rc::clone(time);
    let encode = move |lua: &Lua, value: Value| lua.create_string(encode::encode(&value, &timed)?);
    table.raw_set("encode", lua.create_function(encode)?)?;
    let timed = Rc::clone(time);
    let decode = move |lua: &Lua, text: LuaString| decode::decode(lua, &text.as_bytes(), &timed);
    table.raw_set("decode", lua.create_function(decode)?)?;
    Ok(table)
}

/// Looks at the clock after so many values.
struct Clock<'t> {
    time: &'t Time,
    values: u32,
}

impl<'t> Clock<'t> {
    fn new(time: &'t Time) -> Clock<'t> {
        Clock { time, values: 0 }
    }

    fn tick(&mut self) -> mlua::Result<()> {
        self.values += 1;
        if self.values.is_multiple_of(VALUES) { self.time.check() } else { Ok(()) }
    }
}
