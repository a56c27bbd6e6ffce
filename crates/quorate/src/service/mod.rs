//! Tools for the service's keys: they speak to its servers as any client does.
//!
//! * `client`: one connection, of whichever server answers
//! * `keys`: get, set, delete, list; `lock`: a command run under a lock, with its `descendants`; `password`: the hash of one;
//!   `new_key`: what servers share; `status`: whether all is well

pub mod client;
mod descendants;
pub mod keys;
pub mod lock;
pub mod new_key;
pub mod password;
pub mod status;
