//! Which crates may know which; the picture is in ARCHITECTURE.md.

use anyhow::Result;

use super::tree::Tree;

/// Crates that may depend on nothing of ours but these (tests may use `testbed`).
const LOW: &[(&str, &[&str])] = &[
    ("tdb", &[]),
    ("tdb-trace", &["tdb"]),
    ("history", &[]),
    ("rx-proto", &[]),
    ("ubik-proto", &[]),
    ("resp", &[]),
    ("client-history", &["history"]),
    ("kv", &["resp", "tdb"]),
    ("kv-server", &["kv", "resp"]),
    ("testbed", &[]),
];

/// Dependencies that would break the arrows.
pub fn complaints(tree: &Tree) -> Result<Vec<String>> {
    let crates: Vec<&str> = tree.files.iter().filter_map(|file| crate_of(&file.path)).collect();
    let mut complaints = Vec::new();
    for file in &tree.files {
        let Some((name, allowed)) =
            crate_of(&file.path).and_then(|name| LOW.iter().find(|(low, _)| *low == name))
        else {
            continue;
        };
        let wrong = |dependency: &&str| crates.contains(dependency) && !allowed.contains(dependency);
        for dependency in dependencies(&file.text).filter(wrong) {
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
