//! What the benchmarks share: the peers, the rounds and the table.
//!
//! A benchmark is one file in `benches/` and answers one question. It runs this program and its peer in turn (A B A B ...)
//! in one process on one machine and prints medians and their ratio, ours / peer's: smaller is better. The machine's
//! speed drifts; the ratio of neighbours drifts less.
//!
//! * [`library`]: a libtdb, ours or the system's, through the same C interface.
//! * [`rounds`]: measuring in turn, medians, the printed table.
//! * [`chart`]: figures as a picture.
//! * [`clock`]: processor time.

pub mod chart;
pub mod clock;
pub mod library;
pub mod rounds;
