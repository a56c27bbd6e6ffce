//! OpenAFS servers that are up and have not voted yet: they answer clients, so they are brought up to date all the same.

use crate::cell::{ServerId, ServerSet};
use crate::replica::{Context, Replica, SyncSite};

impl<R> Replica<R> {
    /// The peers whose versions are asked and to whom the database is sent: those that have voted, and, once this server
    /// serves, OpenAFS's that are up. One of those votes only 75 s after its start, and answers its clients meanwhile.
    pub(crate) fn reached(&self, cx: &mut Context<'_, R>) -> ServerSet {
        let voted = self.voted(cx);
        if !self.role.as_ref().is_some_and(SyncSite::is_established) {
            return voted;
        }
        let up = self.cell.foreign_peers().iter().filter(|&id| cx.election.beaconer().link(id).up);
        voted.iter().chain(up).collect()
    }

    /// A server that has not voted yet takes no part in commits, so it falls behind at once: it is not sent every version.
    pub(crate) fn spare_the_unbound(&mut self, cx: &mut Context<'_, R>, peer: ServerId) {
        let again = cx.now.moment + self.profile.promise;
        if !cx.election.has_vote_of(peer)
            && let Some(role) = &mut self.role
        {
            role.recovery.leave_alone(peer, again);
            role.spared.insert(peer);
        }
    }

    /// A peer has voted; if it was sent the database before, what it lacks since then is found out now.
    pub(crate) fn unbound_voted(&mut self, cx: &mut Context<'_, R>, peer: ServerId) {
        if let Some(role) = self.role.as_mut().filter(|role| role.spared.contains(peer)) {
            role.spared.remove(peer);
            role.recovery.leave_alone(peer, cx.now.moment);
            role.recovery.forget(peer);
        }
    }
}
