//! What is asked of the cell: clients that read and write, one transaction after the other.
//!
//! Each register is two pages that every write sets to the same, unique value; a read that finds two values is torn.

use ubik::effect::{ClientId, ReadKind};
use ubik::overlay::{Overlay, View};
use ubik_proto::changed::Written;
use ubik_proto::log::Change;
use ubik_proto::version::Version;

use crate::event::NodeId;

/// How many registers there are.
const REGISTERS: u32 = 3;
/// Bytes in a page.
const PAGE: u32 = 1024;

/// What a client does next.
#[derive(Debug)]
pub enum ClientStep {
    /// Begin a transaction.
    Begin(usize),
    /// Complete the write that was begun.
    Commit(usize, ClientId),
    /// Wait no longer.
    GiveUp(usize, ClientId),
}

/// What a transaction does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Sets a register.
    Write,
    /// Reads one.
    Read(ReadKind),
}

/// A transaction that runs.
#[derive(Clone, Debug)]
pub struct Transaction {
    /// Its name.
    pub id: ClientId,
    /// What it does.
    pub kind: Kind,
    /// Where it was begun, and in which life of that server.
    pub node: NodeId,
    /// As above.
    pub life: u64,
    /// Which register.
    pub register: u32,
    /// What it must find.
    pub floor: Version,
    /// When it was begun, in microseconds of real time.
    pub began: u64,
    /// What it found in its register.
    pub found: u64,
    /// Whether the server was told to commit it.
    pub submitted: bool,
    /// What it writes over.
    pub view: Option<View>,
}

/// One client.
#[derive(Debug, Default)]
pub struct Client {
    /// What it runs.
    pub running: Option<Transaction>,
    /// Where it tries first: who it was told is sync site.
    pub hint: Option<NodeId>,
}

impl Transaction {
    /// A transaction as the seed has it.
    pub fn random(
        random: &mut fastrand::Rng,
        id: ClientId,
        node: NodeId,
        began: u64,
        floor: Version,
    ) -> Self {
        let kind = match random.u8(..10) {
            0..=3 => Kind::Write,
            4 => Kind::Read(ReadKind::Any),
            _ => Kind::Read(ReadKind::Newest),
        };
        let register = random.u32(..REGISTERS);
        Transaction {
            id,
            kind,
            node,
            life: 0,
            register,
            floor,
            began,
            found: 0,
            submitted: false,
            view: None,
        }
    }

    /// Whether it writes.
    pub fn is_write(&self) -> bool {
        self.kind == Kind::Write
    }

    /// Whether it wants to read what was acknowledged last.
    pub fn is_newest_read(&self) -> bool {
        self.kind == Kind::Read(ReadKind::Newest)
    }

    /// The value it writes.
    pub fn value(&self) -> u64 {
        self.id.0
    }

    /// Where its register's two halves are.
    pub fn places(&self) -> [u32; 2] {
        [self.register * PAGE, (self.register + REGISTERS) * PAGE]
    }

    /// Its changes over what it began with.
    pub fn written(&self, changes: &[Change]) -> Option<Written> {
        let mut overlay = Overlay::new(self.view.clone()?);
        for change in changes {
            overlay.make(change).ok()?;
        }
        Some(overlay.finish())
    }

    /// What it changes: both halves, and now and then a cut beyond them and back.
    pub fn changes(&self, random: &mut fastrand::Rng) -> Vec<Change> {
        let bytes = self.value().to_be_bytes().to_vec();
        let mut changes: Vec<Change> =
            self.places().map(|position| Change::Write { position, bytes: bytes.clone() }).into();
        if random.u8(..8) == 0 {
            changes.push(Change::Write { position: 2 * REGISTERS * PAGE + 7, bytes });
            changes.push(Change::Truncate { length: 2 * REGISTERS * PAGE });
        }
        changes
    }
}
