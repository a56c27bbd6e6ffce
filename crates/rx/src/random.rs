//! Random bytes of the system.

use std::io;

use rx_proto::security::Random;

/// See the module.
pub(crate) struct SystemRandom(std::fs::File);

impl SystemRandom {
    pub fn open() -> io::Result<SystemRandom> {
        Ok(SystemRandom(std::fs::File::open("/dev/urandom")?))
    }
}

impl Random for SystemRandom {
    fn fill(&mut self, bytes: &mut [u8]) {
        use std::io::Read;
        self.0.read_exact(bytes).expect("/dev/urandom never ends and never fails once it is open");
    }
}
