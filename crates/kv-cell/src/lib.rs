//! The service's databases on the servers of a cell: each is a TDB image in a Ubik database.
//!
//! A step that writes runs once, at the sync site, on the engine over a snapshot of the Ubik database; what it changed of
//! the pages is written in a Ubik transaction, which every server then has. So scripts, expiry and random commands need no
//! care: the pages are replicated, not the commands. Steps that only read are answered by any server while it holds a lease.
//!
//! In the order in which a step passes through:
//!
//! * `cell`: what is started, and the [`kv::Store`] that takes steps; `settings`: with what
//! * `queue`: steps that wait
//! * `writer`: writes, many in one commit; `timetable`: which keys expire when
//! * `reader`: how reads are answered
//! * `peers`, `wire`: steps sent to the sync site, and taken from other servers
//! * `pages`: the image in the Ubik database
//! * `standing`: what this server knows of itself and the others
//! * [`plant`]: faults for the suite that has to find them
//! * `clock`: what expiry is counted on; `observer`: what keeps it going at a follower
#![forbid(unsafe_code)]

mod cell;
mod clock;
mod observer;
mod pages;
mod peers;
#[doc(hidden)]
pub mod plant;
mod queue;
mod reader;
mod settings;
mod standing;
mod timetable;
mod wire;
mod writer;

pub use cell::{Cell, DatabaseStatus, open};
pub use settings::{DEFAULT_QUOTA, OpenError, Settings};

/// The README's example is compiled and run with the documentation's.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
