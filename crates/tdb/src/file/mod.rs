//! The bytes of a database, and nothing about what they mean beyond their layout.
//!
//! * [`format`](mod@format): every offset, magic number and header; only this module knows the on-disk layout
//! * [`mapping`]: the file as memory
//! * [`forks`]: what a child does not share with its parent
//! * [`shared`]: access to memory that other processes change
//! * [`storage`]: bytes that are reached by calls instead
//! * [`overlay`]: what an open transaction has written
//! * [`space`]: one view of all of them, in the file's byte order
//! * [`sigbus`]: a mapped file that another process truncates

pub(crate) mod bytes;
pub(crate) mod forks;
pub mod format;
pub(crate) mod mapping;
pub(crate) mod over;
pub(crate) mod overlay;
pub(crate) mod pages;
pub(crate) mod shared;
pub mod sigbus;
pub(crate) mod space;
pub mod storage;
