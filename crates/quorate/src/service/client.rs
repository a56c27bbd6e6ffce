//! A blocking client of the service: one connection to whichever of its servers answers.

use std::io::{self, Read, Write};
use std::net::{Ipv6Addr, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use resp::{Limits, Replies, Value, write_request};

use crate::failure::Failure;

/// Where the service is, and as whom to speak to it.
#[derive(Args, Clone)]
pub struct Connection {
    /// A server, by name or address, port 6379 by default; the first that answers is used. May be given several times
    #[arg(
        long = "server",
        value_name = "HOST[:PORT]",
        value_parser = host_and_port,
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
    timeout: Duration,
}

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The server answered with an error.
    #[error("{0}")]
    Refused(String),
    /// No answer came.
    #[error("{server}: {why}{}", if *writes { "; the write may have happened" } else { "" })]
    Lost {
        /// Which server.
        server: String,
        /// What happened.
        why: String,
        /// Whether the command may have changed something.
        writes: bool,
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
                Err(why) => failures.push(format!("{server}: {}", explain(&why, self.timeout()))),
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
                    return Ok(Client { server: server.to_owned(), stream, replies, timeout });
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

/// The port of the service unless another is named.
const PORT: u16 = 6379;

/// `HOST` or `HOST:PORT`, with the port; an IPv6 address before a port stands in brackets.
fn host_and_port(text: &str) -> Result<String, String> {
    if text.parse::<Ipv6Addr>().is_ok() {
        return Ok(format!("[{text}]:{PORT}"));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, port.parse::<u16>().ok().filter(|&port| port > 0)),
        None => (text, Some(PORT)),
    };
    match port {
        Some(port) if !host.is_empty() => Ok(format!("{host}:{port}")),
        _ => Err("expected HOST or HOST:PORT, as in 192.0.2.7:6379".to_owned()),
    }
}

/// A time-out of a socket has the number of an error that says nothing of it.
fn explain(error: &io::Error, timeout: Duration) -> String {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            format!("no answer within {} s (--timeout-secs)", timeout.as_secs())
        }
        _ => error.to_string(),
    }
}

fn not_this_protocol(error: &resp::ProtocolError) -> String {
    format!("what answers there does not speak the Redis protocol ({error}); is it the port of the clients?")
}

/// Whether a command whose answer is lost may have changed something; EXEC carries out what was queued.
fn may_write(name: &[u8]) -> bool {
    name == b"EXEC" || kv::command::find(name).is_some_and(|command| command.writes)
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
        let answer = self.exchange(&bytes).map_err(|why| {
            let writes = words.first().is_some_and(|name| may_write(name));
            AskError::Lost { server: self.server.clone(), why, writes }
        })?;
        match answer {
            Value::Error(text) => Err(AskError::Refused(String::from_utf8_lossy(&text).into_owned())),
            value => Ok(value),
        }
    }

    fn exchange(&mut self, bytes: &[u8]) -> Result<Value, String> {
        let timeout = self.timeout;
        self.stream.write_all(bytes).map_err(|error| explain(&error, timeout))?;
        let mut buffer = [0; 65536];
        loop {
            if let Some(value) = self.replies.poll().map_err(|error| not_this_protocol(&error))? {
                return Ok(value);
            }
            match self.stream.read(&mut buffer).map_err(|error| explain(&error, timeout))? {
                0 => return Err("the server closed the connection".to_owned()),
                bytes => self.replies.receive(&buffer[..bytes]),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn failure(command: &[&[u8]], answer: &'static [u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap().to_string();
        let (database, user) = (0, "default".to_owned());
        let connection =
            Connection { servers: vec![server], database, user, password_file: None, timeout_secs: 1 };
        let mut client = connection.open().unwrap();
        let (mut accepted, _) = listener.accept().unwrap();
        accepted.write_all(answer).unwrap();
        client.ask(command).unwrap_err().to_string()
    }

    /// S16: a lost answer is said to leave a write open only if the command writes, and in words, not by a number of the system.
    #[test]
    fn a_lost_answer_says_what_it_leaves_open() {
        let (get, set): (&[&[u8]], &[&[u8]]) = (&[b"GET", b"k"], &[b"SET", b"k", b"v"]);
        let http = failure(get, b"HTTP/1.1 400 Bad Request\r\n\r\n");
        assert!(http.contains("is it the port of the clients?") && !http.contains("may have"), "{http}");
        let silent = failure(set, b"");
        assert!(
            silent.ends_with("no answer within 1 s (--timeout-secs); the write may have happened"),
            "{silent}"
        );
    }

    /// S16: a server is named with or without its port; what is neither is refused before anything is tried.
    #[test]
    fn servers_have_a_port_by_default() {
        let cases = [
            ("db1", Some("db1:6379")),
            ("127.0.0.1", Some("127.0.0.1:6379")),
            ("db1:7000", Some("db1:7000")),
            ("::1", Some("[::1]:6379")),
            ("[::1]:7000", Some("[::1]:7000")),
            ("db1:", None),
            ("db1:x", None),
            ("db1:0", None),
            (":6379", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(host_and_port(text).ok().as_deref(), expected, "{text:?}");
        }
    }
}
