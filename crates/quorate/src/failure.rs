//! How a subcommand ends when it does not end well: one clear line on stderr and a documented exit code.

use std::fmt::Display;
use std::io;
use std::process::ExitCode;

/// The exit codes of every subcommand, for `--help`.
pub const EXIT_CODES: &str = "Exit codes:
  0  done
  1  the answer is no: results differ, a file is damaged, a key is not there
  2  wrong use, or input that cannot be read
  3  the system failed: disk full, no permission, no such file
  4  gave up at a stated bound";

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

    /// Prints the message and gives the exit code.
    pub fn report(self) -> ExitCode {
        if !self.message.is_empty() {
            eprintln!("quorate: {}", self.message);
        }
        ExitCode::from(self.code)
    }
}

impl Display for Failure {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.message)
    }
}

/// A failure to write to stdout. A reader that went away (`| head`) ends the program quietly.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure { code: 0, message: String::new() },
            _ => Failure::system(error),
        }
    }
}
