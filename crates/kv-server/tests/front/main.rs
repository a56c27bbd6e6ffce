//! The front end over a store in memory, spoken to as clients do: by bytes, by redis-cli and redis-benchmark, by redis-py.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod client;
mod commands;
mod limits;
mod page;
mod redis;
mod security;
mod stopping;
mod tools;
mod transactions;
