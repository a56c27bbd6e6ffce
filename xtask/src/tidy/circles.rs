//! Modules of a crate that know each other in a circle can be understood only together; in these crates there are none.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use super::tree::Tree;

/// Crates whose top-level modules form no circle.
const OPEN: &[&str] = &["history", "rx", "rx-proto", "tdb-replay", "ubik", "ubik-proto"];
/// Of these, crates in which no modules inside another one form a circle either.
const OPEN_INSIDE: &[&str] = &["history", "tdb-replay"];

/// What each module names.
type Graph = BTreeMap<String, BTreeSet<String>>;

/// Circles of modules.
pub fn complaints(tree: &Tree) -> Result<Vec<String>> {
    let mut complaints = Vec::new();
    for name in OPEN {
        let sources = format!("crates/{name}/src/");
        circles(name, &graph(tree, &sources, &[]), &mut complaints);
        if OPEN_INSIDE.contains(name) {
            for parent in parents(tree, &sources) {
                circles(name, &graph(tree, &sources, &parent), &mut complaints);
            }
        }
    }
    Ok(complaints)
}

fn circles(name: &str, graph: &Graph, complaints: &mut Vec<String>) {
    for (module, others) in graph {
        let back = others.iter().find(|other| reaches(graph, other, module));
        if let Some(other) = back.filter(|other| module < *other || !others_know(graph, other, module)) {
            complaints.push(format!(
                "crates/{name}: modules `{module}` and `{other}` know each other; let one of them know less"
            ));
        }
    }
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

/// What the modules directly inside `parent` name of each other.
fn graph(tree: &Tree, sources: &str, parent: &[String]) -> Graph {
    let files =
        tree.rust().filter_map(|file| Some((module_of(file.path.strip_prefix(sources)?), &file.text)));
    let mut graph = Graph::new();
    for (path, text) in files {
        let Some(module) = path.strip_prefix(parent).and_then(<[String]>::first) else { continue };
        let named = named(text, &path).into_iter();
        let others = named.filter_map(|named| named.strip_prefix(parent)?.first().cloned());
        graph.entry(module.clone()).or_default().extend(others.filter(|other| other != module));
    }
    let modules: BTreeSet<String> = graph.keys().cloned().collect();
    graph.values_mut().for_each(|others| others.retain(|other| modules.contains(other)));
    graph
}

/// The modules that have others in them.
fn parents(tree: &Tree, sources: &str) -> BTreeSet<Vec<String>> {
    let files = tree.rust().filter_map(|file| file.path.strip_prefix(sources));
    let paths = files.flat_map(|path| {
        let module = module_of(path);
        (1..module.len()).map(|length| module[..length].to_vec()).collect::<Vec<_>>()
    });
    paths.collect()
}

/// The module that a file is, from the crate down: `a/b.rs` and `a/b/mod.rs` are `a::b`, `lib.rs` is none.
fn module_of(path: &str) -> Vec<String> {
    let parts = path.trim_end_matches(".rs").split('/');
    parts.filter(|part| !matches!(*part, "lib" | "mod")).map(str::to_owned).collect()
}

/// The modules that the file of module `own` names, but in comments and in its tests; what follows the module's name may be a
/// part of the path.
fn named(text: &str, own: &[String]) -> Vec<Vec<String>> {
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let lines = code.lines().map(|line| line.split("//").next().unwrap_or_default());
    let code = lines.collect::<Vec<_>>().join("\n");
    let mut named = Vec::new();
    for (start, _) in code.match_indices("crate::").chain(code.match_indices("super::")) {
        let before = code[..start].chars().next_back();
        if before.is_some_and(|letter| letter == ':' || letter == '_' || letter.is_alphanumeric()) {
            continue;
        }
        named.extend(paths(&code[start..], own));
    }
    named
}

/// The paths that a text begins with, from the crate down; several where it goes on with a list in braces.
fn paths(text: &str, own: &[String]) -> Vec<Vec<String>> {
    let mut path = own.to_vec();
    let mut rest = text;
    loop {
        let end = rest.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(rest.len());
        match &rest[..end] {
            "crate" => path.clear(),
            "super" => drop(path.pop()),
            word => path.push(word.to_owned()),
        }
        match rest[end..].strip_prefix("::") {
            Some(after) if after.starts_with('{') => {
                let list = after[1..].split('}').next().unwrap_or_default();
                let words = list.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
                let long = |word: &str| path.iter().cloned().chain([word.to_owned()]).collect();
                return words.filter(|word| !word.is_empty()).map(long).collect();
            }
            Some(after) => rest = after,
            None => return vec![path],
        }
    }
}

#[cfg(test)]
mod unit {
    use super::*;
    use crate::tidy::tree::File;

    fn complaints_of(files: &[(&str, &str)]) -> Vec<String> {
        complaints_in("ubik", files)
    }

    fn complaints_in(name: &str, files: &[(&str, &str)]) -> Vec<String> {
        let file = |&(path, text): &(&str, &str)| File {
            path: format!("crates/{name}/src/{path}"),
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
        let circle = [chain[0], chain[1], ("c.rs", "fn f() -> crate::a::A { loop {} }")];
        assert!(!complaints_of(&circle).is_empty());
        let pair = [("a.rs", "use crate::b::B;"), ("b.rs", "use crate::a::A;")];
        assert_eq!(complaints_of(&pair).len(), 1);
    }

    #[test]
    fn circles_inside_a_module_are_found() {
        let open = [
            ("a/mod.rs", "mod b; mod c; use b::B;"),
            ("a/b.rs", "use super::{A, c::C};"),
            ("a/c.rs", "use crate::d::D;"),
        ];
        assert_eq!(complaints_in("history", &open), Vec::<String>::new());
        for back in ["use super::b::B;", "fn f() -> crate::a::b::B { loop {} }", "use super::{b, A};"] {
            let circle = [open[0], open[1], ("a/c.rs", back)];
            assert_eq!(complaints_in("history", &circle).len(), 1, "{back}");
        }
        let deep = [open[0], open[1], ("a/c/e.rs", "use super::super::b::B;")];
        assert_eq!(complaints_in("history", &deep).len(), 1);
    }
}
