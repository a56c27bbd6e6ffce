//! Puts operations in an order that explains their results, or says why there is none.
//!
//! This crate knows registers, processes and windows; it knows no trace, no TDB file and no clock.
//!
//! * [`register`]: the problem (one key's operations) and its parts.
//! * [`action`]: how needs and effects combine.
//! * [`solver`]: finds an order of one key's units.
//! * [`contradiction`]: the few units that cannot be ordered.
//! * [`linearizability`]: histories with times, key by key.
//! * [`generate`]: histories of a stated shape, true or with one violation.
#![forbid(unsafe_code)]

pub mod action;
pub mod contradiction;
pub mod generate;
pub mod linearizability;
pub mod register;
pub mod solver;

/// The README's example is compiled and run with the documentation's.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
