//! The border: no panic crosses it, and a failure leaves libtdb's error code and `errno`.

use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tdb::{
    AccessError, CheckError, ErrorCode, LockError, ReadError, RepackError, StoreError, TransactionError,
};

use crate::abi::{DONE, FAILED};
use crate::context::Context;

/// Runs `act` on the context behind `pointer`; `failed` is the answer if that is null, or if there is a fault in this
/// library (a panic, which is reported to the log as fatal).
///
/// # Safety
/// `pointer` is null or comes from `tdb_open` and was not closed.
pub unsafe fn with<T>(pointer: *mut Context, failed: T, act: impl FnOnce(&Context) -> T) -> T {
    // SAFETY: the caller's promise. A shared reference is enough: a context changes through cells only, and so a
    // callback may come back in with the same pointer.
    let Some(context) = (unsafe { pointer.as_ref() }) else {
        set_errno(libc::EINVAL);
        return failed;
    };
    match catch_unwind(AssertUnwindSafe(|| act(context))) {
        Ok(answer) => answer,
        Err(_) => {
            let _ = catch_unwind(AssertUnwindSafe(|| {
                context.set_error(ErrorCode::Corrupt);
                context.say(tdb::LogLevel::Fatal, "a fault in the library; the operation was given up");
            }));
            set_errno(libc::EIO);
            failed
        }
    }
}

/// Runs what has no context; `failed` is the answer after a panic.
pub fn alone<T>(failed: T, act: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(act)).unwrap_or(failed)
}

/// Sets what C finds in `errno`.
pub fn set_errno(number: i32) {
    // SAFETY: the C library's place for this thread's number.
    unsafe { *libc::__errno_location() = number };
}

/// A failed operation, as C learns of it. Its code is in the database already.
pub trait Failure {
    /// The system's number for it, if it has one.
    fn number(&self) -> Option<c_int>;

    /// Sets `errno`.
    #[cold]
    fn set_errno(&self) {
        if let Some(number) = self.number() {
            set_errno(number);
        }
    }

    /// Sets `errno`; the answer of a function that returns `int`.
    #[cold]
    fn fail(&self) -> c_int {
        self.set_errno();
        FAILED
    }
}

/// What a function that returns `int` answers.
#[inline]
pub fn status<E: Failure>(result: Result<(), E>) -> c_int {
    match result {
        Ok(()) => DONE,
        Err(error) => error.fail(),
    }
}

impl Failure for LockError {
    fn number(&self) -> Option<c_int> {
        match self {
            LockError::WouldBlock => Some(libc::EAGAIN),
            LockError::Interrupted => Some(libc::EINTR),
            LockError::Deadlock { .. } => Some(libc::EDEADLK),
            LockError::Io { cause, .. } => cause.raw_os_error(),
            LockError::Recovery(source) => source.number(),
            _ => None,
        }
    }
}

impl Failure for AccessError {
    fn number(&self) -> Option<c_int> {
        match self {
            AccessError::Io { cause, .. } => cause.raw_os_error(),
            AccessError::Full { .. } => Some(libc::EFBIG),
            _ => Some(libc::EIO),
        }
    }
}

macro_rules! failures {
    ($($error:ident { $($variant:ident)+ $(; $rest:pat)? })+) => { $(
        impl Failure for $error {
            fn number(&self) -> Option<c_int> {
                match self {
                    $($error::$variant(source) => source.number(),)+
                    $($rest => None,)?
                }
            }
        }
    )+ };
}

failures! {
    ReadError { Lock Access; _ }
    StoreError { Lock Access; _ }
    TransactionError { Lock Access; _ }
    RepackError { Transaction Read Store; _ }
    CheckError { Lock Access; _ }
}
