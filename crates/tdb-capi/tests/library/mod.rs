//! Running other people's programs with this library in the place of libtdb.
#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;
use testbed::namespace::Namespace;

/// Which library a program gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// This package's, first in the loader's path.
    Ours,
    /// The one that the system has.
    System,
}

/// A folder with our library under the name that the loader looks for, and room for scratch files.
pub struct Stage {
    folder: TempDir,
}

impl Stage {
    pub fn new() -> Stage {
        // Memory rather than a disk, where there is such a place: the programs sync a lot.
        let folder = match tempfile::tempdir_in("/dev/shm") {
            Ok(folder) => folder,
            Err(_) => tempfile::tempdir().expect("a scratch folder"),
        };
        let library = folder.path().join("library");
        std::fs::create_dir(&library).expect("the scratch folder is writable");
        std::os::unix::fs::symlink(built(), library.join("libtdb.so.1")).expect("a link");
        Stage { folder }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A fresh folder.
    pub fn folder(&self, name: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::create_dir(&path).expect("a name not used yet");
        path
    }

    /// A command that runs with this library.
    pub fn command(&self, which: Which, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env_remove("LD_PRELOAD").env_remove("LD_LIBRARY_PATH");
        if which == Which::Ours {
            command.env("LD_LIBRARY_PATH", self.path().join("library"));
        }
        command
    }

    /// The same inside a network namespace.
    pub fn inside(&self, which: Which, namespace: &Namespace, program: &str, arguments: &[&str]) -> Command {
        let inner = namespace.command(program, arguments);
        let mut command = self.command(which, inner.get_program());
        command.args(inner.get_args());
        command
    }

    /// Compiles a program of tests/programs and links it with the system's libtdb; `None` if that is not possible here.
    pub fn compile(&self, name: &str) -> Option<PathBuf> {
        let program = self.path().join(name);
        let compiled = Command::new("cc")
            .args(["-O1", "-w", "-o"])
            .arg(&program)
            .arg(source(&format!("{name}.c")))
            .arg("-ltdb")
            .output()
            .ok()?;
        compiled.status.success().then_some(program)
    }
}

/// A file of tests/programs.
pub fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs").join(name)
}

/// The library as cargo built it for these tests: beside the folder of the test's own program.
pub fn built() -> PathBuf {
    let program = std::env::current_exe().expect("a running program has a path");
    let built = program.ancestors().map(|folder| folder.join("libtdb_capi.so")).find(|path| path.exists());
    built.expect("cargo builds the library before its tests")
}

/// Debian's Python, for which the tdb and ldb modules are built.
pub const PYTHON: &str = "/usr/bin/python3";

/// What a program printed; a failure shows all of it.
pub fn printed(output: Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?}\n{text}\n{errors}", output.status);
    text
}

/// Whether `program` can be run with these arguments.
pub fn works(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
}
