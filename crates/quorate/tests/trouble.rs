//! What a server of three does when its disk is full, and the others with it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod service;

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use resp::Value;
use service::Service;
use service::connection::Failure;
use testbed::namespace::run;

/// Three servers, each on a small disk of its own, which goes with them.
struct OnSmallDisks(Option<Service>);

impl OnSmallDisks {
    fn start() -> Option<OnSmallDisks> {
        let mount = |data: &Path| {
            run("mount", &["-t", "tmpfs", "-o", "size=16m", "tmpfs", &data.display().to_string()])
        };
        let probe = tempfile::tempdir().unwrap();
        if !mount(probe.path()) {
            return None;
        }
        unmount(probe.path());
        Some(OnSmallDisks(Some(Service::start_on("", |data| assert!(mount(data))))))
    }

    fn service(&self) -> &Service {
        self.0.as_ref().unwrap()
    }
}

impl Drop for OnSmallDisks {
    fn drop(&mut self) {
        let disks = [0, 1, 2].map(|nth| self.service().data(nth));
        (0..3).for_each(|nth| self.service().signal(nth, "KILL"));
        // It waits for them; the disks are free then.
        for nth in 0..3 {
            self.0.as_mut().unwrap().wait(nth);
        }
        disks.iter().for_each(|disk| unmount(disk));
    }
}

fn unmount(disk: &Path) {
    run("umount", &["-l", &disk.display().to_string()]);
}

/// Writes until there is no room.
fn fill(disk: &Path) {
    let mut ballast = File::create(disk.join("ballast")).unwrap();
    while ballast.write_all(&[0; 4096]).is_ok() {}
}

/// Writes and reads through server `nth` until both are answered; a write may be refused or undecided meanwhile.
fn is_served_by(service: &Service, nth: usize) {
    let mut connection = service.connect(nth);
    for words in [&["SET", "k", "v"][..], &["GET", "k"]] {
        loop {
            match connection.ask(words) {
                Ok(Value::Simple(_)) => break,
                Ok(value) => break assert_eq!(value, Value::Bytes(b"v".to_vec())),
                Err(Failure::Refused(_) | Failure::Unknown(_)) => {}
            }
        }
    }
}

/// S5, S14: a full disk at the sync site makes another the sync site, a full disk at a follower costs nothing; all three servers serve their
/// clients on, the full one by the others. (A server that cannot save a promise does not vote, hears of no sync site, and told its
/// clients for as long as its disk was full that there was none.) With room again it is one of three as before.
#[test]
fn a_server_with_a_full_disk_serves_by_the_others() {
    let test = "a_server_with_a_full_disk_serves_by_the_others";
    let Some(disks) = OnSmallDisks::start() else {
        return testbed::skip(test, "a small disk cannot be mounted here (root)");
    };
    let service = disks.service();
    for is_sync_site in [true, false] {
        let site = service.sync_site();
        let full = if is_sync_site { site } else { (site + 1) % 3 };
        fill(&service.data(full));
        (0..3).for_each(|nth| is_served_by(service, nth));
        fs::remove_file(service.data(full).join("ballast")).unwrap();
        (0..3).for_each(|nth| is_served_by(service, nth));
    }
}
