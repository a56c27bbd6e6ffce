//! A release: everything that is uploaded, checked and with its checksums; tagging it is left to a person.
//!
//! Owns `target/release-VERSION`. What stands there was built from a commit without changes beside it, twice and in two places, with the same bytes.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::command::{cargo, root, run};
use crate::package;

/// Packages of the workspace that are not for others.
const INTERNAL: &[&str] = &["bench", "sim", "xtask", "testbed"];

/// Makes a release of the version in Cargo.toml; `key` signs the checksums.
pub fn release(key: Option<&str>) -> Result<()> {
    let version = version()?;
    ensure!(
        said(&["git", "status", "--porcelain"])?.is_empty(),
        "commit first: there are changes beside the last commit"
    );
    ensure_in_changelog(&version)?;
    crates(&["--locked"])?;
    package::package()?;
    let folder = root().join(format!("target/release-{version}"));
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let program = folder.join(format!("quorate-{version}-x86_64-linux"));
    fs::copy(build_twice()?, &program).with_context(|| format!("cannot write {}", program.display()))?;
    for entry in fs::read_dir(root().join("target/debian")).context("cannot read target/debian")? {
        let path = entry?.path();
        let name = path.file_name().map(OsString::from).unwrap_or_default();
        if name.to_string_lossy().contains(&format!("_{version}")) {
            fs::copy(&path, folder.join(name))?;
        }
    }
    sign(&folder, key)?;
    println!("{} holds the release; if all is well:", folder.display());
    println!("  git tag --sign v{version} --message 'Quorate {version}' && git push origin v{version}");
    Ok(())
}

/// Makes a package of every crate that is for others, and builds each from its package alone.
pub fn crates(more: &[&str]) -> Result<()> {
    let mut command = cargo(&["package", "--workspace"]);
    INTERNAL.iter().for_each(|name| {
        command.args(["--exclude", name]);
    });
    run(command.args(more))
}

/// The version that the workspace has.
fn version() -> Result<String> {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).context("cannot read Cargo.toml")?;
    let line = manifest.lines().find_map(|line| line.strip_prefix("version = \""));
    Ok(line.and_then(|rest| rest.strip_suffix('"')).context("Cargo.toml has no version")?.to_owned())
}

/// The version has a section of its own, with its date.
fn ensure_in_changelog(version: &str) -> Result<()> {
    let changelog = fs::read_to_string(root().join("CHANGELOG.md")).context("cannot read CHANGELOG.md")?;
    let begins = format!("## [{version}] - ");
    ensure!(
        changelog.lines().any(|line| line.starts_with(&begins)),
        "CHANGELOG.md has no section \"{begins}YYYY-MM-DD\"; rename \"Unreleased\""
    );
    Ok(())
}

/// Builds the program here and in a checkout elsewhere; the path of one, if they have the same bytes.
fn build_twice() -> Result<PathBuf> {
    let elsewhere = root().join("target/reproduced");
    let checkout = elsewhere.to_str().context("the path of the target folder is not UTF-8")?;
    // One that an earlier run has left.
    let _ = said(&["git", "worktree", "remove", "--force", checkout]);
    said(&["git", "worktree", "add", "--detach", checkout])?;
    let built = build(&root()).and_then(|first| Ok((first, build(&elsewhere)?)));
    let outcome = built.and_then(|(first, second)| {
        let same = fs::read(&first)? == fs::read(second)?;
        ensure!(same, "two builds of one commit differ; compare them with diffoscope");
        Ok(first)
    });
    said(&["git", "worktree", "remove", "--force", checkout])?;
    outcome
}

/// Builds the checkout at `place` so that its path is not in the program.
fn build(place: &Path) -> Result<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let home = home.context("neither CARGO_HOME nor HOME is set")?;
    let remap = |path: &Path, to: &str| format!("--remap-path-prefix={}={to}", path.display());
    let target = place.join("target/reproducible");
    run(cargo(&["build", "--locked", "--profile", "dist", "-p", "quorate"])
        .current_dir(place)
        .env("CARGO_TARGET_DIR", &target)
        // The separator of this variable is the unit separator: paths may have blanks.
        .env(
            "CARGO_ENCODED_RUSTFLAGS",
            format!("{}\u{1f}{}", remap(place, "quorate"), remap(&home, "cargo")),
        ))?;
    Ok(target.join("dist/quorate"))
}

/// Writes the checksums, and their signature if there is a key.
fn sign(folder: &Path, key: Option<&str>) -> Result<()> {
    run(Command::new("sh").current_dir(folder).args(["-c", "sha256sum -- quorate* > SHA256SUMS"]))?;
    match key {
        Some(key) => run(Command::new("gpg").current_dir(folder).args([
            "--local-user",
            key,
            "--armor",
            "--detach-sign",
            "SHA256SUMS",
        ])),
        None => {
            println!("SHA256SUMS is not signed; --sign KEY does that");
            Ok(())
        }
    }
}

/// What a command prints.
fn said(words: &[&str]) -> Result<String> {
    let output = Command::new(words[0]).args(&words[1..]).current_dir(root()).output()?;
    if !output.status.success() {
        bail!("`{}` failed: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
