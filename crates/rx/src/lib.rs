//! Rx over UDP: sockets and threads around the state machine of `rx-proto`.
//!
//! * `socket`: a UDP socket that sends and receives many datagrams at once.
//! * [`Port`]: one UDP port with its endpoint; a thread that receives, one that keeps time.
//! * [`Connection`], [`ClientCall`]: the client's side; [`multi`]: the same call to several servers.
//! * [`server`]: services, the threads that answer, and the call as they see it.
//! * [`measure`]: how long calls take and how fast bytes flow.
//! * [`question`]: what `rxdebug` asks, asked without an endpoint.
//!
//! Nothing here is global: two ports in one process know nothing of each other.
#![deny(unsafe_code)]

mod client;
mod port;
mod socket;

pub mod keys;
pub mod measure;
pub mod multi;
pub mod question;
pub mod server;

pub use client::{ClientCall, Connection};
pub use port::{Dialer, OpenError, Port, PortConfig};
pub use rx_proto::{
    AbortCode, CallFailure, Caller, EndpointConfig, ServiceId, Timeouts, admission, procedures, rpc, rxkad,
    security, xdr, xdr_struct,
};
