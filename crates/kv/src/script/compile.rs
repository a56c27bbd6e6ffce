//! A script's text becomes a function, within a bounded time.
//!
//! Lua's compiler walks lists of jumps and of scopes from their beginning again and again, so a text of 64 KiB can take it half a
//! second, and nothing interrupts it. It takes its text in pieces, though: between two of them the time is looked at, and no
//! further piece is given once it is over.

use std::cell::Cell;
use std::time::Duration;

use mlua::{Function, Lua, Value};
use rustix::time::{ClockId, clock_gettime};

use super::sandbox::Time;

/// The most time of the processor that compiling may take. Other programs' load does not count, so that whether a script
/// compiles does not depend on it. 64 KiB of common text take less than 5 ms.
pub const COMPILE: Duration = Duration::from_millis(25);
/// The bytes of one piece. The worst that is known take the compiler a millisecond.
const PIECE: usize = 64;

/// Why a text is not a function.
pub enum CompileError {
    /// Lua says so.
    Text(String),
    /// It takes too long.
    TooLong,
}

/// Compiles `text`. `load` is Lua's own function of this name, which scripts cannot reach.
pub fn compile(lua: &Lua, load: &Function, text: &[u8], time: &Time) -> Result<Function, CompileError> {
    let end = processor_time() + COMPILE;
    in_pieces(lua, load, text, &|| processor_time() < end && time.check().is_ok())
}

fn in_pieces(
    lua: &Lua,
    load: &Function,
    text: &[u8],
    has_time: &dyn Fn() -> bool,
) -> Result<Function, CompileError> {
    // What begins with this byte is taken for bytecode, which can be made to reach any memory.
    if text.first() == Some(&0x1b) {
        return Err(CompileError::Text("a script is text, not bytecode".to_owned()));
    }
    let too_long = Cell::new(false);
    let mut pieces = text.chunks(PIECE);
    let loaded = lua.scope(|scope| {
        let next = scope.create_function_mut(|lua, ()| {
            if !has_time() {
                too_long.set(true);
                return Err(mlua::Error::runtime("too long"));
            }
            pieces.next().map(|piece| lua.create_string(piece)).transpose()
        })?;
        // Lua's compiler does not hold on to all that it uses; nothing may be collected under its feet.
        lua.gc_stop();
        let loaded = load.call::<(Value, Value)>((next, "@user_script"));
        lua.gc_restart();
        loaded
    });
    match loaded {
        _ if too_long.get() => Err(CompileError::TooLong),
        Ok((Value::Function(function), _)) => Ok(function),
        Ok((_, Value::String(text))) => Err(CompileError::Text(text.to_string_lossy())),
        Ok(_) => Err(CompileError::Text("no reason was given".to_owned())),
        Err(error) => Err(CompileError::Text(error.to_string())),
    }
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S20: when its time is over, the compiler gets nothing more to read.
    #[test]
    fn the_compiler_reads_no_further_when_its_time_is_over() {
        let lua = Lua::new();
        let load: Function = lua.globals().get("load").unwrap();
        let text = format!("local x return {}1", "x or ".repeat(1000));
        let given = Cell::new(0);
        let until = |most: usize| {
            given.set(0);
            in_pieces(&lua, &load, text.as_bytes(), &|| {
                given.set(given.get() + 1);
                given.get() <= most
            })
        };
        assert!(until(usize::MAX).is_ok());
        assert_eq!(given.get(), text.len().div_ceil(PIECE) + 1);
        assert!(matches!(until(10), Err(CompileError::TooLong)));
        assert_eq!(given.get(), 11);
    }
}
