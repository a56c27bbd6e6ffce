//! Ubik: one database on several servers.
#![forbid(unsafe_code)]

pub mod database;
pub mod overlay;
pub mod pages;
pub mod phys;
pub mod snapshot;
