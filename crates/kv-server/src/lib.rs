//! The service's front end: clients that speak the Redis protocol, and what people and monitoring look at.
//!
//! It knows nothing of servers, elections or disks: what clients ask about the data becomes a [`kv::Step`], which a
//! [`kv::Store`] carries out. Everything that a client can make this process hold is bounded by [`Limits`].
//!
//! In the order in which a request passes through:
//!
//! * [`settings`]: what can be set, with its defaults
//! * [`server`]: starts, reloads, drains; `listener`: connections taken, and `tls` around them
//! * `connection`: one client's bytes; `pipeline`: its replies, in order
//! * `session`: what a connection has chosen, and where each command goes; `command`: those that the data is not needed for
//! * `auth`: users and passwords; `clients`: who is connected; `channels`: messages; `scripts`: texts of scripts
//! * `statistics`: what is counted; `page`: how it is shown; [`log`]: what is said
#![forbid(unsafe_code)]

mod auth;
mod channels;
mod clients;
mod command;
mod connection;
mod listener;
pub mod log;
mod page;
mod pipeline;
mod scripts;
pub mod server;
mod session;
pub mod settings;
mod statistics;
mod tls;

pub use auth::{PasswordError, hash_password};
pub use log::{Level, Log};
pub use server::{Server, StartError};
pub use settings::{Limits, Settings, TlsFiles};

/// The README's example is compiled and run with the documentation's.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
