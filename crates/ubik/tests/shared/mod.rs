//! What the tests of running servers have in common.

use std::time::{Duration, Instant};

use ubik::driver::Server;
use ubik::effect::ReadKind;
use ubik_proto::version::Version;

/// Longer than anything takes; only a failure waits for it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Reads the newest version at a server, trying until it may.
pub fn read_newest(server: &Server, position: u64, length: usize) -> (Version, Vec<u8>) {
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < PATIENCE, "the server did not serve the read");
        if let Ok(mut transaction) = server.begin_read(ReadKind::Newest, PATIENCE) {
            let mut bytes = vec![0; length];
            transaction.seek(position);
            transaction.read(&mut bytes).unwrap();
            return (transaction.version(), bytes);
        }
        std::thread::yield_now();
    }
}
