//! What shells and manuals want to know of the commands: completions and man pages, made from the commands themselves.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell;

use crate::Outcome;
use crate::failure::Failure;

/// Print what a shell needs to complete commands and options
#[derive(Args)]
#[command(after_help = "Examples:
  quorate completions bash > /etc/bash_completion.d/quorate
  quorate completions zsh > \"${fpath[1]}/_quorate\"
  quorate completions fish > ~/.config/fish/completions/quorate.fish")]
pub struct Completions {
    /// The shell
    shell: Shell,
}

/// Write the man pages, one for each command
#[derive(Args)]
#[command(after_help = "Example:
  quorate man /usr/local/share/man/man1")]
pub struct Man {
    /// Directory to write to; created if missing
    folder: PathBuf,
}

impl Completions {
    /// Runs the subcommand.
    pub fn run(&self) -> Outcome {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut crate::command(), "quorate", &mut text);
        let mut out = std::io::stdout().lock();
        Ok(out.write_all(&text).and_then(|()| out.flush())?)
    }
}

impl Man {
    /// Runs the subcommand.
    pub fn run(&self) -> Outcome {
        let write = || {
            std::fs::create_dir_all(&self.folder)?;
            clap_mangen::generate_to(crate::command(), &self.folder)
        };
        write().map_err(|error| Failure::system(format!("{}: {error}", self.folder.display())))
    }
}
