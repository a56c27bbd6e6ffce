//! Other people's clients, unmodified and of stated versions, against a cell of three.
//!
//! `cargo xtask clients` installs them below `target/clients` and runs this in full length; a client that is not there is
//! a counted skip. docs/clients.md says what came of it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod service;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use service::Service;

/// Tests of redis-py's own suite that are about what the service has; in the short form the first only.
const REDIS_PY: &[&str] = &[
    "tests/test_lock.py",
    "tests/test_pipeline.py",
    "tests/test_scripting.py",
    "tests/test_encoding.py",
    "tests/test_pubsub.py",
    "tests/test_multiprocessing.py",
    "tests/test_commands.py",
];

/// A client: how it is run, and what has to be there.
struct Client {
    name: &'static str,
    needs: PathBuf,
    command: Command,
    /// Takes minutes.
    is_long: bool,
}

fn installed() -> PathBuf {
    testbed::repository().join("target/clients")
}

fn ours() -> PathBuf {
    testbed::repository().join("clients")
}

/// A command in its folder.
fn command(program: impl AsRef<Path>, folder: impl AsRef<Path>, arguments: &[&str]) -> Command {
    let mut command = Command::new(program.as_ref());
    command.args(arguments).current_dir(folder.as_ref()).stdin(Stdio::null());
    command
}

fn scripts_of_node(service: &Service) -> Vec<Client> {
    let folder = installed().join("node");
    let client = |(name, script): (&'static str, &str)| {
        let mut command = command("node", &folder, &[script]);
        command.args(&service.clients);
        Client { name, needs: folder.join("node_modules"), command, is_long: false }
    };
    let scripts = [
        ("node-redis", "node-redis.mjs"),
        ("ioredis", "ioredis.mjs"),
        ("node-redlock", "redlock.mjs"),
        ("connect-redis", "connect-redis.mjs"),
    ];
    if folder.is_dir() {
        for file in fs::read_dir(ours().join("node")).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "mjs") {
                fs::copy(&path, folder.join(path.file_name().unwrap())).unwrap();
            }
        }
    }
    scripts.into_iter().map(client).collect()
}

fn programs(service: &Service) -> Vec<Client> {
    let client = |name, program: PathBuf| {
        let mut command = command(&program, testbed::repository(), &[]);
        command.args(&service.clients);
        Client { name, needs: program, command, is_long: false }
    };
    vec![
        client("redis (Rust)", installed().join("rust/debug/quorate-clients")),
        client("go-redis", installed().join("go/quorate-clients")),
    ]
}

fn suites_of_python(service: &Service, is_long: bool) -> Vec<Client> {
    let python = installed().join("venv/bin/python");
    let pytest = |folder: &str, arguments: &[&str]| {
        let mut command = command(
            &python,
            installed().join(folder),
            &["-m", "pytest", "-q", "-p", "no:warnings", "-p", "missing"],
        );
        command.args(["--timeout=60", "--tb=line"]).args(arguments);
        command.env("PYTHONPATH", ours().join("python"));
        command
    };
    let url = format!("--redis-url=redis://{}/9", service.clients[0]);
    let of_redis_py: Vec<&str> = if is_long { REDIS_PY.to_vec() } else { REDIS_PY[..1].to_vec() };
    let mut redis_py = pytest("redis-py", &[&[url.as_str()], &of_redis_py[..]].concat());
    redis_py.env("QUORATE_EXPECTED", ours().join("python/redis_py_expected.txt"));
    let mut django = command(
        &python,
        installed().join("django/tests"),
        &["runtests.py", "--settings=django_cache", "--parallel=1"],
    );
    django
        .arg("cache.tests.RedisCacheTests")
        .env("PYTHONPATH", ours().join("python"))
        .env("QUORATE_SERVER", &service.clients[1]);
    let mut django_redis = pytest(
        "django-redis",
        &[
            "-c",
            "/dev/null",
            "--rootdir=.",
            "-n0",
            "--ds=tests.settings.sqlite",
            "-k",
            "sqlite] and not sentinel",
            "tests/test_backend.py",
            "tests/test_session.py",
        ],
    );
    django_redis.env("QUORATE_SERVER", &service.clients[2]);
    let client = |name, folder: &str, command, is_long| Client {
        name,
        needs: installed().join(folder),
        command,
        is_long,
    };
    vec![
        client("redis-py", "redis-py", redis_py, false),
        client("Django", "django", django, true),
        client("django-redis", "django-redis", django_redis, true),
    ]
}

/// django-redis's tests name their server in a file of settings: ours takes its place.
fn give_django_redis_our_settings() {
    let theirs = installed().join("django-redis/tests/settings/sqlite.py");
    if theirs.exists() {
        fs::copy(ours().join("python/django_redis_settings.py"), theirs).unwrap();
    }
}

/// S4, S20, S28: clients do with a cell what they do with Redis: their own suites, as far as they are about what the service has,
/// and scripts that go through each group of commands at all three servers.
#[test]
fn unmodified_clients_work() {
    let test = "unmodified_clients_work";
    let is_long = std::env::var_os("QUORATE_LONG").is_some();
    if !installed().is_dir() {
        return testbed::skip(test, "no clients are installed; `cargo xtask clients` does that");
    }
    let service = Service::start("databases = 16");
    give_django_redis_our_settings();
    let all = [scripts_of_node(&service), programs(&service), suites_of_python(&service, is_long)];
    let mut failed = Vec::new();
    for mut client in all.into_iter().flatten() {
        if !client.needs.exists() {
            testbed::skip(test, &format!("{} is not installed", client.name));
            continue;
        }
        if client.is_long && !is_long {
            continue;
        }
        let output = client.command.output().unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        let lines: Vec<&str> = said.lines().collect();
        let shown = if output.status.success() { 25 } else { 200 };
        eprintln!("== {}\n{}", client.name, lines[lines.len().saturating_sub(shown)..].join("\n"));
        if !output.status.success() {
            failed.push(client.name);
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}
