//! `quorate demo`: three servers on this machine, clients at each, the death of the sync site in the middle, and a verdict.
//!
//! * `servers`: the three processes; `connection`: how they are spoken to
//! * `workload`: the clients; `watcher`: who is sync site; `record`: what both saw
//! * `control`: how it ends early
//! * `verdict`: the history checked; `report`, `page`: what is said of it

mod connection;
mod control;
mod page;
mod record;
mod report;
mod servers;
mod verdict;
mod watcher;
mod workload;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use clap::Args;
use client_history::Verdict;
use fastrand::Rng;

use crate::Outcome;
use crate::failure::Failure;
use connection::Connection;
use control::Control;
use record::Record;
use servers::{NAMES, Servers};
use watcher::Watcher;
use workload::Client;

/// Run three servers on this machine, kill one in the middle, and check what clients saw.
///
/// Needs no configuration and no network. Clients read and write at all three servers; the server through which all writes
/// go is ended with SIGKILL and started again. Every answer that a client got is recorded, and the history is checked:
/// nothing that was acknowledged may be lost, and no read may be stale.
#[derive(Args)]
#[command(after_help = "Examples:
  quorate demo
  quorate demo --keep                 # then: redis-cli -p PORT
  quorate demo --directory /tmp/demo     # keep the report, the logs and the history there

The folder has report.txt, report.html, history.jsonl (for quorate check, Porcupine) and history.edn (Knossos, Elle).")]
pub struct Arguments {
    /// Time in seconds during which clients work; a third before the kill, a third until the restart
    #[arg(long, value_name = "SECONDS", default_value_t = 24, value_parser = clap::value_parser!(u64).range(3..=3600))]
    seconds: u64,
    /// Clients at each server
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    clients: u32,
    /// Directory for the report, history, logs and data; created if missing [default: a new one under the system's temporary directory]
    #[arg(long = "directory", value_name = "DIRECTORY")]
    folder: Option<PathBuf>,
    /// Leave the servers running at the end
    #[arg(long)]
    keep: bool,
    /// Random seed of the workload
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
}

/// How long the servers may take to elect one of them, or one of them to catch up.
const ELECTION: Duration = Duration::from_secs(30);

/// Runs the demo.
pub fn run(arguments: &Arguments) -> Outcome {
    let control = Control::new()?;
    let outcome = play(arguments, &control);
    control.end();
    outcome
}

fn play(arguments: &Arguments, control: &Control) -> Outcome {
    let folder = folder(arguments)?;
    let seed = arguments.seed.unwrap_or_else(|| fastrand::u64(..));
    let record = Record::new();
    record.note(format!("three servers start; logs and data are in {}", folder.display()), false);
    let mut servers = Servers::configure(&folder)?;
    (0..NAMES.len()).try_for_each(|nth| servers.start(nth))?;
    let (stop, watcher) = (AtomicBool::new(false), Watcher::default());
    let everybody = arguments.clients * NAMES.len() as u32;
    let (numbers, values) = (AtomicU32::new(everybody), AtomicU32::new(1));
    let addresses = servers.clients;
    let client = |number: u32| Client {
        number,
        server: number as usize % NAMES.len(),
        address: addresses[number as usize % NAMES.len()],
        record: &record,
        stop: &stop,
        numbers: &numbers,
        values: &values,
        rng: Rng::with_seed(seed ^ u64::from(number)),
    };
    std::thread::scope(|scope| -> Outcome {
        // However this ends, the threads do.
        let _ends = StopAtEnd(&stop);
        scope.spawn(|| watcher.run(addresses, &record, &stop));
        let mut stage = Stage { servers: &mut servers, watcher: &watcher, record: &record, control };
        stage.await_sync_site(None)?;
        record.note(format!("{} clients at each server begin (seed {seed})", arguments.clients), false);
        for number in 0..everybody {
            let client = client(number);
            scope.spawn(|| client.run());
        }
        stage.trouble(Duration::from_secs(arguments.seconds))
    })?;
    // New clients, one at each server: what the others did last may not have ended.
    let first = numbers.load(Ordering::Relaxed).next_multiple_of(NAMES.len() as u32);
    (first..).take(NAMES.len()).for_each(|number| client(number).read_all());
    record.note("the clients have stopped; every register was read at every server", false);
    record.printed()?;
    conclude(arguments, &folder, &record, servers)
}

/// Ends the threads when it is dropped.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The servers while clients work.
struct Stage<'a> {
    servers: &'a mut Servers,
    watcher: &'a Watcher,
    record: &'a Record,
    control: &'a Control,
}

impl Stage<'_> {
    /// The sync site is killed after a third of `span`, and started again after another.
    fn trouble(&mut self, span: Duration) -> Outcome {
        let (record, control) = (self.record, self.control);
        control.pause(record, span / 3)?;
        let victim = self.await_sync_site(None)?;
        self.servers.kill(victim)?;
        record.note(format!("server {}, the sync site, was ended with SIGKILL", NAMES[victim]), true);
        let killed = record.now();
        self.await_sync_site(Some(victim))?;
        control.pause(record, (span / 3).saturating_sub(record.now() - killed))?;
        record.note(format!("server {} starts again", NAMES[victim]), true);
        self.servers.start(victim)?;
        let restarted = record.now();
        let address = self.servers.clients[victim];
        control.until(record, ELECTION, "an answer of the restarted server", || {
            let answer = Connection::open(address).map(|mut open| open.ask(&["GET", "r0"]));
            Ok(matches!(answer, Ok(Ok(_))).then_some(()))
        })?;
        record.note(format!("server {} answers reads again", NAMES[victim]), true);
        control.pause(record, (span / 3).saturating_sub(record.now() - restarted))
    }

    /// Waits until another server than `but` is sync site.
    fn await_sync_site(&mut self, but: Option<usize>) -> Result<usize, Failure> {
        let Stage { servers, watcher, record, control } = self;
        control.until(record, ELECTION, "an election", || {
            if let Some((nth, status)) = servers.ended() {
                let name = NAMES[nth];
                return Err(Failure::system(format!(
                    "server {name} has ended ({status}); {name}.log says why"
                )));
            }
            Ok(watcher.sync_site().filter(|found| Some(*found) != but))
        })
    }
}

/// Checks, reports, and says how it went.
fn conclude(arguments: &Arguments, folder: &Path, record: &Record, servers: Servers) -> Outcome {
    let commands = record.commands();
    let finding = verdict::find(&commands);
    let text = report::text(&finding, &commands);
    write!(io::stdout(), "\n{text}")?;
    let html = page::html(&finding, &commands, &record.notes(), &text);
    let mut files = Vec::new();
    for (name, text) in &finding.exports {
        match text {
            Ok(text) => files.push((*name, text.as_str())),
            Err(error) => writeln!(io::stdout(), "{name} was not written: {error}")?,
        }
    }
    for (name, text) in
        files.into_iter().chain([("report.txt", text.as_str()), ("report.html", html.as_str())])
    {
        let path = folder.join(name);
        std::fs::write(&path, text)
            .map_err(|error| Failure::system(format!("{}: {error}", path.display())))?;
    }
    writeln!(io::stdout(), "\nreport: {}", folder.join("report.html").display())?;
    if arguments.keep {
        leave(servers)?;
    } else {
        servers.remove()?;
    }
    match finding.verdict {
        Verdict::Explained => Ok(()),
        Verdict::Impossible => Err(Failure::no("the history is not linearizable: this is a bug in quorate")),
        Verdict::GaveUp => Err(Failure::gave_up("the search for an order reached its bound")),
    }
}

fn leave(servers: Servers) -> Outcome {
    let mut out = io::stdout();
    for (name, (clients, page)) in NAMES.iter().zip(servers.clients.into_iter().zip(servers.pages)) {
        writeln!(out, "server {name}: redis-cli -p {}    http://{page}/", clients.port())?;
    }
    let ids: Vec<String> = servers.leave().iter().map(u32::to_string).collect();
    Ok(writeln!(out, "the servers run on; to end them: kill {}", ids.join(" "))?)
}

fn folder(arguments: &Arguments) -> Result<PathBuf, Failure> {
    let folder = match &arguments.folder {
        Some(folder) => folder.clone(),
        None => std::env::temp_dir().join(format!("quorate-demo-{}", std::process::id())),
    };
    let failed = |error| Failure::system(format!("{}: {error}", folder.display()));
    std::fs::create_dir_all(&folder).map_err(failed)?;
    if std::fs::read_dir(&folder).map_err(failed)?.next().is_some() {
        let folder = folder.display();
        return Err(Failure::input(format!("{folder} is not empty; name a new directory, or empty it")));
    }
    std::fs::canonicalize(&folder).map_err(failed)
}
