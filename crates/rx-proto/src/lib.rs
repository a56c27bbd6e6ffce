//! Rx, the call protocol of AFS, as a state machine: datagrams and the time go in; datagrams, events and the next
//! deadline come out.
//!
//! No socket, clock or thread is here; the `rx` crate drives it over UDP and a simulator drives it in one thread.
//! In the order in which a datagram passes through:
//!
//! * [`packet`]: the bytes of a packet; [`debug`]: questions and answers of `rxdebug`.
//! * [`Endpoint`]: all connections of a port; answers what belongs to none.
//! * `connection`: four channels, one security state; `table` finds it.
//! * [`security`], [`rxkad`]: who may speak, and what seals packets.
//! * `call`: one call; its halves `receive` and `send`; `peer`: how far away the other end is.
//! * [`xdr`], [`rpc`]: what procedures are made of, and their declarations.
//! * [`config`]: time-outs and limits.
#![forbid(unsafe_code)]

mod call;
mod connection;
mod endpoint;
mod names;
mod peer;
mod receive;
mod send;
mod shares;
mod table;
mod time;

pub mod admission;
pub mod codes;
pub mod config;
pub mod debug;
#[doc(hidden)]
pub mod fuzz;
pub mod packet;
pub mod rpc;
pub mod rxkad;
pub mod security;
pub mod xdr;

pub use codes::{AbortCode, CallFailure};
pub use config::{EndpointConfig, Timeouts};
pub use endpoint::Endpoint;
pub use names::{CallRef, Caller, ConnectionRef, Event, Read, ServiceId, StartError, ThreadReport, Transmit};
pub use time::Time;

/// The README's example is compiled and run with the documentation's.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
