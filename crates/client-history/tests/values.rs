//! Values, keys and clients are the same exactly if they were written as the same, in every form and from each to each.

use std::collections::HashMap;

use client_history::{
    Action, Datum, Form, Hint, History, Options, Outcome, Verdict, check, hints, is_keyed, read, write,
};
use history::solver::Limits;

const FORMS: [Form; 3] = [Form::Edn, Form::Json, Form::Lines];

fn keyed(keyed: bool) -> Options {
    Options { keyed, ..Options::default() }
}

fn history(text: &str, form: Form) -> History {
    read(text, form, &Options::default()).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn verdict(history: &History) -> Verdict {
    check(history, Limits::default()).verdict()
}

/// Writes `history` in `form` and reads that.
fn rewritten(history: &History, form: Form) -> Result<History, String> {
    let written = write(history, form).map_err(|error| error.to_string())?;
    let odd = |letter: char| letter.is_control() && letter != '\n';
    assert!(!written.contains(odd), "{written:?}");
    Ok(read(&written, form, &keyed(is_keyed(history, form)))
        .unwrap_or_else(|error| panic!("{error}\n{written}")))
}

/// `one` is written, then `other` is found.
fn found(one: &str, other: &str, form: Form) -> String {
    match form {
        Form::Edn => format!(
            "{{:type :invoke :process 0 :f :write :value {one}}}\n{{:type :ok :process 0 :f :write :value {one}}}\n\
             {{:type :invoke :process 0 :f :read :value nil}}\n{{:type :ok :process 0 :f :read :value {other}}}\n"
        ),
        Form::Json => format!(
            r#"{{"type":"invoke","process":0,"f":"write","value":{one}}}{{"type":"ok","process":0,"f":"write","value":{one}}}
               {{"type":"invoke","process":0,"f":"read"}}{{"type":"ok","process":0,"f":"read","value":{other}}}"#
        ),
        Form::Lines => format!(
            "{{\"client\":0,\"op\":\"write\",\"value\":{one},\"call\":0,\"return\":1}}\n\
             {{\"client\":0,\"op\":\"read\",\"value\":{other},\"call\":2,\"return\":3}}\n"
        ),
    }
}

/// R38: what Clojure takes for two values is two, and stays two wherever it is exported, or is not exported.
#[test]
fn different_values_stay_different() {
    let apart = [
        (Form::Edn, ":a", "\":a\""),
        (Form::Edn, ":a?", "\":a?\""),
        (Form::Edn, "a", "\"a\""),
        (Form::Edn, "\\a", "\"a\""),
        (Form::Edn, "\\a", "a"),
        (Form::Edn, "#inst \"2020\"", "\"2020\""),
        (Form::Edn, "#a [1 2]", "[1 2]"),
        (Form::Edn, "1", "\"1\""),
        (Form::Edn, "1.5", "1.5M"),
        (Form::Edn, "#{1}", "[1]"),
        (Form::Edn, "[:a]", "[\":a\"]"),
        (Form::Edn, "{:a 1}", "{\"a\" 1}"),
        (Form::Edn, "true", "\"true\""),
        (Form::Lines, "[1,2]", "\"[1,2]\""),
        (Form::Lines, "[1,2]", "\"[1 2]\""),
        (Form::Lines, "{\"a\":1}", "\"{\\\"a\\\":1}\""),
        (Form::Lines, "{\"a\":null}", "{}"),
        (Form::Lines, "1e5", "\"1e5\""),
        (Form::Lines, "\"a\\u0000\"", "\"a\""),
        (Form::Json, "1", "\"1\""),
    ];
    for (form, one, other) in apart {
        for (one, other) in [(one, other), (other, one)] {
            let read = history(&found(one, other, form), form);
            assert_eq!(verdict(&read), Verdict::Impossible, "{one} {other}");
            let same = history(&found(one, one, form), form);
            for to in FORMS {
                match rewritten(&read, to) {
                    Ok(back) => assert_eq!(verdict(&back), Verdict::Impossible, "{one} {other} {to:?}"),
                    Err(error) => assert!(form == Form::Edn && to != Form::Edn, "{error}"),
                }
                assert_eq!(verdict(&rewritten(&same, to).unwrap()), Verdict::Explained, "{one} {to:?}");
            }
        }
    }
    let read = history(&found(":a", "\":a\"", Form::Edn), Form::Edn);
    let error = rewritten(&read, Form::Lines).map(|_| ()).unwrap_err();
    assert!(error.starts_with("line 3: the value \":a\" and the value :a of line 1 are two"), "{error}");
}

/// R38: what Clojure takes for one value is one, whichever escapes and letters spell it.
#[test]
fn one_value_of_several_spellings_is_one() {
    let same = [
        ("\"\\u0041\"", "\"A\""),
        ("\"\\101\"", "\"A\""),
        ("\"\\ud83d\\ude00\"", "\"\u{1f600}\""),
        ("\"\\u005c\\u0022\\u000a\"", "\"\\\\\\\"\\n\""),
        ("\"\\b\\f\"", "\"\\u0008\\u000C\""),
        ("\"\\\\u0041\"", "\"\\\\u0041\""),
        ("\\u0041", "\\A"),
        ("\\o101", "\\A"),
        ("\\formfeed", "\\u000c"),
        ("\\u000a", "\\newline"),
        ("1", "+1"),
        ("1", "1N"),
        ("-0", "0"),
        ("1e5", "1E+5"),
        ("2/4", "1/2"),
        ("4/2", "2"),
        ("[1 2]", "(1, 2)"),
        ("#{1 2}", "#{2 1}"),
        ("{:a 1 :b 2}", "{:b 2, :a 1}"),
        ("#jepsen.history.MapEntry[1 2]", "[1 2]"),
    ];
    for (one, other) in same {
        let read = history(&found(one, other, Form::Edn), Form::Edn);
        assert_eq!(verdict(&read), Verdict::Explained, "{one} {other}");
        for to in FORMS {
            assert_eq!(verdict(&rewritten(&read, to).unwrap()), Verdict::Explained, "{one} {other} {to:?}");
        }
    }
    let refused = [
        ("\"\\ud83d\"", "unknown escape"),
        ("\"\\q\"", "unknown escape"),
        ("\\nothing", "unknown character"),
        (":a\u{1b}", "control character"),
        ("#{1 1N}", "same value twice"),
        ("{1 2, 1N 3}", "same key twice"),
    ];
    for (text, expected) in refused {
        let text = found("1", text, Form::Edn);
        let error = read(&text, Form::Edn, &Options::default()).map(|_| ()).unwrap_err().to_string();
        assert!(error.starts_with("line 4: ") && error.contains(expected), "{error}");
    }
}

/// R38: the number 1 and the text "1" are two registers and two clients, and stay two.
#[test]
fn numbers_and_texts_name_two_registers_and_two_clients() {
    let lines = r#"{"client":1,"op":"write","key":1,"value":1,"call":1,"return":4}
{"client":"1","op":"read","key":"1","value":null,"call":2,"return":5}
{"client":1,"op":"read","key":"1","value":null,"call":6,"return":7}
{"client":"1","op":"read","key":1,"value":1,"call":8,"return":9}
"#;
    let read = history(lines, Form::Lines);
    assert_eq!((read.keys(), verdict(&read)), (2, Verdict::Explained));
    assert_eq!([read.key_text(0), read.key_text(1)], ["1", "\"1\""]);
    for one in FORMS {
        for two in FORMS {
            let back = rewritten(&rewritten(&read, one).unwrap(), two).unwrap();
            assert_eq!((back.keys(), verdict(&back)), (2, Verdict::Explained), "{one:?} {two:?}");
        }
    }
    let written = write(&read, Form::Lines).unwrap();
    assert!(written.starts_with(r#"{"client":1,"op":"write","key":1,"#), "{written}");
    assert!(written.contains(r#"{"client":"1","op":"read","key":"1","#), "{written}");
}

/// R38: the names of registers come back from events as what they were.
#[test]
fn keys_come_back_from_events() {
    let lines = r#"{"client":1,"op":"write","key":"x","value":1,"call":1,"return":2}
{"client":1,"op":"cas","key":"x","value":[1,[1,null]],"call":3,"return":4}
"#;
    for form in [Form::Edn, Form::Json] {
        let back = rewritten(&history(lines, Form::Lines), form).unwrap();
        let written = write(&back, Form::Lines).unwrap();
        assert!(written.contains(r#""key":"x","value":1,"#), "{written}");
        assert!(written.contains(r#""key":"x","value":[1,[1,null]],"#), "{written}");
    }
    let without = history(&lines.replace("\"key\":\"x\",", ""), Form::Lines);
    for form in [Form::Edn, Form::Json] {
        let error = rewritten(&without, form).map(|_| ()).unwrap_err();
        assert!(error.starts_with("line 2: a cas of arrays"), "{error}");
    }
}

/// R39: pairs of key and value that are read as values are a hint.
#[test]
fn pairs_that_are_taken_for_values_are_a_hint() {
    let lines = r#"{"client":1,"op":"write","key":"x","value":1,"call":1,"return":2}
{"client":1,"op":"write","key":"y","value":2,"call":3,"return":4}
{"client":1,"op":"read","key":"x","value":1,"call":5,"return":6}
"#;
    let hints_of = |history: &History| hints(history, &check(history, Limits::default()), Limits::default());
    for form in [Form::Edn, Form::Json] {
        let written = write(&history(lines, Form::Lines), form).unwrap();
        assert_eq!(hints_of(&history(&written, form)), [Hint::Keyed]);
        assert_eq!(verdict(&read(&written, form, &keyed(true)).unwrap()), Verdict::Explained);
    }
    let pairs = history(&found("[1 2]", "[3 4]", Form::Edn), Form::Edn);
    assert_eq!(hints_of(&pairs), [Hint::Unwritten(1)], "a register may hold pairs");
    let cas = "{:type :invoke :process 0 :f :cas :value [1 2]}{:type :ok :process 0 :f :cas :value [1 2]}";
    assert_eq!(hints_of(&history(cas, Form::Edn)), [Hint::Unwritten(0)]);
}

/// R2: a mark of byte order at the beginning says nothing; elsewhere it is named.
#[test]
fn a_mark_of_byte_order_is_passed_over() {
    for form in FORMS {
        let text = format!("\u{feff}{}", found("1", "1", form));
        assert_eq!(verdict(&history(&text, form)), Verdict::Explained);
    }
    let text = found("1", "\u{feff}1", Form::Lines).replace("\n{", "\n\u{feff}{");
    let error = read(&text, Form::Lines, &Options::default()).map(|_| ()).unwrap_err().to_string();
    assert!(error.starts_with("line 2: ") && error.contains("found '\\u{feff}'"), "{error}");
}

const JSON: &[&str] = &[
    "null",
    "true",
    "\"true\"",
    "1",
    "\"1\"",
    "1.0",
    "\"1.0\"",
    "-0",
    "0",
    "-0.0",
    "1e5",
    "\"1e5\"",
    "1E400",
    "0.10000000000000000001",
    "\"0.1\"",
    "12345678901234567890123",
    "\"a\"",
    "\"a\\u0000\"",
    "\"\\u007f\u{9b}\"",
    "\"\\\\\"",
    "\"\\\"\"",
    "\"\\n\"",
    "\"\u{2028}\"",
    "\"\u{1f600}\"",
    "\":a\"",
    "\"nil\"",
    "\"null\"",
    "\"[1 2]\"",
    "[1,2]",
    "[\"1\",2]",
    "[[1]]",
    "[]",
    "{}",
    "{\"a\":1}",
    "{\"a\":null}",
    "\"{\\\"a\\\" 1}\"",
    "\"\\ufeff\"",
    "\"\u{e000}5\"",
    "\"\"",
    "[null]",
    "\"\\\\u0041\"",
];

const EDN: &[&str] = &[
    "nil",
    "true",
    "false",
    "a",
    "\"a\"",
    ":a",
    "\":a\"",
    "\"\\\":a\\\"\"",
    ":a/b",
    "::x",
    "\\a",
    "\\newline",
    "\\\"",
    "\\\\",
    "\\,",
    "\\u0041",
    "\\A",
    "\\space",
    "\\u001b",
    "\\é",
    "1",
    "1N",
    "+1",
    "\"1\"",
    "1.0",
    "1.",
    "1.50",
    "1.5M",
    "1.50M",
    "-0",
    "0",
    "0x10",
    "16",
    "1/2",
    "2/4",
    "\"1/2\"",
    "#{1 2}",
    "#{2 1}",
    "{:a 1}",
    "{\"a\" 1}",
    "{\"a\" nil}",
    "{nil \"a\"}",
    "[1 2]",
    "(1 2)",
    "[\"1\" 2]",
    "[:a \\a]",
    "#inst \"2020\"",
    "\"2020\"",
    "#uuid \"x\"",
    "#foo [1 2]",
    "#jepsen.history.MapEntry[1 2]",
    "\"\\u0041\"",
    "\"A\"",
    "\"\\b\"",
    "\"\\t\"",
    "\"\\101\"",
    "\"\"",
    "a.b/c",
    "+",
    "->x",
    "%",
    "\"\\ud83d\\ude00\"",
    "12345678901234567890123",
    "1e400",
    "1E+400",
    "#:ns{:a 1}",
    "#_x 5",
    "\"#inst \\\"2020\\\"\"",
    "\u{e000}5",
    "5",
    "#{0.10000000000000000001}",
];

/// A few operations on registers of such names, some of which find what is there.
fn anything(random: &mut fastrand::Rng, form: Form, with_keys: bool) -> String {
    let pool = if form == Form::Edn { EDN } else { JSON };
    let mut few = Vec::new();
    (0..4).for_each(|_| few.push(pool[random.usize(..pool.len())]));
    let mut text = String::new();
    for at in 0..random.u64(2..7) {
        let [key, client, one, other] = std::array::from_fn(|_| few[random.usize(..few.len())]);
        let between = if form == Form::Edn { " " } else { "," };
        let (op, value) = match random.u8(..5) {
            0 | 1 => ("read", one.to_owned()),
            2 | 3 => ("write", one.to_owned()),
            _ => ("cas", format!("[{one}{between}{other}]")),
        };
        let pair = |value: &str| match with_keys {
            true => format!("[{key}{between}{value}]"),
            false => value.to_owned(),
        };
        let asked = pair(match (op, form) {
            ("read", Form::Edn) => "nil",
            ("read", _) => "null",
            _ => &value,
        });
        let answered = pair(&value);
        let end = random.choice(["ok", "ok", "ok", "fail", "info"]).unwrap();
        text += &match form {
            Form::Edn => format!(
                "{{:type :invoke :process {at} :f :{op} :value {asked}}}\n{{:type :{end} :process {at} :f :{op} :value {answered}}}\n"
            ),
            Form::Json => format!(
                "{{\"type\":\"invoke\",\"process\":{at},\"f\":\"{op}\",\"value\":{asked}}}\n\
                 {{\"type\":\"{end}\",\"process\":{at},\"f\":\"{op}\",\"value\":{answered}}}\n"
            ),
            Form::Lines => {
                let key = if with_keys { format!("\"key\":{key},") } else { String::new() };
                let end = if end == "info" { "unknown" } else { end };
                let (call, end_at) = (2 * at, 2 * at + 1);
                format!(
                    "{{\"client\":{client},\"op\":\"{op}\",{key}\"value\":{value},\"call\":{call},\"return\":{end_at},\"outcome\":\"{end}\"}}\n"
                )
            }
        };
    }
    text
}

/// Each key and each value that says anything, in the order of the operations.
fn named(history: &History) -> (Vec<Datum>, Vec<Datum>) {
    let operations = &history.operations;
    let keys = operations.iter().map(|operation| history.key_datum(operation.key).clone());
    let values = operations.iter().flat_map(|operation| match operation.action {
        Action::Read(_) if operation.outcome != Outcome::Ok => Vec::new(),
        Action::Read(value) | Action::Write(value) => vec![value],
        Action::Cas(old, new) => vec![old, new],
    });
    (keys.collect(), values.map(|value| history.value_datum(value).clone()).collect())
}

/// Each of `one` has one counterpart in `other`, and nil has nil.
fn correspond(one: &[Datum], other: &[Datum]) -> bool {
    let mut there: HashMap<&Datum, &Datum> = HashMap::from([(&Datum::Nil, &Datum::Nil)]);
    let mut back = there.clone();
    let mut is_same = |(a, b)| *there.entry(a).or_insert(b) == b && *back.entry(b).or_insert(a) == a;
    one.len() == other.len() && one.iter().zip(other).all(&mut is_same)
}

/// R38: from each form to each, and on from there: verdicts stay, what was different stays different and what was the same the
/// same, or the export names the lines of what it cannot tell apart. What has come back to its own form is what it was.
#[test]
fn every_export_says_the_same_or_is_refused() {
    let mut random = fastrand::Rng::with_seed(testbed::seed("every_export_says_the_same_or_is_refused"));
    let (mut kept, mut refused) = (0, 0);
    for _ in 0..4000 {
        let form = FORMS[random.usize(..3)];
        let with_keys = random.bool();
        let text = anything(&mut random, form, with_keys);
        let first = match read(&text, form, &keyed(with_keys && form != Form::Lines)) {
            Ok(history) => history,
            Err(error) => {
                assert!(error.to_string().contains("two single values"), "{error}\n{text}");
                continue;
            }
        };
        let expected = verdict(&first);
        let is_json = |form| form != Form::Edn;
        let mut history = first.clone();
        for _ in 0..3 {
            let to = FORMS[random.usize(..3)];
            let back = match rewritten(&history, to) {
                Ok(back) => back,
                Err(error) => {
                    assert!(error.starts_with("line ") && !error.starts_with("line 0"), "{error}\n{text}");
                    let is_cas = error.contains("a cas of arrays");
                    // A decimal with more digits than it needs is spelled as an exact one.
                    let is_decimal = error.contains("this form would spell both") && error.contains("M;");
                    assert!(
                        is_cas || is_decimal || (form == Form::Edn && to != Form::Edn),
                        "{error}\n{text}"
                    );
                    refused += 1;
                    break;
                }
            };
            assert_eq!(verdict(&back), expected, "{text}\n{to:?}");
            let ((keys, values), (keys_back, values_back)) = (named(&first), named(&back));
            assert!(correspond(&keys, &keys_back), "{text}\n{to:?}\n{keys:?}\n{keys_back:?}");
            assert!(correspond(&values, &values_back), "{text}\n{to:?}\n{values:?}\n{values_back:?}");
            if is_json(form) && is_json(to) {
                assert_eq!((keys, values), (keys_back, values_back), "{text}\n{to:?}");
            }
            history = back;
            kept += 1;
        }
    }
    assert!(kept > 5000 && refused > 50, "{kept} {refused}");
}
