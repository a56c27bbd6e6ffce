//! What a store knows of itself and the servers that it consists of, for people and monitoring.

/// A store's present state, as one of its servers sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// This server's name.
    pub server: String,
    /// What this server is.
    pub standing: Standing,
    /// All servers, this one included; empty if there is only this process.
    pub servers: Vec<ServerStatus>,
    /// The last elections and recoveries, the oldest first, and few.
    pub events: Vec<Happening>,
}

/// What a server is at present.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// The only server: it depends on no other.
    #[default]
    Alone,
    /// The sync site: writes happen here.
    SyncSite {
        /// For so many milliseconds more, unless its mandate is renewed.
        for_ms: u64,
    },
    /// Another server is the sync site.
    Follower {
        /// Which.
        sync_site: String,
    },
    /// No server is known to be sync site: nothing can be written.
    NoSyncSite,
}

/// One server of a cell, as another sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerStatus {
    /// Its name.
    pub name: String,
    /// Whether it answers.
    pub is_up: bool,
    /// Whether it is the sync site.
    pub is_sync_site: bool,
    /// The version of its databases, if it is known.
    pub version: Option<String>,
}

/// Something that happened in a cell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Happening {
    /// Milliseconds since 1970 on this server's wall clock.
    pub at_ms: u64,
    /// What, and why.
    pub what: String,
}

impl Status {
    /// The sync site's name; `None` if none is known.
    pub fn sync_site(&self) -> Option<&str> {
        match &self.standing {
            Standing::Alone | Standing::SyncSite { .. } => Some(&self.server),
            Standing::Follower { sync_site } => Some(sync_site),
            Standing::NoSyncSite => None,
        }
    }

    /// Whether reads and writes can be expected to be answered.
    pub fn is_serving(&self) -> bool {
        self.standing != Standing::NoSyncSite
    }

    /// How many servers have a write for certain when it is answered.
    pub fn quorum(&self) -> usize {
        self.servers.len() / 2 + 1
    }
}

impl std::fmt::Display for Standing {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Standing::Alone => out.write_str("the only server"),
            Standing::SyncSite { for_ms } => write!(out, "sync site for {for_ms} ms"),
            Standing::Follower { sync_site } => write!(out, "follows {sync_site}"),
            Standing::NoSyncSite => out.write_str("no sync site is known"),
        }
    }
}
