//! The files that git tracks or would track, read once.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command::root;

/// One text file of the repository.
pub struct File {
    /// From the root, with `/`.
    pub path: String,
    /// Its text; files that are no UTF-8 are left out of the tree.
    pub text: String,
}

/// Every text file that is tracked, or untracked and not ignored.
pub struct Tree {
    /// In the order of their paths.
    pub files: Vec<File>,
}

impl Tree {
    /// Asks git which files there are and reads them.
    pub fn read() -> Result<Tree> {
        let output = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(root())
            .output()
            .context("cannot start git")?;
        if !output.status.success() {
            bail!("git ls-files failed: {}", String::from_utf8_lossy(&output.stderr));
        }
        let names = String::from_utf8(output.stdout).context("a file name is not UTF-8")?;
        let mut files: Vec<File> = names.split('\0').filter_map(read_text).collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        files.dedup_by(|a, b| a.path == b.path);
        Ok(Tree { files })
    }

    /// The Rust sources.
    pub fn rust(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.path.ends_with(".rs"))
    }

    /// The file at `path`.
    pub fn find(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }
}

fn read_text(path: &str) -> Option<File> {
    if path.is_empty() {
        return None;
    }
    let text = std::fs::read_to_string(root().join(path)).ok()?;
    Some(File { path: path.to_owned(), text })
}
