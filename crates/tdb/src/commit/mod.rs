//! All or nothing.
//!
//! * [`transaction`]: the steps of a commit, and what each crash point leaves
//! * [`recovery`]: the area that keeps the old bytes meanwhile

pub(crate) mod recovery;
pub(crate) mod transaction;
