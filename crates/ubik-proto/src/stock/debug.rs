//! The answers of the debug calls, in C's layout, so that `udebug` prints them, and so that C's servers can be asked.

use crate::version::{TransactionId, Version};
use crate::xdr::{Decoder, Encoder, XdrError};

/// The addresses in a debug answer.
const ADDRESSES: usize = 256;

/// `ubik_debug`: what `udebug` shows of the server it asks. Times are seconds since 1970, hosts are addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SiteDebug {
    /// The clock.
    pub now: i32,
    /// When this server last said yes.
    pub last_yes_time: i32,
    /// To whom.
    pub last_yes_host: u32,
    /// Whether that one said that it is sync site.
    pub last_yes_state: bool,
    /// When that one began its round.
    pub last_yes_claim: i32,
    /// The lowest address heard of.
    pub lowest_host: u32,
    /// When.
    pub lowest_time: i32,
    /// The sync site, 0 if none is known.
    pub sync_host: u32,
    /// When it was last heard of.
    pub sync_time: i32,
    /// What it vouches for.
    pub sync_version: Version,
    /// Its transaction.
    pub sync_transaction: TransactionId,
    /// Whether this is the sync site.
    pub is_sync_site: bool,
    /// Until when.
    pub sync_site_until: i32,
    /// How many servers the cell has.
    pub servers: i32,
    /// Pages in use.
    pub locked_pages: i32,
    /// Pages changed by the running transaction.
    pub write_locked_pages: i32,
    /// This server's version.
    pub local_version: Version,
    /// Whether a write transaction runs here.
    pub active_write: bool,
    /// The transactions begun.
    pub transaction_counter: i32,
    /// Whether a read lock is held.
    pub any_read_locks: bool,
    /// Whether a write lock is held.
    pub any_write_locks: bool,
    /// C's recovery bits.
    pub recovery_state: i32,
    /// Whether a transaction of the sync site runs here.
    pub current_transaction: bool,
    /// Whether it is a write.
    pub write_transaction: bool,
    /// The epoch of this server's transactions.
    pub epoch_time: i32,
    /// This server's addresses.
    pub addresses: Vec<u32>,
    /// Whether this is a clone.
    pub is_clone: bool,
}

/// `ubik_sdebug`: what the asked server knows of another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerDebug {
    /// Its primary address.
    pub address: u32,
    /// When it last voted, by its own clock if it is C's.
    pub last_vote_time: i32,
    /// When it was last sent a beacon.
    pub last_beacon_sent: i32,
    /// Whether it said yes.
    pub last_vote: bool,
    /// Its version, as far as known.
    pub remote_version: Version,
    /// Whether that is the current one.
    pub current: bool,
    /// Whether it answered a beacon since it was last down.
    pub beacon_since_down: bool,
    /// Whether it is up.
    pub up: bool,
    /// Its other addresses.
    pub addresses: Vec<u32>,
    /// Whether it is a clone.
    pub is_clone: bool,
}

/// Which of the three generations of the call is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Generation {
    /// Without addresses.
    Old,
    /// With addresses.
    Addresses,
    /// And whether it is a clone.
    Kind,
}

impl SiteDebug {
    /// The reply's bytes.
    pub fn encode(&self, generation: Generation) -> Vec<u8> {
        let mut xdr = Encoder::default();
        xdr.i32(self.now).i32(self.last_yes_time).u32(self.last_yes_host).u32(self.last_yes_state.into());
        xdr.i32(self.last_yes_claim).u32(self.lowest_host).i32(self.lowest_time).u32(self.sync_host);
        xdr.i32(self.sync_time).u32(self.sync_version.epoch).u32(self.sync_version.counter);
        xdr.u32(self.sync_transaction.epoch).u32(self.sync_transaction.counter);
        xdr.u32(self.is_sync_site.into()).i32(self.sync_site_until).i32(self.servers);
        xdr.i32(self.locked_pages).i32(self.write_locked_pages);
        xdr.u32(self.local_version.epoch).u32(self.local_version.counter);
        xdr.u32(self.active_write.into()).i32(self.transaction_counter);
        xdr.u32(self.any_read_locks.into()).u32(self.any_write_locks.into()).i32(self.recovery_state);
        xdr.u32(self.current_transaction.into()).u32(self.write_transaction.into()).i32(self.epoch_time);
        finish(xdr, &self.addresses, ADDRESSES, self.is_clone, generation)
    }
}

impl ServerDebug {
    /// The reply's bytes.
    pub fn encode(&self, generation: Generation) -> Vec<u8> {
        let mut xdr = Encoder::default();
        xdr.u32(self.address).i32(self.last_vote_time).i32(self.last_beacon_sent).u32(self.last_vote.into());
        xdr.u32(self.remote_version.epoch).u32(self.remote_version.counter).u32(self.current.into());
        xdr.u32(self.beacon_since_down.into()).u32(self.up.into());
        finish(xdr, &self.addresses, ADDRESSES - 1, self.is_clone, generation)
    }
}

impl SiteDebug {
    /// Reads a reply of any generation.
    ///
    /// # Errors
    /// If these are not the bytes of one.
    pub fn decode(bytes: &[u8]) -> Result<Self, XdrError> {
        let mut xdr = Decoder::new(bytes);
        let version = |xdr: &mut Decoder<'_>| Ok(Version { epoch: xdr.u32()?, counter: xdr.u32()? });
        let mut debug = SiteDebug {
            now: xdr.i32()?,
            last_yes_time: xdr.i32()?,
            last_yes_host: xdr.u32()?,
            last_yes_state: xdr.u32()? != 0,
            last_yes_claim: xdr.i32()?,
            lowest_host: xdr.u32()?,
            lowest_time: xdr.i32()?,
            sync_host: xdr.u32()?,
            sync_time: xdr.i32()?,
            sync_version: version(&mut xdr)?,
            sync_transaction: TransactionId { epoch: xdr.u32()?, counter: xdr.u32()? },
            is_sync_site: xdr.u32()? != 0,
            sync_site_until: xdr.i32()?,
            servers: xdr.i32()?,
            locked_pages: xdr.i32()?,
            write_locked_pages: xdr.i32()?,
            local_version: version(&mut xdr)?,
            active_write: xdr.u32()? != 0,
            transaction_counter: xdr.i32()?,
            any_read_locks: xdr.u32()? != 0,
            any_write_locks: xdr.u32()? != 0,
            recovery_state: xdr.i32()?,
            current_transaction: xdr.u32()? != 0,
            write_transaction: xdr.u32()? != 0,
            epoch_time: xdr.i32()?,
            addresses: Vec::new(),
            is_clone: false,
        };
        (debug.addresses, debug.is_clone) = finish_reading(xdr, bytes.len() - OLD_SITE, ADDRESSES)?;
        Ok(debug)
    }
}

impl ServerDebug {
    /// Reads a reply of any generation.
    ///
    /// # Errors
    /// If these are not the bytes of one.
    pub fn decode(bytes: &[u8]) -> Result<Self, XdrError> {
        let mut xdr = Decoder::new(bytes);
        let mut debug = ServerDebug {
            address: xdr.u32()?,
            last_vote_time: xdr.i32()?,
            last_beacon_sent: xdr.i32()?,
            last_vote: xdr.u32()? != 0,
            remote_version: Version { epoch: xdr.u32()?, counter: xdr.u32()? },
            current: xdr.u32()? != 0,
            beacon_since_down: xdr.u32()? != 0,
            up: xdr.u32()? != 0,
            addresses: Vec::new(),
            is_clone: false,
        };
        (debug.addresses, debug.is_clone) = finish_reading(xdr, bytes.len() - OLD_SERVER, ADDRESSES - 1)?;
        Ok(debug)
    }
}

/// Bytes of a reply without addresses.
const OLD_SITE: usize = 112;
const OLD_SERVER: usize = 36;

/// What the later generations append, of which `left` bytes are there.
fn finish_reading(mut xdr: Decoder<'_>, left: usize, count: usize) -> Result<(Vec<u32>, bool), XdrError> {
    let mut addresses = Vec::new();
    if left > 0 {
        for _ in 0..count {
            addresses.push(xdr.u32()?);
        }
        addresses.retain(|&address| address != 0);
    }
    let is_clone = left > 4 * count && xdr.u32()? != 0;
    xdr.finish()?;
    Ok((addresses, is_clone))
}

fn finish(
    mut xdr: Encoder,
    addresses: &[u32],
    count: usize,
    is_clone: bool,
    generation: Generation,
) -> Vec<u8> {
    if generation >= Generation::Addresses {
        for index in 0..count {
            xdr.u32(addresses.get(index).copied().unwrap_or(0));
        }
    }
    if generation == Generation::Kind {
        xdr.u32(is_clone.into());
    }
    xdr.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// U39: the sizes that C expects; they were measured on the wire.
    #[test]
    fn debug_answers_have_the_sizes_of_c() {
        let (site, server) = (SiteDebug::default(), ServerDebug::default());
        let sizes = |encode: &dyn Fn(Generation) -> Vec<u8>| {
            [Generation::Old, Generation::Addresses, Generation::Kind]
                .map(|generation| encode(generation).len())
        };
        assert_eq!(sizes(&|generation| site.encode(generation)), [112, 1136, 1140]);
        assert_eq!(sizes(&|generation| server.encode(generation)), [36, 1056, 1060]);
    }

    #[test]
    fn debug_answers_are_read_back_and_torn_ones_refused() {
        let site = SiteDebug {
            now: 7,
            is_sync_site: true,
            addresses: vec![9],
            is_clone: true,
            ..Default::default()
        };
        let bytes = site.encode(Generation::Kind);
        assert_eq!(SiteDebug::decode(&bytes), Ok(site.clone()));
        let old = SiteDebug { addresses: Vec::new(), is_clone: false, ..site.clone() };
        assert_eq!(SiteDebug::decode(&site.encode(Generation::Old)), Ok(old));
        let server = ServerDebug { address: 5, up: true, addresses: vec![6], ..Default::default() };
        assert_eq!(ServerDebug::decode(&server.encode(Generation::Addresses)), Ok(server));
        for cut in 0..bytes.len() {
            assert_eq!(
                SiteDebug::decode(&bytes[..cut]).is_ok(),
                [OLD_SITE, OLD_SITE + 4 * ADDRESSES].contains(&cut)
            );
        }
    }
}
