//! Time that this thread has had a processor, which says more than the wall's clock on a machine with other work.
#![allow(unsafe_code)]

use std::time::Duration;

/// Processor time of this thread so far, in the program and in the system.
pub fn on_processor() -> Duration {
    read(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// Processor time of all threads of this process so far.
pub fn on_processors() -> Duration {
    read(libc::CLOCK_PROCESS_CPUTIME_ID)
}

fn read(clock: libc::clockid_t) -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: room for the answer.
    let failed = unsafe { libc::clock_gettime(clock, &mut time) };
    assert_eq!(failed, 0, "every thread and process has its clock");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
