//! The project's own commands: `cargo xtask check` before every commit.
#![forbid(unsafe_code)]

fn main() {}
