//! Functions over tables that are not Lua's own: those of Lua loop within one instruction for as long as a number says, or trust
//! it.

use std::rc::Rc;

use mlua::{Function, Lua, MultiValue, Table, Value};

use super::sandbox::Time;

/// More values than this no function returns: Lua's stack has room for 8,000.
const RESULTS: i64 = 7_500;

/// Puts bounded functions in the place of `unpack`, and into the table `table`; functions over strings look at the clock.
pub fn replace(lua: &Lua, globals: &Table, time: &Rc<Time>) -> mlua::Result<()> {
    let timed = Rc::clone(time);
    let check = lua.create_function(move |_, ()| timed.check())?;
    let replace: Function = lua.load(TABLES).set_name("=table").eval()?;
    replace.call::<()>((globals, check))?;
    globals.raw_set("unpack", lua.create_function(unpack)?)
}

/// The values at `first` to `last`.
fn unpack(_: &Lua, (table, first, last): (Table, Option<f64>, Option<f64>)) -> mlua::Result<MultiValue> {
    // Numbers become integers by saturation, so that a difference is what it seems.
    let first = first.map_or(1, |first| first as i64);
    let last = last.map_or_else(|| table.raw_len() as i64, |last| last as i64);
    if last.saturating_sub(first) >= RESULTS {
        return Err(mlua::Error::runtime("too many results to unpack"));
    }
    (first..=last).map(|place| table.raw_get::<Value>(place)).collect()
}

/// What is written in Lua is counted by instructions. Lua's own functions are called only for what they do in a moment.
const TABLES: &str = r#"
local type, error, next, select = type, error, next, select
return function(globals, check)
    local table, string = globals.table, globals.string
    local insert, remove, sort = table.insert, table.remove, table.sort
    local function moves(count)
        if count > 1000 then check() end
    end
    function table.insert(t, ...)
        local count = select('#', ...)
        if count ~= 2 then return insert(t, ...) end
        local place, value = ...
        if type(t) == "table" and type(place) == "number" then
            if not (place >= 1 and place <= #t + 1) then
                error("bad argument #2 to 'insert' (position out of bounds)", 2)
            end
            moves(#t - place)
        end
        return insert(t, place, value)
    end
    function table.remove(t, ...)
        local place = ...
        if type(t) == "table" and type(place) == "number" then moves(#t - place) end
        return remove(t, ...)
    end
    function table.sort(t, before)
        if before == nil then
            return sort(t, function(a, b) return a < b end)
        end
        if type(before) ~= "function" then return sort(t, before) end
        return sort(t, function(a, b) return before(a, b) end)
    end
    function table.foreach(t, f)
        for key, value in next, t do
            local result = f(key, value)
            if result ~= nil then return result end
        end
    end
    function table.foreachi(t, f)
        for place = 1, #t do
            local result = f(place, t[place])
            if result ~= nil then return result end
        end
    end
    local function timed(of, name)
        local f = of[name]
        of[name] = function(...)
            check()
            return f(...)
        end
    end
    timed(table, "concat")
    timed(table, "maxn")
    timed(string, "format")
    timed(string, "lower")
    timed(string, "rep")
    timed(string, "reverse")
    timed(string, "upper")
end
"#;
