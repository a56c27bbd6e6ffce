//! A connection of a client that waits for each reply, and knows of a failed command whether it may have happened.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use resp::{Limits, Replies, Value, write_request};

/// Why a command has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nothing was done.
    Refused(String),
    /// It may have been done; the connection may be of no use.
    Unknown(String),
}

/// A connection of a client that waits for each reply.
pub struct Connection {
    stream: TcpStream,
    replies: Replies,
}

impl Connection {
    pub fn open(address: SocketAddr, patience: Duration) -> std::io::Result<Connection> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        Ok(Connection { stream, replies: Replies::new(Limits::default()) })
    }

    /// One command.
    pub fn ask(&mut self, words: &[&str]) -> Result<Value, Failure> {
        self.ask_all(&[words])
    }

    /// Commands sent together; the result of the last.
    pub fn ask_all(&mut self, commands: &[&[&str]]) -> Result<Value, Failure> {
        let mut request = Vec::new();
        for words in commands {
            write_request(&mut request, words.iter().map(|word| word.as_bytes()));
        }
        let lost = |error: std::io::Error| Failure::Unknown(error.to_string());
        self.stream.write_all(&request).map_err(lost)?;
        let mut last = Value::Null;
        for _ in commands {
            last = self.next().map_err(lost)?;
        }
        match last {
            Value::Error(text) => {
                let text = String::from_utf8_lossy(&text).into_owned();
                if text.starts_with("UNDECIDED") {
                    return Err(Failure::Unknown(text));
                }
                assert!(text.starts_with("TRYAGAIN"), "{commands:?}: {text}");
                Err(Failure::Refused(text))
            }
            value => Ok(value),
        }
    }

    fn next(&mut self) -> std::io::Result<Value> {
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
