//! Replays traces of TDB databases: what several processes did is read, put in one order, run again and compared.
//!
//! In the order in which a history flows:
//!
//! * [`trace`]: files to rows.
//! * [`order`]: one order that explains every result.
//! * [`schedule`]: what each worker needs of that order.
//! * [`engine`]: what a replay runs on.
//! * [`replay`]: workers, turns, comparisons.
//! * [`report`]: what came of it, for people and for programs.
#![forbid(unsafe_code)]

pub mod engine;
pub mod order;
pub mod replay;
pub mod report;
pub mod schedule;
pub mod trace;
