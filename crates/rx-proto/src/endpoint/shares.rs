//! Calls that give way when their share of the endpoint is used up.

use super::Endpoint;
use crate::admission::Share;
use crate::time::Time;

impl Endpoint {
    /// Ends the oldest calls that the application does not have, as far as there are more than their share allows.
    pub(super) fn make_calls_give_way(&mut self, now: Time) {
        for share in Share::ALL {
            while self.shares.is_over(share, &self.config) {
                let Endpoint { shares, table, config, .. } = self;
                let limits = config.shares[share.index()];
                let victim = shares
                    .next_victim(share, limits, |call| table.get(call.connection)?.may_give_way(call, share));
                let Some(call) = victim else { break };
                let Some((connection, mut context)) = self.parts(now, call.connection) else { break };
                connection.give_way(call, &mut context);
                if !std::mem::replace(&mut connection.is_queued, true) {
                    self.queue.push_back(call.connection);
                }
            }
        }
    }

    /// Calls that peers have under way here, of one share.
    pub fn calls_of(&self, share: Share) -> usize {
        self.shares.count(share)
    }
}
