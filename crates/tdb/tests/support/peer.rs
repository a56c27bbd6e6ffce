//! libtdb's side of the interoperation tests: `peer.c`, compiled here and run as processes.
// Each suite uses a part of it.
#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// libtdb's flags, as the program takes them.
pub const NOMMAP: u32 = 8;
pub const CONVERT: u32 = 16;
pub const NOSYNC: u32 = 64;
pub const INCOMPATIBLE_HASH: u32 = 2048;

/// The compiled program.
pub struct Peer {
    program: PathBuf,
}

impl Peer {
    /// Compiles the program; the reason if this machine has no compiler or no libtdb to compile against.
    pub fn compile() -> Result<Peer, String> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/peer.c");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        // Several tests compile at once, each to a name of its own.
        let program = tempfile::Builder::new()
            .prefix("peer-")
            .tempfile_in(folder)
            .map_err(|error| format!("no place for the compiled peer: {error}"))?
            .into_temp_path()
            .keep()
            .map_err(|error| error.to_string())?;
        let output = Command::new("cc")
            .args(["-O1", "-Wall", "-Wextra", "-Werror", "-rdynamic", "-o"])
            .args([&program, &source])
            .args(["-ltdb", "-ldl"])
            .output()
            .map_err(|error| format!("no C compiler: {error}"))?;
        let peer = Peer { program };
        if output.status.success() {
            return Ok(peer);
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        // With the header there, the program is wrong, and that is not a reason to skip.
        assert!(said.contains("tdb.h: No such file"), "peer.c does not compile: {said}");
        Err("libtdb's header is not installed".to_owned())
    }

    pub fn command(&self, what: &str, file: &Path, arguments: &[u64], flags: u32) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(what).arg(file);
        command.args(arguments.iter().map(u64::to_string)).arg(flags.to_string());
        command.stdin(Stdio::null());
        command
    }

    /// Starts it with its output in a pipe.
    pub fn start(&self, what: &str, file: &Path, arguments: &[u64], flags: u32) -> Child {
        self.command(what, file, arguments, flags).stdout(Stdio::piped()).spawn().expect("the peer starts")
    }

    /// Runs it to its end, which must be a good one; returns what it printed.
    pub fn run(&self, what: &str, file: &Path, arguments: &[u64], flags: u32) -> String {
        let output = self.command(what, file, arguments, flags).output().expect("the peer starts");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "libtdb {what}: {text}");
        text
    }

    /// What libtdb reads in the file, as pairs of bytes.
    pub fn dump(&self, file: &Path, flags: u32) -> std::collections::BTreeMap<Vec<u8>, Vec<u8>> {
        let text = self.run("dump", file, &[], flags);
        let pair = |line: &str| line.split_once(' ').map(|(key, value)| (unhex(key), unhex(value)));
        text.lines().map(|line| pair(line).expect("a line has a key and a value")).collect()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // A program that is left over in the build folder does no harm.
        let _ = std::fs::remove_file(&self.program);
    }
}

fn unhex(text: &str) -> Vec<u8> {
    let digit =
        |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("the peer prints hexadecimal digits");
    (0..text.len()).step_by(2).map(digit).collect()
}
