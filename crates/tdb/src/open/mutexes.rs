//! Files whose chains are locked by mutexes: a first header, the mutexes, and behind them the database with a header of its
//! own. The two are written alike and do not change, but for the second one's recovery area and sequence number.

use std::os::unix::fs::FileExt;

use super::OpenOptions;
use crate::core::Core;
use crate::error::{AccessError, OpenError};
use crate::file::bytes::Bytes;
use crate::file::format::{FEATURE_MUTEX, HEADER_SIZE, Header, RWLOCKS_FEATURES, first_record};
use crate::file::space::Space;
use crate::flags::Flags;
use crate::lock::mutex::MutexArea;

impl OpenOptions {
    /// Leaves the mutex area, where the header was read, for the database behind it, and takes the area into use. Who is
    /// first makes the mutexes anew: the machine may have gone down with some of them held.
    pub(super) fn use_mutexes(&self, core: &mut Core, header: &Header, first: bool) -> Result<(), OpenError> {
        let path = core.name.clone();
        if u64::from(header.mutex_size) != MutexArea::size(header.hash_size) || header.order.is_foreign() {
            let what = "a mutex area of another kind of machine";
            let error = OpenError::Unsupported { path, what };
            return Err(damaged_if_contradicted(&core.space, header, error));
        }
        if !self.flags.has(Flags::NOLOCK) {
            let Some(file) = core.space.file() else {
                let why = "mutexes need a file";
                return Err(OpenError::Options { path, why });
            };
            let area = if first { MutexArea::create } else { MutexArea::open };
            let area =
                area(file, header.hash_size).map_err(|cause| OpenError::Io { path: path.clone(), cause })?;
            core.locks.use_mutexes(area);
        }
        core.space.set_start(header.mutex_size.into()).map_err(|cause| OpenError::Access { path, cause })
    }
}

/// An empty database behind its mutexes, with the header in front of both. The first magic text comes last.
pub(super) fn create(core: &mut Core, header: Header) -> Result<(), AccessError> {
    let size = MutexArea::size(core.hash_size);
    let mutex_size = u32::try_from(size).map_err(|_| AccessError::Full { wanted: size })?;
    let header = Header { rwlocks: RWLOCKS_FEATURES, features: FEATURE_MUTEX, mutex_size, ..header };
    let bytes = header.to_bytes();
    let io_error = |cause| AccessError::Io { action: "make the mutexes", offset: 0, cause };
    let space = &core.space;
    space.grow(mutex_size.saturating_add(first_record(core.hash_size)))?;
    space.write(32, &bytes[32..])?;
    space.set_start(size)?;
    space.write(0, &bytes)?;
    let Some(file) = space.file() else {
        let why = "mutexes need a file";
        return Err(AccessError::Refused { why });
    };
    core.locks.use_mutexes(MutexArea::create(file, core.hash_size).map_err(io_error)?);
    file.write_all_at(&bytes[..32], 0).map_err(io_error)
}

/// The error that `error` is of a file with this first header: if its second one says something else, one of them is damaged,
/// and the file is not that of a newer program or of another machine.
pub(super) fn damaged_if_contradicted(space: &Space, header: &Header, error: OpenError) -> OpenError {
    let places = [u64::from(header.mutex_size), MutexArea::size(header.hash_size)];
    let contradicted = places.into_iter().filter_map(|at| header_at(space, at)).any(|second| {
        let words = |header: &Header| (header.hash_size, header.rwlocks, header.features, header.mutex_size);
        second.feature_bits() == FEATURE_MUTEX && words(&second) != words(header)
    });
    match error {
        OpenError::Spinlocks { path } | OpenError::Unsupported { path, .. } if contradicted => {
            let what = "the one behind the mutexes says something else";
            OpenError::Corrupt { path, what }
        }
        error => error,
    }
}

fn header_at(space: &Space, at: u64) -> Option<Header> {
    let at = u32::try_from(at).ok().filter(|at| *at != 0)?;
    let mut bytes = [0; HEADER_SIZE];
    space.read(at, &mut bytes).ok()?;
    Header::from_bytes(&bytes)
}
