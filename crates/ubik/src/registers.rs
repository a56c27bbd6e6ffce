//! The smallest application: a table of numbers in the database, written and read one at a time over Rx.
//!
//! It is what fault tests and measurements call: a register's history is easy to check. The table begins at a position
//! of the caller's choice, so it can stand in a database that another program knows, beyond what that one looks at.
//!
//! A write must not happen twice. Rx sees to that within the life of a server's process, but a call that was under way when the process was
//! killed comes again to the next one on the same port. So a write names the life that it is for, and another life refuses it, which says
//! nothing of what the earlier one did.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Weak};
use std::time::Duration;

use rx::admission::{Admission, Begins, Share};
use rx::rpc::ServedCall;
use rx::security::SecurityClass;
use rx::service::{STRANGERS_REQUEST, Service};
use rx::{AbortCode, CallFailure, Caller, Port, ServiceId, procedures, xdr_struct};
use ubik_proto::code;

use crate::application::{BeginError, CommitError};
use crate::client::{Again, Client, ClientError};
use crate::driver::Server;
use crate::effect::{ReadKind, WriteError};

xdr_struct! {
    /// What a register holds, and as of which version.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Reading {
        /// The number; 0 if none was ever written.
        pub value: u64,
        /// The version's epoch.
        pub epoch: u32,
        /// The version's counter.
        pub counter: u32,
    }
}

procedures! {
    /// The table of registers.
    pub service table = 60 {
        /// Reads a register; linearizable.
        1 fn read(index: u32) -> Reading;
        /// Writes a register, if this is that life of the server; answers with the version that has it.
        2 fn write(life: u64, index: u32, value: u64) -> Reading;
        /// The number of this life of the server.
        3 fn life() -> u64;
    }
}

/// The code of a write of which nobody knows whether it will stay.
pub const UNDECIDED: AbortCode = AbortCode(0x5155_4f01);
/// The code of a write for another life of the server, which may have carried it out.
pub const OTHER_LIFE: AbortCode = AbortCode(0x5155_4f02);
/// Registers that a table has.
pub const REGISTERS: u32 = 1 << 20;

/// The table's service at one server.
pub struct Table {
    server: Weak<Server>,
    base: u64,
    patience: Duration,
    /// Chosen at random when it starts.
    life: u64,
}

impl Table {
    /// The table that begins at position `base`; no call waits longer than `patience` for its turn or for its commit.
    pub fn new(server: &Arc<Server>, base: u64, patience: Duration) -> Self {
        Table {
            server: Arc::downgrade(server),
            base,
            patience,
            life: RandomState::new().hash_one(std::process::id()),
        }
    }

    /// Puts it on a port, as service `at`: [`table::SERVICE`], unless the database shares the port. `needs_key`: callers must
    /// hold the cell's key, to read as to write.
    pub fn serve(self, port: &Port, at: ServiceId, security: &[Arc<dyn SecurityClass>], needs_key: bool) {
        port.serve(at, security.to_vec(), Arc::new(TableService { table: self, needs_key }));
    }

    fn server(&self) -> Result<Arc<Server>, AbortCode> {
        self.server.upgrade().ok_or(AbortCode::RESTARTING)
    }

    fn position(&self, index: u32) -> Result<u64, AbortCode> {
        let inside = index < REGISTERS;
        inside.then_some(self.base + 8 * u64::from(index)).ok_or(AbortCode(code::AbortCode::NO_ENTRY.0))
    }
}

/// The table as its callers meet it.
struct TableService {
    table: Table,
    needs_key: bool,
}

impl Service for TableService {
    fn answer(&self, call: &mut dyn ServedCall) -> Result<(), AbortCode> {
        table::dispatch(&self.table, call)
    }

    fn admit(&self, caller: &Caller, _first: &[u8]) -> Result<Admission, AbortCode> {
        let proven = caller.identity.as_ref().is_some_and(|identity| identity.is_service);
        if self.needs_key && !proven {
            return Err(AbortCode(code::AbortCode::NOT_AUTHORIZED.0));
        }
        Ok(Admission { share: Share::Strangers, begins: Begins::Whole { most: STRANGERS_REQUEST } })
    }
}

fn not_here(error: &BeginError) -> AbortCode {
    AbortCode(match error {
        BeginError::Write(WriteError::NotSyncSite { .. }) => code::AbortCode::NOT_SYNC_SITE.0,
        _ => code::AbortCode::NO_QUORUM.0,
    })
}

fn not_committed(error: &CommitError) -> AbortCode {
    match error {
        CommitError::Undecided { .. } => UNDECIDED,
        CommitError::Failed(_) => AbortCode(code::AbortCode::NO_QUORUM.0),
    }
}

impl table::Server for Table {
    fn read(&self, _: &Caller, index: u32) -> Result<Reading, AbortCode> {
        let position = self.position(index)?;
        let server = self.server()?;
        let begun = server.begin_read(ReadKind::Newest, self.patience);
        let mut transaction = begun.map_err(|error| not_here(&error))?;
        let mut bytes = [0; 8];
        transaction.seek(position);
        transaction.read(&mut bytes).map_err(|_| AbortCode(code::AbortCode::IO.0))?;
        let version = transaction.version();
        Ok(Reading { value: u64::from_be_bytes(bytes), epoch: version.epoch, counter: version.counter })
    }

    fn life(&self, _: &Caller) -> Result<u64, AbortCode> {
        Ok(self.life)
    }

    fn write(&self, _: &Caller, life: u64, index: u32, value: u64) -> Result<Reading, AbortCode> {
        if life != self.life {
            return Err(OTHER_LIFE);
        }
        let position = self.position(index)?;
        let server = self.server()?;
        let begun = server.begin_write(self.patience);
        let mut transaction = begun.map_err(|error| not_here(&error))?;
        transaction.seek(position);
        let written = transaction.write(&value.to_be_bytes());
        written.map_err(|_| AbortCode(code::AbortCode::IO.0))?;
        let version = transaction.commit(self.patience).map_err(|error| not_committed(&error))?;
        Ok(Reading { value, epoch: version.epoch, counter: version.counter })
    }
}

impl Client {
    /// Reads a register at any server.
    ///
    /// # Errors
    /// As [`Client::read`].
    pub fn read_register(&self, index: u32) -> Result<Reading, ClientError> {
        self.read(|connection| table::request::read(index).call(connection))
    }

    /// Writes a register; not tried again when nobody knows what became of the first try.
    ///
    /// # Errors
    /// As [`Client::write`]; what the service calls undecided is [`ClientError::Unknown`].
    pub fn write_register(&self, index: u32, value: u64) -> Result<Reading, ClientError> {
        let written = self.write(Again::Unsafe, |connection| {
            // A question that is not answered has done nothing.
            let life = table::request::life().call(connection);
            let life = life.map_err(|failure| CallFailure::NotSent(failure.code()))?;
            table::request::write(life, index, value).call(connection)
        });
        written.map_err(|error| match error {
            ClientError::Refused(code @ (UNDECIDED | OTHER_LIFE)) => ClientError::Unknown(code),
            error => error,
        })
    }
}
