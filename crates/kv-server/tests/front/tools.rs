//! Unmodified clients: Debian's redis-cli and redis-benchmark, and redis-py where it is installed.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::client::Front;

/// Runs a program against the front end; `None`, counted, where it is not installed.
fn run(test: &str, program: &str, front: &Front, arguments: &[&str]) -> Option<String> {
    let port = front.address.port().to_string();
    let output = Command::new(program).args(["-h", "127.0.0.1", "-p", &port]).args(arguments).output();
    let Ok(output) = output else {
        testbed::skip(test, &format!("{program} is not installed (Debian's redis-tools)"));
        return None;
    };
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// S4: redis-cli does what people do with it, in both versions.
#[test]
fn redis_cli_works() {
    let test = "redis_cli_works";
    let front = Front::start();
    let ask = |arguments: &[&str]| run(test, "redis-cli", &front, arguments);
    let Some(set) = ask(&["SET", "greeting", "hello"]) else { return };
    assert_eq!(set, "OK\n");
    assert_eq!(ask(&["-3", "GET", "greeting"]).unwrap(), "hello\n");
    assert_eq!(ask(&["-n", "1", "GET", "greeting"]).unwrap(), "\n");
    assert!(ask(&["--scan", "--pattern", "g*"]).unwrap().contains("greeting"));
    assert!(ask(&["INFO", "server"]).unwrap().contains("redis_version:7.2.4"));
    assert!(ask(&["-3", "COMMAND", "DOCS", "GET"]).unwrap().contains("summary"));
    assert!(ask(&["LPUSH", "a", "b"]).unwrap().contains("does not have lists"));
    assert!(ask(&["-3", "--json", "HELLO", "3"]).unwrap().contains("\"proto\":3"));
    assert!(ask(&["-r", "3", "INCR", "n"]).unwrap().ends_with("3\n"));
}

/// S4: redis-benchmark runs what it can, with and without pipelines, and reports no error.
#[test]
fn redis_benchmark_works() {
    let front = Front::start();
    let arguments = ["-t", "ping,set,get,incr,mset,hset", "-n", "2000", "-c", "20", "-q"];
    for pipeline in ["1", "16"] {
        let arguments = [&arguments[..], &["-P", pipeline]].concat();
        let Some(report) = run("redis_benchmark_works", "redis-benchmark", &front, &arguments) else {
            return;
        };
        assert!(report.matches("requests per second").count() >= 6 && !report.contains("rror"), "{report}");
    }
}

/// S4: redis-py as it comes: both versions, pipelines, transactions with WATCH, messages, and its lock.
#[test]
fn redis_py_works() {
    let test = "redis_py_works";
    let python = std::env::var_os("QUORATE_PYTHON").map_or_else(|| PathBuf::from("python3"), PathBuf::from);
    let found = Command::new(&python)
        .args(["-c", "import redis"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if !found.is_ok_and(|status| status.success()) {
        testbed::skip(test, "no python3 with redis-py; QUORATE_PYTHON may name one");
        return;
    }
    let front = Front::start();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/front/redis_py.py");
    let output = Command::new("timeout")
        .arg("120")
        .arg(python)
        .arg(script)
        .arg(front.address.port().to_string())
        .output()
        .unwrap();
    let (out, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.contains("all done"), "{out}\n{errors}");
}
