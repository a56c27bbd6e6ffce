//! Services: who answers calls, and whose calls they are.

use std::sync::Arc;

use rx_proto::admission::{Admission, Begins, Gate, Share};
use rx_proto::rpc::ServedCall;
use rx_proto::{AbortCode, Caller};

/// What answers the calls of a service; usually `|call| my_procedures::dispatch(&server, call)`.
pub trait Service: Send + Sync {
    /// Answers one call. What is written is the reply; an error aborts the call with its code.
    ///
    /// # Errors
    /// The code that the caller gets.
    fn answer(&self, call: &mut dyn ServedCall) -> Result<(), AbortCode>;

    /// Whose a call is whose first packet holds `first`, and when it is answered. Asked while the port is locked: it must
    /// not wait for anything. By default everybody is a stranger, and requests must be whole and short.
    ///
    /// # Errors
    /// The code with which the call is refused at once.
    fn admit(&self, caller: &Caller, first: &[u8]) -> Result<Admission, AbortCode> {
        let _ = (caller, first);
        Ok(Admission { share: Share::Strangers, begins: Begins::Whole { most: STRANGERS_REQUEST } })
    }
}

/// The longest request of a stranger, in bytes.
pub const STRANGERS_REQUEST: usize = 8 << 10;

/// A service as the endpoint asks it.
pub(crate) struct ServiceGate(pub Arc<dyn Service>);

impl Gate for ServiceGate {
    fn admit(&self, caller: &Caller, first: &[u8]) -> Result<Admission, AbortCode> {
        self.0.admit(caller, first)
    }
}

impl<F> Service for F
where
    F: Fn(&mut dyn ServedCall) -> Result<(), AbortCode> + Send + Sync,
{
    fn answer(&self, call: &mut dyn ServedCall) -> Result<(), AbortCode> {
        self(call)
    }
}
