//! The long suites: the tests that `cargo test` runs in a short form, in full length.

use std::process::Command;

use anyhow::{Result, bail};

use crate::command::{cargo, root, run};
use crate::packages;

/// Sets the full length for every suite that has one.
const FULL: (&str, &str) = ("QUORATE_LONG", "1");

/// libtdb's processes and ours on one file; OpenAFS's servers and ours in one cell.
pub fn interop() -> Result<()> {
    packages::install_missing();
    full(&["test", "--release", "-p", "quorate", "--test", "mixed", "--", "--nocapture"])?;
    full(&[
        "test",
        "--release",
        "-p",
        "quorate-tdb",
        "--test",
        "interop",
        "--test",
        "torture",
        "--",
        "--nocapture",
    ])
}

/// Samba's file server and its cluster of databases, on either library.
pub fn samba() -> Result<()> {
    packages::install_missing();
    full(&["test", "--release", "-p", "quorate-tdb-capi", "--test", "samba", "--", "--nocapture"])
}

/// Every crash state within the stated bound.
pub fn crash() -> Result<()> {
    full(&["test", "--release", "-p", "quorate-tdb", "--test", "crash", "--", "--nocapture"])
}

/// Random suites whose seeds are printed.
pub fn sim() -> Result<()> {
    full(&[
        "test",
        "--release",
        "-p",
        "quorate-history",
        "-p",
        "quorate-rx-proto",
        "-p",
        "sim",
        "--",
        "--nocapture",
    ])?;
    full(&["test", "--release", "-p", "quorate-tdb-replay", "--test", "oracle", "--", "--nocapture"])?;
    full(&["test", "--release", "-p", "quorate-resp", "-p", "quorate-kv", "--", "--nocapture"])?;
    // Locks, page cache, snapshots and votes of one server, one interleaving after the other.
    full(&[
        "test",
        "-p",
        "quorate-ubik",
        "--features",
        "controlled",
        "--lib",
        "schedules",
        "--",
        "--nocapture",
    ])
}

/// Five real servers under kills, partitions, full disks and the rest, for so many minutes.
pub fn faults(minutes: u32) -> Result<()> {
    let seconds = (u64::from(minutes) * 60).to_string();
    let mut command = cargo(&["test", "--release", "-p", "quorate", "--test", "faults", "--", "--nocapture"]);
    run(command.env("QUORATE_FAULT_SECS", seconds))
}

/// Three servers of the service under faults, run after run, and a key that lives through ten failovers.
pub fn service_faults(runs: u32, seconds: u32, seed: Option<u64>) -> Result<()> {
    packages::install_missing();
    let mut command =
        cargo(&["test", "--release", "-p", "quorate", "--test", "service_faults", "--", "--nocapture"]);
    command.env("QUORATE_RUNS", runs.to_string()).env("QUORATE_RUN_SECS", seconds.to_string());
    command.env("QUORATE_FAILOVERS", "10").arg("--test-threads=1");
    if let Some(seed) = seed {
        command.env("QUORATE_SEED", seed.to_string());
    }
    run(&mut command)
}

/// Whether the suite finds faults that are planted in the servers.
pub fn planted_faults() -> Result<()> {
    packages::install_missing();
    let test = ["test", "-p", "quorate", "--features", "plant", "--test", "service_faults", "planted"];
    // A build of its own, so that no other program is ever one with faults.
    run(cargo(&test).args(["--target-dir", "target/plant", "--", "--nocapture"]))
}

/// The coverage-guided fuzzers, one after the other.
pub fn fuzz(seconds: u32, only: Option<&str>) -> Result<()> {
    let targets = fuzz_targets()?;
    if let Some(name) = only
        && !targets.iter().any(|target| target == name)
    {
        bail!("no fuzz target is named `{name}`; there are: {}", targets.join(", "));
    }
    for target in targets.iter().filter(|target| only.is_none_or(|name| name == target.as_str())) {
        let time = format!("-max_total_time={seconds}");
        // Without a sanitizer the stable compiler suffices; the targets hold no unsafe code of their own.
        run(&mut cargo(&["fuzz", "run", "--sanitizer", "none", target, "--", &time]))?;
    }
    Ok(())
}

/// The engine's unsafe code under Miri, as far as Miri goes: it maps no files and takes no locks on them.
pub fn miri() -> Result<()> {
    let runs: [&[&str]; 3] = [
        &["--lib", "--", "--skip", "mutex"],
        &["--test", "model", "--", "memory", "given_storage"],
        &["--test", "threads", "--", "memory"],
    ];
    for arguments in runs {
        let mut command = Command::new("cargo");
        command.args(["+nightly", "miri", "test", "-p", "quorate-tdb"]).args(arguments).current_dir(root());
        // A toolchain that this command was started by would win over the one asked for.
        command.env_remove("RUSTUP_TOOLCHAIN").env("MIRIFLAGS", "-Zmiri-disable-isolation");
        run(&mut command)?;
    }
    Ok(())
}

/// One benchmark, or all of them.
pub fn bench(only: Option<&str>) -> Result<()> {
    packages::install_missing();
    run(&mut cargo(&["build", "--profile", "dist", "-p", "quorate-tdb-capi", "-p", "quorate"]))?;
    match only {
        Some(name) => run(&mut cargo(&["bench", "--profile", "dist", "-p", "bench", "--bench", name])),
        None => run(&mut cargo(&["bench", "--profile", "dist", "-p", "bench"])),
    }
}

fn full(arguments: &[&str]) -> Result<()> {
    run(cargo(arguments).env(FULL.0, FULL.1))
}

fn fuzz_targets() -> Result<Vec<String>> {
    let folder = root().join("fuzz/fuzz_targets");
    let mut names: Vec<String> = std::fs::read_dir(&folder)?
        .filter_map(|entry| Some(entry.ok()?.path().file_stem()?.to_string_lossy().into_owned()))
        .collect();
    names.sort();
    Ok(names)
}
