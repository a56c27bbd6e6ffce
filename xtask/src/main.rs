//! The project's own commands. `cargo xtask check` is the one to run before every commit.
//!
//! * [`checks`]: what `check` and `fix` are made of.
//! * [`tests`]: the test run with its counted skips and its closing line.
//! * [`packages`]: the Debian packages that some tests talk to.
//! * [`package`], [`release`]: what others install.
//! * [`clients`]: other people's clients, installed and run.
//! * [`suites`]: the long suites, each a command of its own.
//! * [`tidy`]: rules that neither rustc nor clippy can hold.
#![forbid(unsafe_code)]

mod checks;
mod clients;
mod command;
mod package;
mod packages;
mod release;
mod suites;
mod tests;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The project's own commands; `cargo xtask check` before every commit.
#[derive(Parser)]
#[command(name = "cargo xtask", arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Format, clippy, tests, documentation, tidy; reads only.
    Check,
    /// Write what can be mended by itself: format, clippy's suggestions, generated tables.
    Fix,
    /// Run every test, the long suites in their short form; count what was skipped and say why.
    ///
    /// Debian packages that tests talk to are installed first where that is possible (root and apt-get);
    /// otherwise each test that lacks one is counted as skipped.
    Test {
        /// Install nothing; tests that lack a package are skipped.
        #[arg(long)]
        no_install: bool,
    },
    /// Hold the rules of docs/ and names: requirements table, words, sizes, crate arrows, links.
    Tidy {
        /// Renew the generated tables first, and nothing else.
        #[arg(long)]
        fix: bool,
    },
    /// Torture one file from libtdb's processes and ours at once, and run cells of OpenAFS's servers and ours, in full length.
    Interop,
    /// Run smbd's own tests and a cluster of ctdb on this library and on libtdb, in full length, and compare.
    Samba,
    /// Crash at every write and sync, in full length.
    Crash,
    /// Put five real servers under every fault, and check what their clients saw.
    Faults {
        /// For how long.
        #[arg(long, default_value_t = 60)]
        minutes: u32,
    },
    /// Put three servers of the service under kills, partitions, pauses and clock steps, and check what their clients saw.
    ServiceFaults {
        /// Each with a fresh cell.
        #[arg(long, default_value_t = 50)]
        runs: u32,
        /// Seconds of faults in each run.
        #[arg(long, default_value_t = 15)]
        seconds: u32,
        /// Plant faults in the servers instead, and see that they are found.
        #[arg(long)]
        planted: bool,
        /// Seed of the first run; each further one has the next. Without it, a random one that is printed.
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Run the coverage-guided fuzzers (needs cargo-fuzz).
    Fuzz {
        /// Seconds for each target.
        #[arg(long, default_value_t = 60)]
        seconds: u32,
        /// Only this target.
        target: Option<String>,
    },
    /// Run the engine's unsafe code under Miri (`rustup toolchain install nightly -c miri`).
    Miri,
    /// Random suites in full length: solver against oracle, transport under faults, clusters.
    Sim,
    /// Build the Debian package, with man pages and completions (needs cargo-deb).
    Package,
    /// Build what a release consists of, twice, with checksums (needs cargo-deb; docs/releasing.md).
    Release {
        /// Sign the checksums with this key of GnuPG.
        #[arg(long)]
        sign: Option<String>,
    },
    /// Install other people's clients of Redis, and run them and their own tests against a cell of three.
    Clients,
    /// Benchmarks: this program and its peer side by side, ratios from one run.
    Bench {
        /// Only this benchmark.
        name: Option<String>,
    },
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Check => checks::check(),
        Task::Fix => checks::fix(),
        Task::Test { no_install } => tests::run(!no_install),
        Task::Tidy { fix: false } => tidy::check(),
        Task::Tidy { fix: true } => tidy::fix().and_then(|()| tidy::check()),
        Task::Interop => suites::interop(),
        Task::Samba => suites::samba(),
        Task::Crash => suites::crash(),
        Task::Faults { minutes } => suites::faults(minutes),
        Task::ServiceFaults { planted: true, .. } => suites::planted_faults(),
        Task::ServiceFaults { runs, seconds, seed, .. } => suites::service_faults(runs, seconds, seed),
        Task::Fuzz { seconds, target } => suites::fuzz(seconds, target.as_deref()),
        Task::Miri => suites::miri(),
        Task::Sim => suites::sim(),
        Task::Clients => clients::clients(),
        Task::Package => package::package(),
        Task::Release { sign } => release::release(sign.as_deref()),
        Task::Bench { name } => suites::bench(name.as_deref()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
