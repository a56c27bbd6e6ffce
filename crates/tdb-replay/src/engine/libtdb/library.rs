//! The functions of a `libtdb.so.1`, loaded at run time.
//!
//! Owns the types of tdb.h and all pointers. An [`Opened`] database is open until it is dropped, and is not `Send`: it stays in
//! the process and thread that opened it. libtdb keeps a list of the open databases of its process and guards it by nothing,
//! so opening, closing and forking exclude each other ([`alone`]).
#![allow(unsafe_code)]

use std::any::Any;
use std::ffi::{CString, c_char, c_int, c_uint, c_void};
use std::io;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use libloading::os::unix::{Library as Loaded, RTLD_LOCAL, RTLD_NOW};

use crate::engine::EngineError;
use crate::trace::chain::Hashing;

/// The name that programs which use libtdb are linked to.
const NAME: &str = "libtdb.so.1";

/// A key that no trace has.
const NO_KEY: &[u8] = b"\0quorate: there is no such key\xff\x8a\x17\0";

/// `TDB_DATA` of tdb.h.
#[repr(C)]
#[derive(Clone, Copy)]
struct Bytes {
    start: *mut u8,
    length: usize,
}

impl Bytes {
    fn of(bytes: &[u8]) -> Bytes {
        Bytes { start: bytes.as_ptr().cast_mut(), length: bytes.len() }
    }

    /// # Safety
    /// Valid bytes, or a null pointer, for as long as the slice is used.
    unsafe fn slice<'a>(self) -> &'a [u8] {
        if self.start.is_null() || self.length == 0 {
            return &[];
        }
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts(self.start, self.length) }
    }
}

/// libtdb's codes for what went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code(c_int);

impl Code {
    /// Nothing.
    pub const SUCCESS: Code = Code(0);
    /// A system call failed.
    pub const IO: Code = Code(2);
    /// No memory.
    pub const OUT_OF_MEMORY: Code = Code(4);
    /// The key exists.
    pub const EXISTS: Code = Code(5);
    /// The key does not exist.
    pub const NO_SUCH_RECORD: Code = Code(8);

    fn text(self) -> &'static str {
        match self.0 {
            1 => "the database is corrupt",
            2 => "input or output failed",
            3 => "a lock could not be had",
            4 => "no memory",
            6 => "a lock is held on other keys",
            7 => "a lock took too long",
            9 => "an argument is wrong",
            10 => "the database is read only",
            11 => "transactions do not nest",
            _ => "it failed",
        }
    }
}

type Context = *mut c_void;
type Plain = unsafe extern "C" fn(Context) -> c_int;
type OnKey = unsafe extern "C" fn(Context, Bytes) -> c_int;
type Parser = unsafe extern "C" fn(Bytes, Bytes, *mut c_void) -> c_int;
type Callback = unsafe extern "C" fn(Context, Bytes, Bytes, *mut c_void) -> c_int;
type Walk = unsafe extern "C" fn(Context, Option<Callback>, *mut c_void) -> c_int;
type Hash = unsafe extern "C" fn(*mut Bytes) -> c_uint;
type Open =
    unsafe extern "C" fn(*const c_char, c_int, c_int, c_int, c_uint, *const c_void, Option<Hash>) -> Context;

macro_rules! functions {
    ($($name:ident: $type:ty = $symbol:literal,)+) => {
        #[derive(Clone, Copy)]
        struct Functions { $($name: $type,)+ }

        impl Functions {
            fn find(library: &Loaded) -> Result<Functions, libloading::Error> {
                // SAFETY: each type is the one that tdb.h declares for the name.
                unsafe { Ok(Functions { $($name: *library.get::<$type>($symbol)?,)+ }) }
            }
        }
    };
}

functions! {
    open_ex: Open = b"tdb_open_ex",
    close: Plain = b"tdb_close",
    error: Plain = b"tdb_error",
    store: unsafe extern "C" fn(Context, Bytes, Bytes, c_int) -> c_int = b"tdb_store",
    append: unsafe extern "C" fn(Context, Bytes, Bytes) -> c_int = b"tdb_append",
    parse_record: unsafe extern "C" fn(Context, Bytes, Parser, *mut c_void) -> c_int = b"tdb_parse_record",
    exists: OnKey = b"tdb_exists",
    delete: OnKey = b"tdb_delete",
    wipe_all: Plain = b"tdb_wipe_all",
    chainlock: OnKey = b"tdb_chainlock",
    chainlock_read: OnKey = b"tdb_chainlock_read",
    chainunlock: OnKey = b"tdb_chainunlock",
    chainunlock_read: OnKey = b"tdb_chainunlock_read",
    lockall: Plain = b"tdb_lockall",
    lockall_read: Plain = b"tdb_lockall_read",
    unlockall: Plain = b"tdb_unlockall",
    unlockall_read: Plain = b"tdb_unlockall_read",
    transaction_start: Plain = b"tdb_transaction_start",
    transaction_prepare_commit: Plain = b"tdb_transaction_prepare_commit",
    transaction_commit: Plain = b"tdb_transaction_commit",
    transaction_cancel: Plain = b"tdb_transaction_cancel",
    traverse: Walk = b"tdb_traverse",
    traverse_read: Walk = b"tdb_traverse_read",
    firstkey: unsafe extern "C" fn(Context) -> Bytes = b"tdb_firstkey",
    nextkey: unsafe extern "C" fn(Context, Bytes) -> Bytes = b"tdb_nextkey",
    jenkins_hash: Hash = b"tdb_jenkins_hash",
}

/// The right to change libtdb's list of open databases, or to fork a process that will use it: the child of a fork in the middle of
/// a change would have half a list.
pub fn alone() -> MutexGuard<'static, ()> {
    static LIST: Mutex<()> = Mutex::new(());
    LIST.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The loaded library.
pub struct Library {
    functions: Functions,
}

impl Library {
    /// Finds and loads it; it stays loaded for the process's life.
    pub fn load() -> Result<Library, EngineError> {
        let absent = |error: libloading::Error| EngineError {
            message: format!(
                "the system's libtdb cannot be loaded: {error}; Debian and Ubuntu have it in the package libtdb1"
            ),
            io: true,
        };
        // SAFETY: loading runs the library's initialisers, and libtdb's do nothing.
        let loaded = unsafe { Loaded::open(Some(NAME), RTLD_NOW | RTLD_LOCAL) }.map_err(absent)?;
        let functions = Functions::find(&loaded).map_err(absent)?;
        std::mem::forget(loaded);
        Ok(Library { functions })
    }

    /// Opens a database.
    pub fn open(
        &self,
        path: &Path,
        hashing: Hashing,
        flags: u32,
        create: bool,
    ) -> Result<Opened, EngineError> {
        let failed = |why: &dyn std::fmt::Display| EngineError {
            message: format!("libtdb cannot open {}: {why}", path.display()),
            io: true,
        };
        let name = CString::new(path.as_os_str().as_encoded_bytes()).map_err(|error| failed(&error))?;
        let hash = hashing.jenkins.then_some(self.functions.jenkins_hash);
        let mode = if create { libc::O_RDWR | libc::O_CREAT | libc::O_EXCL } else { libc::O_RDWR };
        let chains = hashing.hash_size as c_int;
        let _list = alone();
        // SAFETY: nobody else changes the list of open databases; a C string, no log, and a hash function of the library's own or none.
        let context = unsafe {
            (self.functions.open_ex)(
                name.as_ptr(),
                chains,
                flags as c_int,
                mode,
                0o600,
                std::ptr::null(),
                hash,
            )
        };
        if context.is_null() {
            return Err(failed(&io::Error::last_os_error()));
        }
        Ok(Opened { context, functions: self.functions })
    }
}

/// An open database. The numbers that its functions give are libtdb's own.
pub struct Opened {
    context: Context,
    functions: Functions,
}

macro_rules! plain {
    ($($(#[$doc:meta])* $name:ident;)+) => { $(
        $(#[$doc])*
        pub fn $name(&self) -> i32 {
            // SAFETY: the context is open until `self` is dropped.
            unsafe { (self.functions.$name)(self.context) }
        }
    )+ };
}

// SAFETY of the calls below: the context is open until `drop`, and slices outlive the calls they are given to.
impl Opened {
    plain! {
        /// `tdb_wipe_all`
        wipe_all;
        /// `tdb_transaction_start`
        transaction_start;
        /// `tdb_transaction_prepare_commit`
        transaction_prepare_commit;
        /// `tdb_transaction_commit`
        transaction_commit;
        /// `tdb_transaction_cancel`
        transaction_cancel;
    }

    /// `tdb_error`
    pub fn code(&self) -> Code {
        // SAFETY: see above.
        Code(unsafe { (self.functions.error)(self.context) })
    }

    /// The error of the call just made.
    pub fn failed(&self, call: &'static str) -> EngineError {
        let code = self.code();
        let io = code == Code::IO || code == Code::OUT_OF_MEMORY;
        EngineError { message: format!("libtdb's {call}: {} (error {})", code.text(), code.0), io }
    }

    /// `tdb_store`
    pub fn store(&self, key: &[u8], value: &[u8], flag: c_int) -> i32 {
        // SAFETY: see above.
        unsafe { (self.functions.store)(self.context, Bytes::of(key), Bytes::of(value), flag) }
    }

    /// `tdb_append`
    pub fn append(&self, key: &[u8], more: &[u8]) -> i32 {
        // SAFETY: see above.
        unsafe { (self.functions.append)(self.context, Bytes::of(key), Bytes::of(more)) }
    }

    /// `tdb_parse_record`, which puts the value into `value`.
    pub fn parse_record(&self, key: &[u8], value: &mut Vec<u8>) -> i32 {
        unsafe extern "C" fn copy(_: Bytes, found: Bytes, value: *mut c_void) -> c_int {
            // SAFETY: libtdb lends the record for this call, and passes on the pointer to the vector.
            unsafe { (*value.cast::<Vec<u8>>()).extend_from_slice(found.slice()) };
            0
        }
        let into: *mut Vec<u8> = value;
        // SAFETY: see above; `copy` gets the vector's address, which is valid during the call.
        unsafe { (self.functions.parse_record)(self.context, Bytes::of(key), copy, into.cast()) }
    }

    /// `tdb_exists`
    pub fn exists(&self, key: &[u8]) -> i32 {
        // SAFETY: see above.
        unsafe { (self.functions.exists)(self.context, Bytes::of(key)) }
    }

    /// `tdb_delete`
    pub fn delete(&self, key: &[u8]) -> i32 {
        // SAFETY: see above.
        unsafe { (self.functions.delete)(self.context, Bytes::of(key)) }
    }

    /// `tdb_chainlock`, `tdb_chainlock_read`
    pub fn lock_chain(&self, key: &[u8], write: bool) -> i32 {
        let lock = if write { self.functions.chainlock } else { self.functions.chainlock_read };
        // SAFETY: see above.
        unsafe { lock(self.context, Bytes::of(key)) }
    }

    /// `tdb_chainunlock`, `tdb_chainunlock_read`
    pub fn unlock_chain(&self, key: &[u8], write: bool) -> i32 {
        let unlock = if write { self.functions.chainunlock } else { self.functions.chainunlock_read };
        // SAFETY: see above.
        unsafe { unlock(self.context, Bytes::of(key)) }
    }

    /// `tdb_lockall`, `tdb_lockall_read`
    pub fn lock_all(&self, write: bool) -> i32 {
        let lock = if write { self.functions.lockall } else { self.functions.lockall_read };
        // SAFETY: see above.
        unsafe { lock(self.context) }
    }

    /// `tdb_unlockall`, `tdb_unlockall_read`
    pub fn unlock_all(&self, write: bool) -> i32 {
        let unlock = if write { self.functions.unlockall } else { self.functions.unlockall_read };
        // SAFETY: see above.
        unsafe { unlock(self.context) }
    }

    /// `tdb_traverse`, `tdb_traverse_read`: the number of records shown, or -1.
    pub fn traverse(&self, write: bool, visit: Show<'_>) -> i32 {
        let mut visitor = Visitor { visit, panic: None };
        let walk = if write { self.functions.traverse } else { self.functions.traverse_read };
        // SAFETY: see above; `show` gets the visitor's address, which is valid during the call.
        let shown = unsafe { walk(self.context, Some(show), (&raw mut visitor).cast()) };
        if let Some(panic) = visitor.panic {
            resume_unwind(panic);
        }
        shown
    }

    /// `tdb_firstkey`; false if there is none.
    pub fn first_key(&self, key: &mut Vec<u8>) -> bool {
        // SAFETY: see above; the library gives the key away.
        let found = unsafe { take((self.functions.firstkey)(self.context), key) };
        self.leave_record();
        found
    }

    /// libtdb keeps the record of the last key locked until it is asked for the next one, and a commit of another
    /// process waits for it. Asked for the key after one that is not there, it lets go.
    fn leave_record(&self) {
        // SAFETY: see above; a key that was found all the same is freed.
        unsafe { take((self.functions.nextkey)(self.context, Bytes::of(NO_KEY)), &mut Vec::new()) };
    }

    /// `tdb_nextkey`; false if there is none.
    pub fn next_key(&self, after: &[u8], key: &mut Vec<u8>) -> bool {
        // SAFETY: see above; the library gives the key away.
        let found = unsafe { take((self.functions.nextkey)(self.context, Bytes::of(after)), key) };
        self.leave_record();
        found
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        let _list = alone();
        // SAFETY: as in `open`; the context is open and is not used afterwards.
        unsafe { (self.functions.close)(self.context) };
    }
}

/// Called with each record of a traversal: key, value.
type Show<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>;

/// What a traversal's callback is given through libtdb.
struct Visitor<'a> {
    visit: Show<'a>,
    /// A panic does not go through C.
    panic: Option<Box<dyn Any + Send>>,
}

unsafe extern "C" fn show(_: Context, key: Bytes, value: Bytes, visitor: *mut c_void) -> c_int {
    // SAFETY: libtdb lends the record for this call, and passes on the visitor, which nobody else uses meanwhile.
    let (visitor, key, value) = unsafe { (&mut *visitor.cast::<Visitor<'_>>(), key.slice(), value.slice()) };
    match catch_unwind(AssertUnwindSafe(|| (visitor.visit)(key, value))) {
        Ok(ControlFlow::Continue(())) => 0,
        Ok(ControlFlow::Break(())) => 1,
        Err(panic) => {
            visitor.panic = Some(panic);
            1
        }
    }
}

/// # Safety
/// `found` was given away by the library: a null pointer, or bytes to be freed.
unsafe fn take(found: Bytes, key: &mut Vec<u8>) -> bool {
    if found.start.is_null() {
        return false;
    }
    key.clear();
    // SAFETY: the caller's promise.
    unsafe {
        key.extend_from_slice(found.slice());
        libc::free(found.start.cast());
    }
    true
}
