//! What the tests of several crates share, and nothing that a product crate may use.
//!
//! * [`skip`]: a test that cannot run here says so and is counted, never passed over in silence.
//! * [`seed`]: every random test prints its seed, and one command reruns it.
//! * [`namespace`]: network namespaces, and whole networks of them; [`lab`]: cells of servers on such a network.
//! * [`test_data`]: recordings that the repository carries; [`ccan_traces`]: those that it does not.
#![forbid(unsafe_code)]

pub mod lab;
pub mod namespace;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Says that `test` could not run on this machine, and why.
///
/// `cargo xtask test` names a file in `QUORATE_SKIPS`; each line in it is one skipped test, counted and printed
/// at the end. The caller returns right after.
pub fn skip(test: &str, reason: &str) {
    eprintln!("skipped: {test}: {reason}");
    let Some(path) = std::env::var_os("QUORATE_SKIPS") else {
        return;
    };
    let line = format!("{test}: {reason}\n");
    // One write of one line: appends of several test processes do not mix.
    std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .and_then(|mut file| file.write_all(line.as_bytes()))
        .expect("the file named by QUORATE_SKIPS can be written");
}

/// The seed of a random test: `QUORATE_SEED` if set, a fresh one otherwise; printed, so that it can be rerun.
pub fn seed(test: &str) -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let seed = match std::env::var("QUORATE_SEED") {
        Ok(text) => text.parse().expect("QUORATE_SEED is a decimal number"),
        Err(_) => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
            let nth = NEXT.fetch_add(1, Ordering::Relaxed);
            (now.as_nanos() as u64 ^ nth.wrapping_mul(0x9e37_79b9_7f4a_7c15)) % 1_000_000_000
        }
    };
    eprintln!("{test}: seed {seed}; rerun with QUORATE_SEED={seed} cargo test {test}");
    seed
}

/// The program under test: `built`, or what `QUORATE_BINARY` names. A long run names a copy, which no later build replaces.
pub fn program(built: &str) -> PathBuf {
    std::env::var_os("QUORATE_BINARY").map_or_else(|| PathBuf::from(built), PathBuf::from)
}

/// The root of the repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("crates/testbed is two levels below the root")
}

/// A path among the recorded traces and packets that the repository carries.
pub fn test_data(relative: &str) -> PathBuf {
    let path = repository().join("testdata").join(relative);
    assert!(path.exists(), "{} is missing from this checkout", path.display());
    path
}

/// One of CCAN's own trace sets, which are not ours to carry: `QUORATE_CCAN_TRACES` names the folder that holds them.
///
/// Without that variable the caller has nothing to test; tests of other sets prove the same on recordings of our own.
pub fn ccan_traces(set: &str) -> Option<PathBuf> {
    let path = PathBuf::from(std::env::var_os("QUORATE_CCAN_TRACES")?).join(set);
    assert!(path.exists(), "QUORATE_CCAN_TRACES has no {}", path.display());
    Some(path)
}
