//! The interpreter of one script: made, bounded, run, and thrown away.
//!
//! Nothing of a script outlives it, so scripts cannot prepare anything for each other. What reaches files, processes,
//! bytecode or other threads of execution is not in it. Instructions are counted, so that time runs out in every loop;
//! once it has, every further instruction fails, so that `pcall` cannot go on. The functions that work long within one
//! instruction are our own and look at the time themselves.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Instant;

use mlua::{Function, HookTriggers, Lua, LuaOptions, StdLib, Table, Value, VmState};
use resp::ReplyWriter;

use super::compile::{COMPILE, CompileError, compile};
use super::{MEMORY, TIME, bits, convert, json, library, strings, tables};
use crate::error::{CommandError, StorageError};
use crate::keyspace::{Keyspace, Point};

/// What is to be run.
pub struct Script<'a> {
    pub text: &'a [u8],
    pub keys: &'a [&'a [u8]],
    pub values: &'a [&'a [u8]],
    pub may_write: bool,
}

/// A script's time.
pub struct Time {
    end: Instant,
    is_over: Cell<bool>,
}

/// What a script acts on while it runs.
pub struct Host<'k, 'r> {
    pub keyspace: &'k mut Keyspace<'r>,
    /// Where the script began.
    pub begin: Point,
    pub may_write: bool,
    /// Why the transaction is of no use.
    pub failed: Option<StorageError>,
}

impl Time {
    /// An error once the time is over.
    pub fn check(&self) -> mlua::Result<()> {
        if self.is_over.get() || Instant::now() >= self.end {
            self.is_over.set(true);
            return Err(mlua::Error::runtime("the script's time is over"));
        }
        Ok(())
    }
}

/// Instructions between two looks at the clock. One may copy as many bytes as a script can hold.
const INSTRUCTIONS: u32 = 256;

/// Runs `script` and writes its reply.
pub fn run(
    script: &Script<'_>,
    keyspace: &mut Keyspace<'_>,
    reply: &mut ReplyWriter,
) -> Result<(), CommandError> {
    let started = Instant::now();
    let end = started + TIME.saturating_sub(*keyspace.script_time());
    let time = Rc::new(Time { end, is_over: Cell::new(false) });
    let begin = keyspace.savepoint();
    let host = RefCell::new(Host { keyspace, begin, may_write: script.may_write, failed: None });
    let outcome = attempt(script, &host, &time, reply);
    let host = host.into_inner();
    *host.keyspace.script_time() += started.elapsed();
    if let Some(error) = host.failed {
        return Err(CommandError::Storage(error));
    }
    outcome.map_err(|error| CommandError::Refused(explain(&error, &time).into()))
}

/// Why a script has no reply.
enum Failure {
    /// Lua says so.
    Lua(mlua::Error),
    /// It raised this, which is the reply as it is.
    Raised(String),
    /// Its text is not a script.
    Text(CompileError),
}

impl From<mlua::Error> for Failure {
    fn from(error: mlua::Error) -> Failure {
        Failure::Lua(error)
    }
}

fn attempt(
    script: &Script<'_>,
    host: &RefCell<Host<'_, '_>>,
    time: &Rc<Time>,
    reply: &mut ReplyWriter,
) -> Result<(), Failure> {
    let libraries = StdLib::STRING | StdLib::TABLE | StdLib::MATH;
    let lua = Lua::new_with(libraries, LuaOptions::new())?;
    let globals = lua.globals();
    let load: Function = globals.get("load")?;
    restrict(&globals)?;
    strings::replace(&lua, &globals.get("string")?, time)?;
    tables::replace(&lua, &globals, time)?;
    globals.set("cjson", json::table(&lua, time)?)?;
    globals.set("bit", bits::table(&lua)?)?;
    globals.set("KEYS", strings_table(&lua, script.keys)?)?;
    globals.set("ARGV", strings_table(&lua, script.values)?)?;
    lua.set_memory_limit(MEMORY)?;
    let watching = Rc::clone(time);
    lua.set_global_hook(HookTriggers::new().every_nth_instruction(INSTRUCTIONS), move |lua, _| {
        if watching.check().is_ok() {
            return Ok(VmState::Continue);
        }
        let over = Rc::clone(&watching);
        lua.set_global_hook(HookTriggers::new().every_nth_instruction(1), move |_, _| {
            over.check().map(|()| VmState::Continue)
        })?;
        watching.check().map(|()| VmState::Continue)
    })?;
    lua.scope(|scope| {
        let call = scope.create_function(|lua, words| library::call(lua, host, time, words))?;
        globals.set("redis", library::table(&lua, call)?)?;
        let runner = guard(&lua, &globals)?;
        let function = match compile(&lua, &load, script.text, time) {
            Ok(function) => function,
            Err(error) => return Ok(Err(Failure::Text(error))),
        };
        let (fine, value): (bool, Value) = runner.call(function)?;
        if fine {
            return Ok(convert::reply(&value, reply).map_err(Failure::Lua));
        }
        Ok(Err(Failure::Raised(convert::raised(&value))))
    })?
}

/// Takes away what reaches out of the interpreter, or makes another thread of execution in it.
fn restrict(globals: &Table) -> mlua::Result<()> {
    let names: Vec<String> =
        globals.pairs::<String, Value>().map(|pair| Ok(pair?.0)).collect::<mlua::Result<_>>()?;
    for name in names.iter().filter(|name| !ALLOWED.contains(&name.as_str())) {
        globals.raw_remove(name.as_str())?;
    }
    Ok(())
}

/// What scripts find, besides what is set for them.
const ALLOWED: &[&str] = &[
    "_G",
    "_VERSION",
    "assert",
    "error",
    "getmetatable",
    "ipairs",
    "math",
    "next",
    "pairs",
    "pcall",
    "rawequal",
    "rawget",
    "rawset",
    "select",
    "setmetatable",
    "string",
    "table",
    "tonumber",
    "tostring",
    "type",
    "unpack",
    "xpcall",
];

fn strings_table(lua: &Lua, strings: &[&[u8]]) -> mlua::Result<Table> {
    let table = lua.create_table_with_capacity(strings.len(), 0)?;
    // One after the other: there is room for only so many values outside of tables.
    for (place, string) in (1..).zip(strings) {
        table.raw_set(place, lua.create_string(string)?)?;
    }
    Ok(table)
}

/// Makes a missing global variable an error, as well as a new one; returns what calls the script.
fn guard(lua: &Lua, globals: &Table) -> mlua::Result<Function> {
    let prepare: Function = lua.load(GUARD).set_name("=guard").eval()?;
    prepare.call(globals)
}

/// `xpcall` is `pcall`, then the handler. Lua's own runs the handler where the error is raised; for the end of the time
/// that is inside the hook, where no hook runs, and a handler that loops would never end.
const GUARD: &str = r#"
local pcall, error, setmetatable, tostring, select = pcall, error, setmetatable, tostring, select
local function handled(handler, fine, ...)
    if fine then return true, ... end
    return false, select(2, pcall(handler, ...))
end
return function(globals)
    globals.xpcall = function(f, handler) return handled(handler, pcall(f)) end
    setmetatable(globals, {
        __index = function(_, name)
            error("Script attempted to access nonexistent global variable '" .. tostring(name) .. "'", 2)
        end,
        __newindex = function(_, name)
            error("Script attempted to create global variable '" .. tostring(name) .. "'", 2)
        end,
    })
    return function(script)
        return pcall(script)
    end
end
"#;

fn explain(failure: &Failure, time: &Time) -> String {
    if time.is_over.get() {
        return format!(
            "ERR the script ran longer than {} ms (all of a transaction together) and was ended; nothing was changed",
            TIME.as_millis()
        );
    }
    match failure {
        Failure::Text(CompileError::TooLong) => format!(
            "ERR Error compiling script: it takes more than {} ms; make the script smaller",
            COMPILE.as_millis()
        ),
        Failure::Text(CompileError::Text(text)) => {
            format!("ERR Error compiling script (new function): {}", first_line(text))
        }
        Failure::Raised(text) if text.contains("not enough memory") => out_of_memory(),
        Failure::Raised(text) => text.clone(),
        Failure::Lua(mlua::Error::MemoryError(_)) => out_of_memory(),
        Failure::Lua(error) => format!("ERR {}", first_line(&error.to_string())),
    }
}

fn out_of_memory() -> String {
    format!("ERR the script needs more than {} MiB and was ended; nothing was changed", MEMORY >> 20)
}

/// Without the name of the kind of error, and without a trace.
pub fn first_line(text: &str) -> &str {
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("syntax error: ").or_else(|| line.strip_prefix("runtime error: ")).unwrap_or(line)
}
