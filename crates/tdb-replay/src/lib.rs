//! Replays traces of TDB databases: what several processes did is read, put in one order, run again and compared.
//!
//! In the order in which a history flows:
//!
//! * [`trace`]: files to rows.
#![forbid(unsafe_code)]

pub mod trace;
