//! Rules that neither rustc nor clippy can hold.
//!
//! Each rule is a function from the [`Tree`] to complaints; a complaint says where, what, and what to do.
//!
//! * [`requirements`]: docs/requirements.md and the ids that tests name are in step.
//! * [`words`]: names use the words of the field; no machine paths, nothing unfinished.
//! * [`sizes`]: files and functions stay small; the exceptions only shrink.
//! * [`arrows`]: crates that must not know each other do not; [`circles`]: nor do modules, in a circle.
//! * [`pages`]: links in documents lead somewhere; the README stays readable in one sitting.

mod arrows;
mod circles;
mod pages;
mod requirements;
mod sizes;
mod tree;
mod words;

use anyhow::{Result, bail};

use tree::Tree;

/// Fails with every complaint.
pub fn check() -> Result<()> {
    let tree = Tree::read()?;
    let rules = [
        requirements::complaints,
        words::complaints,
        sizes::complaints,
        arrows::complaints,
        circles::complaints,
        pages::complaints,
    ];
    let mut complaints: Vec<String> = Vec::new();
    for rule in rules {
        complaints.extend(rule(&tree)?);
    }
    for complaint in &complaints {
        println!("tidy: {complaint}");
    }
    if !complaints.is_empty() {
        bail!("{} complaints of tidy; `cargo xtask fix` renews generated tables", complaints.len());
    }
    println!("tidy: {} files, no complaint", tree.files.len());
    Ok(())
}

/// Renews what is generated.
pub fn fix() -> Result<()> {
    let tree = Tree::read()?;
    requirements::renew(&tree)?;
    sizes::renew(&tree)
}
