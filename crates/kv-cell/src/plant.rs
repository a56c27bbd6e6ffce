//! Faults that the long suite plants in a running server, to prove that it would find them.
//!
//! Without the feature `plant`, which no product has, every question here is answered with a constant `false`.

/// A rule left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A server answers reads from its copy without a lease.
    LeaseNotChecked,
    /// One of forty commits is acknowledged and not made.
    WriteLost,
}

#[cfg(feature = "plant")]
static PLANTED: std::sync::OnceLock<Fault> = std::sync::OnceLock::new();

/// Plants the fault of this name in the whole process, of those here or of Ubik's; false if there is none.
#[cfg(feature = "plant")]
pub fn plant(name: &str) -> bool {
    let fault =
        [Fault::LeaseNotChecked, Fault::WriteLost].into_iter().find(|fault| format!("{fault:?}") == name);
    match fault {
        Some(fault) => PLANTED.set(fault).is_ok(),
        None => ubik_proto::plant::plant_everywhere(name),
    }
}

/// Whether this fault is planted.
#[cfg(feature = "plant")]
pub fn planted(fault: Fault) -> bool {
    PLANTED.get() == Some(&fault)
}

/// Never.
#[cfg(not(feature = "plant"))]
#[inline(always)]
pub fn planted(_fault: Fault) -> bool {
    false
}

/// Whether the commit that comes next is to be lost.
pub fn loses_commit() -> bool {
    planted(Fault::WriteLost) && fastrand::u32(..40) == 0
}
