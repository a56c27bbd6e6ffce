//! The table `redis` that scripts find.

use std::cell::RefCell;

use mlua::{Function, Lua, MultiValue, Table, Value};
use resp::{ReplyWriter, Version};
use sha1::{Digest, Sha1};

use super::sandbox::{Host, Time};
use super::{MEMORY, convert};
use crate::command::{find, run};
use crate::error::CommandError;

/// The table, with `call` as what carries commands out.
pub fn table(lua: &Lua, call: Function) -> mlua::Result<Table> {
    let digest = lua.create_function(|_, text: mlua::LuaString| {
        let digest = Sha1::digest(text.as_bytes());
        Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    })?;
    let make: Function = lua.load(LIBRARY).set_name("=redis").eval()?;
    make.call((call, digest))
}

/// `raw(...)` returns whether the reply is an error, and the reply.
const LIBRARY: &str = r#"
local error, type, select = error, type, select
return function(raw, sha1hex)
    local function pcall(...)
        local _, reply = raw(...)
        return reply
    end
    local function call(...)
        local failed, reply = raw(...)
        if failed then error(reply, 0) end
        return reply
    end
    local function nothing() end
    local function granted() return true end
    local function of_text(make)
        return function(...)
            if select('#', ...) ~= 1 or type(...) ~= "string" then
                return { err = "ERR wrong number or type of arguments" }
            end
            return make(...)
        end
    end
    return {
        call = call, pcall = pcall, sha1hex = sha1hex,
        error_reply = of_text(function(text)
            if text:sub(1, 1) == "-" then text = text:sub(2) elseif not text:find(" ", 1, true) then text = "ERR " .. text end
            return { err = text }
        end),
        status_reply = of_text(function(text) return { ok = text } end),
        log = nothing, breakpoint = nothing, debug = nothing,
        replicate_commands = granted, set_repl = nothing,
        setresp = function(version)
            if version ~= 2 then error({ err = "ERR scripts speak RESP 2 here" }, 0) end
        end,
        LOG_DEBUG = 0, LOG_VERBOSE = 1, LOG_NOTICE = 2, LOG_WARNING = 3,
        REPL_ALL = 3, REPL_AOF = 1, REPL_SLAVE = 2, REPL_REPLICA = 2, REPL_NONE = 0,
        REDIS_VERSION = "7.2.4", REDIS_VERSION_NUM = 0x00070204,
    }
end
"#;

/// Carries out one command; whether its reply is an error, and the reply.
pub fn call(
    lua: &Lua,
    host: &RefCell<Host<'_, '_>>,
    time: &Time,
    words: MultiValue,
) -> mlua::Result<(bool, Value)> {
    time.check()?;
    let words: Option<Vec<Vec<u8>>> = words.iter().map(word).collect();
    let outcome = match words {
        None => Err(refused("ERR Lua redis lib command arguments must be strings or integers")),
        Some(words) if words.is_empty() => {
            Err(refused("ERR Please specify at least one argument for this redis.call() call"))
        }
        Some(words) => carry_out(&mut host.borrow_mut(), &words),
    };
    match outcome {
        Ok(reply) => Ok((false, convert::value(lua, &reply)?)),
        Err(CommandError::Refused(text)) => {
            let table = lua.create_table()?;
            table.raw_set("err", text.as_ref())?;
            Ok((true, Value::Table(table)))
        }
        Err(CommandError::Storage(error)) => {
            host.borrow_mut().failed = Some(error);
            Err(mlua::Error::runtime("the database cannot be used"))
        }
    }
}

fn carry_out(host: &mut Host<'_, '_>, words: &[Vec<u8>]) -> Result<Vec<u8>, CommandError> {
    let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
    let command = find(words[0]).ok_or_else(|| refused("ERR Unknown Redis command called from script"))?;
    if command.name.starts_with("EVAL") {
        return Err(refused("ERR This Redis command is not allowed from script"));
    }
    if command.writes && !host.may_write {
        return Err(refused("ERR Write commands are not allowed from read-only scripts."));
    }
    if host.keyspace.grown_since(&host.begin) > MEMORY as u64 {
        return Err(refused("ERR the script lets the database grow by more than 64 MiB; write less at once"));
    }
    let mut reply = ReplyWriter::new(Version::Resp2);
    run(command, host.keyspace, &words, &mut reply)?;
    Ok(reply.take())
}

fn word(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::String(text) => Some(text.as_bytes().to_vec()),
        Value::Integer(number) => Some(number.to_string().into_bytes()),
        Value::Number(number) => Some(convert::number_text(*number).into_bytes()),
        _ => None,
    }
}

fn refused(text: &'static str) -> CommandError {
    crate::error::refused(text)
}
