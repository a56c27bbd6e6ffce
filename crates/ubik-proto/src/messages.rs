//! The calls between servers, as plain types. Their bytes are in [`crate::stock`].

use crate::version::{TransactionId, Version};

/// The most writes one `WriteV` carries.
pub const MAX_WRITES: usize = 64;
/// The most bytes one `WriteV` carries.
pub const MAX_WRITE_BYTES: usize = 65_536;
/// The most bytes one `Write` carries.
pub(crate) const MAX_SINGLE_WRITE: usize = 20_000;
/// The addresses in one `UpdateInterfaceAddr`, always all of them.
pub const MAX_INTERFACES: usize = 256;
/// The type of a write lock, the only one a sync site asks for.
pub const LOCK_WRITE: u32 = 2;

/// A candidate asks for a vote, or the sync site for its renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beacon {
    /// Whether the sender says that it is sync site.
    pub claims_sync_site: bool,
    /// When the sender began this round, by its wall clock; from a candidate of ours, the epoch it proposes.
    pub start: i32,
    /// The version that the sync site vouches for; [`Version::NONE`] grants no lease.
    pub version: Version,
    /// Its epoch, and the transaction that runs or the next one.
    pub transaction: TransactionId,
}

/// One change of a file's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Which file of the database; 0 is the only one in use.
    pub file: u32,
    /// Where, in bytes after the header.
    pub position: u32,
    /// What.
    pub bytes: Vec<u8>,
}

/// A call to the VOTE service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VoteCall {
    /// 10000.
    Beacon(Beacon),
    /// 10001: `ubik_debug` without addresses.
    DebugOld,
    /// 10002: `ubik_sdebug` of the nth other server, without alternate addresses.
    ServerDebugOld(u32),
    /// 10003: in C this call has no way to answer; the argument is ignored.
    SyncSite,
    /// 10004.
    Debug,
    /// 10005.
    ServerDebug(u32),
    /// 10006: as `Debug`, and whether this is a clone.
    DebugWithKind,
    /// 10007.
    ServerDebugWithKind(u32),
    /// 10100, which only this program answers: whether this server may become sync site, 1 or 0.
    Stands,
}

/// A call to the DISK service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskCall {
    /// 20000: a write transaction begins.
    Begin(TransactionId),
    /// 20001: log it, sync, make it the database's next version.
    Commit(TransactionId),
    /// 20002: the transaction's write lock.
    Lock {
        /// The transaction.
        transaction: TransactionId,
        /// Always 0 from a sync site.
        file: u32,
        /// Always 1 from a sync site.
        position: u32,
        /// Must be 1.
        length: u32,
        /// 1 read, 2 write.
        kind: u32,
    },
    /// 20003: one write, from a sync site that lacks `WriteV`.
    Write {
        /// The transaction.
        transaction: TransactionId,
        /// What to write.
        write: Write,
    },
    /// 20004: which version have you?
    GetVersion,
    /// 20005: send me your database.
    GetFile {
        /// Which file.
        file: u32,
    },
    /// 20006: take this database; its bytes follow in the same call.
    SendFile {
        /// Which file.
        file: u32,
        /// How many bytes follow.
        length: u32,
        /// What they are.
        version: Version,
    },
    /// 20007: forget the transaction.
    Abort(TransactionId),
    /// 20008: the transaction is over everywhere.
    ReleaseLocks(TransactionId),
    /// 20009: cut the file.
    Truncate {
        /// The transaction.
        transaction: TransactionId,
        /// Which file.
        file: u32,
        /// How many bytes to keep.
        length: u32,
    },
    /// 20010: are you there?
    Probe,
    /// 20011: several writes.
    WriteV {
        /// The transaction.
        transaction: TransactionId,
        /// In order.
        writes: Vec<Write>,
    },
    /// 20012: these are my addresses, the primary first.
    UpdateInterfaceAddr(Vec<u32>),
    /// 20013: label the database anew.
    SetVersion {
        /// The transaction.
        transaction: TransactionId,
        /// What the label must be.
        old: Version,
        /// What it becomes.
        new: Version,
    },
}

impl DiskCall {
    /// What the call is, for people.
    pub fn name(&self) -> &'static str {
        match self {
            DiskCall::Begin(_) => "Begin",
            DiskCall::Commit(_) => "Commit",
            DiskCall::Lock { .. } => "Lock",
            DiskCall::Write { .. } => "Write",
            DiskCall::GetVersion => "GetVersion",
            DiskCall::GetFile { .. } => "GetFile",
            DiskCall::SendFile { .. } => "SendFile",
            DiskCall::Abort(_) => "Abort",
            DiskCall::ReleaseLocks(_) => "ReleaseLocks",
            DiskCall::Truncate { .. } => "Truncate",
            DiskCall::Probe => "Probe",
            DiskCall::WriteV { .. } => "WriteV",
            DiskCall::UpdateInterfaceAddr(_) => "UpdateInterfaceAddr",
            DiskCall::SetVersion { .. } => "SetVersion",
        }
    }

    /// The number of the procedure.
    pub fn opcode(&self) -> u32 {
        match self {
            DiskCall::Begin(_) => 20000,
            DiskCall::Commit(_) => 20001,
            DiskCall::Lock { .. } => 20002,
            DiskCall::Write { .. } => 20003,
            DiskCall::GetVersion => 20004,
            DiskCall::GetFile { .. } => 20005,
            DiskCall::SendFile { .. } => 20006,
            DiskCall::Abort(_) => 20007,
            DiskCall::ReleaseLocks(_) => 20008,
            DiskCall::Truncate { .. } => 20009,
            DiskCall::Probe => 20010,
            DiskCall::WriteV { .. } => 20011,
            DiskCall::UpdateInterfaceAddr(_) => 20012,
            DiskCall::SetVersion { .. } => 20013,
        }
    }

    /// The transaction it speaks of, if any.
    pub fn transaction(&self) -> Option<TransactionId> {
        match self {
            DiskCall::Begin(id) | DiskCall::Commit(id) | DiskCall::Abort(id) | DiskCall::ReleaseLocks(id) => {
                Some(*id)
            }
            DiskCall::Lock { transaction, .. }
            | DiskCall::Write { transaction, .. }
            | DiskCall::Truncate { transaction, .. }
            | DiskCall::WriteV { transaction, .. }
            | DiskCall::SetVersion { transaction, .. } => Some(*transaction),
            DiskCall::GetVersion
            | DiskCall::GetFile { .. }
            | DiskCall::SendFile { .. }
            | DiskCall::Probe
            | DiskCall::UpdateInterfaceAddr(_) => None,
        }
    }
}
