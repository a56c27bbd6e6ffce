//! How traces end: killed processes, full disks, files that others cut short or damage.
#![allow(clippy::unwrap_used)]

mod common;

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use common::{Dialect, FORMS, everything, folder, lines, only_trace, open_in_form};
use tdb::{OpenOptions, StoreMode};
use tdb_trace::packed::PackedText;
use tdb_trace::{Recording, TraceForm};

/// R2, R4: a packed trace that is cut short or has wrong bytes is refused with a reason, or read as something else; never worse.
#[test]
fn damaged_packed_traces_are_refused() {
    let folder = folder();
    let database = open_in_form(folder.path(), TraceForm::Packed);
    everything(&database);
    let open_file = std::fs::read(only_trace(folder.path())).unwrap();
    drop(database);
    let closed = std::fs::read(only_trace(folder.path())).unwrap();
    let read = |bytes: &[u8]| {
        let mut text = Vec::new();
        PackedText::new(bytes)
            .and_then(|mut packed| packed.read_to_end(&mut text))
            .map_err(|error| error.to_string())
    };
    for whole in [&open_file, &closed] {
        read(whole).unwrap();
        for len in (0..4200).step_by(13).chain(whole.len().saturating_sub(600)..whole.len()) {
            let Err(error) = read(&whole[..len]) else { continue };
            assert!(error.starts_with("damaged packed trace: "), "{error}");
        }
        read(&whole[..4000]).unwrap_err();
        for at in (0..48).chain(4096..4600).chain(whole.len().saturating_sub(600)..whole.len()) {
            for wrong in [0, 1, 0x80, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] ^= wrong;
                let Err(error) = read(&bytes) else { continue };
                assert!(error.starts_with("damaged packed trace: "), "{error}");
            }
        }
    }
}

/// Set for the process that is killed.
const KILLED: &str = "QUORATE_TEST_KILLED";

/// R4: a killed process has lost nothing of what it had done, in whatever part of the file that is; what was under way is marked.
#[test]
fn a_killed_process_loses_nothing() {
    if let Some(folder) = std::env::var_os(KILLED) {
        return store_until_killed(Path::new(&folder));
    }
    for (form, stores) in
        [(TraceForm::Packed, 10), (TraceForm::Packed, 9_000), (TraceForm::PackedExtended, 9_000)]
    {
        let folder = folder();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_killed_process_loses_nothing", "--nocapture"])
            .env(KILLED, folder.path())
            .env("QUORATE_TDB_RECORD", folder.path().join("traces"))
            .env(
                "QUORATE_TDB_RECORD_FORM",
                if form == TraceForm::Packed { "packed" } else { "packed-extended" },
            )
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut done = 0;
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            done += u32::from(line.unwrap() == "stored");
            if done == stores {
                child.kill().unwrap();
                break;
            }
        }
        child.wait().unwrap();
        let told = lines(&only_trace(folder.path()));
        assert!(told[0].starts_with("0 tdb_open"), "{}", told[0]);
        let last_is_open = told.last().is_some_and(|line| line.starts_with('?'));
        let whole = &told[1..told.len() - usize::from(last_is_open)];
        assert!(whole.len() >= done as usize, "{} of {done}", whole.len());
        for (number, line) in whole.iter().enumerate() {
            assert!(line.starts_with(&format!("{} tdb_store 4:", number + 1)), "{number}: {line}");
        }
    }
}

fn store_until_killed(folder: &Path) {
    let mut options = OpenOptions::new();
    options.create(true).observe(Recording::from_environment().unwrap());
    let database = options.open_in_dialect(folder.join("db")).unwrap();
    for number in 0u32.. {
        // Some are longer than the ring.
        let len = if number % 1000 == 5 { 300_000 } else { 100 };
        database.store(&(number % 500).to_le_bytes(), &vec![b'x'; len], StoreMode::Replace).unwrap();
        println!("stored");
    }
}

/// Set for the process that fills a small file system.
const SMALL: &str = "QUORATE_TEST_SMALL";

/// R4: when the disk is full the trace ends, the log says so, and the database goes on.
#[test]
fn a_full_disk_ends_the_trace_and_not_the_database() {
    if let Some(folder) = std::env::var_os(SMALL) {
        return fill(Path::new(&folder));
    }
    let folder = folder();
    let small = folder.path().join("small");
    std::fs::create_dir(&small).unwrap();
    let script = "mount -t tmpfs -o size=3m tmpfs \"$1\" && exec \"$2\" --exact a_full_disk_ends_the_trace_and_not_the_database";
    let output = Command::new("unshare")
        .args(["--mount", "--map-root-user", "sh", "-c", script, "sh"])
        .args([&small, &std::env::current_exe().unwrap()])
        .env(SMALL, folder.path())
        .output();
    let Some(output) =
        output.ok().filter(|output| output.status.code() != Some(32) && output.status.code() != Some(1))
    else {
        return testbed::skip("a_full_disk_ends_the_trace", "no file system can be mounted here");
    };
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
}

fn fill(folder: &Path) {
    FORMS.into_iter().for_each(|form| fill_with(folder, form));
}

fn fill_with(folder: &Path, form: TraceForm) {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&heard);
    let mut options = OpenOptions::new();
    options.create(true).observe(Recording::to(folder.join("small/traces")).form(form));
    options.log(Arc::new(move |_, message| log.lock().unwrap().push(message.to_owned())));
    let database = options.open_in_dialect(folder.join("db")).unwrap();
    let path = only_trace(&folder.join("small"));
    let value = vec![b'x'; 10_000];
    for number in 0..400u32 {
        database.store(&number.to_le_bytes(), &value, StoreMode::Replace).unwrap();
    }
    assert!(!database.is_observed());
    assert_eq!(database.fetch(&399u32.to_le_bytes()).unwrap().as_deref(), Some(&*value));
    let heard = heard.lock().unwrap();
    let told = heard.iter().filter(|message| message.contains("the trace ends here")).count();
    assert_eq!(told, 1, "{heard:?}");
    let kept = lines(&path);
    assert!(kept.len() > 50 && kept.len() < 400, "{}", kept.len());
    assert!(kept[1..].iter().all(|line| line.ends_with(" 0x1 = 0")));
    drop(database);
    std::fs::remove_file(&path).unwrap();
}

/// R4: another process cuts the trace short or removes it: the program goes on, and the log says once, at the latest when the
/// database is closed, where the trace ends.
#[test]
fn a_trace_that_is_cut_short_or_removed_ends_and_the_database_goes_on() {
    let cut = |len| {
        move |trace: &Path| std::fs::OpenOptions::new().write(true).open(trace).unwrap().set_len(len).unwrap()
    };
    type Harm<'a> = &'a dyn Fn(&Path);
    let harms: [(Harm<'_>, &str); 4] = [
        (&cut(0), "another process has cut the file short"),
        (&cut(1000), "another process has cut the file short"),
        (&cut(100_000), "another process has cut the file short"),
        (&|trace| std::fs::remove_file(trace).unwrap(), "another process has removed the file"),
    ];
    for (harm, complaint) in harms {
        for (stores, form) in
            [1u32, 200, 20_000].into_iter().flat_map(|stores| FORMS.map(|form| (stores, form)))
        {
            let folder = folder();
            let heard = Arc::new(Mutex::new(Vec::new()));
            let log = Arc::clone(&heard);
            let mut options = OpenOptions::new();
            options.create(true).observe(Recording::to(folder.path().join("traces")).form(form));
            options.log(Arc::new(move |_, message| log.lock().unwrap().push(message.to_owned())));
            let database = options.open_in_dialect(folder.path().join("db")).unwrap();
            let trace = only_trace(folder.path());
            for number in 0..300u32 {
                database.store(&number.to_le_bytes(), &[b'x'; 100], StoreMode::Replace).unwrap();
            }

            harm(&trace);

            for number in 0..stores {
                database.store(&number.to_le_bytes(), b"later", StoreMode::Replace).unwrap();
            }
            assert_eq!(database.fetch(&0u32.to_le_bytes()).unwrap().as_deref(), Some(&b"later"[..]));
            drop(database);
            let heard = heard.lock().unwrap();
            let told: Vec<&String> =
                heard.iter().filter(|message| message.contains("the trace ends here")).collect();
            assert_eq!(told.len(), 1, "{complaint}, {stores} stores, {form:?}: {heard:?}");
            assert!(told[0].contains(complaint) && told[0].contains("db.trace."), "{told:?}");
        }
    }
}
