//! The Redis protocol, versions 2 and 3, without I/O: bytes go in; requests and replies come out.
//!
//! A server gives what it received to [`Requests`] and writes its answers with [`ReplyWriter`]; a client writes with
//! [`write_request`] and reads with [`Replies`]. Nothing here recurses, no count in a message reserves memory before
//! its bytes have arrived, and every bound is one of [`Limits`].
//!
//! * `line`: numbers and line ends, for both directions
//! * [`Requests`]: what a client asks; `inline`: the form that people type
//! * [`ReplyWriter`]: what a server answers
//! * [`Replies`], [`Value`]: an answer, as a client reads it
#![forbid(unsafe_code)]

mod inline;
mod limits;
mod line;
mod reader;
mod request;
mod value;
mod writer;

#[doc(hidden)]
pub mod fuzz;

pub use limits::{Limits, ProtocolError};
pub use reader::Replies;
pub use request::{Request, Requests, write_request};
pub use value::Value;
pub use writer::{ReplyWriter, Version};

/// The README's example is compiled and run with the documentation's.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
