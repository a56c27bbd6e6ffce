//! How a subcommand ends when it does not end well: one clear line on stderr and a documented exit code.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use tdb_replay::verdict::Verdict;
use tdb_replay::words::printable;

/// The exit codes, for the `--help` of every subcommand that has no list of its own.
pub const EXIT_CODES: &str = "Exit codes:
  0    done
  1    the answer is no: results differ, a file is damaged, a key is not there, a history is impossible
  2    wrong use
  3    the input cannot be read as what it should be, or the system failed: disk full, no permission,
       no such file
  4    gave up at a stated bound
  5    a history is explained only if sequence numbers are disbelieved
  130  interrupted (SIGINT); what was being made is removed";

/// Examples, then the verdicts of `check`, `order` and `replay` with their exit codes, for `--help`.
macro_rules! with_verdicts {
    ($examples:literal) => {
        concat!(
            $examples,
            "

Exit codes: one for each verdict, worst first. The worst decides, in whatever order the traces are given:
  3  unreadable           a trace cannot be read as one, or the system failed to read or write
  1  impossible           proved: no order explains the results, exact numbers, times and locks
  4  gave-up              a search reached its bound, which is stated; the answer is not known
  5  numbers-disbelieved  an order explains the results if the plain sequence numbers of some lines,
                          which are named, are set aside
  0  explained            one order explains everything
Exit code 2 is wrong use: nothing was done; 130 is an interrupt."
        )
    };
}
pub(crate) use with_verdicts;

/// Why a subcommand did not do what it was asked.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    /// The answer is no (exit code 1); an empty message prints nothing.
    pub fn no(message: impl Display) -> Failure {
        Failure { code: 1, message: message.to_string() }
    }

    /// Wrong use or bad input (exit code 2).
    pub fn input(message: impl Display) -> Failure {
        Failure { code: 2, message: message.to_string() }
    }

    /// The system failed (exit code 3).
    pub fn system(message: impl Display) -> Failure {
        Failure { code: 3, message: message.to_string() }
    }

    /// Gave up at a bound that the message states (exit code 4).
    pub fn gave_up(message: impl Display) -> Failure {
        Failure { code: 4, message: message.to_string() }
    }

    /// Ends with the exit code of a verdict; an empty message prints nothing.
    pub fn verdict(verdict: Verdict, message: impl Display) -> Failure {
        Failure { code: verdict.exit_code(), message: message.to_string() }
    }

    /// Traces that cannot be read (exit code 3).
    pub fn unreadable(message: impl Display) -> Failure {
        Failure::verdict(Verdict::Unreadable, message)
    }

    /// The exit code.
    pub fn code(&self) -> u8 {
        self.code
    }

    /// The same failure, whose message has been told.
    pub fn told(self) -> Failure {
        self.tell();
        Failure { message: String::new(), ..self }
    }

    /// Prints the message and gives the exit code.
    pub fn report(self) -> ExitCode {
        self.tell();
        ExitCode::from(self.code)
    }

    fn tell(&self) {
        if !self.message.is_empty() {
            note(&self.message);
        }
    }
}

impl Display for Failure {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.message)
    }
}

/// Tells people something that is not the answer. Nothing is to be done if standard error does not take it.
pub fn note(message: impl Display) {
    let _ = writeln!(io::stderr(), "quorate: {}", printable(&message.to_string()));
}

/// A failure to write to stdout. A reader that went away (`| head`) ends the program quietly.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure { code: 0, message: String::new() },
            _ => Failure::system(format!("cannot write to standard output: {error}")),
        }
    }
}
