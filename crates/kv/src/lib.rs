//! The service's data: Redis's commands, carried out on the records of a TDB image.
//!
//! A command runs once, at the sync site, inside a transaction; the pages that it changed are what the other servers
//! get. So nothing here has to be deterministic, and nothing here knows of servers, connections or disks.
//!
//! In the order in which a command passes through:
//!
//! * [`step`]: what the front end hands over, and to whom; [`carry_out`](mod@carry_out): how one is carried out
//! * [`command`]: the table of commands, and what each does
//! * `script`: commands that are programs, with the feature `scripts`
//! * [`keyspace`]: keys, their expiry and revisions, within one transaction; `deletions`: what WATCH knows of keys that are gone
//! * [`entry`], [`fields`]: what a record holds
//! * [`records`]: the records themselves; [`image`]: those of a TDB image
//! * [`memory`]: a store in one process's memory; [`status`]: what a store is at present
//! * `number`, `decimal`, [`pattern`]: texts that commands read
#![forbid(unsafe_code)]

pub mod carry_out;
pub mod command;
mod decimal;
mod deletions;
pub mod entry;
pub mod error;
pub mod fields;
pub mod image;
pub mod keyspace;
pub mod memory;
mod number;
pub mod pattern;
pub mod records;
#[cfg(feature = "scripts")]
pub mod script;
pub mod status;
pub mod step;

pub use carry_out::{carry_out, read};
pub use command::{Command, find, run};
pub use error::{CommandError, StorageError};
pub use image::{Image, View};
pub use keyspace::{Clocks, Keyspace};
pub use memory::Memory;
pub use records::Records;
pub use status::{Standing, Status};
pub use step::{Body, Done, Step, StepError, Store, Watched};

/// The README's example is compiled and run with the documentation's.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
