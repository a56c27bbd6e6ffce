//! What `check` reads and `fix` writes.

use anyhow::Result;

use crate::command::{cargo, run};
use crate::{release, tests, tidy};

/// Everything that must hold before a commit; changes nothing.
pub fn check() -> Result<()> {
    run(&mut cargo(&["fmt", "--all", "--check"]))?;
    run(&mut cargo(&["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"]))?;
    run(cargo(&["doc", "--workspace", "--no-deps", "--document-private-items"])
        .env("RUSTDOCFLAGS", "-D warnings"))?;
    tidy::check()?;
    release::crates(&["--allow-dirty", "--no-verify", "--quiet"])?;
    tests::run(true)
}

/// Mends what can be mended by itself.
pub fn fix() -> Result<()> {
    run(&mut cargo(&["clippy", "--workspace", "--all-targets", "--fix", "--allow-dirty", "--allow-staged"]))?;
    run(&mut cargo(&["fmt", "--all"]))?;
    tidy::fix()
}
