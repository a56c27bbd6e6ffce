//! What may be read, here and now: by a mandate, by a lease, or as old as it may be.
//!
//! //= docs/ubik-protocol.md#lease

use super::outputs::{ClientId, Output, ReadError, ReadKind, Told};
use super::{Context, Replica, SyncSite};
use crate::plant::{Fault, planted};

/// Whether what is shown may be read; `None` if that is about to be decided.
type MayRead = Option<Result<(), ReadError>>;

impl<R> Replica<R> {
    /// An application wants to read.
    pub fn begin_read(&mut self, cx: &mut Context<'_, R>, client: ClientId, kind: ReadKind) {
        let outcome = match kind {
            ReadKind::Any => Some(self.shown()),
            ReadKind::Newest => self.newest(cx),
        };
        self.answer_reader(cx, client, outcome);
    }

    pub(super) fn settle_readers(&mut self, cx: &mut Context<'_, R>) {
        for client in std::mem::take(&mut self.readers) {
            let outcome = self.newest(cx);
            self.answer_reader(cx, client, outcome);
        }
    }

    fn answer_reader(&mut self, cx: &mut Context<'_, R>, client: ClientId, outcome: MayRead) {
        match outcome {
            Some(Ok(())) => cx.outputs.push(Output::LetRead(client)),
            Some(Err(error)) => cx.tell(client, Told::ReadFailed(error)),
            None => self.readers.push(client),
        }
    }

    fn shown(&self) -> Result<(), ReadError> {
        self.visible.map(drop).ok_or(ReadError::Unconfirmed)
    }

    /// Whether what is shown is the newest committed state, and this server can vouch for that.
    fn newest(&self, cx: &Context<'_, R>) -> MayRead {
        let now = cx.now.moment;
        let established = self.role.as_ref().is_some_and(SyncSite::is_established);
        if established && cx.election.holds_mandate(now) {
            return Some(self.shown());
        }
        match cx.election.voter().may_read(now) {
            Some(version) if version == self.tail || planted(Fault::ReadsBehind) => {
                if self.is_pending() {
                    None
                } else {
                    Some(self.shown())
                }
            }
            // A beacon came while the commit after that version is being decided.
            Some(version) if self.visible.is_some() && version.next() == Some(self.tail) => None,
            _ => Some(Err(ReadError::NoLease { sync_site: self.sync_site(cx) })),
        }
    }
}
