//! Whether a handle that is opened is watched, and what its observer hears of the opening.

use std::sync::Arc;

use super::OpenOptions;
use crate::core::Core;
use crate::error::OpenError;
use crate::file::bytes::Bytes;
use crate::file::format::SEQNUM_AT;
use crate::flags::Flags;
use crate::hash::HashFunction;
use crate::observe::{Moment, Observe, Observed, Opening};

impl OpenOptions {
    /// Tells an observer what this handle does. Turns the sequence number on. Databases in memory are not watched.
    pub fn observe(&mut self, observe: impl Observe + 'static) -> &mut Self {
        self.observe = Some(Arc::new(observe));
        self
    }

    /// Begins to watch the handle, if that is wanted; nobody commits meanwhile, since the open lock is held.
    pub(super) fn begin_observing(&self, core: &mut Core) -> Result<(), OpenError> {
        let Some(observe) = &self.observe else {
            return Ok(());
        };
        core.observed = Observed::begin(&**observe, self.opening_of(core, observe.now()))?;
        if core.observed.is_some() {
            core.set_flags(core.flags.get());
        }
        Ok(())
    }

    fn opening_of(&self, core: &Core, called: Moment) -> Opening {
        let jenkins = Flags::INCOMPATIBLE_HASH;
        let flags = match core.hash {
            HashFunction::Old => self.flags - jenkins,
            HashFunction::Jenkins => self.flags | jenkins,
            HashFunction::Custom(_) => self.flags,
        };
        // A number that recovery will take back says nothing.
        let sound = matches!(core.needs_recovery(), Ok(false));
        Opening {
            called,
            name: core.name.clone(),
            hash_size: core.hash_size,
            flags,
            create: self.create,
            exclusive: self.exclusive,
            truncate: self.truncate,
            read_only: self.read_only,
            takes_locks: !core.locks.has_no_lock(),
            number: if sound { core.space.word(SEQNUM_AT).unwrap_or(0) } else { 0 },
            log: self.log.clone(),
        }
    }

    /// What begins to watch handles opened with these options.
    pub(crate) fn observe_with(&self) -> Option<&dyn Observe> {
        self.observe.as_deref()
    }
}
