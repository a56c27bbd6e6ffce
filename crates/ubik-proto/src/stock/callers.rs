//! What is asked of a sync site of OpenAFS's before it is served.

use crate::cell::ServerId;
use crate::code::AbortCode;
use crate::plant::{Fault, planted};
use crate::replica::{Context, Replica};

impl<R> Replica<R> {
    /// A commit of OpenAFS's names no version, so a server that missed one would count on from another copy. Nothing but
    /// the sync site's memory of who is in step stands against that; what its last beacon named is another witness. An
    /// older name proves nothing: the beacon may have left before a commit that has come since.
    ///
    /// //= docs/ubik-protocol.md#mixed-cells
    pub(crate) fn check_not_behind(&self, cx: &Context<'_, R>, from: ServerId) -> Result<(), AbortCode> {
        let names_versions = self.cell.server(from).dialect.keeps_epochs();
        let own = self.tail();
        let named = cx.election.voter().following().filter(|site| site.host == from).map(|site| site.version);
        if !names_versions && named.is_some_and(|named| named > own) && !planted(Fault::BegunBehind) {
            return Err(AbortCode::NO_QUORUM);
        }
        Ok(())
    }
}
