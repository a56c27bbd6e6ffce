//! Replays traces of TDB databases: what several processes did is read, put in one order, run again and compared.
//!
//! In the order in which a history flows:
//!
//! * [`trace`]: files to rows.
//! * [`order`]: one order that explains every result.
//! * [`schedule`]: what each worker needs of that order.
//! * [`engine`]: what a replay runs on.
//! * [`replay`]: workers, turns, comparisons.
//! * [`comparison`]: the same on several engines. [`report`]: what came of it, for people and for programs; [`page`]: the same as one HTML page.
//! * [`trace_events`]: a run for viewers of Chrome's trace events.
//!
//! Beside that flow:
//!
//! * [`verdict`]: what a history turns out to be. [`check`](mod@check): whether it can be explained at all.
//! * [`stat`]: what a history consists of.
//! * [`slice`](mod@slice): parts of a history, also the smallest that has no order.
//! * [`generate`](mod@generate): generated histories as trace files.
//! * [`prefetch`]: memory asked for before it is needed. [`words`]: what is printed for people.
//!
//! Unsafe code is there, where a C library is called (`engine/libtdb/library.rs`), where processes are made and share
//! memory (`replay/process.rs`, `replay/shared.rs`), and where the processor is asked for more than the language has words for
//! (`prefetch.rs`).
#![deny(unsafe_code)]

pub mod check;
pub mod comparison;
pub mod engine;
#[doc(hidden)]
pub mod fuzz;
pub mod generate;
pub mod order;
pub mod page;
mod prefetch;
pub mod replay;
pub mod report;
pub mod schedule;
pub mod slice;
pub mod stat;
pub mod trace;
pub mod trace_events;
pub mod verdict;
pub mod words;

/// The README's example is compiled and run with the documentation's.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
