//! The Debian packages whose programs some tests talk to.
//!
//! Nothing here may fail a run: a machine without apt, root or a network runs the tests all the same, and each test
//! that lacks its peer counts as skipped with the reason.

use std::path::Path;
use std::process::{Command, Stdio};

/// A package and a file that tells whether it is installed.
const PACKAGES: &[(&str, &str)] = &[
    ("gcc", "/usr/bin/gcc"),
    ("libtdb1", "/usr/lib/x86_64-linux-gnu/libtdb.so.1"),
    ("libtdb-dev", "/usr/include/tdb.h"),
    ("tdb-tools", "/usr/bin/tdbdump"),
    ("python3-tdb", "/usr/lib/python3/dist-packages/_tdb_text.py"),
    ("ldb-tools", "/usr/bin/ldbadd"),
    ("samba", "/usr/sbin/smbd"),
    ("samba-vfs-modules", "/usr/lib/x86_64-linux-gnu/samba/vfs/acl_xattr.so"),
    ("smbclient", "/usr/bin/smbclient"),
    ("samba-testsuite", "/usr/bin/smbtorture"),
    ("ctdb", "/usr/sbin/ctdbd"),
    ("iproute2", "/usr/sbin/ip"),
    ("openafs-dbserver", "/usr/lib/openafs/ptserver"),
    ("openafs-client", "/usr/bin/rxdebug"),
    ("nftables", "/usr/sbin/nft"),
    ("strace", "/usr/bin/strace"),
    ("faketime", "/usr/bin/faketime"),
];

/// What other people's clients of the service are made with.
pub const FOR_CLIENTS: &[(&str, &str)] = &[
    ("nodejs", "/usr/bin/node"),
    ("npm", "/usr/bin/npm"),
    ("python3-venv", "/usr/share/doc/python3-venv/copyright"),
    ("golang-go", "/usr/bin/go"),
    ("golang-gopkg-redis.v5-dev", "/usr/share/gocode/src/gopkg.in/redis.v5/redis.go"),
];

/// Installs what tests talk to and is missing, where this machine allows it; says what it did.
pub fn install_missing() {
    install(PACKAGES);
}

/// The same for these packages, each with a file that tells whether it is there.
pub fn install(packages: &[(&'static str, &str)]) {
    let missing: Vec<&str> =
        packages.iter().filter(|(_, file)| !Path::new(file).exists()).map(|(name, _)| *name).collect();
    if missing.is_empty() {
        return;
    }
    if !may_install() {
        eprintln!("not installed, and cannot be by this user: {}", missing.join(" "));
        return;
    }
    eprintln!("installing {}", missing.join(" "));
    apt_get(&["update", "-qq"]);
    // One at a time: a package that this release of Debian lacks must not keep the others away.
    for name in missing {
        if !apt_get(&["install", "-y", "-qq", "--no-install-recommends", name]) {
            eprintln!("could not install {name}; tests that need it are skipped");
        }
    }
}

fn may_install() -> bool {
    let root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n");
    root && Path::new("/usr/bin/apt-get").exists()
}

fn apt_get(arguments: &[&str]) -> bool {
    Command::new("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        // Installing a server must not start it.
        .env("RUNLEVEL", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
