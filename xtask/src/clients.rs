//! Other people's clients: installed below `target/clients`, each of a stated version, then run against a cell of three.
//!
//! What cannot be installed here is said, and its test is a counted skip.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command::{cargo, root, run};
use crate::packages;

/// Archives with a client's own tests, which its installed package lacks: package, version, and what the folder is called.
const SUITES: &[(&str, &str)] =
    &[("redis==8.1.0", "redis-py"), ("Django==5.2.19", "django"), ("django-redis==7.0.0", "django-redis")];

/// Installs what is missing, and runs all of it.
pub fn clients() -> Result<()> {
    packages::install(packages::FOR_CLIENTS);
    let folder = root().join("target/clients");
    std::fs::create_dir_all(&folder)?;
    for (name, outcome) in [
        ("node's clients", node(&folder)),
        ("Python's clients", python(&folder)),
        ("the redis crate", rust(&folder)),
        ("go-redis", go(&folder)),
    ] {
        if let Err(error) = outcome {
            eprintln!("{name} cannot be installed here and are skipped: {error:#}");
        }
    }
    let test = ["test", "-p", "quorate", "--test", "clients", "--", "--nocapture"];
    run(cargo(&test).env("QUORATE_LONG", "1"))
}

fn node(folder: &Path) -> Result<()> {
    let folder = folder.join("node");
    std::fs::create_dir_all(&folder)?;
    std::fs::copy(root().join("clients/node/package.json"), folder.join("package.json"))?;
    let mut install = Command::new("npm");
    run(install.args(["install", "--no-audit", "--no-fund", "--no-package-lock"]).current_dir(folder))
}

fn python(folder: &Path) -> Result<()> {
    let venv = folder.join("venv");
    if !venv.is_dir() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    }
    let pip = venv.join("bin/pip");
    run(Command::new(&pip)
        .args(["install", "-q", "-r"])
        .arg(root().join("clients/python/requirements.txt")))?;
    for (package, name) in SUITES {
        unpack_suite(&pip, package, &folder.join(name))?;
    }
    Ok(())
}

/// Puts the source archive of `package` into `target`.
fn unpack_suite(pip: &Path, package: &str, target: &Path) -> Result<()> {
    if target.is_dir() {
        return Ok(());
    }
    let archives = target.with_extension("archive");
    let (name, _) = package.split_once("==").context("each package has a version")?;
    let download = ["download", "-q", "--no-deps", "--no-binary", name, package, "-d"];
    run(Command::new(pip).args(download).arg(&archives))?;
    let archive = single_entry(&archives)?;
    std::fs::create_dir_all(target)?;
    run(Command::new("tar").arg("xzf").arg(archive).args(["--strip-components=1", "-C"]).arg(target))
}

fn single_entry(folder: &Path) -> Result<PathBuf> {
    let mut entries = std::fs::read_dir(folder)?;
    match (entries.next(), entries.next()) {
        (Some(entry), None) => Ok(entry?.path()),
        _ => bail!("{} should hold one archive", folder.display()),
    }
}

fn rust(folder: &Path) -> Result<()> {
    let manifest = root().join("clients/rust/Cargo.toml");
    let mut build = cargo(&["build", "-q", "--manifest-path"]);
    run(build.arg(manifest).arg("--target-dir").arg(folder.join("rust")))
}

/// By the old rules for Go's packages: Debian's are not modules.
fn go(folder: &Path) -> Result<()> {
    let mut build = Command::new("go");
    build.args(["build", "-o"]).arg(folder.join("go/quorate-clients")).arg("main.go");
    build.current_dir(root().join("clients/go")).env("GO111MODULE", "off").env("GOPATH", "/usr/share/gocode");
    run(&mut build)
}
