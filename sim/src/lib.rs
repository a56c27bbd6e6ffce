//! Whole cells in one thread, from one seed, running the shipped code.
//!
//! A run is events in the order of real time: a timer, a datagram's arrival, a crash. Each server reads clocks of its
//! own, which run fast or slow and jump; its disk is memory that forgets what was not synced; calls between servers are
//! lost, late, or cut off. The seed decides everything, so a seed is a bug report.
//!
//! * [`world`] keeps the events and carries out what the servers ask for;
//! * [`node`] is one machine: clocks, disk, server;
//! * [`openafs`] is a server of OpenAFS's, for cells of both kinds;
//! * [`net`] says whether and when a message arrives;
//! * [`scenario`] is what goes wrong, and `client` what is asked meanwhile;
//! * [`invariants`] are the properties that must hold, one a file;
//! * [`planted`] leaves out one rule at a time, and says how soon that is noticed;
//! * [`model`] looks at every order of what may happen in a small cell, of the same decisions and without a clock;
//! * `record` keeps what clients saw, for the history checker.
#![forbid(unsafe_code)]

mod client;
mod event;
pub mod invariants;
pub mod model;
pub mod net;
pub mod node;
pub mod openafs;
pub mod planted;
mod record;
pub mod scenario;
pub mod world;

pub use event::NodeId;
