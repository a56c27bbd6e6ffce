//! Rx over UDP: sockets and threads around the state machine of `rx-proto`.
//!
//! * `socket`: a UDP socket that sends and receives many datagrams at once.
//! * `shared`: the endpoint of a port, who waits for it, the threads that receive and keep time; `stream`: a call's two streams.
//! * [`Connection`], [`ClientCall`]: the client's side; [`multi`]: the same call to several servers.
//! * [`service`]: who answers calls, and whose they are; `server`: the threads that answer.
//! * [`Port`]: one UDP port with all of it.
//! * [`measure`]: how long calls take and how fast bytes flow.
//! * [`question`]: what `rxdebug` asks, asked without an endpoint.
//!
//! Nothing here is global: two ports in one process know nothing of each other.
#![deny(unsafe_code)]

mod client;
mod port;
mod random;
mod server;
mod shared;
mod socket;
mod stream;

pub mod keys;
pub mod measure;
pub mod multi;
pub mod question;
pub mod service;

pub use client::{ClientCall, Connection};
pub use port::{Dialer, OpenError, Port, PortConfig};
pub use rx_proto::{
    AbortCode, CallFailure, Caller, EndpointConfig, ServiceId, Timeouts, admission, procedures, rpc, rxkad,
    security, xdr, xdr_struct,
};

/// The README's example is compiled and run with the documentation's.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
