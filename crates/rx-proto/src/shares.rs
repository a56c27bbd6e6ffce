//! What calls compete for, and which with which: the vocabulary of [`crate::admission`] and of the settings.

/// Whose resources a call uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Share {
    /// Calls that must never wait for others: Ubik's votes.
    Votes,
    /// Calls of the service's own servers.
    Members,
    /// Everybody else's.
    Strangers,
}

impl Share {
    /// All of them.
    pub const ALL: [Share; 3] = [Share::Votes, Share::Members, Share::Strangers];

    /// Its place in [`Self::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }
}

/// What the calls of one share may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShareLimits {
    /// Calls that the application has, or that wait for it. One more is refused with [`AbortCode::RESTARTING`](crate::AbortCode::RESTARTING).
    pub attached: usize,
    /// All calls, those included whose request is not whole yet and those whose reply has not arrived. The oldest of these
    /// give way when there are more.
    pub calls: usize,
    /// Packets that a call may hold in each direction; the windows of [`EndpointConfig`](crate::EndpointConfig) limit them too.
    pub packets: u8,
}
