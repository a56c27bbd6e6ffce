//! The way to the peers over Rx, and the services that they call: VOTE (50) and DISK (51), as OpenAFS has them.
//!
//! * `calls`: connections to the peers, and the calls made on them.
//! * [`copy`]: a database as a running server has it.
//! * `service`: who may call this server, and what it answers.
//! * `streams`: the bytes of calls and transfers, for both.

mod calls;
pub mod copy;
mod service;
mod streams;

use rx::ServiceId;

pub use calls::RxTransport;
pub use service::{Membership, serve};

/// The service of votes.
pub const VOTE: ServiceId = ServiceId(50);
/// The service of transactions and transfers.
pub const DISK: ServiceId = ServiceId(51);
/// Where an application of ours answers its clients.
pub const APPLICATION: ServiceId = ServiceId(60);

/// The services of one database on a port.
///
/// OpenAFS's calls name no database, so it has one a port. Several share one here by having services of their own: the
/// first is where OpenAFS's servers look for it, the others are for our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Services {
    /// Votes.
    pub vote: ServiceId,
    /// Transactions and transfers.
    pub disk: ServiceId,
    /// The application's own, if one of ours is served.
    pub application: ServiceId,
}

impl Services {
    /// OpenAFS's.
    pub const STOCK: Services = Services { vote: VOTE, disk: DISK, application: APPLICATION };

    /// Those of the `nth` database on a port, counted from 0; the first has OpenAFS's.
    pub fn nth(nth: u16) -> Services {
        match nth {
            0 => Services::STOCK,
            _ => {
                let [vote, disk, application] = [0, 1, 2].map(|kind| ServiceId(SHARED + 3 * nth + kind));
                Services { vote, disk, application }
            }
        }
    }
}

/// Where the services of further databases on a port begin: OpenAFS has none there.
const SHARED: u16 = 30_000;
