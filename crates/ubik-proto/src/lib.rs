//! The thinking part of Ubik.
//!
//! Nothing here reads a clock, opens a file or a socket, or starts a thread: the time and what arrived are arguments,
//! what is to be done comes back as values in the order in which it must be done. The driver (`crates/ubik`) and the
//! simulator (`sim/`) run the same code.
//!
//! `docs/ubik-protocol.md` states the rules and argues their safety; the names of its sections stand beside the code.
#![forbid(unsafe_code)]

pub mod time;
pub mod version;

pub mod cell;
pub mod profile;
pub mod quorum;

pub mod code;
pub mod messages;
pub mod xdr;

pub mod election;

pub mod changed;
pub mod log;

pub mod replica;

pub mod stock;

pub mod plant;

/// The README's example is compiled and run with the documentation's.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
