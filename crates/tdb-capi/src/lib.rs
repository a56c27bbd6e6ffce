//! libtdb's C interface over [`tdb`]: programs that are linked with `libtdb.so.1` run on this library unchanged.
//!
//! Every function here is the C one of the same name (docs/c-library.md says where the two differ). Modules, in the
//! order in which a call passes through them:
//!
//! * `exports`: the names and versions that the loader finds
//! * `abi`: C's structures, numbers and callbacks
//! * `guard`: no panic leaves, and a failure sets `errno`
//! * `context`: what a `struct tdb_context` is; `logging`: its messages
//! * `open`, `records`, `traverse`, `locks`, `transaction`, `settings`, `whole`: the functions
//! * `memory`: what callers `free`
//!
//! Everything that comes from C is trusted as C trusts it: pointers point at what the prototype says, and a context is
//! used by one thread at a time. All functions are `unsafe extern "C"` for that reason; nothing else here is unsafe
//! beyond reading those pointers and calling those callbacks.
#![allow(clippy::missing_safety_doc)]

mod abi;
mod context;
mod exports;
mod guard;
mod locks;
mod logging;
mod memory;
mod open;
mod records;
mod settings;
mod transaction;
mod traverse;
mod whole;
