//! A blocking client of the service: one connection to whichever of its servers answers.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use resp::{Limits, Replies, Value, write_request};

use crate::failure::Failure;

/// Where the service is, and as whom to speak to it.
#[derive(Args, Clone)]
pub struct Connection {
    /// A server, by name or address; the first that answers is used. May be given several times
    #[arg(
        long = "server",
        value_name = "HOST:PORT",
        default_value = "127.0.0.1:6379",
        env = "QUORATE_SERVER",
        value_delimiter = ','
    )]
    servers: Vec<String>,
    /// Number of the database
    #[arg(long, default_value_t = 0)]
    database: u32,
    /// User to authenticate as, with the password in the file or in QUORATE_PASSWORD
    #[arg(long, default_value = "default")]
    user: String,
    /// File with the password on its first line
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Timeout in seconds for connecting and for each reply
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout_secs: u64,
}

/// A connection.
pub struct Client {
    server: String,
    stream: TcpStream,
    replies: Replies,
}

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The server answered with an error.
    #[error("{0}")]
    Refused(String),
    /// No answer came: a write may have happened.
    #[error("{server}: {why}; a write that was under way may have happened")]
    Lost {
        /// Which server.
        server: String,
        /// What happened.
        why: String,
    },
}

impl From<AskError> for Failure {
    fn from(error: AskError) -> Failure {
        Failure::system(error.to_string())
    }
}

impl Connection {
    /// How long to wait for each answer.
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_secs)
    }

    /// Connects to the first server that answers.
    ///
    /// # Errors
    /// None does, or it refuses the user or the database.
    pub fn open(&self) -> Result<Client, Failure> {
        let password = self.password()?;
        let mut failures = Vec::new();
        for server in &self.servers {
            match self.connect(server) {
                Ok(mut client) => {
                    if let Some(password) = &password {
                        client.ask(&[b"AUTH", self.user.as_bytes(), password])?;
                    }
                    if self.database != 0 {
                        client.ask(&[b"SELECT", self.database.to_string().as_bytes()])?;
                    }
                    return Ok(client);
                }
                Err(why) => failures.push(format!("{server}: {why}")),
            }
        }
        Err(Failure::system(format!("no server answers: {}", failures.join("; "))))
    }

    fn connect(&self, server: &str) -> Result<Client, std::io::Error> {
        let timeout = self.timeout();
        let mut last = std::io::Error::other("the name has no address");
        for address in server.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, timeout) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(timeout))?;
                    stream.set_write_timeout(Some(timeout))?;
                    stream.set_nodelay(true)?;
                    let replies = Replies::new(Limits::default());
                    return Ok(Client { server: server.to_owned(), stream, replies });
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn password(&self) -> Result<Option<Vec<u8>>, Failure> {
        match &self.password_file {
            Some(file) => first_line(file).map(Some),
            None => Ok(std::env::var_os("QUORATE_PASSWORD").map(std::ffi::OsString::into_encoded_bytes)),
        }
    }
}

fn first_line(file: &Path) -> Result<Vec<u8>, Failure> {
    let text = std::fs::read(file).map_err(|error| Failure::input(format!("{}: {error}", file.display())))?;
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    Ok(line.strip_suffix(b"\r").unwrap_or(line).to_vec())
}

impl Client {
    /// Sends a command and waits for its reply.
    ///
    /// # Errors
    /// The server refuses it, or no reply came.
    pub fn ask(&mut self, words: &[&[u8]]) -> Result<Value, AskError> {
        let mut bytes = Vec::new();
        write_request(&mut bytes, words.iter().copied());
        let answer =
            self.exchange(&bytes).map_err(|why| AskError::Lost { server: self.server.clone(), why })?;
        match answer {
            Value::Error(text) => Err(AskError::Refused(String::from_utf8_lossy(&text).into_owned())),
            value => Ok(value),
        }
    }

    fn exchange(&mut self, bytes: &[u8]) -> Result<Value, String> {
        self.stream.write_all(bytes).map_err(|error| error.to_string())?;
        let mut buffer = [0; 65536];
        loop {
            if let Some(value) = self.replies.poll().map_err(|error| error.to_string())? {
                return Ok(value);
            }
            match self.stream.read(&mut buffer).map_err(|error| error.to_string())? {
                0 => return Err("the server closed the connection".to_owned()),
                bytes => self.replies.receive(&buffer[..bytes]),
            }
        }
    }
}
