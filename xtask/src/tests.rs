//! The test run: every test of the workspace, the counted skips, one closing line.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use crate::command::{cargo, root};
use crate::packages;

/// What one run counted.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: u64,
    failed: u64,
}

/// Runs every test; prints each skip with its reason and a closing line `N passed, N failed, N skipped`.
pub fn run(install: bool) -> Result<()> {
    if install {
        packages::install_missing();
    }
    let skips = root().join("target/skips.txt");
    std::fs::create_dir_all(root().join("target")).context("cannot make the target folder")?;
    std::fs::write(&skips, "").with_context(|| format!("cannot write {}", skips.display()))?;
    let (counts, clean) = run_cargo_test(&skips)?;
    let skipped = read_skips(&skips)?;
    for line in &skipped {
        println!("skipped: {line}");
    }
    // A skipped test returns early and so counts as passed for the harness.
    let passed = counts.passed.saturating_sub(skipped.len() as u64);
    println!("{passed} passed, {} failed, {} skipped", counts.failed, skipped.len());
    if !clean || counts.failed > 0 {
        bail!("the test run failed; the output above says where");
    }
    Ok(())
}

fn run_cargo_test(skips: &Path) -> Result<(Counts, bool)> {
    let mut command = cargo(&["test", "--workspace", "--no-fail-fast"]);
    let mut child = command
        .env("QUORATE_SKIPS", skips)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start `cargo test`")?;
    let stdout = child.stdout.take().context("the child's output is not piped")?;
    let mut counts = Counts::default();
    for line in BufReader::new(stdout).lines() {
        let line = line.context("cannot read what `cargo test` prints")?;
        println!("{line}");
        counts.add(&line);
    }
    Ok((counts, child.wait().context("cannot wait for `cargo test`")?.success()))
}

fn read_skips(path: &Path) -> Result<BTreeSet<String>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(text.lines().map(str::to_owned).collect())
}

impl Counts {
    /// Adds one `test result: ok. 12 passed; 0 failed; ...` line; ignores every other.
    fn add(&mut self, line: &str) {
        let Some(rest) = line.strip_prefix("test result: ") else {
            return;
        };
        let words: Vec<&str> = rest.split([' ', ';', '.']).filter(|word| !word.is_empty()).collect();
        for pair in words.windows(2) {
            let Ok(number) = pair[0].parse::<u64>() else {
                continue;
            };
            match pair[1] {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn result_lines_are_added_and_others_are_not() {
        let mut counts = Counts::default();
        counts.add(
            "test result: ok. 12 passed; 1 failed; 0 ignored; 0 measured; 3 filtered out; finished in 0.1s",
        );
        counts.add("test tidy::unit::passed ... ok");
        counts.add("test result: FAILED. 2 passed; 4 failed; 0 ignored; 0 measured; 0 filtered out");
        assert_eq!(counts, Counts { passed: 14, failed: 5 });
    }
}
