//! Messages: from the engine and from this library to the function that the program gave.

use std::ffi::{CString, c_char, c_int, c_void};
use std::ptr;
use std::sync::Arc;

use tdb::{Log, LogLevel};

use crate::abi::{LogFunction, LoggingContext};
use crate::context::Context;
use crate::guard;

/// No log function.
pub const SILENT: LoggingContext = LoggingContext { function: None, private: ptr::null_mut() };

/// The address of a context, which lives longer than the engine that logs through it.
struct Target(*const Context);

// SAFETY: the address is used by the thread that uses the context: the engine logs from within its own calls.
unsafe impl Send for Target {}
// SAFETY: as above.
unsafe impl Sync for Target {}

impl Target {
    fn say(&self, level: LogLevel, message: &str) {
        // SAFETY: the context owns the engine that owns this, and is not moved (it is in a box).
        unsafe { &*self.0 }.say(level, message);
    }
}

/// A log for the engine that ends in the context's function.
pub fn into(context: &Context) -> Log {
    let target = Target(context);
    Arc::new(move |level, message| target.say(level, message))
}

/// Calls the program's log function. What the engine merely traces is left out: libtdb has no such messages.
pub fn call(context: &Context, level: LogLevel, message: &str) {
    let Some(function) = context.log().function else {
        return;
    };
    if level == LogLevel::Trace {
        return;
    }
    let bytes: Vec<u8> = message.bytes().filter(|byte| *byte != 0).collect();
    let Ok(text) = CString::new(bytes) else { return };
    // SAFETY: the function takes a context, a level, and a printf format with its arguments; the format has one `%s`.
    unsafe {
        function(ptr::from_ref(context).cast_mut(), level as c_int, c"tdb: %s\n".as_ptr(), text.as_ptr());
    }
}

/// What `tdb_log_fn` answers where the program gave none: takes any message and does nothing. It is called as a variadic
/// function, whose fixed arguments arrive as they do here in the C calling conventions of Linux's platforms.
unsafe extern "C" fn nothing(_: *mut Context, _: c_int, _: *const c_char) {}

/// `tdb_set_logging_function`
pub unsafe extern "C" fn tdb_set_logging_function(tdb: *mut Context, log: *const LoggingContext) {
    // SAFETY: C's promises: an open context, and a structure or null.
    unsafe {
        let log = log.as_ref().copied().unwrap_or(SILENT);
        guard::with(tdb, (), |context| context.set_log(log));
    }
}

/// `tdb_logging_function`: the function alone.
pub unsafe extern "C" fn tdb_logging_function(tdb: *mut Context, function: Option<LogFunction>) {
    // SAFETY: C's promise: an open context.
    unsafe {
        guard::with(tdb, (), |context| context.set_log(LoggingContext { function, ..context.log() }));
    }
}

/// `tdb_log_fn`
pub unsafe extern "C" fn tdb_log_fn(tdb: *mut Context) -> Option<LogFunction> {
    // SAFETY: the two types differ only in "...", see `nothing`.
    let silent = unsafe {
        std::mem::transmute::<unsafe extern "C" fn(*mut Context, c_int, *const c_char), LogFunction>(nothing)
    };
    // SAFETY: C's promise: a context, possibly one that is being opened.
    unsafe { guard::with(tdb, Some(silent), |context| context.log().function.or(Some(silent))) }
}

/// `tdb_get_logging_private`
pub unsafe extern "C" fn tdb_get_logging_private(tdb: *mut Context) -> *mut c_void {
    // SAFETY: as in `tdb_log_fn`.
    unsafe { guard::with(tdb, ptr::null_mut(), |context| context.log().private) }
}
