//! One order for a whole history.
//!
//! Owns the question "in which order can all this have happened?". Each key is solved alone (the locality argument of
//! docs/ordering.md says why that is enough), and one merge gives every row its rank, obeying the locks of the
//! database that the traces will run on.
//!
//! * [`meaning`]: what a line says of its key. [`lowest`]: numbers that may have been taken back.
//! * [`units`]: rows to what they need and leave, and when, key by key. [`touched`]: the same for a transaction.
//! * [`counting`]: every change takes a number of its own.
//! * [`exact`]: versions, where traces have them.
//! * [`solve`]: each key's order.
//! * [`joint`]: all keys at once, where keys one by one leave a doubt.
//! * [`merge`]: the one order, and who must wait for whom.
//! * [`events`]: one trace as the merge walks it.
//! * [`keys`], [`held`], [`traversals`], [`queue`]: the states that the merge keeps. [`locks`]: who excludes whom.
//! * [`conflicts`], [`clock`], [`waits`]: what a row must come after, what of that is known already, and what is left.
//! * [`saved`]: an order in a file. [`listing`]: an order as text.
//! * [`exclusion`]: locks that cannot have been held together.
//! * [`unfinished`]: what was under way when its process died.
//! * [`times`]: what times say of the order.
//! * [`dead`], [`attempt`], [`guess`], [`found`], [`explain`]: from traces to the order, with what had to be assumed.

pub mod attempt;
pub mod clock;
pub mod conflicts;
pub mod counting;
pub mod dead;
pub mod events;
pub mod exact;
mod exclusion;
pub mod explain;
mod found;
mod guess;
pub mod held;
pub mod joint;
pub mod keys;
pub mod listing;
pub mod locks;
mod lowest;
pub(crate) mod meaning;
pub mod merge;
mod queue;
pub mod saved;
pub mod solve;
pub mod times;
mod touched;
pub mod traversals;
mod unfinished;
pub mod units;
pub mod waits;
