//! A blocking connection to one server, which says of a failed command whether it may have happened.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use resp::{Limits, Replies, Value, write_request};

/// How long a server may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(1);
/// How long a reply may take: longer than an election.
const REPLY: Duration = Duration::from_secs(20);

/// A connection.
pub struct Connection {
    stream: TcpStream,
    replies: Replies,
}

/// Why a command has no result.
#[derive(Debug)]
pub enum CommandError {
    /// Nothing was done.
    Refused,
    /// It may have been done.
    Unknown,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// The server does not answer.
    pub fn open(address: SocketAddr) -> std::io::Result<Connection> {
        let stream = TcpStream::connect_timeout(&address, CONNECT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(REPLY))?;
        stream.set_write_timeout(Some(REPLY))?;
        Ok(Connection { stream, replies: Replies::new(Limits::default()) })
    }

    /// Sends a command and waits for its reply. After [`CommandError::Unknown`] the connection may be of no use.
    ///
    /// # Errors
    /// As [`CommandError`] says.
    pub fn ask(&mut self, words: &[&str]) -> Result<Value, CommandError> {
        let mut request = Vec::new();
        write_request(&mut request, words.iter().map(|word| word.as_bytes()));
        match self.exchange(&request) {
            Ok(Value::Error(text)) => {
                let undecided = text.starts_with(b"UNDECIDED");
                Err(if undecided { CommandError::Unknown } else { CommandError::Refused })
            }
            Ok(value) => Ok(value),
            Err(_) => Err(CommandError::Unknown),
        }
    }

    fn exchange(&mut self, request: &[u8]) -> std::io::Result<Value> {
        self.stream.write_all(request)?;
        let mut buffer = [0; 4096];
        loop {
            if let Some(value) = self.replies.poll().map_err(std::io::Error::other)? {
                return Ok(value);
            }
            match self.stream.read(&mut buffer)? {
                0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                count => self.replies.receive(&buffer[..count]),
            }
        }
    }
}
