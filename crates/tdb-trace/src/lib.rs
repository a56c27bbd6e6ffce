//! The grammar of TDB traces (docs/trace-format.md, docs/trace-extended.md): what a line may say, and its text.
//!
//! In the order in which a line is made:
//!
//! * [`op`]: the operations, by name.
//! * [`call`]: what a line says of one.
//! * [`stamp`]: when it ran, and at which version.
//! * [`decimal`], [`hex`]: numbers and records as text, both ways.
//! * [`print`](mod@print): lines.
//! * [`form`]: the forms of traces, by name.
//! * [`recording`], `recorder`, `tail`: what a handle of `tdb` does, as a trace: what turns it on, the lines, the file.
//! * [`packed`]: the same as bytes instead of text.
//! * [`client`]: the traces of a service's clients.
//! * [`bad_line`]: what is said of text that breaks the grammar.
//!
//! Reading a trace into memory is the work of `tdb-replay`, with these names and numbers.
#![deny(unsafe_code)]

pub mod bad_line;
pub mod call;
pub mod client;
mod clock;
pub mod decimal;
mod file;
pub mod form;
pub mod hex;
pub mod op;
mod operations;
pub mod packed;
pub mod print;
mod recorder;
pub mod recording;
pub mod stamp;
mod tail;

pub use bad_line::BadLine;
pub use call::{Call, Opened};
pub use form::{TraceForm, UnknownForm};
pub use op::Op;
pub use recording::Recording;
pub use stamp::Stamp;

/// The README's example is compiled and run with the documentation's.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
