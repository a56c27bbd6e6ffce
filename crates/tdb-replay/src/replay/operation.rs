//! Single operations: what a line says is done and its result compared.

use super::worker::{Halt, Worker};
use crate::engine::{Session, StoreMode};
use crate::trace::columns::{ABSENT, ABSENT_OR_EMPTY, NONE, Row};
use crate::trace::op::Op;

impl Worker<'_> {
    /// Does the operation of this row.
    pub(super) fn operation(&mut self, session: &mut dyn Session) -> Result<(), Halt> {
        let row = self.trace.rows.row(self.row as usize);
        match row.op {
            Op::Fetch => self.fetch(session, row),
            Op::Exists | Op::ParseRecord => self.exists(session, row),
            Op::Store | Op::Storev | Op::Append | Op::Delete if self.refused(row) => {
                self.tally.not_run += 1;
                Ok(())
            }
            Op::Store | Op::Storev => self.store(session, row),
            Op::Append => self.append(session, row),
            Op::Delete => self.delete(session, row),
            Op::WipeAll => self.timed(session, |_, session| session.wipe_all()),
            Op::Firstkey | Op::Nextkey => self.next_key(session, row),
            _ => self.lock(session, row),
        }
    }

    /// Inside a read traversal, and in a process that opened the database for reading only, changes are refused
    /// whatever they would have done; a split traversal is not open any more when they run. A store that insists on nothing
    /// fails only if the system does.
    fn refused(&self, row: Row) -> bool {
        let read_only = self.trace.opened.open_flags & 3 == 0;
        // A storev's result is not recorded.
        let failed = row.failed() || row.op == Op::Storev;
        (self.reading > 0 || read_only) && failed
            || row.op == Op::Store && row.failed() && !matches!(row.store_flag(), 2 | 3)
    }

    fn fetch(&mut self, session: &mut dyn Session, row: Row) -> Result<(), Halt> {
        let key = self.key(row.key);
        let mut value = std::mem::take(&mut self.scratch);
        let found = self.timed(session, |_, session| session.fetch(key, &mut value));
        if let Ok(found) = found {
            self.compare_value(row.a, found.then_some(value.as_slice()));
        }
        self.scratch = value;
        found.map(|_| ())
    }

    /// Compares what was found with value `expected`.
    pub(super) fn compare_value(&mut self, expected: u32, found: Option<&[u8]>) {
        if !self.options.check {
            return;
        }
        self.tally.compared += 1;
        let wanted = (expected != ABSENT).then(|| self.history.records.values.bytes(expected));
        if wanted != found {
            self.mismatch(show(wanted), show(found));
        }
    }

    fn exists(&mut self, session: &mut dyn Session, row: Row) -> Result<(), Halt> {
        let key = self.key(row.key);
        let found = self.timed(session, |_, session| session.exists(key))?;
        self.compare(!row.failed(), found, "the key exists", "the key does not exist");
        Ok(())
    }

    fn compare(&mut self, expected: bool, got: bool, yes: &str, no: &str) {
        if !self.options.check {
            return;
        }
        self.tally.compared += 1;
        if expected != got {
            let say = |answer: bool| if answer { yes.to_owned() } else { no.to_owned() };
            self.mismatch(say(expected), say(got));
        }
    }

    fn store(&mut self, session: &mut dyn Session, row: Row) -> Result<(), Halt> {
        let key = self.key(row.key);
        let value = self.history.records.values.bytes(row.a);
        let mode = match row.store_flag() {
            2 => StoreMode::Insert,
            3 => StoreMode::Modify,
            _ => StoreMode::Replace,
        };
        let stored = self.timed(session, |_, session| session.store(key, value, mode))?;
        // A storev's result was not recorded.
        if row.op == Op::Store {
            self.compare(!row.failed(), stored, "stored", "refused");
        }
        Ok(())
    }

    fn append(&mut self, session: &mut dyn Session, row: Row) -> Result<(), Halt> {
        let key = self.key(row.key);
        let values = &self.history.records.values;
        let before = if row.a == ABSENT_OR_EMPTY { 0 } else { values.bytes(row.a).len() };
        let more = &values.bytes(row.b)[before..];
        self.timed(session, |_, session| session.append(key, more))
    }

    fn delete(&mut self, session: &mut dyn Session, row: Row) -> Result<(), Halt> {
        let key = self.key(row.key);
        let deleted = self.timed(session, |_, session| session.delete(key))?;
        self.compare(!row.failed(), deleted, "deleted", "no such key");
        Ok(())
    }

    /// Keys come in the order of the file, which is another one here. What can be compared is that the key which was
    /// found exists, and that a database which has one shows one.
    fn next_key(&mut self, session: &mut dyn Session, row: Row) -> Result<(), Halt> {
        if self.plan.unwalked.contains(&self.row) {
            self.tally.not_run += 1;
            return self.recorded_key_exists(session, row);
        }
        let mut found = std::mem::take(&mut self.scratch);
        let after = (row.op == Op::Nextkey).then(|| self.key(row.key));
        let any = self.timed(session, |_, session| match after {
            Some(after) => session.next_key(after, &mut found),
            None => session.first_key(&mut found),
        });
        self.scratch = found;
        let any = any?;
        if row.a == NONE || !self.options.check {
            return Ok(());
        }
        if row.op == Op::Firstkey {
            self.compare(true, any, "some key", "no key");
        }
        self.recorded_key_exists(session, row)
    }

    /// The key that a step of a walk by keys found must be there.
    fn recorded_key_exists(&mut self, session: &mut dyn Session, row: Row) -> Result<(), Halt> {
        if row.a == NONE || !self.options.check {
            return Ok(());
        }
        let recorded = self.key(row.a);
        let exists = session.exists(recorded);
        let exists = self.answered(exists)?;
        self.compare(true, exists, "the key exists", "the key does not exist");
        Ok(())
    }

    fn lock(&mut self, session: &mut dyn Session, row: Row) -> Result<(), Halt> {
        // Somebody else held the lock; when that is again so is a matter of chance.
        if row.failed() {
            self.tally.not_run += 1;
            return Ok(());
        }
        let key = if row.key == NONE { None } else { Some(self.key(row.key)) };
        // A lock that did not have to wait does not have to wait here either, except for the moment that some single
        // operation takes: so all locks wait.
        self.timed(session, |_, session| match (row.op, key) {
            (Op::Chainlock | Op::ChainlockNonblock, Some(key)) => session.lock_chain(key, true),
            (Op::ChainlockRead | Op::ChainlockReadNonblock, Some(key)) => session.lock_chain(key, false),
            (Op::Chainunlock, Some(key)) => session.unlock_chain(key, true),
            (Op::ChainunlockRead, Some(key)) => session.unlock_chain(key, false),
            (Op::Lockall | Op::LockallNonblock, _) => session.lock_all(true),
            (Op::LockallRead | Op::LockallReadNonblock, _) => session.lock_all(false),
            (Op::Unlockall, _) => session.unlock_all(true),
            (Op::UnlockallRead, _) => session.unlock_all(false),
            // Marks speak of another process's locks; a repack's own lines follow it; nothing waits for a close.
            _ => Ok(()),
        })
    }
}

fn show(value: Option<&[u8]>) -> String {
    match value {
        None => "no such key".into(),
        Some(bytes) => {
            let cut = &bytes[..bytes.len().min(40)];
            let dots = if cut.len() < bytes.len() { "..." } else { "" };
            format!("{} bytes \"{}{dots}\"", bytes.len(), cut.escape_ascii())
        }
    }
}
