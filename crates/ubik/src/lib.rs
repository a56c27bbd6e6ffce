//! Ubik: one database on several servers.
//!
//! The layers, from the disk up, with the names that Ubik gives them:
//!
//! * [`phys`] (PHYS): bytes of one database, on files or in memory;
//! * [`database`] (DISK), with [`pages`], [`snapshot`] and [`overlay`]: versions, log, transactions;
//! * [`server_state`]: what is decided about the copy (REMOTE, RECOVERY: [`ubik_proto::replica`]) and about votes (VOTE, BEACON:
//!   [`ubik_proto::election`]) of one server, under their locks.
//!
//! What [`server_state`] returns are [`effect`]s: it waits for nothing and calls nobody itself. The shipped server around it is
//! [`driver`], with [`application`] for who uses the database and [`transport`] for the way to the peers,
//! which is Rx ([`over_rx`], with [`hosts`]). [`watch`] says in words what it sees, [`cell_files`] reads what OpenAFS's servers read.
//! [`client`] is for programs that call a replicated service, [`registers`] the smallest of such.
#![forbid(unsafe_code)]

pub mod application;
pub mod client;
pub mod registers;

pub mod driver;
pub mod watch;

pub mod hosts;
pub mod over_rx;
pub mod transport;

pub mod cell_files;

pub mod effect;
pub mod locks;
pub mod server_state;
mod sync;

mod debug_service;
pub mod disk_work;

pub mod database;
pub mod overlay;
pub mod pages;
pub mod snapshot;

pub mod phys;

#[cfg(all(test, feature = "controlled"))]
mod schedules;

/// The README's example is compiled and run with the documentation's.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
