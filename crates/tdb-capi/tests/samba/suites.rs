//! Which tests of smbtorture are run.

use std::process::Command;

/// Groups that are run in full length.
const GROUPS: [&str; 6] =
    ["base.", "smb2.lease.", "smb2.lock.", "smb2.rename.", "smb2.replay.", "smb2.multichannel."];

/// Tests of those groups that are benchmarks, or try every number or name there is: they take minutes to hours.
const NOT_RUN: [&str; 11] = [
    "base.bench",
    "base.casetable",
    "base.charset",
    "base.delaywrite",
    "base.denydos",
    "base.iometer",
    "base.nttrans",
    "base.scan",
    "base.smb",
    "base.trans2-scan",
    "base.utable",
];

/// The short form: lease breaks, which hang if calls inside parsers are refused, and a few of every other group.
const SHORT: [&str; 24] = [
    "smb2.lease.break_twice",
    "smb2.lease.statopen",
    "smb2.lease.break",
    "smb2.lease.oplock",
    "smb2.lease.multibreak",
    "smb2.lease.v2_epoch2",
    "smb2.lease.complex1",
    "smb2.lease.unlink",
    "smb2.lock.lock",
    "smb2.lock.contend",
    "smb2.lock.stacking",
    "smb2.lock.ctdb-delrec-deadlock",
    "smb2.rename.simple",
    "smb2.rename.no_sharing",
    "smb2.rename.share_delete_and_delete_access",
    "smb2.replay.replay-dhv2-oplock1",
    "smb2.replay.replay-dhv2-lease1",
    "smb2.replay.replay4",
    "smb2.multichannel.generic.num_channels",
    "base.lock.LOCK3",
    "base.delete.deltest17",
    "base.rename",
    "base.unlink",
    "base.vuid",
];

/// The names of all tests of this run.
pub fn tests() -> Vec<String> {
    if std::env::var_os("QUORATE_LONG").is_none() {
        return SHORT.map(str::to_owned).to_vec();
    }
    let listed = Command::new("smbtorture").arg("--list").output().expect("the package is there");
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let mut tests: Vec<String> = Vec::new();
    for name in
        listed.lines().map(str::trim).filter(|name| GROUPS.iter().any(|group| name.starts_with(group)))
    {
        let name = without_repetition(name);
        if !tests.contains(&name) && !is_left_out(&name) {
            tests.push(name);
        }
    }
    assert!(tests.len() > 150, "smbtorture lists only {tests:?}");
    tests
}

fn is_left_out(name: &str) -> bool {
    let rest = NOT_RUN.iter().find_map(|left_out| name.strip_prefix(left_out));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '-']))
}

/// The list says `base.unlink.unlink` for a test that is run as `base.unlink`.
fn without_repetition(name: &str) -> String {
    match name.rsplit_once('.') {
        Some((front, last)) if front.ends_with(&format!(".{last}")) => front.to_owned(),
        _ => name.to_owned(),
    }
}
