//! The grammar of TDB traces (docs/trace-format.md, docs/trace-extended.md): what a line may say, and its text.
//!
//! In the order in which a line is made:
//!
//! * [`op`]: the operations, by name.
//! * [`call`]: what a line says of one.
//! * [`stamp`]: when it ran, and at which version.
//! * [`decimal`], [`hex`]: numbers and records as text, both ways.
//! * [`print`](mod@print): lines.
//! * [`client`]: the traces of a service's clients.
//! * [`bad_line`]: what is said of text that breaks the grammar.
//!
//! Reading a trace into memory is the work of `tdb-replay`, with these names and numbers.
#![deny(unsafe_code)]

pub mod bad_line;
pub mod call;
pub mod client;
pub mod decimal;
pub mod hex;
pub mod op;
pub mod print;
pub mod stamp;

pub use bad_line::BadLine;
pub use call::{Call, Opened};
pub use op::Op;
pub use stamp::Stamp;
