//! Histories of other stores' clients: read in three forms, judged, written back.

use client_history::{Form, Hint, History, Options, Verdict, check, hints, longest_explained, read, write};
use history::solver::Limits;

fn verdict(text: &str, form: Form) -> Verdict {
    let history = read(text, form, &Options::default()).unwrap_or_else(|error| panic!("{error}\n{text}"));
    check(&history, Limits::default()).verdict()
}

fn refused(text: &str, form: Form, options: &Options) -> String {
    read(text, form, options).map(|_| ()).expect_err("no history").to_string()
}

const LOST_UPDATE: &str = r#"
{"client": "a", "op": "read", "value": null, "call": 0, "return": 10}
{"client": "b", "op": "read", "value": null, "call": 5, "return": 15}
{"client": "a", "op": "cas", "value": [null, 1], "call": 20, "return": 30}
{"client": "b", "op": "cas", "value": [null, 2], "call": 25, "return": 40}
"#;

const STALE_READ: &str = "\
{:type :invoke, :process 0, :f :write, :value 1, :time 10, :index 0}
{:type :ok, :process 0, :f :write, :value 1, :time 20, :index 1}
{:type :info, :process :nemesis, :f :start-partition, :value \"n1\"}
{:type :invoke, :process 1, :f :write, :value 2}
{:type :ok, :process 1, :f :write, :value 2}
{:type :invoke, :process 2, :f :read, :value nil} ; after the partition
{:type :ok, :process 2, :f :read, :value 1}
";

/// R38: the two violations that people look for first, and the lines that show them.
#[test]
fn a_lost_update_and_a_stale_read_are_impossible() {
    assert_eq!(verdict(LOST_UPDATE, Form::Lines), Verdict::Impossible);
    let history = read(STALE_READ, Form::Edn, &Options::default()).unwrap();
    let checked = check(&history, Limits::default());
    assert_eq!(checked.verdict(), Verdict::Impossible);
    let lines = |operation: &u32| history.operations[*operation as usize].lines.call;
    let [finding] = checked.findings.as_slice() else { panic!("{checked:?}") };
    let mut lines: Vec<u32> = finding.operations.iter().map(lines).collect();
    lines.sort_unstable();
    assert!(finding.minimal);
    assert_eq!(lines, [1, 4, 6], "both writes were answered in this order, and the read shows the first");
}

/// R39: a value that nobody wrote, and clocks that differ, are hints beside the verdict; a lost update is neither.
#[test]
fn what_else_would_explain_a_contradiction_is_said() {
    let hints_of = |text: &str, form: Form| {
        let history = read(text, form, &Options::default()).unwrap();
        let checked = check(&history, Limits::default());
        hints(&history, &checked, Limits::default())
    };
    assert_eq!(hints_of(LOST_UPDATE, Form::Lines), []);
    assert_eq!(hints_of(STALE_READ, Form::Edn), [Hint::Clocks]);
    let unwritten = r#"{"client": "a", "op": "write", "value": 1, "call": 0, "return": 10}
{"client": "b", "op": "read", "value": 7, "call": 20, "return": 30}
"#;
    assert_eq!(hints_of(unwritten, Form::Lines), [Hint::Unwritten(1)]);
    let fine = r#"{"client": "a", "op": "write", "value": 1, "call": 0, "return": 10}"#;
    assert_eq!(hints_of(fine, Form::Lines), []);
}

/// R40: what comes before the contradiction is explained, in an order of its operations.
#[test]
fn the_longest_explained_part_ends_where_the_contradiction_shows() {
    let history = read(STALE_READ, Form::Edn, &Options::default()).unwrap();
    let prefix = longest_explained(&history, 0, Limits::default());
    let stale = history.operations.last().unwrap();
    assert_eq!(prefix.until, Some(stale.call), "the read was called; what it found is not explained");
    assert_eq!(prefix.order, [0, 1]);
}

/// R38: an operation whose outcome is unknown may have happened at any time after its call, anywhere in a client's life.
#[test]
fn unknown_outcomes_may_have_happened_and_may_not() {
    let unknown =
        r#"{"client": "a", "op": "write", "value": 1, "call": 0, "return": 5, "outcome": "unknown"}"#;
    let read = |value: &str, call: u32, end: u32| {
        format!(r#"{{"client": "a", "op": "read", "value": {value}, "call": {call}, "return": {end}}}"#)
    };
    let judge = |lines: &[String]| verdict(&format!("{unknown}\n{}", lines.join("\n")), Form::Lines);
    assert_eq!(judge(&[read("null", 10, 20), read("1", 30, 40)]), Verdict::Explained, "late");
    assert_eq!(judge(&[read("null", 10, 20), read("null", 30, 40)]), Verdict::Explained, "never");
    assert_eq!(judge(&[read("1", 10, 20), read("null", 30, 40)]), Verdict::Impossible, "taken back");
    let failed = unknown.replace("unknown", "fail");
    assert_eq!(verdict(&format!("{failed}\n{}", read("1", 10, 20)), Form::Lines), Verdict::Impossible);
}

/// R38: an unknown cas happened only if it found what it compares with.
#[test]
fn an_unknown_cas_happened_only_where_it_could() {
    let cas = |old: u32| format!(r#"{{"client": "a", "op": "cas", "value": [{old}, 9], "call": 20}}"#);
    let rest = "{\"client\": \"b\", \"op\": \"write\", \"value\": 1, \"call\": 0, \"return\": 10}\n\
                {\"client\": \"b\", \"op\": \"read\", \"value\": 9, \"call\": 30, \"return\": 40}\n";
    assert_eq!(verdict(&format!("{rest}{}", cas(1)), Form::Lines), Verdict::Explained);
    assert_eq!(verdict(&format!("{rest}{}", cas(2)), Form::Lines), Verdict::Impossible);
}

/// R34, R38: the state before the first operation is declared.
#[test]
fn an_initial_value_is_declared() {
    let text = r#"{"client": 1, "op": "read", "value": 5, "call": 0, "return": 1}"#;
    let judge = |initial: Option<&str>| {
        let options = Options { initial: initial.map(str::to_owned), ..Options::default() };
        check(&read(text, Form::Lines, &options).unwrap(), Limits::default()).verdict()
    };
    assert_eq!(judge(None), Verdict::Impossible);
    assert_eq!(judge(Some("5")), Verdict::Explained);
    assert_eq!(judge(Some("6")), Verdict::Impossible);
}

/// R38: Jepsen's independent keys, its tagged records, vectors around everything, and the JSON spelling.
#[test]
fn the_spellings_of_jepsen_are_read() {
    let keyed = Options { keyed: true, ..Options::default() };
    let edn = "[#jepsen.history.Op{:type :invoke, :process 0, :f :cas, :value [:x [nil 2]]}\n\
               #jepsen.history.Op{:type :info, :process 0, :f :cas, :value [:x [nil 2]], :error \\[}\n\
               {:type :invoke, :process 3, :f :read, :value #jepsen.history.MapEntry[:y nil]}\n\
               {:type :ok, :process 3, :f :read, :value [:y \"two words\"]}]";
    let history = read(edn, Form::Edn, &keyed).unwrap();
    let words = |history: &History| -> Vec<String> {
        let operations = history.operations.iter();
        operations
            .map(|operation| format!("{} {}", history.key_text(operation.key), history.describe(operation)))
            .collect()
    };
    assert_eq!(words(&history), [":x cas nil -> 2", ":y read \"two words\""]);
    let json = r#"[{"type": "invoke", "process": 0, "f": "cas", "value": ["x", [null, 2]], "time": 3},
                   {"type": "info", "process": 0, "f": "cas", "value": ["x", [null, 2]], "error": "timeout"},
                   {"type": "invoke", "process": 3, "f": "read", "value": ["y", null]},
                   {"type": "ok", "process": 3, "f": "read", "value": ["y", "two words"]}]"#;
    assert_eq!(words(&read(json, Form::Json, &keyed).unwrap()), ["x cas nil -> 2", "y read \"two words\""]);
    let lines: Vec<u32> = history.operations.iter().map(|operation| operation.lines.call).collect();
    assert_eq!(lines, [1, 3]);
}

/// R2: what is not a history is refused with its line.
#[test]
fn what_is_no_history_is_refused_with_its_line() {
    let plain = Options::default();
    let cases = [
        ("{:type :ok, :process 0, :f :read, :value 1}", Form::Edn, "line 1: process 0 completes"),
        (
            "\n{:type :invoke, :process 0, :f :read}\n{:type :invoke, :process 0, :f :read}",
            Form::Edn,
            "line 3: process 0 invokes",
        ),
        (
            "{:type :invoke, :process 0, :f :append, :value [1 2]}",
            Form::Edn,
            "line 1: unknown function \"append\"",
        ),
        ("{:type :invoke, :process 0, :f :cas, :value 1}", Form::Edn, "line 1: expected a cas of two values"),
        ("{:type :maybe, :process 0, :f :read}", Form::Edn, "line 1: expected a :type"),
        ("{:type :invoke", Form::Edn, "line 1: "),
        ("17", Form::Edn, "line 1: expected a map"),
        ("{\"type\": \"invoke\"}", Form::Json, "line 1: not an event"),
        ("\n\n{\"client\": 1}", Form::Lines, "line 3: not an operation"),
        (r#"{"client": 1, "op": "read", "call": 5, "return": 4}"#, Form::Lines, "line 1: it returns before"),
        (
            r#"{"client": 1, "op": "read", "call": 5, "outcome": "ok"}"#,
            Form::Lines,
            "line 1: an outcome of \"ok\"",
        ),
        (r#"{"client": 1, "op": "read", "call": 5, "retrun": 7}"#, Form::Lines, "unknown field `retrun`"),
        (
            r#"{"client": 1, "op": "read", "call": 18446744073709551615, "return": 18446744073709551615}"#,
            Form::Lines,
            "times are at most",
        ),
    ];
    for (text, form, expected) in cases {
        let found = refused(text, form, &plain);
        assert!(found.contains(expected), "{text}: {found}");
    }
    let overlap = "{\"client\": 1, \"op\": \"read\", \"call\": 5, \"return\": 9}\n{\"client\": 1, \"op\": \"read\", \"call\": 7, \"return\": 9}";
    assert!(
        refused(overlap, Form::Lines, &plain)
            .contains("line 2: client 1 calls this before its operation of line 1 returns")
    );
    let keyed = Options { keyed: true, ..Options::default() };
    assert!(
        refused("{:type :invoke, :process 0, :f :read, :value 3}", Form::Edn, &keyed).contains("[key value]")
    );
}

/// R2: nesting cannot exhaust the stack.
#[test]
fn deep_nesting_is_refused() {
    for nested in ["[".repeat(200_000), "{:a ".repeat(100_000), "#a ".repeat(100_000), "#a [".repeat(100_000)]
    {
        let text = format!("{{:type :invoke, :process 0, :f :read, :value {nested}");
        assert!(refused(&text, Form::Edn, &Options::default()).contains("nest deeper"));
    }
    let json = format!(
        "{{\"type\": \"invoke\", \"process\": 0, \"f\": \"read\", \"value\": {}",
        "[".repeat(200_000)
    );
    assert!(refused(&json, Form::Json, &Options::default()).contains("recursion limit"));
}

/// A history of a real register: `clients` take turns at random, each operation at one moment between call and return.
fn register(random: &mut fastrand::Rng, operations: u32, clients: u32) -> Vec<String> {
    let mut value: Option<u32> = None;
    let mut free_at = vec![0u64; clients as usize];
    let mut lines = Vec::new();
    for moment in 1..=u64::from(operations) {
        let moment = moment * 100;
        let client = random.usize(..clients as usize);
        if free_at[client] >= moment {
            continue;
        }
        let call = random.u64(free_at[client].max(moment.saturating_sub(500))..moment);
        let end = moment + random.u64(1..500);
        free_at[client] = end + 1;
        let new = random.u32(..50);
        let shown = value.map_or("null".to_owned(), |value| value.to_string());
        let what = match random.u8(..3) {
            0 => format!(r#""op": "read", "value": {shown}"#),
            1 => {
                value = Some(new);
                format!(r#""op": "write", "value": {new}"#)
            }
            _ => {
                let old = value.unwrap_or(0);
                let holds = value == Some(old);
                value = if holds { Some(new) } else { value };
                format!(
                    r#""op": "cas", "value": [{old}, {new}], "outcome": "{}""#,
                    if holds { "ok" } else { "fail" }
                )
            }
        };
        lines.push(format!(r#"{{"client": {client}, {what}, "call": {call}, "return": {end}}}"#));
    }
    lines
}

/// R38: a long history of a register; one read of a value that was overwritten long before is found, by few lines.
#[test]
fn a_long_register_history_is_explained_and_one_stale_read_found() {
    let mut random = fastrand::Rng::with_seed(testbed::seed(
        "a_long_register_history_is_explained_and_one_stale_read_found",
    ));
    let operations = if std::env::var_os("QUORATE_LONG").is_some() { 200_000 } else { 20_000 };
    let mut lines = register(&mut random, operations, 10);
    assert!(lines.len() > operations as usize / 3, "{} operations", lines.len());
    assert_eq!(verdict(&lines.join("\n"), Form::Lines), Verdict::Explained);
    let nth = lines.len() / 2;
    let read = (nth..lines.len()).find(|at| lines[*at].contains("\"read\"")).unwrap();
    let start = lines[read].find("\"value\": ").unwrap() + 9;
    let end = start + lines[read][start..].find(',').unwrap();
    lines[read].replace_range(start..end, "12345");
    // It was written once, and was gone before anything else began.
    lines.insert(0, r#"{"client": 99, "op": "write", "value": null, "call": 2, "return": 3}"#.into());
    lines.insert(0, r#"{"client": 99, "op": "write", "value": 12345, "call": 0, "return": 1}"#.into());
    let history = read_lines(&lines);
    let checked = check(&history, Limits::default());
    assert_eq!(checked.verdict(), Verdict::Impossible);
    let [finding] = checked.findings.as_slice() else { panic!("{} findings", checked.findings.len()) };
    assert!(finding.operations.contains(&(read as u32 + 2)), "{finding:?}");
    assert!(finding.operations.len() <= 4, "{finding:?}");
}

fn read_lines(lines: &[String]) -> History {
    read(&lines.join("\n"), Form::Lines, &Options::default()).unwrap()
}

/// R38: what is written for other checkers says the same: it is read back with the same verdict and the same operations.
#[test]
fn a_written_history_says_the_same() {
    let mut random = fastrand::Rng::with_seed(testbed::seed("a_written_history_says_the_same"));
    for _ in 0..50 {
        let mut lines = register(&mut random, 30, 4);
        if random.bool() && !lines.is_empty() {
            let at = random.usize(..lines.len());
            lines[at] = lines[at].replace("\"outcome\": \"ok\"", "\"outcome\": \"unknown\"");
        }
        if random.bool() {
            lines = lines.iter().map(|line| line.replacen('{', "{\"key\": \"a b\", ", 1)).collect();
        }
        let history = read_lines(&lines);
        let expected = check(&history, Limits::default()).verdict();
        for form in [Form::Edn, Form::Json, Form::Lines] {
            let written = write(&history, form).unwrap();
            let keyed = form != Form::Lines && lines.iter().any(|line| line.contains("\"key\""));
            let options = Options { keyed, ..Options::default() };
            let back = read(&written, form, &options).unwrap_or_else(|error| panic!("{error}\n{written}"));
            assert_eq!(back.operations.len(), history.operations.len());
            assert_eq!(check(&back, Limits::default()).verdict(), expected, "{written}");
            let words = |history: &History| {
                let mut words: Vec<String> =
                    history.operations.iter().map(|operation| history.describe(operation)).collect();
                words.sort();
                words
            };
            assert_eq!(words(&back), words(&history));
        }
    }
}

/// A history in which anything may be: times on a coarse clock, unknown outcomes, several registers.
fn anything(random: &mut fastrand::Rng) -> Vec<String> {
    let mut free_at = [0u64; 3];
    let mut lines = Vec::new();
    for _ in 0..random.usize(2..9) {
        let client = random.usize(..3);
        let call = free_at[client] + random.u64(..3);
        let end = call + random.u64(..4);
        let value = random.u8(1..4);
        let what = match random.u8(..3) {
            0 => format!(r#""op": "read", "value": {value}"#),
            1 => format!(r#""op": "write", "value": {value}"#),
            _ => format!(r#""op": "cas", "value": [{value}, {}]"#, random.u8(1..4)),
        };
        let ended = match random.u8(..8) {
            0 => String::new(),
            1 => format!(r#", "return": {end}, "outcome": "unknown""#),
            2 => format!(r#", "return": {end}, "outcome": "fail""#),
            3 => r#", "outcome": "fail""#.into(),
            _ => format!(r#", "return": {end}"#),
        };
        let key = if random.u8(..4) == 0 { r#", "key": "x""# } else { "" };
        free_at[client] = if ended.contains("return") { end } else { call };
        lines.push(format!(r#"{{"client": {client}, {what}, "call": {call}{ended}{key}}}"#));
    }
    lines
}

/// R38: unknown outcomes and equal times keep the verdict when they are exported, or the export is refused.
#[test]
fn what_is_exported_has_the_same_verdict() {
    let mut random = fastrand::Rng::with_seed(testbed::seed("what_is_exported_has_the_same_verdict"));
    let (mut refused, mut explained, mut impossible) = (0, 0, 0);
    for _ in 0..3000 {
        let lines = anything(&mut random);
        let history = read_lines(&lines);
        let expected = check(&history, Limits::default()).verdict();
        for form in [Form::Edn, Form::Json, Form::Lines] {
            let written = match write(&history, form) {
                Ok(written) => written,
                Err(error) => {
                    assert!(form != Form::Lines && error.to_string().contains("finer clock"));
                    refused += 1;
                    continue;
                }
            };
            let keyed = form != Form::Lines && lines.iter().any(|line| line.contains("\"key\""));
            let options = Options { keyed, ..Options::default() };
            let back = read(&written, form, &options)
                .unwrap_or_else(|error| panic!("{error}\n{}\n{written}", lines.join("\n")));
            let found = check(&back, Limits::default()).verdict();
            assert_eq!(found, expected, "{}\n{written}", lines.join("\n"));
            if found == Verdict::Explained { explained += 1 } else { impossible += 1 }
        }
    }
    assert!(refused < 2000 && explained > 1000 && impossible > 1000, "{refused} {explained} {impossible}");
}

/// R38: a client goes on as another process after an outcome that it never learnt; two at one time on one register have no order.
#[test]
fn events_are_those_of_processes() {
    let unknown = r#"{"client":0,"op":"write","value":1,"call":1}
{"client":0,"op":"read","value":1,"call":3,"return":5}"#;
    let written = write(&read(unknown, Form::Lines, &Options::default()).unwrap(), Form::Edn).unwrap();
    assert!(written.contains(":type :info, :process 0, :f :write, :value 1"), "{written}");
    assert!(written.contains(":type :ok, :process 1, :f :read, :value 1"), "{written}");
    assert_eq!(verdict(&written, Form::Edn), Verdict::Explained);
    let line = |client: u32, call: u32| {
        format!(r#"{{"client":{client},"op":"write","value":1,"call":{call},"return":{}}}"#, call + 5)
    };
    let one = [line(0, 0), line(0, 5), line(1, 0)];
    assert_eq!(verdict(&write(&read_lines(&one), Form::Json).unwrap(), Form::Json), Verdict::Explained);
    let two = [line(0, 0), line(0, 5), line(1, 0), line(1, 5)];
    let error = write(&read_lines(&two), Form::Json).unwrap_err().to_string();
    assert!(error.starts_with("line 2: ") && error.contains("at 5"), "{error}");
}

/// R38: values are those that were written, whatever fits into a number of 64 bits.
#[test]
fn numbers_are_told_apart_by_what_was_written() {
    let pairs = [
        ("12345678901234567890123", "12345678901234567890124"),
        ("0.1", "0.10000000000000000001"),
        ("-9223372036854775809", "-9223372036854775810"),
        ("1e+400", "1e+401"),
    ];
    for (one, other) in pairs {
        let lines = |found: &str| {
            format!(
                "{{\"client\":0,\"op\":\"write\",\"value\":{one},\"call\":0,\"return\":1}}\n\
                 {{\"client\":0,\"op\":\"read\",\"value\":{found},\"call\":2,\"return\":3}}"
            )
        };
        let edn = |found: &str| {
            format!(
                "{{:type :invoke :process 0 :f :write :value {one}}}{{:type :ok :process 0 :f :write :value {one}}}\
                 {{:type :invoke :process 0 :f :read :value nil}}{{:type :ok :process 0 :f :read :value {found}}}"
            )
        };
        for (found, expected) in [(one, Verdict::Explained), (other, Verdict::Impossible)] {
            assert_eq!(verdict(&edn(found), Form::Edn), expected, "{found}");
            let history = read(&lines(found), Form::Lines, &Options::default()).unwrap();
            for form in [Form::Lines, Form::Json, Form::Edn] {
                let written = write(&history, form).unwrap();
                assert!(written.contains(found), "{written}");
                assert_eq!(verdict(&written, form), expected, "{written}");
            }
        }
    }
    let text = "{:type :invoke :process 0 :f :write :value 1N}{:type :ok :process 0 :f :write :value 1N}\
                {:type :invoke :process 0 :f :read}{:type :ok :process 0 :f :read :value 1}\
                {:type :invoke :process 0 :f :cas :value [1 1.50M]}{:type :ok :process 0 :f :cas :value [1 1.50M]}\
                {:type :invoke :process 0 :f :read}{:type :ok :process 0 :f :read :value 1.50M ; 2M \"2N\"\n}";
    assert_eq!(verdict(text, Form::Edn), Verdict::Explained);
    let set = |one: &str| format!("{{:type :invoke :process 0 :f :write :value #{{{one} \\a \"0.1\"}}}}");
    let value = |text: &str| {
        let history = read(text, Form::Edn, &Options::default()).unwrap();
        history.describe(&history.operations[0])
    };
    assert!(value(&set("0.10000000000000000001")).contains("0.10000000000000000001"));
}

/// R2: a file that is cut off, empty or holds something else is no history.
#[test]
fn cut_and_empty_files_are_refused() {
    let edn = "{:type :invoke, :process 0, :f :read}";
    let json = r#"{"type": "invoke", "process": 0, "f": "read"}"#;
    let event = |text: &str| text.replace('E', json);
    let cases = [
        (Form::Edn, "[".to_owned(), "line 1: expected another event or the ] of what begins in line 1"),
        (
            Form::Edn,
            format!("\n[{edn}\n"),
            "line 3: expected another event or the ] of what begins in line 2",
        ),
        (Form::Edn, format!("({edn}]"), "closes nothing"),
        (Form::Edn, format!("{edn}]"), "closes nothing"),
        (Form::Edn, "{:type :invoke, :process".into(), "cut off"),
        (Form::Edn, "{:type :invoke, :process 1x".into(), "no number of EDN"),
        (Form::Json, "[[[[".into(), "line 1: expected an event such as"),
        (Form::Json, "]]]".into(), "line 1: expected an event such as"),
        (Form::Json, ",,,".into(), "line 1: expected an event such as"),
        (Form::Json, event("[E,\n"), "line 2: expected another event or the ] of what begins in line 1"),
        (Form::Json, event("[E"), "cut off"),
        (Form::Json, event("[E,]"), "expected an event such as"),
        (Form::Json, event("[E E]"), "expected a comma or the ] of the array"),
        (Form::Json, event("E, E"), "expected an event such as"),
        (
            Form::Json,
            "{\"type\": \n\"invoke\"".into(),
            "line 2: not an event: EOF while parsing an object; it is cut off",
        ),
        (Form::Lines, r#"["a", "read", null, 1, 0, 5, null]"#.into(), "begins with {"),
        (
            Form::Lines,
            "{\"client\": 1".into(),
            "line 1: not an operation: EOF while parsing an object; it is cut off",
        ),
    ];
    for (form, text, expected) in cases {
        let found = refused(&text, form, &Options::default());
        assert!(found.contains(expected), "{text}: {found}");
    }
    for form in [Form::Edn, Form::Json, Form::Lines] {
        for empty in ["", "\n \n"] {
            assert!(refused(empty, form, &Options::default()).contains("line 1: the file is empty"));
        }
    }
}

/// R38, R2: a declared value is one of the history's language; a completion is that of its invocation.
#[test]
fn values_and_completions_that_do_not_fit_are_refused() {
    let line = r#"{"client": 1, "op": "read", "value": "abc", "call": 0, "return": 1}"#;
    let initial = |text: &str| Options { initial: Some(text.into()), ..Options::default() };
    for text in ["abc", "", "1 2", "["] {
        let found = refused(line, Form::Lines, &initial(text));
        assert!(found.contains("the initial value") && found.contains("in quotes"), "{found}");
    }
    let edn = "{:type :invoke, :process 0, :f :read}";
    for text in ["", "1 2", "[", "1x"] {
        assert!(refused(edn, Form::Edn, &initial(text)).contains("the initial value"));
    }
    for (text, expected) in [("\"abc\"", Verdict::Explained), ("null", Verdict::Impossible)] {
        let history = read(line, Form::Lines, &initial(text)).unwrap();
        assert_eq!(check(&history, Limits::default()).verdict(), expected);
    }
    let other = format!("{edn}\n{{:type :ok, :process 0, :f :write, :value 1}}");
    let found = refused(&other, Form::Edn, &Options::default());
    assert!(found.contains("line 2: process 0 completes \"write\"") && found.contains("line 1"), "{found}");
    let keyed = Options { keyed: true, ..Options::default() };
    let key = "{:type :invoke, :process 0, :f :read, :value [:x nil]}\n{:type :ok, :process 0, :f :read, :value [:y 1]}";
    assert!(refused(key, Form::Edn, &keyed).contains("line 2: expected the key"));
}
