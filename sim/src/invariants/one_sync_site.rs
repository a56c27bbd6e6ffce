//! At most one server holds a mandate.

use super::Found;
use crate::event::NodeId;

/// At most one server holds a mandate at any instant of real time.
///
/// A mandate only ends by time once it is given, so it is enough to look whenever one begins or is renewed.
#[derive(Debug)]
pub struct OneSyncSite;

impl OneSyncSite {
    /// `holders` hold a mandate now.
    ///
    /// # Errors
    /// If they are two.
    pub fn check(&self, holders: &[NodeId]) -> Found {
        if holders.len() > 1 { Err(format!("two sync sites at once: servers {holders:?}")) } else { Ok(()) }
    }
}
