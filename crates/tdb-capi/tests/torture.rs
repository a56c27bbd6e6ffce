//! Many processes on one file, half of them on either library, checked record by record; and processes that are killed
//! while they hold locks.

mod library;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use library::{Stage, Which, printed};

const MUTEX_LOCKING: u32 = 4096;
const CLEAR_IF_FIRST: u32 = 1;
const NOSYNC: u32 = 64;
const MUTEXES: u32 = MUTEX_LOCKING | CLEAR_IF_FIRST;
/// Shared counters of the torture program, and where in the progress file a worker's additions to them stand.
const COUNTERS: usize = 8;
const FIRST_COUNTER: usize = 3;

/// One torture: the file, its options, and someone who has it open all the time.
struct Torture<'a> {
    stage: &'a Stage,
    program: &'a Path,
    folder: PathBuf,
    flags: u32,
    keeper: Child,
    keeper_input: Option<ChildStdin>,
}

impl<'a> Torture<'a> {
    fn begin(stage: &'a Stage, program: &'a Path, name: &str, flags: u32, keeper: Which) -> Torture<'a> {
        let folder = stage.folder(name);
        let mut keeper = stage
            .command(keeper, program)
            .args(["keep".as_ref(), folder.join("t.tdb").as_os_str()])
            .args([flags.to_string(), "131".to_owned()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut line = String::new();
        let output = keeper.stdout.take().expect("piped");
        BufReader::new(output).read_line(&mut line).expect("it says that it is open");
        assert_eq!(line, "open\n");
        let keeper_input = keeper.stdin.take();
        Torture { stage, program, folder, flags, keeper, keeper_input }
    }

    fn file(&self) -> PathBuf {
        self.folder.join("t.tdb")
    }

    fn progress(&self, id: usize) -> PathBuf {
        self.folder.join(format!("progress-{id}"))
    }

    fn worker(&self, id: usize, seed: u64, duration: Duration, kind: &str) -> Command {
        // Odd ones run Samba's library, even ones ours.
        let which = if id.is_multiple_of(2) { Which::Ours } else { Which::System };
        let mut command = self.stage.command(which, self.program);
        command.arg("work").arg(self.file()).args([
            self.flags.to_string(),
            "131".to_owned(),
            id.to_string(),
            seed.to_string(),
            duration.as_millis().to_string(),
            kind.to_owned(),
        ]);
        command.arg(self.progress(id)).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// What a worker wrote into its progress file.
    fn words(&self, id: usize) -> Vec<u64> {
        let bytes = std::fs::read(self.progress(id)).expect("the worker has made it");
        bytes.chunks_exact(8).map(|word| u64::from_ne_bytes(word.try_into().expect("8 bytes"))).collect()
    }

    /// Both libraries find the file sound and the counters at the sum of what the workers added.
    fn verify(&self, workers: usize) {
        let mut sums = [0; COUNTERS];
        for id in 1..=workers {
            let words = self.words(id);
            sums.iter_mut().zip(&words[FIRST_COUNTER..]).for_each(|(sum, added)| *sum += added);
        }
        for which in [Which::Ours, Which::System] {
            let mut verify = self.stage.command(which, self.program);
            verify.arg("verify").arg(self.file());
            verify.args([self.flags.to_string(), "131".to_owned()]);
            let verified = verify.output();
            let counters: Vec<u64> = printed(verified.expect("it starts"))
                .lines()
                .map(|line| line.parse().expect("a number"))
                .collect();
            assert_eq!(counters, sums, "counters as {which:?} sees them");
        }
    }
}

impl Drop for Torture<'_> {
    fn drop(&mut self) {
        drop(self.keeper_input.take());
        let _ = self.keeper.wait();
    }
}

/// How long one torture lasts: short in the normal test run.
fn duration() -> Duration {
    Duration::from_millis(if std::env::var_os("QUORATE_LONG").is_some() { 20_000 } else { 600 })
}

fn torture(test: &str, flags: u32, kinds: &[&str], worker_counts: &[usize]) {
    let stage = Stage::new();
    let Some(program) = stage.compile("torture") else {
        return testbed::skip(test, "no C compiler or no libtdb-dev");
    };
    let mut random = fastrand::Rng::with_seed(testbed::seed(test));
    for kind in kinds {
        for &workers in worker_counts {
            let keeper = if random.bool() { Which::Ours } else { Which::System };
            let torture = Torture::begin(&stage, &program, &format!("{kind}-{workers}"), flags, keeper);
            let running: Vec<_> = (1..=workers)
                .map(|id| {
                    torture.worker(id, random.u64(..1 << 32), duration(), kind).spawn().expect("it starts")
                })
                .collect();
            for worker in running {
                printed(worker.wait_with_output().expect("it ends"));
            }
            torture.verify(workers);
        }
    }
}

/// T2, T6: byte-range locks; two, four and eight processes, half on either library, with traverses, transactions, locks.
#[test]
fn both_libraries_torture_one_file_and_lose_nothing() {
    let name = "both_libraries_torture_one_file_and_lose_nothing";
    torture(name, NOSYNC, &["mixed", "lockall"], &[2, 4, 8]);
}

/// T3: the same with robust mutexes.
#[test]
fn both_libraries_torture_one_file_with_mutexes() {
    torture(
        "both_libraries_torture_one_file_with_mutexes",
        MUTEXES | NOSYNC,
        &["mixed", "lockall"],
        &[2, 4, 8],
    );
}

/// Starts workers that only change the file in transactions, kills one after another at random moments and starts it
/// again; each then finds its last committed transaction, or the one that it was committing, whole.
fn torture_with_deaths(test: &str, flags: u32, workers: usize) {
    let stage = Stage::new();
    let Some(program) = stage.compile("torture") else {
        return testbed::skip(test, "no C compiler or no libtdb-dev");
    };
    let mut random = fastrand::Rng::with_seed(testbed::seed(test));
    let torture = Torture::begin(&stage, &program, "kill", flags, Which::System);
    let lifetime = Duration::from_secs(600);
    let mut moments = random.fork();
    let mut start =
        |id| torture.worker(id, random.u64(..1 << 32), lifetime, "kill").spawn().expect("it starts");
    let mut running: Vec<Child> = (1..=workers).map(&mut start).collect();
    let deaths = if std::env::var_os("QUORATE_LONG").is_some() { 2000 } else { 60 };
    for _ in 0..deaths {
        // Not a wait for something: the moment of a death is the random input here.
        std::thread::sleep(Duration::from_micros(moments.u64(..30_000)));
        let nth = moments.usize(..workers);
        let alive = running[nth].try_wait().expect("it is a child of ours").is_none();
        if alive {
            running[nth].kill().expect("it is a child of ours");
            running[nth].wait().expect("it is a child of ours");
            running[nth] = start(nth + 1);
        }
        let ended =
            running.iter_mut().position(|worker| worker.try_wait().is_ok_and(|ended| ended.is_some()));
        if let Some(nth) = ended {
            let ended = running.swap_remove(nth);
            running.iter_mut().for_each(|worker| worker.kill().expect("it is a child of ours"));
            printed(ended.wait_with_output().expect("it ended"));
            panic!("a worker ended by itself");
        }
    }
    for mut worker in running {
        worker.kill().expect("it is a child of ours");
        worker.wait().expect("it is a child of ours");
    }
    // The last deaths are found, and each worker finds its own state, by a last short life of each.
    for id in 1..=workers {
        let last = torture.worker(id, 1, Duration::from_millis(20), "kill").output().expect("it starts");
        printed(last);
        assert!(torture.words(id)[0] > 0, "worker {id} has committed something");
    }
    torture.verify(workers);
}

/// T3, T4, T13: mutexes whose holders die, in chains, in the lock of everything, in transactions and commits.
#[test]
fn mutexes_survive_the_death_of_their_holders() {
    torture_with_deaths("mutexes_survive_the_death_of_their_holders", MUTEXES | NOSYNC, 4);
}

/// T4, T13: the same with byte ranges, which the kernel gives back; a half-done commit is undone by either library.
#[test]
fn transactions_survive_the_death_of_their_process() {
    torture_with_deaths("transactions_survive_the_death_of_their_process", NOSYNC, 4);
}
