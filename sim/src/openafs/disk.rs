//! C's database, and what other servers do to it.

use ubik_proto::cell::ServerId;
use ubik_proto::code::AbortCode;
use ubik_proto::log::Change;
use ubik_proto::messages::DiskCall;
use ubik_proto::version::{TransactionId, Version};

use super::{Act, Peer, Wake};
use crate::event::{Request, Said};

/// What outlives the process. Commits are whole: the log is modelled as what it achieves.
#[derive(Clone, Debug)]
pub struct Disk {
    /// The version of the bytes.
    pub label: Version,
    /// The database.
    pub bytes: Vec<u8>,
}

impl Default for Disk {
    fn default() -> Self {
        Disk { label: Version::FRESH, bytes: Vec::new() }
    }
}

impl Disk {
    /// Makes changes and labels the result.
    pub fn apply(&mut self, changes: &[Change], label: Version) {
        for change in changes {
            match change {
                Change::Truncate { length } => self.bytes.truncate(*length as usize),
                Change::Write { position, bytes } => {
                    let start = *position as usize;
                    let end = start + bytes.len();
                    if self.bytes.len() < end {
                        self.bytes.resize(end, 0);
                    }
                    self.bytes[start..end].copy_from_slice(bytes);
                }
            }
        }
        self.label = label;
    }

    /// The eight bytes at a place.
    pub fn word(&self, position: u32) -> u64 {
        let start = position as usize;
        let word =
            self.bytes.get(start..start + 8).map_or([0; 8], |bytes| bytes.try_into().expect("eight bytes"));
        u64::from_be_bytes(word)
    }
}

/// The transaction that a sync site runs here.
#[derive(Debug)]
pub(super) struct Remote {
    id: TransactionId,
    pub(super) locked: bool,
    changes: Vec<Change>,
}

impl Remote {
    /// Whether a beacon with this transaction shows that this one is over.
    pub(super) fn is_stale(&self, running: TransactionId) -> bool {
        self.id.epoch != running.epoch || running.counter > self.id.counter
    }
}

impl Peer {
    /// A call of another server; it is not asked who that is.
    ///
    /// # Errors
    /// What the caller is told.
    pub fn on_request(
        &mut self,
        now: i64,
        from: ServerId,
        asked: Request,
    ) -> (Result<Said, AbortCode>, Vec<Act>) {
        match asked {
            Request::Database(version, bytes) => self.take_database(now, from, version, bytes),
            Request::Call(call) => (self.serve(now, from, call), Vec::new()),
        }
    }

    fn serve(&mut self, now: i64, from: ServerId, call: DiskCall) -> Result<Said, AbortCode> {
        match call {
            DiskCall::Begin(id) => {
                if !self.all_better(now) || self.is_sync_site(now) {
                    return Err(AbortCode::NO_QUORUM);
                }
                self.remote = Some(Remote { id, locked: false, changes: Vec::new() });
            }
            DiskCall::Lock { transaction, .. } => self.open(transaction)?.locked = true,
            DiskCall::Write { transaction, write } => {
                let change = Change::Write { position: write.position, bytes: write.bytes };
                self.open(transaction)?.changes.push(change);
            }
            DiskCall::WriteV { transaction, writes } => {
                let changes = writes
                    .into_iter()
                    .map(|write| Change::Write { position: write.position, bytes: write.bytes });
                self.open(transaction)?.changes.extend(changes);
            }
            DiskCall::Truncate { transaction, length, .. } => {
                self.open(transaction)?.changes.push(Change::Truncate { length });
            }
            DiskCall::SetVersion { transaction, old, new } => {
                self.open(transaction)?;
                let agreed =
                    self.votes.version == old || (self.votes.version == new && self.disk.label == old);
                if !agreed {
                    return Err(AbortCode::OUT_OF_SYNC);
                }
                self.disk.label = new;
                self.votes.version = new;
            }
            DiskCall::Commit(id) => {
                let changes = std::mem::take(&mut self.open(id)?.changes);
                let label = self.disk.label.next().expect("a run makes few commits");
                self.disk.apply(&changes, label);
                self.votes.version = label;
            }
            DiskCall::Abort(id) | DiskCall::ReleaseLocks(id) => {
                self.open(id)?;
                self.remote = None;
            }
            DiskCall::GetVersion if self.is_sync_site(now) => return Err(AbortCode::DEADLOCK),
            DiskCall::GetVersion => return Ok(Said::Version(self.disk.label)),
            DiskCall::GetFile { .. } => return Ok(Said::Database(self.disk.label, self.disk.bytes.clone())),
            DiskCall::Probe => {}
            DiskCall::UpdateInterfaceAddr(_) => {
                let link = &mut self.links[from.index()];
                link.beacon_since_down = false;
                link.current = false;
            }
            DiskCall::SendFile { .. } => return Err(AbortCode::INTERNAL),
        }
        Ok(Said::Done)
    }

    fn open(&mut self, id: TransactionId) -> Result<&mut Remote, AbortCode> {
        self.remote.as_mut().filter(|remote| remote.id == id).ok_or(AbortCode::OUT_OF_SYNC)
    }

    /// The old database is worth nothing from the first byte on, until the last is there.
    fn take_database(
        &mut self,
        now: i64,
        from: ServerId,
        version: Version,
        bytes: Vec<u8>,
    ) -> (Result<Said, AbortCode>, Vec<Act>) {
        if self.sync_site(now).is_some_and(|host| host != from) {
            return (Err(AbortCode::OUT_OF_SYNC), Vec::new());
        }
        self.remote = None;
        self.disk.label = Version::NONE;
        self.receiving = Some((version, bytes));
        (Ok(Said::Done), vec![Act::Wake(0, Wake::Received)])
    }

    pub(super) fn received(&mut self) {
        if let Some((label, bytes)) = self.receiving.take() {
            self.disk = Disk { label, bytes };
        }
    }
}
