//! Shares: which calls compete with which for calls, bytes and threads.
//!
//! A service is asked about each call as soon as its first packet is here ([`Gate`]), before the request is read and before
//! a thread is bothered. Each share has limits of its own ([`ShareLimits`]), so that strangers never wait in the way of
//! members, nor anybody in the way of votes. Until its first packet is here, a call is a stranger's.

use std::collections::VecDeque;

use crate::codes::AbortCode;
use crate::config::EndpointConfig;
use crate::names::{CallRef, Caller};

pub use crate::shares::{Share, ShareLimits};

/// When the application gets a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begins {
    /// When its whole request is here, so that a request that never ends holds no thread.
    Whole {
        /// The longest request, in bytes; a longer one is refused with [`AbortCode::SERVER_UNMARSHAL`].
        most: usize,
    },
    /// With its first packet; the application reads the rest as it comes.
    AtOnce,
}

/// What a service says of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admission {
    /// Whose it is.
    pub share: Share,
    /// When the application gets it.
    pub begins: Begins,
}

/// Decides on the calls of a service.
pub trait Gate: Send + Sync {
    /// A call whose first packet holds `first`. Asked while the endpoint is locked: it must not wait for anything.
    ///
    /// # Errors
    /// The code with which the call is refused at once.
    fn admit(&self, caller: &Caller, first: &[u8]) -> Result<Admission, AbortCode>;
}

/// Admits every call as a member's, with its first packet: for programs that serve nobody whom they do not trust.
#[derive(Debug, Clone, Copy, Default)]
pub struct Everybody;

impl Gate for Everybody {
    fn admit(&self, _: &Caller, _: &[u8]) -> Result<Admission, AbortCode> {
        Ok(Admission { share: Share::Members, begins: Begins::AtOnce })
    }
}

/// The calls of one share.
#[derive(Debug, Default)]
pub(crate) struct ShareUse {
    pub calls: usize,
    pub attached: usize,
    /// In the order of their beginning; may name some that are gone, or are another share's by now.
    order: VecDeque<CallRef>,
}

/// The calls of all shares.
#[derive(Debug, Default)]
pub(crate) struct Shares([ShareUse; 3]);

impl Shares {
    pub fn of(&mut self, share: Share) -> &mut ShareUse {
        &mut self.0[share.index()]
    }

    /// A call begins, or becomes this share's.
    pub fn enter(&mut self, share: Share, call: CallRef) {
        let used = self.of(share);
        used.calls += 1;
        used.order.push_back(call);
    }

    pub fn count(&self, share: Share) -> usize {
        self.0[share.index()].calls
    }

    pub fn leave(&mut self, share: Share) {
        self.of(share).calls -= 1;
    }

    /// Whether calls must give way.
    pub fn is_over(&self, share: Share, config: &EndpointConfig) -> bool {
        let (used, limits) = (&self.0[share.index()], config.shares[share.index()]);
        used.calls > limits.calls || used.order.len() > 2 * limits.calls + 64
    }

    /// The oldest call that may give way, if one must; `state` says of a call whether it is still this share's, and may.
    pub fn next_victim(
        &mut self,
        share: Share,
        limits: ShareLimits,
        state: impl Fn(CallRef) -> Option<bool>,
    ) -> Option<CallRef> {
        let used = self.of(share);
        used.order.retain(|&call| state(call).is_some());
        if used.calls <= limits.calls {
            return None;
        }
        let at = used.order.iter().position(|&call| state(call) == Some(true))?;
        used.order.remove(at)
    }
}
