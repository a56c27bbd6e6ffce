//! P4: two and eight processes on one database at once, ours and the system's libtdb through the same C interface.
//!
//! Each process is this program started anew with the name of the library; it waits until all are ready, then measures.

use std::hint::black_box;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use bench::library::{Library, Store};
use bench::rounds::{Figures, compare, median, time};

const KEYS: usize = 50_000;
const LIMITS: &[(&str, f64)] = &[("fetch", 0.8), ("delete and store", 0.3)];

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    if let [role, library, file, seed] = &arguments[..]
        && role == "process"
    {
        return process(&named(library)?, Path::new(file), seed.parse()?);
    }
    let (ours, peer) = Library::both()?;
    let folder = tempfile::tempdir_in(if Path::new("/dev/shm").exists() { "/dev/shm" } else { "." })?;
    let file = folder.path().join("bench.tdb");
    for processes in [2, 8] {
        let title = format!("P4 {processes} processes, default locks");
        compare(&title, LIMITS, || round(&ours, &file, processes), || round(&peer, &file, processes));
    }
    Ok(())
}

fn named(name: &str) -> Result<Library> {
    match name {
        "quorate" => Library::ours(),
        "libtdb" => Library::system(),
        other => bail!("no library is named `{other}`"),
    }
}

fn keys() -> Vec<[u8; 16]> {
    let mut random = fastrand::Rng::with_seed(13);
    (0..2 * KEYS).map(|_| random.u128(..).to_le_bytes()).collect()
}

fn round(library: &Library, file: &Path, processes: u64) -> Figures {
    let _ = std::fs::remove_file(file);
    let database = library.open(file, 10_007, 0, true).expect("the scratch database opens");
    keys()[..KEYS].iter().for_each(|key| database.store(key, &[b'v'; 100], Store::Insert));
    drop(database);
    let children: Vec<Child> =
        (0..processes).map(|seed| start(library, file, seed).expect("a process starts")).collect();
    gather(children).expect("every process ends well")
}

fn start(library: &Library, file: &Path, seed: u64) -> Result<Child> {
    Command::new(std::env::current_exe()?)
        .args(["process", library.name])
        .arg(file)
        .arg(seed.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start this program anew")
}

/// Waits until every process is ready, lets them go, and gives the mean of each figure over the processes.
fn gather(mut children: Vec<Child>) -> Result<Figures> {
    let mut outputs = Vec::new();
    for child in &mut children {
        let mut output = BufReader::new(child.stdout.take().context("stdout is piped")?);
        output.read_line(&mut String::new())?;
        outputs.push(output);
    }
    for child in &mut children {
        child.stdin.take().context("stdin is piped")?.write_all(b"go\n")?;
    }
    let mut columns: [Vec<f64>; 3] = Default::default();
    for (child, output) in children.iter_mut().zip(&mut outputs) {
        let mut text = String::new();
        output.read_to_string(&mut text)?;
        if !child.wait()?.success() {
            bail!("a process failed: {text}");
        }
        for (column, word) in columns.iter_mut().zip(text.split_whitespace()) {
            column.push(word.parse()?);
        }
    }
    let names = ["fetch", "fetch and store", "delete and store"];
    Ok(names.iter().zip(&columns).map(|(name, values)| ((*name).to_owned(), median(values))).collect())
}

fn process(library: &Library, file: &Path, seed: u64) -> Result<()> {
    let database = library.open(file, 10_007, 0, false)?;
    let (keys, mut random) = (keys(), fastrand::Rng::with_seed(seed));
    println!("ready");
    std::io::stdin().read_line(&mut String::new())?;
    let mut figures = Figures::new();
    time(&mut figures, "fetch", KEYS as u64, || {
        (0..KEYS).for_each(|_| {
            black_box(database.fetch(&keys[random.usize(..KEYS)]));
        });
    });
    time(&mut figures, "fetch and store", KEYS as u64, || {
        for _ in 0..KEYS {
            let key = &keys[random.usize(..KEYS)];
            if random.bool() {
                black_box(database.fetch(key));
            } else {
                database.store(key, &[b'w'; 100], Store::Replace)
            }
        }
    });
    time(&mut figures, "delete and store", KEYS as u64 / 4, || {
        for _ in 0..KEYS / 4 {
            let key = &keys[random.usize(..2 * KEYS)];
            if random.bool() {
                database.delete(key);
            } else {
                database.store(key, &[b'x'; 200][..random.usize(50..200)], Store::Replace);
            }
        }
    });
    let words: Vec<String> = figures.iter().map(|(_, value)| value.to_string()).collect();
    println!("{}", words.join(" "));
    Ok(())
}
