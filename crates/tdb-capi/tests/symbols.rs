//! The names and versions that the loader finds.

mod library;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use library::{built, printed};

/// `name@@version` and kind of every name that `library` defines for others.
fn symbols(library: &Path) -> Option<BTreeSet<String>> {
    let listed = Command::new("nm")
        .args(["-D", "--defined-only", "--with-symbol-versions"])
        .arg(library)
        .output()
        .ok()?;
    let text = printed(listed);
    let names = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let (kind, name) = (words.next()?, words.next()?);
        // The versions themselves are absolute symbols with some linkers.
        let kind = if kind == "T" { "function" } else { "object" };
        (name.contains("@@")).then(|| format!("{kind} {name}"))
    });
    Some(names.collect())
}

/// T10: every name of the map is there at its version, and no other name of ours can clash with a program's.
#[test]
fn exactly_the_names_of_the_map_are_exported() {
    let Some(ours) = symbols(&built()) else {
        return testbed::skip("exactly_the_names_of_the_map_are_exported", "no nm");
    };
    let mut wanted = BTreeSet::new();
    let mut version = "";
    for line in include_str!("../libtdb.map").lines() {
        if let Some(node) = line.strip_suffix(" {") {
            version = node;
        } else if let Some(name) = line.strip_suffix(';').filter(|line| line.starts_with("    ")) {
            let kind = if name.trim() == "tdb_null" { "object" } else { "function" };
            wanted.insert(format!("{kind} {}@@{version}", name.trim()));
        }
    }
    assert_eq!(wanted.len(), 74);
    assert_eq!(ours, wanted);
}

/// T10: these are exactly the names and versions of the installed libtdb 1.4.8.
#[test]
fn the_names_are_those_of_the_systems_libtdb() {
    let name = "the_names_are_those_of_the_systems_libtdb";
    let system = Path::new("/usr/lib/x86_64-linux-gnu/libtdb.so.1");
    let is_1_4_8 = system.canonicalize().is_ok_and(|path| path.ends_with("libtdb.so.1.4.8"));
    if !is_1_4_8 {
        return testbed::skip(name, "no libtdb 1.4.8");
    }
    let (Some(ours), Some(theirs)) = (symbols(&built()), symbols(system)) else {
        return testbed::skip(name, "no nm");
    };
    assert_eq!(ours, theirs);
}

/// T10: the loader finds the library by the name that programs ask for.
#[test]
fn the_library_calls_itself_libtdb_so_1() {
    let Ok(shown) = Command::new("readelf").arg("-d").arg(built()).output() else {
        return testbed::skip("the_library_calls_itself_libtdb_so_1", "no readelf");
    };
    assert!(printed(shown).contains("soname: [libtdb.so.1]"));
}
