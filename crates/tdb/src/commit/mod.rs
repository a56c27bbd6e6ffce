//! All or nothing.
//!
//! * [`transaction`]: the steps of a commit, and what each crash point leaves
//! * [`plan`]: what a commit is going to do
//! * [`recovery`]: the area that keeps the old bytes meanwhile
//! * [`undone`]: playing it back for those who may only read

pub(crate) mod plan;
pub(crate) mod recovery;
pub(crate) mod transaction;
pub(crate) mod undone;
