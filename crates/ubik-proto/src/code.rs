//! The codes with which calls fail on the wire.

use std::fmt;

/// A call's return code that is not zero; on the wire, the body of an Rx abort.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AbortCode(pub i32);

impl AbortCode {
    /// No quorum has been elected, or this server is out of step with it.
    pub const NO_QUORUM: AbortCode = AbortCode(5376);
    /// This server is not the sync site.
    pub const NOT_SYNC_SITE: AbortCode = AbortCode(5377);
    /// The disk failed.
    pub const IO: AbortCode = AbortCode(5379);
    /// Something is not as it must be.
    pub const INTERNAL: AbortCode = AbortCode(5380);
    /// The call does not fit what this server knows of the sync site or of the transaction.
    pub const OUT_OF_SYNC: AbortCode = AbortCode(5381);
    /// No such file of the database.
    pub const NO_ENTRY: AbortCode = AbortCode(5382);
    /// A lock that is none.
    pub const BAD_LOCK: AbortCode = AbortCode(5383);
    /// The caller is not in this server's list.
    pub const BAD_HOST: AbortCode = AbortCode(5385);
    /// A question to a follower was asked of the sync site.
    pub const DEADLOCK: AbortCode = AbortCode(5402);
    /// The caller may not do this (C answers 10029 to it).
    pub const NOT_AUTHORIZED: AbortCode = AbortCode(10029);
    /// The arguments could not be decoded.
    pub const UNMARSHAL: AbortCode = AbortCode(-453);
    /// No such call.
    pub const OPCODE: AbortCode = AbortCode(-455);
}

impl fmt::Display for AbortCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match *self {
            AbortCode::NO_QUORUM => "no quorum elected",
            AbortCode::NOT_SYNC_SITE => "not the sync site",
            AbortCode::IO => "disk error",
            AbortCode::INTERNAL => "internal error",
            AbortCode::OUT_OF_SYNC => "out of step with the sync site",
            AbortCode::NO_ENTRY => "no such file",
            AbortCode::BAD_LOCK => "bad lock",
            AbortCode::BAD_HOST => "not a server of the cell",
            AbortCode::DEADLOCK => "asked of the sync site",
            AbortCode::NOT_AUTHORIZED => "not authorized",
            AbortCode::UNMARSHAL => "arguments could not be decoded",
            AbortCode::OPCODE => "no such call",
            AbortCode(code) => return write!(f, "code {code}"),
        };
        write!(f, "{words} ({})", self.0)
    }
}
