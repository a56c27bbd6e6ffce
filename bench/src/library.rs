//! A library with libtdb's C interface, loaded at run time.
//!
//! Ours and the system's are loaded by the same code and called through the same function pointers, so that a difference
//! is the library's. The unsafe code of the benchmarks is here.

use std::ffi::{CString, c_char, c_int, c_uint, c_void};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use libloading::os::unix::{Library as Loaded, RTLD_LOCAL, RTLD_NOW};

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
}

/// Flags of `tdb_open`, as tdb.h has them.
pub mod flags {
    /// `TDB_CLEAR_IF_FIRST`
    pub const CLEAR_IF_FIRST: i32 = 1;
    /// `TDB_INTERNAL`
    pub const INTERNAL: i32 = 2;
    /// `TDB_NOLOCK`
    pub const NOLOCK: i32 = 4;
    /// `TDB_NOSYNC`
    pub const NOSYNC: i32 = 64;
    /// `TDB_INCOMPATIBLE_HASH`
    pub const INCOMPATIBLE_HASH: i32 = 2048;
    /// `TDB_MUTEX_LOCKING`
    pub const MUTEX_LOCKING: i32 = 4096;
}

/// `TDB_REPLACE` and `TDB_INSERT` of tdb.h.
#[derive(Clone, Copy)]
pub enum Store {
    /// Replace what is there.
    Replace = 1,
    /// Only if it is not there.
    Insert = 2,
}

type Callback = unsafe extern "C" fn(*mut c_void, Bytes, Bytes, *mut c_void) -> c_int;
type Parser = unsafe extern "C" fn(Bytes, Bytes, *mut c_void) -> c_int;

/// The functions that the benchmarks call.
#[derive(Clone, Copy)]
struct Functions {
    open_ex: unsafe extern "C" fn(
        *const c_char,
        c_int,
        c_int,
        c_int,
        c_uint,
        *const c_void,
        *const c_void,
    ) -> *mut c_void,
    close: unsafe extern "C" fn(*mut c_void) -> c_int,
    store: unsafe extern "C" fn(*mut c_void, Bytes, Bytes, c_int) -> c_int,
    append: unsafe extern "C" fn(*mut c_void, Bytes, Bytes) -> c_int,
    fetch: unsafe extern "C" fn(*mut c_void, Bytes) -> Bytes,
    parse_record: unsafe extern "C" fn(*mut c_void, Bytes, Parser, *mut c_void) -> c_int,
    exists: unsafe extern "C" fn(*mut c_void, Bytes) -> c_int,
    delete: unsafe extern "C" fn(*mut c_void, Bytes) -> c_int,
    traverse: unsafe extern "C" fn(*mut c_void, Option<Callback>, *mut c_void) -> c_int,
    traverse_read: unsafe extern "C" fn(*mut c_void, Option<Callback>, *mut c_void) -> c_int,
    firstkey: unsafe extern "C" fn(*mut c_void) -> Bytes,
    nextkey: unsafe extern "C" fn(*mut c_void, Bytes) -> Bytes,
    transaction_start: unsafe extern "C" fn(*mut c_void) -> c_int,
    transaction_commit: unsafe extern "C" fn(*mut c_void) -> c_int,
    map_size: unsafe extern "C" fn(*mut c_void) -> usize,
}

unsafe extern "C" {
    fn free(pointer: *mut c_void);
}

/// One loaded library; stays loaded for the process's life.
#[derive(Clone)]
pub struct Library {
    /// What the table calls it.
    pub name: &'static str,
    path: PathBuf,
    functions: Functions,
}

impl Library {
    /// Ours and the system's.
    ///
    /// The system's comes first: both have the soname `libtdb.so.1`, and the loader answers a search for that name with
    /// what it has loaded already, which would be ours.
    pub fn both() -> Result<(Library, Library)> {
        let system = Library::system()?;
        Ok((Library::ours()?, system))
    }

    /// The system's libtdb.
    pub fn system() -> Result<Library> {
        Library::load("libtdb", Path::new("libtdb.so.1"))
            .context("the system's libtdb is not installed; Debian has it as the package libtdb1")
    }

    /// Ours, as built beside this benchmark.
    pub fn ours() -> Result<Library> {
        let binary = std::env::current_exe().context("this program's own path is unknown")?;
        let built = binary.ancestors().map(|folder| folder.join("libtdb_capi.so")).find(|path| path.exists());
        let Some(path) = built else {
            bail!("libtdb_capi.so is not built; run `cargo build --profile dist -p quorate-tdb-capi`")
        };
        Library::load("quorate", &path)
    }

    fn load(name: &'static str, path: &Path) -> Result<Library> {
        // SAFETY: loading runs the library's initialisers; both libraries have none that matter here. RTLD_LOCAL keeps
        // the two sets of equal names apart.
        let loaded = unsafe { Loaded::open(Some(path), RTLD_NOW | RTLD_LOCAL) }
            .with_context(|| format!("cannot load {}", path.display()))?;
        let functions = Functions::find(&loaded)?;
        std::mem::forget(loaded);
        Ok(Library { name, path: path.to_owned(), functions })
    }

    /// The file it was loaded from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens (and makes) a database; `hash_size` 0 is the default.
    pub fn open(&self, path: &Path, hash_size: i32, flags: i32, create: bool) -> Result<Database> {
        const O_RDWR: c_int = 2;
        const O_CREAT: c_int = 0o100;
        let name = CString::new(path.as_os_str().as_encoded_bytes()).context("a path with a NUL byte")?;
        let open_flags = if create { O_RDWR | O_CREAT } else { O_RDWR };
        // SAFETY: the name is a C string; null log and hash are allowed by tdb_open_ex.
        let context = unsafe {
            (self.functions.open_ex)(
                name.as_ptr(),
                hash_size,
                flags,
                open_flags,
                0o600,
                std::ptr::null(),
                std::ptr::null(),
            )
        };
        if context.is_null() {
            bail!("{}: cannot open {}: {}", self.name, path.display(), std::io::Error::last_os_error());
        }
        Ok(Database { context, functions: self.functions })
    }
}

impl Functions {
    fn find(library: &Loaded) -> Result<Functions> {
        macro_rules! symbol {
            ($name:literal) => {
                // SAFETY: the name's type is the one that tdb.h declares.
                *unsafe { library.get($name) }
                    .with_context(|| format!("no symbol {}", String::from_utf8_lossy($name)))?
            };
        }
        Ok(Functions {
            open_ex: symbol!(b"tdb_open_ex"),
            close: symbol!(b"tdb_close"),
            store: symbol!(b"tdb_store"),
            append: symbol!(b"tdb_append"),
            fetch: symbol!(b"tdb_fetch"),
            parse_record: symbol!(b"tdb_parse_record"),
            exists: symbol!(b"tdb_exists"),
            delete: symbol!(b"tdb_delete"),
            traverse: symbol!(b"tdb_traverse"),
            traverse_read: symbol!(b"tdb_traverse_read"),
            firstkey: symbol!(b"tdb_firstkey"),
            nextkey: symbol!(b"tdb_nextkey"),
            transaction_start: symbol!(b"tdb_transaction_start"),
            transaction_commit: symbol!(b"tdb_transaction_commit"),
            map_size: symbol!(b"tdb_map_size"),
        })
    }
}

/// An open database; every call that fails ends the benchmark.
pub struct Database {
    context: *mut c_void,
    functions: Functions,
}

unsafe extern "C" fn count(_: *mut c_void, _: Bytes, value: Bytes, sum: *mut c_void) -> c_int {
    // SAFETY: `sum` is the `u64` that the caller of the traversal passed; the value has the stated length.
    unsafe { *sum.cast::<u64>() += 1 + if value.length > 0 { u64::from(*value.start) } else { 0 } };
    0
}

unsafe extern "C" fn parse(_: Bytes, value: Bytes, sum: *mut c_void) -> c_int {
    // SAFETY: as for `count`.
    unsafe { *sum.cast::<u64>() += if value.length > 0 { u64::from(*value.start) } else { 0 } };
    0
}

// SAFETY of the calls below: the context is open until `drop`, and `Bytes` point into slices that outlive the call.
impl Database {
    /// Stores a value.
    pub fn store(&self, key: &[u8], value: &[u8], mode: Store) {
        // SAFETY: see above.
        let result =
            unsafe { (self.functions.store)(self.context, Bytes::of(key), Bytes::of(value), mode as c_int) };
        assert_eq!(result, 0, "store failed");
    }

    /// Appends to a value.
    pub fn append(&self, key: &[u8], value: &[u8]) {
        // SAFETY: see above.
        let result = unsafe { (self.functions.append)(self.context, Bytes::of(key), Bytes::of(value)) };
        assert_eq!(result, 0, "append failed");
    }

    /// Fetches a value and gives its first byte, so that the call has a use; `None` where there is none.
    pub fn fetch(&self, key: &[u8]) -> Option<u8> {
        // SAFETY: see above; what comes back is the caller's to free.
        unsafe {
            let value = (self.functions.fetch)(self.context, Bytes::of(key));
            if value.start.is_null() {
                return None;
            }
            let first = if value.length > 0 { *value.start } else { 0 };
            free(value.start.cast());
            Some(first)
        }
    }

    /// Looks at a value in place.
    pub fn parse_record(&self, key: &[u8]) -> u64 {
        let mut sum = 0u64;
        // SAFETY: see above; `parse` gets the address of `sum`.
        let result = unsafe {
            (self.functions.parse_record)(self.context, Bytes::of(key), parse, (&raw mut sum).cast())
        };
        assert_eq!(result, 0, "parse_record failed");
        sum
    }

    /// Says whether a key is there.
    pub fn exists(&self, key: &[u8]) -> bool {
        // SAFETY: see above.
        unsafe { (self.functions.exists)(self.context, Bytes::of(key)) == 1 }
    }

    /// Deletes a key; says whether it was there.
    pub fn delete(&self, key: &[u8]) -> bool {
        // SAFETY: see above.
        unsafe { (self.functions.delete)(self.context, Bytes::of(key)) == 0 }
    }

    /// Visits every record; gives their number.
    pub fn traverse(&self, read_only: bool) -> u64 {
        let mut sum = 0u64;
        let function = if read_only { self.functions.traverse_read } else { self.functions.traverse };
        // SAFETY: see above; `count` gets the address of `sum`.
        let visited = unsafe { function(self.context, Some(count), (&raw mut sum).cast()) };
        u64::try_from(visited).expect("the traversal failed")
    }

    /// Visits every key with `firstkey` and `nextkey`; gives their number.
    pub fn walk(&self) -> u64 {
        let mut visited = 0;
        // SAFETY: see above; each key that comes back is freed once.
        unsafe {
            let mut key = (self.functions.firstkey)(self.context);
            while !key.start.is_null() {
                let next = (self.functions.nextkey)(self.context, key);
                free(key.start.cast());
                key = next;
                visited += 1;
            }
        }
        visited
    }

    /// Starts a transaction.
    pub fn start(&self) {
        // SAFETY: see above.
        let result = unsafe { (self.functions.transaction_start)(self.context) };
        assert_eq!(result, 0, "transaction_start failed");
    }

    /// Commits it.
    pub fn commit(&self) {
        // SAFETY: see above.
        let result = unsafe { (self.functions.transaction_commit)(self.context) };
        assert_eq!(result, 0, "transaction_commit failed");
    }

    /// The file's size in bytes.
    pub fn size(&self) -> usize {
        // SAFETY: see above.
        unsafe { (self.functions.map_size)(self.context) }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // SAFETY: the context is open and is not used afterwards.
        unsafe { (self.functions.close)(self.context) };
    }
}
