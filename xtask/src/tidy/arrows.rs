//! Which crates may know which; the picture is in ARCHITECTURE.md.

use anyhow::Result;

use super::tree::Tree;

/// Crates that depend on nothing of ours (tests may use `testbed`).
const CORES: &[&str] = &["tdb", "history", "rx-proto", "ubik-proto", "testbed"];

/// Dependencies that would break the arrows.
pub fn complaints(tree: &Tree) -> Result<Vec<String>> {
    let crates: Vec<&str> = tree.files.iter().filter_map(|file| crate_of(&file.path)).collect();
    let mut complaints = Vec::new();
    for file in &tree.files {
        let Some(name) = crate_of(&file.path).filter(|name| CORES.contains(name)) else {
            continue;
        };
        for dependency in dependencies(&file.text).filter(|dependency| crates.contains(dependency)) {
            complaints.push(format!("{}: `{name}` must not depend on `{dependency}`", file.path));
        }
    }
    Ok(complaints)
}

fn crate_of(path: &str) -> Option<&str> {
    path.strip_prefix("crates/")?.strip_suffix("/Cargo.toml")
}

fn dependencies(manifest: &str) -> impl Iterator<Item = &str> {
    let body = manifest.split("\n[dependencies]\n").nth(1).unwrap_or_default();
    let section = body.split("\n[").next().unwrap_or_default();
    section.lines().filter_map(|line| line.split(['=', '.', ' ']).next()).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn only_the_section_of_ordinary_dependencies_counts() {
        let manifest = "[package]\nname = \"tdb\"\n\n[dependencies]\nlibc = { workspace = true }\nrx.workspace = true\n\n\
                        [dev-dependencies]\ntestbed = { workspace = true }\n";
        assert_eq!(dependencies(manifest).collect::<Vec<_>>(), ["libc", "rx"]);
    }
}
