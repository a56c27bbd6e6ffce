//! `quorate replay` as its users meet it: exit codes, messages, files left alone.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const GOOD: &str =
    "0 tdb_open 131 0x0 0x42\n1 tdb_store 1:61 1:62 0x1 = 0\n1 tdb_fetch 1:61 = 1:62\n1 tdb_close\n";

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        Place { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn file(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).expect("a small file can be written");
        path
    }
}

fn quorate(arguments: &[&Path]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_quorate"))
        .arg("replay")
        .args(arguments)
        .output()
        .expect("quorate starts")
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("it ends by itself")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("messages are UTF-8")
}

/// Exit code, and a message of one line that says `parts`.
fn refused(output: &Output, expected: i32, parts: &[&str]) {
    let message = text(&output.stderr);
    assert_eq!(code(output), expected, "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
    assert!(message.starts_with("quorate: "), "{message}");
    for part in parts {
        assert!(message.contains(part), "{message} does not say {part}");
    }
    assert!(output.stdout.is_empty());
}

/// R15, R19, R23: four real traces, two runs, as JSON.
#[test]
fn the_example_gives_a_report_for_programs() {
    let place = Place::new();
    let traces = testbed::repository().join("examples/traces/four-processes");
    let output = quorate(&[Path::new("--json"), Path::new("--runs=2"), &place.path("s.tdb"), &traces]);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    assert_eq!((&report["engine"], &report["traces"]), (&"tdb".into(), &4.into()));
    assert_eq!(
        (&report["mismatches"], &report["splits"], &report["planted"]),
        (&0.into(), &0.into(), &0.into())
    );
    assert_eq!(report["replay_seconds"].as_array().map(Vec::len), Some(2));
    assert!(report["operations"].as_u64() > Some(10_000));
    for field in ["parse_seconds", "order_seconds", "operations_per_second"] {
        assert!(report[field].as_f64() > Some(0.0), "{field}");
    }
    assert!(report["latency"]["tdb_store"]["p99"].as_f64() >= report["latency"]["tdb_store"]["p50"].as_f64());
    assert!(output.stderr.is_empty(), "no progress off a terminal: {}", text(&output.stderr));
}

/// R14, R23: one trace runs too, and the text for people says what happened.
#[test]
fn a_single_trace_gives_a_report_for_people() {
    let place = Place::new();
    let output = quorate(&[&place.path("s.tdb"), &place.file("p1.trace", GOOD)]);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    let report = text(&output.stdout);
    assert!(report.contains("0 mismatches") && report.contains("on tdb"), "{report}");
    assert!(place.path("s.tdb").exists());
    let output = quorate(&[Path::new("--no-check"), &place.path("t.tdb"), &place.path("p1.trace")]);
    assert!(text(&output.stdout).contains("not compared (--no-check)"));
}

/// R2: a trace that cannot be read is refused before anything is created.
#[test]
fn a_bad_trace_creates_nothing() {
    let place = Place::new();
    let scratch = place.path("s.tdb");
    let good = place.file("p1.trace", GOOD);
    let bad = place.file("p2.trace", "0 tdb_open 131 0x0 0x42\n1 tdb_frobnicate\n1 tdb_close\n");
    refused(
        &quorate(&[&scratch, &good, &bad]),
        3,
        &["p2.trace:2: expected an operation, found \"tdb_frobnicate\""],
    );
    let empty = place.file("p3.trace", "");
    refused(&quorate(&[&scratch, &empty]), 3, &["p3.trace:1: expected a tdb_open line, found an empty file"]);
    let cut = place.file("p4.trace", "0 tdb_open 131 0x0 0x42\n1 tdb_fet");
    refused(&quorate(&[&scratch, &cut]), 3, &["p4.trace:2: expected a line end", "--killed"]);
    refused(&quorate(&[&scratch, &place.path("none.trace")]), 3, &["none.trace", "No such file"]);
    std::fs::create_dir(place.path("folder")).expect("a folder can be made");
    refused(&quorate(&[&scratch, &place.path("folder")]), 3, &["no file with \".trace\" in its name"]);
    assert!(!scratch.exists(), "something was created");
}

/// R7: a history without an order is refused with the lines, before anything is created.
#[test]
fn an_impossible_history_creates_nothing() {
    let place = Place::new();
    let trace = place.file(
        "p1.trace",
        "0 tdb_open 131 0x0 0x42\n1 tdb_store 1:61 1:62 0x1 = 0\n1 tdb_fetch 1:61 = 1:63\n1 tdb_close\n",
    );
    let output = quorate(&[&place.path("s.tdb"), &trace]);
    assert_eq!(code(&output), 1);
    let message = text(&output.stderr);
    assert!(
        message.contains("impossible: no order explains these traces") && message.contains("p1.trace:3"),
        "{message}"
    );
    assert!(!place.path("s.tdb").exists());
}

/// No file of the user's is lost: only a TDB, and only with --force, is overwritten.
#[test]
fn existing_files_are_left_alone() {
    let place = Place::new();
    let trace = place.file("p1.trace", GOOD);
    let letter = place.file("letter.txt", "Dear Sir or Madam");
    refused(&quorate(&[&letter, &trace]), 2, &["letter.txt: exists and is not a TDB database"]);
    refused(&quorate(&[Path::new("--force"), &letter, &trace]), 2, &["exists and is not a TDB database"]);
    assert_eq!(std::fs::read(&letter).expect("it is there"), b"Dear Sir or Madam");
    let scratch = place.path("s.tdb");
    assert_eq!(code(&quorate(&[&scratch, &trace])), 0);
    let before = std::fs::read(&scratch).expect("it was created");
    refused(&quorate(&[&scratch, &trace]), 2, &["s.tdb: exists; --force overwrites it"]);
    assert_eq!(std::fs::read(&scratch).expect("it is there"), before);
    assert_eq!(code(&quorate(&[Path::new("--force"), &scratch, &trace])), 0);
    refused(&quorate(&[place.folder.path(), &trace]), 2, &["is a directory"]);
    refused(&quorate(&[Path::new("/dev/null"), &trace]), 2, &["is not a regular file"]);
}

/// A database that cannot be created is an I/O error.
#[test]
fn a_folder_that_does_not_exist_is_an_io_error() {
    let place = Place::new();
    let trace = place.file("p1.trace", GOOD);
    refused(&quorate(&[&place.path("no/such/s.tdb"), &trace]), 3, &["s.tdb", "No such file"]);
}

/// Wrong arguments exit with 2.
#[test]
fn wrong_arguments_are_refused() {
    assert_eq!(code(&quorate(&[])), 2);
    assert_eq!(code(&quorate(&[Path::new("--runs=0"), Path::new("s"), Path::new("t")])), 2);
    assert_eq!(code(&quorate(&[Path::new("--engine=paper"), Path::new("s"), Path::new("t")])), 2);
}

/// R20, R23: the same traces on several engines give a table and one JSON object.
#[test]
fn engines_are_shown_side_by_side() {
    let place = Place::new();
    let traces = testbed::repository().join("examples/traces/four-processes");
    let several = |engines: &str, more: &str| {
        let engines = format!("--engine={engines}");
        quorate(&[Path::new(&engines), Path::new(more), Path::new("--force"), &place.path("s.tdb"), &traces])
    };
    let output = several("ours,memory", "--quiet");
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    let table = text(&output.stdout);
    assert!(table.contains("side by side") && table.contains("tdb_fetch, p99, us"), "{table}");
    let output = several("tdb,libtdb,memory", "--json");
    if code(&output) == 3 && text(&output.stderr).contains("libtdb cannot be loaded") {
        return testbed::skip("engines_are_shown_side_by_side", "no libtdb");
    }
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    let names: Vec<_> = (0..3).map(|nth| report["engines"][nth]["engine"].as_str()).collect();
    assert_eq!(names, [Some("tdb"), Some("libtdb"), Some("memory")]);
    assert!((0..3).all(|nth| report["engines"][nth]["mismatches"] == 0), "{report}");
    refused(&several("tdb,memory", "--html=x.html"), 2, &["--html shows one engine"]);
    refused(&several("tdb,memory", "--trace-events=x.json"), 2, &["--trace-events shows one engine"]);
}

/// R18: recorded times are kept, stretched as asked; traces without times are refused.
#[test]
fn replays_run_at_recorded_speed() {
    let place = Place::new();
    let plain = place.file("plain.trace", GOOD);
    let at = |speed: &str, trace: &Path| {
        let speed = format!("--speed={speed}");
        quorate(&[Path::new(&speed), Path::new("--json"), Path::new("--force"), &place.path("s.tdb"), trace])
    };
    refused(&at("1", &plain), 2, &["--speed needs times"]);
    // From 1 s to 1.1 s of the clock.
    let timed = GOOD.replace("= 0\n", "= 0 #1000000000+5\n").replace("tdb_close", "tdb_close #1100000000+5");
    let timed = place.file("timed.trace", timed);
    for wrong in ["0", "-1", "NaN", "fast", "1e-300", "0.0009", "1e300", "inf"] {
        let output = at(wrong, &timed);
        assert_eq!(code(&output), 2, "{wrong}");
        assert!(text(&output.stderr).contains("from 0.001 to 1000000"), "{wrong}: {}", text(&output.stderr));
    }
    for (speed, least) in [("1", 0.1), ("0.5", 0.2), ("4", 0.025)] {
        let output = at(speed, &timed);
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
        assert!(report["replay_median_seconds"].as_f64() >= Some(least), "{speed}: {report}");
        assert_eq!(report["mismatches"], 0);
    }
}

/// R4: what a replay did on our engine is recorded, and is a history like the one replayed.
#[test]
fn a_recorded_replay_is_a_history_again() {
    let place = Place::new();
    let traces = place.path("traces");
    let example = testbed::repository().join("examples/traces/four-processes");
    let record = format!("--record={}", traces.display());
    let output = quorate(&[Path::new(&record), &place.path("s.tdb"), &example]);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    must_be_a_history(&place, &traces);
}

/// R4: it is recorded in the form asked for; a word that is none is refused.
#[test]
fn a_replay_is_recorded_in_the_form_asked_for() {
    let place = Place::new();
    let example = testbed::repository().join("examples/traces/four-processes");
    let (traces, form) = (place.path("exact"), Path::new("--record-form=exact"));
    let record = format!("--record={}", traces.display());
    let output = quorate(&[Path::new(&record), form, &place.path("u.tdb"), &example]);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    let trace = std::fs::read_dir(&traces).expect("traces").next().expect("one").expect("its name").path();
    let trace = std::fs::read_to_string(trace).expect("a trace");
    assert_eq!(trace.lines().filter(|line| line.contains('#')).count(), 1, "the first line alone says more");
    must_be_a_history(&place, &traces);
    let wrong = [Path::new(&record), Path::new("--record-form=short"), &place.path("v.tdb"), &example];
    let output = quorate(&wrong);
    assert_eq!(code(&output), 2);
    assert!(text(&output.stderr).contains("expected plain, exact, extended"), "{}", text(&output.stderr));
}

fn must_be_a_history(place: &Place, traces: &Path) {
    let checked = Command::new(env!("CARGO_BIN_EXE_quorate")).arg("check").arg(traces).output();
    let checked = checked.expect("quorate starts");
    assert!(text(&checked.stdout).starts_with("explained: "), "{}", text(&checked.stdout));
    let again = quorate(&[Path::new("--json"), Path::new("--force"), &place.path("t.tdb"), traces]);
    let report: serde_json::Value = serde_json::from_slice(&again.stdout).expect("it is JSON");
    assert_eq!((&report["mismatches"], &report["planted"]), (&0.into(), &0.into()));
}

/// R21: an order is saved and used again; for other traces it is refused before anything is created.
#[test]
fn a_saved_order_is_used_for_its_traces_only() {
    let place = Place::new();
    let (trace, order) = (place.file("good.trace", GOOD), place.path("order"));
    let with =
        |option: &str, scratch: &Path, trace: &Path| quorate(&[option.as_ref(), &order, scratch, trace]);
    let saved = with("--save-order", &place.path("first.tdb"), &trace);
    assert_eq!(code(&saved), 0, "{}", text(&saved.stderr));
    let loaded = with("--order", &place.path("second.tdb"), &trace);
    assert_eq!(code(&loaded), 0, "{}", text(&loaded.stderr));
    let other = place.file("other.trace", GOOD.replace("1:62", "1:63"));
    let scratch = place.path("third.tdb");
    refused(&with("--order", &scratch, &other), 2, &["order", "other keys or values"]);
    assert!(!scratch.exists());
}

/// R22: a terminal is told what is going on, unless it wants quiet; whatever is not a terminal is not.
#[test]
fn progress_is_for_terminals() {
    let place = Place::new();
    let example = testbed::repository().join("examples/traces/four-processes");
    let on_terminal = |option: &str, scratch: &str| {
        // util-linux's `script` gives it a terminal, which begins without a size.
        let command = format!(
            "stty cols 100; '{}' replay {option} '{}' '{}' > /dev/null",
            env!("CARGO_BIN_EXE_quorate"),
            place.path(scratch).display(),
            example.display()
        );
        let output = Command::new("script").args(["-qec", &command, "/dev/null"]).output().ok()?;
        assert!(output.status.success(), "{}", text(&output.stdout));
        Some(text(&output.stdout).to_owned())
    };
    let Some(said) = on_terminal("", "told.tdb") else {
        return testbed::skip("progress_is_for_terminals", "the program `script` is not installed");
    };
    assert!(said.contains("reading") || said.contains("ordering") || said.contains("run 1 of 1"), "{said:?}");
    assert_eq!(on_terminal("--quiet", "quiet.tdb").as_deref(), Some(""));
    let piped = quorate(&[&place.path("piped.tdb"), &example]);
    assert_eq!((code(&piped), text(&piped.stderr)), (0, ""));
}

/// R24, R40: the page names traces in natural order and holds its waits as data that no name can end; nothing comes from
/// elsewhere.
#[test]
fn a_page_is_whole_and_names_cannot_end_its_data() {
    let place = Place::new();
    let traces: Vec<_> = ["p10</script>.trace", "p2.trace", "p1.trace"]
        .map(|name| place.file(&name.replace('/', "\u{2215}"), "0 tdb_open 131 0x0 0x42\n0 tdb_close\n"))
        .into();
    let page = place.path("page.html");
    let html = PathBuf::from(format!("--html={}", page.display()));
    let output = quorate(&[&html, &place.path("s.tdb"), &traces[0], &traces[1], &traces[2]]);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    let page = std::fs::read_to_string(page).expect("the page was written");
    let data = page.split_once("id=\"waits\">").and_then(|(_, rest)| rest.split_once("</script>"));
    let data = data.expect("the page has data").0;
    assert!(!data.contains('<'), "{data}");
    let data: serde_json::Value = serde_json::from_str(data).expect("it is JSON");
    assert_eq!(data["names"], serde_json::json!(["p1.trace", "p2.trace", "p10<\u{2215}script>.trace"]));
    assert_eq!(page.matches("<script").count(), page.matches("</script>").count());
    let asked: Vec<&str> =
        page.split("getElementById(\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert!(asked.len() > 10, "the script zooms and searches: {asked:?}");
    for id in asked {
        assert_eq!(page.matches(&format!("id=\"{id}\"")).count(), 1, "the script asks for {id}");
    }
    for outside in ["src=", "href=", "url(", "@import", "fetch("] {
        assert!(!page.contains(outside), "{outside}");
    }
}

/// R40: what `--trace-events` writes is what viewers of Chrome's trace events read.
#[test]
fn trace_events_are_whole_and_flows_pair() {
    let place = Place::new();
    let traces = testbed::repository().join("examples/traces/four-processes");
    let events = place.path("events.json");
    let option = PathBuf::from(format!("--trace-events={}", events.display()));
    let output = quorate(&[&option, &place.path("s.tdb"), &traces]);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    let events: serde_json::Value =
        serde_json::from_slice(&std::fs::read(events).expect("it was written")).expect("it is JSON");
    let events = events["traceEvents"].as_array().expect("a list");
    let mut flows = std::collections::BTreeMap::<u64, Vec<(&str, f64)>>::new();
    for event in events {
        let phase = event["ph"].as_str().expect("each has a phase");
        assert!(event["pid"].is_u64() && event["tid"].is_u64(), "{event}");
        let at = event["ts"].as_f64().expect("each has a time");
        assert!(at >= 0.0, "{event}");
        match phase {
            "X" => assert!(event["dur"].as_f64() >= Some(0.0), "{event}"),
            "s" | "f" => flows.entry(event["id"].as_u64().expect("an id")).or_default().push((phase, at)),
            _ => assert_eq!(phase, "M"),
        }
    }
    for (id, ends) in &flows {
        assert!(matches!(ends[..], [("s", from), ("f", to)] if from <= to), "flow {id}: {ends:?}");
    }
    let named = events.iter().filter(|event| event["name"] == "thread_name").count();
    let fetches = events.iter().filter(|event| event["name"] == "tdb_fetch");
    let shown: std::collections::BTreeSet<_> = fetches.map(|event| event["tid"].as_u64()).collect();
    assert_eq!((named, shown.len()), (4, 4));
    let waited = events.iter().filter(|event| event["ph"] == "X" && event["cat"] == "wait").count();
    assert_eq!(waited, flows.len());
}

/// R23: no output takes the place of what is read, under whatever name, nor of another output; nothing is touched.
#[test]
fn outputs_overwrite_no_input() {
    let place = Place::new();
    let trace = place.file("p1.trace", GOOD);
    let link = place.path("link");
    std::os::unix::fs::symlink(&trace, &link).expect("a link can be made");
    let hard = place.path("hard");
    std::fs::hard_link(&trace, &hard).expect("a link can be made");
    let other = place.path("./p1.trace");
    let scratch = place.path("s.tdb");
    let try_out = |option: &str, file: &Path, traces: &Path| {
        let option = format!("{option}={}", file.display());
        quorate(&[Path::new(&option), &scratch, traces])
    };
    for option in ["--html", "--trace-events", "--save-order"] {
        for file in [&trace, &link, &hard, &other] {
            let output = try_out(option, file, &trace);
            refused(&output, 2, &[option, "would overwrite", "p1.trace", "name another file"]);
            refused(&try_out(option, file, place.folder.path()), 2, &["would overwrite"]);
        }
        refused(&try_out(option, &scratch, &trace), 2, &["SCRATCH and", option, "name two files"]);
    }
    let order = place.path("order");
    assert_eq!(code(&try_out("--save-order", &order, &trace)), 0);
    std::fs::remove_file(&scratch).expect("it was made");
    let html = format!("--html={}", order.display());
    let taken = format!("--order={}", order.display());
    refused(&quorate(&[Path::new(&html), Path::new(&taken), &scratch, &trace]), 2, &["--html", "order"]);
    let both = [place.path("out"), place.path("./out")].map(|path| path.display().to_string());
    let both = [format!("--html={}", both[0]), format!("--trace-events={}", both[1])];
    let output = quorate(&[Path::new(&both[0]), Path::new(&both[1]), &scratch, &trace]);
    refused(&output, 2, &["--html and --trace-events both write"]);
    assert_eq!(std::fs::read_to_string(&trace).expect("it is there"), GOOD);
    assert!(!scratch.exists(), "something was created");
}

/// R4: only our engine records; another one says so instead of recording nothing.
#[test]
fn recording_is_refused_where_nothing_would_be_recorded() {
    let place = Place::new();
    let trace = place.file("p1.trace", GOOD);
    let record = format!("--record={}", place.path("rec").display());
    for engines in ["libtdb", "memory", "tdb,memory"] {
        let engines = format!("--engine={engines}");
        let output = quorate(&[Path::new(&record), Path::new(&engines), &place.path("s.tdb"), &trace]);
        refused(&output, 2, &["--record: only engine tdb records"]);
    }
    assert!(!place.path("s.tdb").exists() && !place.path("rec").exists(), "something was created");
}
