//! The procedures of Ubik that the tests call at OpenAFS's servers, and serve to its programs.
#![allow(dead_code, reason = "each test program uses a part")]

use rx::{procedures, xdr_struct};

xdr_struct! {
    /// Epoch and counter.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Version {
        /// When the sync site was elected.
        pub epoch: u32,
        /// Writes since.
        pub counter: u32,
    }
}

xdr_struct! {
    /// What `VOTE_Debug` tells.
    #[derive(Debug, Clone)]
    pub struct Debug {
        /// Clock, last yes time, host, state, claim, lowest host, lowest time, sync host, sync time.
        pub first: [u32; 28],
        /// Addresses of all interfaces.
        pub addresses: [u32; 256],
    }
}

xdr_struct! {
    /// What `VOTE_XDebug` tells.
    #[derive(Debug, Clone)]
    pub struct ExtendedDebug {
        /// As `VOTE_Debug`.
        pub debug: Debug,
        /// Whether it votes.
        pub is_clone: u32,
    }
}

xdr_struct! {
    /// What `VOTE_SDebug` tells of another server.
    #[derive(Debug, Clone)]
    pub struct ServerDebug {
        /// Address, last vote times, flags.
        pub first: [u32; 9],
        /// Its other addresses.
        pub addresses: [u32; 255],
    }
}

procedures! {
    /// Votes.
    pub service vote = 50 {
        /// Asks for a vote.
        10000 fn beacon(claims_sync_site: i32, vote_start: i32, version: Version, transaction: Version);
        /// All about this server, from old times.
        10001 fn debug_old() -> [u32; 28];
        /// All about another server, from old times.
        10002 fn server_debug_old(which: u32) -> [u32; 9];
        /// All about this server.
        10004 fn debug() -> Debug;
        /// All about another server.
        10005 fn server_debug(which: u32) -> ServerDebug;
        /// All about this server, with whether it votes.
        10006 fn extended_debug() -> ExtendedDebug;
    }
}

procedures! {
    /// The database.
    pub service disk = 51 {
        /// The version of the database.
        20004 fn version() -> Version;
        /// The database: its length, its bytes, its version.
        20005 stream fn file(file: i32);
        /// Replaces the database.
        20006 stream fn send_file(file: i32, length: i32, version: Version);
        /// Is anybody there?
        20010 fn probe();
    }
}
