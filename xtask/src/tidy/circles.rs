//! Modules of a crate that know each other in a circle can be understood only together; in these crates there are none.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use super::tree::Tree;

/// Crates whose top-level modules form no circle.
const OPEN: &[&str] = &["rx", "rx-proto", "ubik", "ubik-proto"];

/// What each module names.
type Graph = BTreeMap<String, BTreeSet<String>>;

/// Circles of modules.
pub fn complaints(tree: &Tree) -> Result<Vec<String>> {
    let mut complaints = Vec::new();
    for name in OPEN {
        let graph = graph(tree, &format!("crates/{name}/src/"));
        for (module, others) in &graph {
            let back = others.iter().find(|other| reaches(&graph, other, module));
            if let Some(other) = back.filter(|other| module < *other || !others_know(&graph, other, module)) {
                complaints.push(format!(
                    "crates/{name}: modules `{module}` and `{other}` know each other; let one of them know less"
                ));
            }
        }
    }
    Ok(complaints)
}

fn others_know(graph: &Graph, from: &str, to: &str) -> bool {
    graph.get(from).is_some_and(|named| named.contains(to))
}

fn reaches(graph: &Graph, from: &str, to: &str) -> bool {
    let (mut waiting, mut seen) = (vec![from], BTreeSet::new());
    while let Some(module) = waiting.pop() {
        if module == to {
            return true;
        }
        if seen.insert(module) {
            waiting.extend(graph.get(module).into_iter().flatten().map(String::as_str));
        }
    }
    false
}

fn graph(tree: &Tree, sources: &str) -> Graph {
    let files = tree.rust().filter_map(|file| Some((file.path.strip_prefix(sources)?, &file.text)));
    let mut graph = Graph::new();
    for (path, text) in files {
        let module = path.split(['/', '.']).next().unwrap_or_default();
        if module != "lib" {
            let named = named(text).filter(|other| *other != module).map(str::to_owned);
            graph.entry(module.to_owned()).or_default().extend(named);
        }
    }
    let modules: BTreeSet<String> = graph.keys().cloned().collect();
    graph.values_mut().for_each(|others| others.retain(|other| modules.contains(other)));
    graph
}

/// The modules that a file names, but in comments and in its tests.
fn named(text: &str) -> impl Iterator<Item = &str> {
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let lines = code.lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.flat_map(|line| line.split("crate::").skip(1)).map(|rest| {
        rest.split(|letter: char| !letter.is_alphanumeric() && letter != '_').next().unwrap_or_default()
    })
}

#[cfg(test)]
mod unit {
    use super::*;
    use crate::tidy::tree::File;

    fn complaints_of(files: &[(&str, &str)]) -> Vec<String> {
        let file = |&(path, text): &(&str, &str)| File {
            path: format!("crates/ubik/src/{path}"),
            text: text.to_owned(),
        };
        complaints(&Tree { files: files.iter().map(file).collect() }).expect("nothing is read")
    }

    #[test]
    fn a_circle_is_found_however_long() {
        let chain = [("a.rs", "use crate::b::B;"), ("b/part.rs", "use crate::c::C;")];
        let open =
            [chain[0], chain[1], ("c.rs", "//! [`crate::a`]\n#[cfg(test)]\nmod tests { use crate::a::A; }")];
        assert_eq!(complaints_of(&open), Vec::<String>::new());
        let circle = [chain[0], chain[1], ("c.rs", "fn f() -> crate::a::A { todo!() }")];
        assert!(!complaints_of(&circle).is_empty());
        let pair = [("a.rs", "use crate::b::B;"), ("b.rs", "use crate::a::A;")];
        assert_eq!(complaints_of(&pair).len(), 1);
    }
}
