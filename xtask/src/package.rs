//! The package for Debian: the program, what shells and manuals know of it, its unit and its configuration.
//!
//! Owns `target/package`, into which it writes what the program itself makes.

use std::fs;

use anyhow::{Context, Result, bail};

use crate::command::{cargo, root, run};

/// Builds the package; it is in `target/debian`.
pub fn package() -> Result<()> {
    if !cargo(&["deb", "--version"]).output()?.status.success() {
        bail!("cargo-deb is not there; `cargo install cargo-deb` installs it");
    }
    run(&mut cargo(&["build", "--locked", "--profile", "dist", "-p", "quorate"]))?;
    let made = root().join("target/package");
    fs::create_dir_all(&made)?;
    let quorate = || std::process::Command::new(root().join("target/dist/quorate"));
    run(quorate().arg("man").arg(made.join("man")))?;
    for (shell, file) in [("bash", "quorate.bash"), ("zsh", "_quorate"), ("fish", "quorate.fish")] {
        let script = quorate().args(["completions", shell]).output()?;
        fs::write(made.join(file), script.stdout).with_context(|| format!("cannot write {file}"))?;
    }
    run(&mut cargo(&["deb", "--no-build", "--profile", "dist", "-p", "quorate"]))
}
